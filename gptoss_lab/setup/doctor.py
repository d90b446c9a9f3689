"""Walk the road from nothing to an answering gpt-oss in the order in which people fail on it, and name what stops them.

Python and packages, server, version, disk, model, memory, loading, an answer, the GPU's share, the context: each step
says what was found, what it means, and one thing to do. It looks and asks, and changes nothing; only the step that
loads the model makes the server do work.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_lab.connect import FAMILIES, FIRST_CHOICES, Probe, http_client, pick_model, probe
from gptoss_lab.errors import LabError
from gptoss_lab.facts import fact
from gptoss_lab.facts.fit import CONSTANTS, constant
from gptoss_lab.ollama_host import is_loopback
from gptoss_lab.setup.candidates import Candidate, candidates, wrong_address
from gptoss_lab.setup.finding import Diagnosis, Finding
from gptoss_lab.setup.trouble import Trouble, explain
from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.hardware import Machine

OLDEST_PYTHON = (3, 10)
PACKAGES = ("ollama", "httpx", "psutil", "ipywidgets", "tornado")
WANTED = FIRST_CHOICES[0]
_SMALL_CONTEXT = 4_096
_LOAD_LIMIT_S, _ANSWER_LIMIT_S, _ASK_LIMIT_S = 600.0, 300.0, 10.0


@dataclass
class Visit:
    """What is known so far; each step adds to it."""

    asked: str | None = None
    model: str | None = None
    prompt: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    root: Path = Path("/")
    look: Callable[[str], Probe] = probe
    detect: Callable[[], "Machine"] | None = None
    server: Candidate | None = None
    version: str = ""
    loaded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.server.host if self.server else ""

    @property
    def models(self) -> Mapping[str, str]:
        return (self.server.found.models if self.server else None) or {}

    @property
    def local(self) -> bool:
        return is_loopback(self.host) and not self.practice

    @property
    def practice(self) -> bool:
        return "practice" in self.version

    @property
    def wanted(self) -> str:
        return self.model or (pick_model(self.models, None, self.host) if self.models else WANTED)


def examine(
    server: str | None = None, model: str | None = None, prompt: str = "", **boundary: Any
) -> Iterator[Finding]:
    """Yield one finding per step, and stop after the first fault.

    `server` is an address or "practice", None to look everywhere; `model` the model to want, None for gpt-oss; `prompt`
    a text that is to fit into the context. Never raises for what a learner can cause.
    """
    visit = Visit(_address(server), model, prompt, **boundary)
    for step in (_python, _server, _version, _model, _memory, _load, _answer, _gpu, _context):
        for finding in step(visit):
            yield finding
            if finding.state == "fault":
                return


def diagnose(server: str | None = None, model: str | None = None, prompt: str = "", **boundary: Any) -> Diagnosis:
    """Return all findings of an examination at once; see `examine`."""
    return Diagnosis(tuple(examine(server, model, prompt, **boundary)))


def _address(server: str | None) -> str | None:
    if server != "practice":
        return server
    from gptoss_lab.practice import process

    return process.ensure().server.host


def _say(step: str, state: str, name: str, command: str = "", /, **values: Any) -> Finding:
    """Return a finding in words: its three sentences are `<name>`, `<name>_means` and `<name>_do` of doctor.json."""
    key = f"{step}_ok" if name == "ok" else f"{step}_skipped" if name == "skipped" else name
    plain = state in ("ok", "skipped")
    means, do = ("", "") if plain else (text(f"doctor.{key}_{part}", **values) for part in ("means", "do"))
    return Finding(step, state, name, text(f"doctor.{key}", **values), means, do, command, values)


# --- Python -----------------------------------------------------------------------------------------------------------


def _python(visit: Visit) -> Iterator[Finding]:
    here = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) < OLDEST_PYTHON:
        yield _say("python", "fault", "old_python", version=here, oldest=".".join(map(str, OLDEST_PYTHON)))
        return
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        names = " ".join(missing)
        yield _say("python", "fault", "missing_package", f"python -m pip install {names}", names=names)
        return
    found, needed = _installed("ollama"), str(fact("ollama.client").value)
    if _number(found) < _number(needed):
        yield _say("python", "fault", "old_client", "python -m pip install -U ollama", version=found, needed=needed)
    elif _installed("pynvml"):
        yield _say("python", "warning", "shim", "python -m pip uninstall -y pynvml", version=_installed("pynvml"))
    else:
        yield _say("python", "ok", "ok", version=here, client=found)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _number(words: str) -> tuple[int, ...]:
    return tuple(int(part) for part in words.split(".")[:3] if part.isdigit())


# --- server -----------------------------------------------------------------------------------------------------------


def _server(visit: Visit) -> Iterator[Finding]:
    try:
        tried = candidates(visit.asked, visit.env, visit.root, visit.look)
    except LabError as error:
        tried = [wrong_address(error)]
    visit.server = next((one for one in tried if one.answers), None)
    where = text("doctor.between").join(
        text("doctor.tried", why=one.why, host=one.host, found=_heard(one)) for one in tried
    )
    if visit.server is None:
        yield _no_server(visit, tried, where)
    elif visit.server is not tried[0] and tried[0].why == "OLLAMA_HOST":
        yield _say("server", "fault", "wrong_host", host=tried[0].host, other=visit.host, tried=where)
    elif is_loopback(visit.host) and (proxy := _proxy(visit.host)):
        yield _say(
            "server", "warning", "proxy", "NO_PROXY=localhost,127.0.0.1", host=visit.host, proxy=proxy, tried=where
        )
    else:
        yield _say("server", "ok", "ok", host=visit.host, tried=where)


def _heard(one: Candidate) -> str:
    return text(f"doctor.heard_{'answer' if one.answers else one.found.trouble}", detail=one.found.detail)


def _no_server(visit: Visit, tried: list[Candidate], where: str) -> Finding:
    """Return why no server answers: the first place that was meant decides, then what is at the usual place."""
    from gptoss_lab.setup.start import find_program

    first, last = tried[0], tried[-1]
    names = {"nonsense": "bad_host", "refused": "bad_key", "other": "other_program"}
    if first.found.trouble in names:
        return _say(
            "server", "fault", names[first.found.trouble], host=first.host, detail=first.found.detail, tried=where
        )
    if first.why == "OLLAMA_HOST" or visit.asked:
        proxy = _proxy(first.host)
        name = "proxy" if proxy and not is_loopback(first.host) else "silent_host"
        return _say("server", "fault", name, host=first.host, proxy=proxy, detail=first.found.detail, tried=where)
    if last.found.trouble == "other":
        return _say("server", "fault", "other_program", host=last.host, detail=last.found.detail, tried=where)
    program = find_program(visit.env)
    if program:
        return _say("server", "fault", "stopped_server", "ollama serve", program=str(program), tried=where)
    return _say("server", "fault", "no_server", tried=where)


def _proxy(host: str) -> str:
    """Return the proxy that programs which follow the environment would call a host through; "" for none."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(host)
    proxy = getproxies().get(parts.scheme, "")
    return "" if not proxy or proxy_bypass(parts.hostname or "") else proxy


