"""The hardware check in plain text: for terminals, screen readers and printed notebooks."""

from collections.abc import Iterator

from gptoss_lab.facts import fact
from gptoss_lab.hardware.look import Report, ServerView
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.verdict import Parts, Verdict
from gptoss_lab.hardware.words import have_gib, whole
from gptoss_lab.text import text

_FEELS = ((0.7, "feels_slow"), (1.6, "feels_equal"), (5, "feels_faster"), (15, "feels_several"))


def hardware_text(report: Report) -> str:
    """Return the machine, both verdicts and the advice, line by line."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    if report.machine:
        yield from machine_lines(report.machine)
    if report.server:
        yield report.reason
        yield from server_lines(report.server)
    for verdict in report.verdicts:
        yield ""
        yield heading(verdict)
        yield from (f"  {line}" for line in verdict_lines(verdict))


def machine_lines(machine: Machine) -> Iterator[str]:
    """Yield what a machine has, one thing per line."""
    yield machine.name
    if machine.ram_total_gib is None:
        yield machine.readings["ram_total"].reason
    else:
        yield text("card.memory", total=gib(machine.ram_total_gib), free=gib(machine.ram_free_gib or 0))
    for gpu in machine.gpus:
        key = "card.gpu_pool" if gpu.unified else "card.gpu"
        yield f"{text(key, name=gpu.name, total=gib(gpu.total_gib), free=gib(gpu.free_gib))} {gpu.unused}".strip()
    reason = machine.readings["gpus"].reason if "gpus" in machine.readings else ""
    if reason and not machine.gpus:
        yield reason
    if machine.disk_free_gb is not None:
        yield text("card.disk", free=f"{machine.disk_free_gb:.0f}", folder=machine.models_folder)
    yield from (text(f"card.trait_{trait.replace('-', '_')}") for trait in machine.traits)


def server_lines(server: ServerView) -> Iterator[str]:
    """Yield what a server on another machine says about itself."""
    yield text("card.server", host=server.host, version=server.version or "?")
    for name, size_gb in server.models:
        yield text("card.server_model", name=name, size=f"{size_gb:.1f}")
    for loaded in server.loaded:
        share = round(100 * loaded.vram_gib / loaded.size_gib) if loaded.size_gib else 0
        yield text("card.server_loaded", name=loaded.model, share=share, context=f"{loaded.context:,}")
    if server.tok_s:
        yield text("card.server_timed", tok_s=f"{server.tok_s:.1f}", feels=feels(server.tok_s))
    if server.reason:
        yield server.reason


def heading(verdict: Verdict) -> str:
    """Return a model's name with where it runs, in two or three words."""
    where = "tight" if verdict.tight else verdict.placement
    return f"{verdict.model}: {text(f'card.where_{where}')}"


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Yield a verdict's sentence, its bars in numbers, its speed in words, the evidence, and the advice."""
    yield verdict.sentence
    yield from (bar_words(verdict, place) for place in places(verdict))
    if verdict.speed:
        yield feels(verdict.speed.middle_tok_s)
    if verdict.speed and verdict.speed.nearest and verdict.speed.confidence != "measured":
        run = verdict.speed.nearest
        told = {"hardware": run.hardware, "engine": run.engine, "file": run.weights, "source": run.source}
        yield text("card.nearest", tok_s=f"{run.tok_s:.0f}", **told)
    if verdict.error is not None:
        yield text("card.error", percent=f"{100 * verdict.error:+.0f}")
    yield from verdict.advice


def places(verdict: Verdict) -> tuple[str, ...]:
    """Return which memories a verdict is about: "gpu", "host" or both apart, or "both" together."""
    if verdict.placement == "cpu" or not verdict.gpu_free_gib or (verdict.placement == "no" and verdict.unified):
        return ("host",)
    if verdict.placement == "no":
        return ("both",)
    return ("gpu",) if verdict.placement == "gpu" or verdict.unified else ("gpu", "host")


def parts_at(verdict: Verdict, place: str) -> Parts:
    """Return what the model wants of one memory, or of all of it."""
    return whole(verdict) if verdict.placement == "no" else verdict.on_host if place == "host" else verdict.used_on_gpu


def free_at(verdict: Verdict, place: str) -> float:
    """Return the GiB that are free there."""
    return {"host": verdict.host_free_gib, "gpu": verdict.gpu_free_gib, "both": have_gib(verdict)}[place]


def bar_words(verdict: Verdict, place: str) -> str:
    """Return a memory bar in words and numbers."""
    parts = parts_at(verdict, place)
    named = {
        "weights": parts.weights, "cache": parts.kv_full + parts.kv_sliding, "compute": parts.compute,
        "margin": parts.margin,
    }  # fmt: skip
    shares = ", ".join(f"{text(f'card.part_{name}')} {mib / 1024:.1f}" for name, mib in named.items() if mib >= 52)
    where = text(f"card.place_{place}")
    return text("card.bar", place=where, need=gib(parts.total_gib), free=gib(free_at(verdict, place)), shares=shares)


def feels(tok_s: float) -> str:
    """Return a speed in words a person feels: set against how fast people read."""
    words, tokens = (float(fact(f"reading.{name}").value) for name in ("words_per_minute", "tokens_per_word"))
    ratio = tok_s / (words * tokens / 60)
    return text(f"card.{next((name for most, name in _FEELS if ratio < most), 'feels_page')}")


def gib(value: float) -> str:
    return f"{value:.1f}"
