"""Look at the machine that serves the model, which need not be this one.

On this computer the probes look; of another machine only what its server says is known: version, models, what is in
memory, and, when asked for, one timed reply. Local hardware is never shown as another machine's.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gptoss_lab.connect import http_client
from gptoss_lab.hardware.detect import detect
from gptoss_lab.hardware.fit import fit
from gptoss_lab.hardware.machine import Machine, Reading
from gptoss_lab.hardware.memory import version_number
from gptoss_lab.hardware.verdict import Verdict
from gptoss_lab.ollama_host import is_loopback
from gptoss_lab.text import text

if TYPE_CHECKING:
    from ollama import ChatResponse

    from gptoss_lab.connect import Connection

MODELS = ("gpt-oss:20b", "gpt-oss:120b")
_TIMED_TOKENS, _ASK_LIMIT_S = 64, 10.0
_ROUNDING_GIB = 0.5


@dataclass(frozen=True)
class Loaded:
    """One model in a server's memory, in GiB."""

    model: str
    size_gib: float
    vram_gib: float
    context: int


@dataclass(frozen=True)
class ServerView:
    """What another machine's server says about itself."""

    host: str
    version: str
    models: tuple[tuple[str, float], ...]  # name, size in GB
    loaded: tuple[Loaded, ...]
    tok_s: float | None = None  # of one timed reply
    reason: str = ""  # what it did not say, and why


@dataclass(frozen=True)
class Report:
    """The machine that counts, or the server that stands for it, and the verdicts on both sizes."""

    machine: Machine | None
    server: ServerView | None
    verdicts: tuple[Verdict, ...]
    reason: str = ""  # why it is not this computer

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values; the schema is in docs/hardware_json.md."""
        return {"schema": 1, **asdict(self)}


def look(
    lab: "Connection | None" = None,
    timed: bool = False,
    models: Sequence[str | os.PathLike[str]] = MODELS,
    context: int | None = None,
) -> Report:
    """Return what serves the model of a connection; without one, this computer.

    `timed=True` lets a server on another machine write 64 tokens and measures them; that may load a model, or cost
    money in the cloud. `models` and `context` are judged as by `fit`. Raises LabError when `fit` does; what a server
    does not say is words in `ServerView.reason`.
    """

    def here(machine: Machine, version: str | None) -> Report:
        verdicts = (fit(machine, model, context, ollama_version=version) for model in models)
        return Report(machine, None, tuple(verdicts))

    if lab is None or lab.kind == "practice":
        return here(detect(), None)
    if lab.kind == "cloud" or not is_loopback(lab.host):
        return Report(None, _asked(lab, timed), (), text("hardware.elsewhere"))
    machine, server = detect(), _asked(lab, timed=False)
    vram = sum(gpu.total_gib for gpu in machine.used_gpus)
    if sum(loaded.vram_gib for loaded in server.loaded) > vram + _ROUNDING_GIB:
        return Report(None, _asked(lab, timed), (), text("hardware.more_vram"))
    return here(_with_room(machine, server.loaded), server.version or None)


def _with_room(machine: Machine, loaded: tuple[Loaded, ...]) -> Machine:
    """Return the machine with what the server's own models hold counted as free: Ollama makes room for the next one."""
    held_gib = left_gib = sum(one.vram_gib for one in loaded)
    if not held_gib:
        return machine
    gpus, ram_gib = [], machine.ram_free_gib
    for gpu in machine.gpus:
        back_gib = 0.0 if gpu.unused else max(min(left_gib, gpu.total_gib - gpu.free_gib), 0.0)
        left_gib -= back_gib
        gpus.append(replace(gpu, free_gib=gpu.free_gib + back_gib))
        if gpu.unified and ram_gib is not None:
            ram_gib = min(ram_gib + back_gib, machine.ram_total_gib or ram_gib)
    names = ", ".join(one.model for one in loaded)
    said = Reading(held_gib, "/api/ps", text("hardware.loaded", gib=f"{held_gib:.1f}", names=names))
    return replace(machine, gpus=tuple(gpus), ram_free_gib=ram_gib, readings={**machine.readings, "loaded": said})


def _asked(lab: "Connection", timed: bool) -> ServerView:
    silent: list[str] = []

    def ask(path: str, read: Callable[[Any], Any], nothing: Any) -> Any:
        try:
            with http_client(lab.host, _ASK_LIMIT_S) as http:
                return read(http.get(path).raise_for_status().json())
        except Exception as error:  # a server that speaks, but not as expected, has said nothing
            silent.append(f"{path}: {error!r}")
            return nothing

    version = ask("/api/version", lambda told: _version(told["version"]), "")
    models = ask("/api/tags", lambda told: tuple(_model(entry) for entry in told["models"] or ()), ())
    loaded = ask("/api/ps", lambda told: tuple(_loaded(entry) for entry in told.get("models") or ()), ())
    tok_s = _timed(lab, silent) if timed else None
    reason = text("hardware.no_reply", error="; ".join(silent)) if silent else ""
    return ServerView(lab.host, version, models, loaded, tok_s, reason)


def _version(said: str) -> str:
    return said if version_number(said) else ""


def _model(entry: dict[str, Any]) -> tuple[str, float]:
    return entry["name"], entry.get("size", 0) / 1e9


def _loaded(entry: dict[str, Any]) -> Loaded:
    size, vram = (int(entry.get(name) or 0) / 2**30 for name in ("size", "size_vram"))
    return Loaded(entry.get("name", "?"), size, vram, int(entry.get("context_length") or 0))


def _effort(lab: "Connection") -> Literal["low"] | None:
    """Return low effort for a model that thinks; others refuse to be asked for it."""
    return "low" if "thinking" in (lab.client.show(lab.model).capabilities or ()) else None


def one_reply(lab: "Connection") -> "ChatResponse":
    """Ask for one short reply and return it with its counters; raises what the client raises."""
    messages = [{"role": "user", "content": text("hardware.question")}]
    options = {"num_predict": _TIMED_TOKENS}
    return lab.client.chat(lab.model, messages, think=_effort(lab), options=options)


def _timed(lab: "Connection", silent: list[str]) -> float | None:
    """Return tokens per second of one short reply."""
    try:
        reply = one_reply(lab)
    except Exception as error:
        silent.append(str(error))
        return None
    tokens, duration_ns = reply.eval_count, reply.eval_duration
    return tokens / duration_ns * 1e9 if tokens and duration_ns else None