# --- version ----------------------------------------------------------------------------------------------------------


def _version(visit: Visit) -> Iterator[Finding]:
    from gptoss_lab.hardware.memory import version_number

    first, engine = str(fact("ollama.first_with_gpt_oss").value), str(CONSTANTS["new_engine"].value)
    try:
        visit.version = str(visit_json(visit, "/api/version")["version"])
        number = version_number(visit.version)
    except (LabError, KeyError, TypeError):
        yield _say("version", "warning", "unknown_version", version=visit.version or "?")
        return
    if number < version_number(first):
        yield _say("version", "fault", "too_old", version=visit.version, needed=first)
    elif number < version_number(engine):
        yield _say("version", "warning", "before_new_engine", version=visit.version, needed=engine)
    else:
        yield _say("version", "ok", "ok", version=visit.version)


class Refused(LabError):
    """The server did not give what was asked for."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"{trouble.what} {trouble.why}".strip(), trouble.do)
        self.code = trouble.code


def visit_json(visit: Visit, path: str, body: Mapping[str, Any] | None = None, limit_s: float = _ASK_LIMIT_S) -> Any:
    """Return what the server answers; raises Refused, in plain words, when it does not or answers with an error."""
    import httpx

    try:
        with http_client(visit.host, limit_s) as http:
            reply = http.get(path) if body is None else http.post(path, json=dict(body))
        if reply.status_code < 400:
            return reply.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Refused(explain(error, visit.host, visit.wanted)) from error
    raise Refused(explain({"error": reply.text, "status_code": reply.status_code}, visit.host, visit.wanted))


# --- disk and model ---------------------------------------------------------------------------------------------------


def _model(visit: Visit) -> Iterator[Finding]:
    """Look for the model, and when it is missing at the disk it would need."""
    name = with_tag(visit.wanted)
    known = {with_tag(model): family for model, family in visit.models.items()}
    if name not in known:
        yield from _disk(visit)
        if under_way := _pulling(visit):
            yield under_way
            return
        kind = "model_missing" if known else "no_model"
        yield _say("model", "fault", kind, f"ollama pull {visit.wanted}", model=visit.wanted, models=", ".join(known))
        return
    yield _say("disk", "skipped", "skipped")
    if not (name.startswith("gpt-oss") or known[name] in FAMILIES):
        yield _say("model", "warning", "other_model", f"ollama pull {WANTED}", model=name, wanted=WANTED)
    else:
        yield _say("model", "ok", "ok", model=name)


def _pulling(visit: Visit) -> Finding | None:
    """Return how a pull stands that this session has started; None when there is none."""
    from gptoss_lab.setup.pull import running

    pull = running(visit.host, visit.wanted)
    if pull is None or pull.progress.state in ("done", "cancelled"):
        return None
    state, trouble = pull.progress.state, pull.progress.trouble
    name = {"stalled": "pull_stalled", "retrying": "pull_stalled", "failed": "pull_failed"}.get(state, "pull_running")
    values = {"what": trouble.what if trouble else "", "next_step": trouble.do if trouble else ""}
    return _say("model", "fault", name, model=visit.wanted, progress=str(pull.progress), **values)


def with_tag(model: str) -> str:
    """Return a model's name with its tag: without one, Ollama means `latest`."""
    return model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest"


