"""Say a verdict in the learner's language: one sentence, and advice that helps on this machine.

The words are in `gptoss_lab/text/<language>/fit.json`; the figures in them come from the verdict.
"""

from dataclasses import astuple, replace

from gptoss_lab.facts.files import SMALL, SMALL_DOWNLOAD_GB
from gptoss_lab.hardware import memory
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.placement import Ask, Room, place, room
from gptoss_lab.hardware.verdict import Parts, Verdict
from gptoss_lab.text import language, text

_SMALLER = (32_768, 16_384, 8_192, 4_096)  # contexts to try when a larger one does not run
_COMFORTABLE = 32_768  # tokens: room for a long chat and for high effort


def said(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> Verdict:
    """Return the verdict with its sentence and its advice."""
    advice = tuple(filter(None, (advise(verdict, machine, ask, closed) for advise in _ADVICE)))
    return replace(verdict, sentence=sentence(verdict), advice=advice)


def sentence(verdict: Verdict) -> str:
    """Return what a learner reads first: whether it runs, where, with what memory, and how fast."""
    where = text(
        f"fit.{_kind(verdict)}",
        model=verdict.model,
        context=f"{verdict.context:,}",
        gpu_need=_gib(verdict.on_gpu.total_gib),
        gpu_free=_gib(verdict.gpu_free_gib),
        host_need=_gib(verdict.on_host.total_gib),
        host_free=_gib(verdict.host_free_gib),
        least=_gib(least_gib(verdict)),
        have=_gib(have_gib(verdict)),
        blocks=verdict.blocks_on_gpu,
        all_blocks=verdict.blocks,
    )
    parts = (where, text("fit.tight") if verdict.tight else "", speed_words(verdict))
    gap = "" if language() == "zh" else " "
    return gap.join(part for part in parts if part)


def _kind(verdict: Verdict) -> str:
    """Return which sentence to say: a model can be too large for all the memory, or for the part beside the GPU."""
    too_large = verdict.placement == "no" and have_gib(verdict) < least_gib(verdict)
    return verdict.placement if verdict.placement != "no" or too_large else "no_host"


def have_gib(verdict: Verdict) -> float:
    """Return the memory that is free, GPU and machine together; a unified memory counts once."""
    return verdict.host_free_gib if verdict.unified else verdict.gpu_free_gib + verdict.host_free_gib


def least_gib(verdict: Verdict) -> float:
    """Return the memory a verdict's model takes at least, GPU and machine together."""
    return replace(whole(verdict), margin=0.0).total_gib


def whole(verdict: Verdict) -> Parts:
    """Return what is wanted of GPU and machine together, by part."""
    if not verdict.blocks_on_gpu:
        return verdict.on_host
    pairs = zip(astuple(verdict.used_on_gpu), astuple(verdict.on_host), strict=True)
    return Parts(*(gpu + host for gpu, host in pairs))


def speed_words(verdict: Verdict) -> str:
    """Return the expected speed in words."""
    if verdict.placement == "no":
        return ""
    if verdict.speed is None:
        return text("fit.speed_unknown")
    low, middle, high = (round(one) for one in _range(verdict))
    if verdict.speed.confidence == "measured":
        return text("fit.speed_measured", tok_s=f"{verdict.speed.middle_tok_s:.1f}")
    return text(f"fit.speed_{verdict.speed.confidence}", low=low, middle=middle, high=high)


def _range(verdict: Verdict) -> tuple[float, float, float]:
    speed = verdict.speed
    return (speed.low_tok_s, speed.middle_tok_s, speed.high_tok_s) if speed else (0.0, 0.0, 0.0)


def _gib(value: float) -> str:
    return f"{value:.1f}"


def _old_ollama(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    return text("fit.advise_update") if ask.engine == memory.OLD and machine.used_gpus else ""


def _close_programs(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    better = place(ask, closed).kind == "gpu" and verdict.placement != "gpu"
    return text("fit.advise_close") if better or verdict.tight else ""


def _more_context(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    most = verdict.largest_context_on_gpu
    if verdict.placement != "gpu" or ask.context != verdict.default_context or ask.context >= min(most, _COMFORTABLE):
        return ""
    return text("fit.advise_context", context=f"{ask.context:,}", more=min(most, _COMFORTABLE), most=f"{most:,}")


def _less_context(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    if verdict.placement == "split" and verdict.largest_context_on_gpu:
        return text("fit.advise_less", most=f"{verdict.largest_context_on_gpu:,}")
    smaller = (tokens for tokens in _SMALLER if verdict.placement == "no" and tokens < ask.context)
    runs = next((tokens for tokens in smaller if place(replace(ask, context=tokens), closed).kind != "no"), 0)
    return text("fit.advise_less_runs", less=runs) if runs else ""


def _smaller_cache(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    helps = ask.kv_type == "f16" and verdict.placement == "split"
    smaller = helps and place(replace(ask, kv_type="q8_0"), room(machine)).kind == "gpu"
    return text("fit.advise_q8") if smaller else ""


def _limit(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    """Return how to lift a limit that is not the hardware's own."""
    if verdict.placement != "no":
        return ""
    if "container" in machine.traits and "ram_limit" in machine.readings:
        return text("fit.advise_container")
    return text("fit.advise_wsl") if "wsl" in machine.traits else ""


def _something_smaller(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    if verdict.placement != "no":
        return ""
    fits = [name for name, file in SMALL.items() if place(replace(ask, file=file, context=4_096), closed).kind != "no"]
    sizes = (f"{name} ({SMALL_DOWNLOAD_GB[name]} GB)" for name in fits)
    return text("fit.advise_smaller", names=", ".join(sizes)) if fits else text("fit.advise_elsewhere")


def _disk(verdict: Verdict, machine: Machine, ask: Ask, closed: Room) -> str:
    needed, free = verdict.disk_needed_gb, verdict.disk_free_gb
    if verdict.placement == "no" or free is None or free >= needed:
        return ""
    return text("fit.advise_disk", needed=_gib(needed), free=_gib(free), folder=machine.models_folder)


_ADVICE = (
    _old_ollama, _close_programs, _more_context, _less_context, _smaller_cache, _limit, _something_smaller, _disk,
)  # fmt: skip
