"""Judge whether a model runs on a machine with Ollama: where, with what memory and context, how fast, and why.

Pure arithmetic on a `Machine`; nothing is probed here. Formulas: `memory`, `placement` and `speed`; their constants
with sources: `gptoss_lab.facts.fit`.

>>> fit(machine, "gpt-oss:20b", context=32_768).sentence
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gptoss_lab.errors import LabError
from gptoss_lab.facts.files import ModelFile
from gptoss_lab.facts.fit import CONSTANTS, constant
from gptoss_lab.hardware import expectation, memory, words
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.models import model_file
from gptoss_lab.hardware.placement import Ask, Placement, Room, largest_context_on_gpu, place, room, room_when_closed
from gptoss_lab.hardware.verdict import Measured, Speed, Verdict
from gptoss_lab.text import text


def fit(
    machine: Machine,
    model: str | os.PathLike[str] | ModelFile = "gpt-oss:20b",
    context: int | None = None,
    kv_type: str = "f16",
    parallel: int = 1,
    ollama_version: str | None = None,
) -> Verdict:
    """Return whether and how a model runs on a machine with Ollama.

    `model` is a name ("gpt-oss:20b", "gpt-oss:120b" or one of `gptoss_lab.facts.files.SMALL`) or a GGUF file;
    `context` in tokens, None for what Ollama takes by itself; `parallel` requests at once, each with its own context;
    `ollama_version` as /api/version says it, None for the newest. Raises LabError on anything it cannot understand.
    """
    file, engine = model_file(model), memory.engine_of(ollama_version)
    automatic = default_context(machine, file, ollama_version)
    ask = Ask(file, _tokens(context, automatic, file), _kv_type(kv_type), _requests(parallel), engine)
    now, closed = room(machine), room_when_closed(machine)
    placed, tight = place(ask, now), False
    if placed.kind == "no":
        later = place(ask, closed)
        placed, tight = (later, True) if later.kind != "no" else (placed, False)
    verdict = _verdict(machine, ask, placed, now, tight, automatic, ollama_version)
    return words.said(verdict, machine, ask, closed)


def _verdict(
    machine: Machine, ask: Ask, placed: Placement, now: Room, tight: bool, automatic: int, version: str | None
) -> Verdict:
    return Verdict(
        model=ask.file.name,
        machine=machine.name,
        placement=placed.kind,
        tight=tight,
        context=ask.context,
        kv_type=ask.kv_type,
        parallel=ask.parallel,
        ollama=version or ask.engine,
        on_gpu=placed.on_gpu,
        on_host=placed.on_host,
        used_on_gpu=placed.used_on_gpu,
        gpu_free_gib=now.gpu,
        host_free_gib=now.host,
        unified=now.unified,
        blocks=ask.file.layers,
        blocks_on_gpu=placed.blocks_on_gpu,
        default_context=automatic,
        largest_context_on_gpu=largest_context_on_gpu(ask, now),
        disk_needed_gb=ask.file.total_bytes / 1e9,
        disk_free_gb=machine.disk_free_gb,
        speed=expectation.expected(machine, ask, placed, tight),
        sentence="",
    )


def default_context(machine: Machine, model: str | ModelFile = "gpt-oss:20b", ollama_version: str | None = None) -> int:
    """Return the context in tokens that Ollama takes on this machine when nobody says."""
    file = model_file(model)
    if ollama_version and _before_tiers(ollama_version):
        fixed = constant("old_context") if file.name.startswith("gpt-oss") else constant("context_small")
        return int(fixed)
    return min(memory.tier(sum(gpu.total_gib for gpu in machine.used_gpus)), file.context)


def _before_tiers(version: str) -> bool:
    return memory.version_number(version) < memory.version_number(str(CONSTANTS["tiered_context"].value))


def _tokens(context: int | None, automatic: int, file: ModelFile) -> int:
    if context is None:
        return automatic
    if isinstance(context, bool) or not isinstance(context, int) or not 1 <= context <= file.context:
        what = text("fit.bad_context", context=context, model=file.name)
        raise LabError(what, text("fit.bad_context_next", most=f"{file.context:,}"))
    return context


def _kv_type(kv_type: str) -> str:
    if kv_type not in memory.KV_TYPES:
        names = ", ".join(memory.KV_TYPES)
        raise LabError(text("fit.bad_kv_type", kv_type=kv_type), text("fit.bad_kv_type_next", names=names))
    return kv_type


def _requests(parallel: int) -> int:
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
        raise LabError(text("fit.bad_parallel", parallel=parallel), text("fit.bad_parallel_next"))
    return parallel


def with_reply(verdict: Verdict, reply: Any) -> Verdict:
    """Return the verdict with the speed of a real reply in place of the estimate, and the estimate's error.

    `reply` is what `client.chat` or `client.generate` returns, whole or the last part of a stream. Raises LabError when
    it holds no counters.
    """
    counted = reply if isinstance(reply, Mapping) else getattr(reply, "__dict__", {})
    tokens, duration_ns = counted.get("eval_count"), counted.get("eval_duration")
    if not tokens or not duration_ns:
        raise LabError(text("fit.no_counters"), text("fit.no_counters_next"))
    tok_s = tokens / duration_ns * 1e9
    run = Measured(verdict.machine, "Ollama", verdict.model, "bf16", tok_s, text("fit.own_run"))
    error = verdict.speed.middle_tok_s / tok_s - 1 if verdict.speed else None
    measured = replace(verdict, speed=Speed(tok_s, tok_s, tok_s, "measured", run), error=error)
    return replace(measured, sentence=words.sentence(measured))