def _disk(visit: Visit) -> Iterator[Finding]:
    if not visit.local:
        yield _say("disk", "skipped", "skipped")
        return
    machine = _machine(visit)
    needed, free = _download_gb(visit.wanted), machine.disk_free_gb
    values = {"folder": machine.models_folder, "free": f"{free or 0:.1f}", "needed": f"{needed:.1f}"}
    if free is None:
        yield _say("disk", "warning", "disk_unknown", **values)
    elif free < needed:
        yield _say("disk", "fault", "disk_small", **values)
    elif free < needed + constant("disk_spare"):
        yield _say("disk", "warning", "disk_nearly_full", **values)
    else:
        yield _say("disk", "ok", "ok", **values)


def _download_gb(model: str) -> float:
    """Return the size of a known model's download in GB; 0 for an unknown one."""
    from gptoss_lab.hardware.models import ALIASES, KNOWN

    known = KNOWN.get(ALIASES.get(model, model))
    return known.total_bytes / 1e9 if known else 0.0


def _machine(visit: Visit) -> "Machine":
    from gptoss_lab.hardware import detect

    return (visit.detect or detect)()


# --- memory, loading, answer ------------------------------------------------------------------------------------------


def _memory(visit: Visit) -> Iterator[Finding]:
    from gptoss_lab.hardware import fit

    loaded = _loaded(visit)
    if loaded or not visit.local:
        yield _say("memory", "skipped", "skipped")
        return
    try:
        verdict = fit(_machine(visit), visit.wanted, ollama_version=visit.version)
    except LabError as error:  # a model whose size nobody knows
        yield _say("memory", "skipped", "skipped", detail=error.what)
        return
    advice = verdict.advice[0] if verdict.advice else ""
    if verdict.placement == "no":
        yield _say("memory", "fault", "memory_small", sentence=verdict.sentence, advice=advice)
    elif verdict.tight:
        yield _say("memory", "warning", "memory_tight", sentence=verdict.sentence, advice=advice)
    else:
        yield _say("memory", "ok", "ok", sentence=verdict.sentence)


def _loaded(visit: Visit) -> Mapping[str, Any]:
    """Return the entry of the wanted model in /api/ps; empty when it is not in memory."""
    try:
        entries = visit_json(visit, "/api/ps").get("models") or []
    except LabError:
        return {}
    name = with_tag(visit.wanted)
    return next((entry for entry in entries if with_tag(entry.get("name", "")) == name), {})


def _load(visit: Visit) -> Iterator[Finding]:
    try:
        reply = visit_json(visit, "/api/generate", {"model": visit.wanted, "stream": False}, _LOAD_LIMIT_S)
    except Refused as error:
        name = "busy" if error.code == "queue_full" else "load_failed"
        yield _say("load", "fault", name, what=error.what, next_step=error.next_step)
        return
    visit.loaded = _loaded(visit)
    yield _say("load", "ok", "ok", model=visit.wanted, seconds=f"{reply.get('load_duration', 0) / 1e9:.1f}")


def _answer(visit: Visit) -> Iterator[Finding]:
    asked = {"role": "user", "content": text("doctor.question")}
    body = {"model": visit.wanted, "messages": [asked], "stream": False, "options": {"num_predict": 64}}
    try:
        reply = visit_json(visit, "/api/chat", body, _ANSWER_LIMIT_S)
    except LabError as error:
        yield _say("answer", "fault", "no_answer", what=error.what, next_step=error.next_step)
        return
    message, tokens = reply.get("message") or {}, reply.get("eval_count") or 0
    if not (message.get("content") or message.get("thinking")):
        yield _say("answer", "fault", "empty_answer", model=visit.wanted)
        return
    tok_s = tokens / reply["eval_duration"] * 1e9 if reply.get("eval_duration") else 0.0
    yield _say("answer", "ok", "ok", tokens=tokens, tok_s=f"{tok_s:.1f}")


# --- GPU and context --------------------------------------------------------------------------------------------------


def _gpu(visit: Visit) -> Iterator[Finding]:
    size, vram = (int(visit.loaded.get(name) or 0) for name in ("size", "size_vram"))
    if not size or visit.practice:
        yield _say("gpu", "skipped", "skipped")
        return
    share = round(100 * vram / size)
    if 0 < share < 99:
        yield _say("gpu", "warning", "half_on_cpu", "ollama ps", share=share, rest=100 - share)
    elif not share and visit.local and _machine(visit).used_gpus:
        yield _say("gpu", "warning", "not_on_gpu", "ollama ps", gpu=_machine(visit).used_gpus[0].name)
    else:
        yield _say("gpu", "ok", "ok", share=share)


def _context(visit: Visit) -> Iterator[Finding]:
    window = int(visit.loaded.get("context_length") or 0)
    if visit.prompt:
        tokens = count_tokens(visit)
        if window and tokens > window:
            more = 1 << max(tokens - 1, 1).bit_length()
            yield _say("context", "fault", "prompt_too_long", tokens=f"{tokens:,}", window=f"{window:,}", more=more)
            return
    if 0 < window <= _SMALL_CONTEXT:
        yield _say("context", "warning", "context_small", window=f"{window:,}")
    elif window:
        yield _say("context", "ok", "ok", window=f"{window:,}")
    else:
        yield _say("context", "skipped", "skipped")


def count_tokens(visit: Visit) -> int:
    """Return how many tokens the prompt has for this model: the server counts, and refuses to cut."""
    import re

    asked = {"role": "user", "content": visit.prompt}
    body = {
        "model": visit.wanted, "messages": [asked], "stream": False, "truncate": False, "options": {"num_predict": 1},
    }  # fmt: skip
    with http_client(visit.host, _ANSWER_LIMIT_S) as http:
        reply = http.post("/api/chat", json=body)
    if reply.status_code < 400:
        return int(reply.json().get("prompt_eval_count") or 0)
    stated = re.search(r"\((\d+) tokens\)|n_prompt_tokens\D+(\d+)", reply.text)
    return int(next(filter(None, stated.groups()))) if stated else len(visit.prompt) // 4
