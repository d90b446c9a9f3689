"""The hardware check as HTML: memory bars to scale, verdicts, and where each figure comes from.

Colours come from JupyterLab's theme; what a colour says, a label and a pattern say, too. Everything is escaped.
"""

from collections.abc import Iterator
from html import escape

from gptoss_lab.hardware.look import Report
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.verdict import Verdict
from gptoss_lab.text import text
from gptoss_lab.ui.hardware_text import (
    bar_words,
    feels,
    free_at,
    heading,
    machine_lines,
    parts_at,
    places,
    server_lines,
    verdict_lines,
)

_STYLE = """<style>
.gol-card {font-family: var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222);
  font-size: var(--jp-content-font-size1, 14px); line-height: 1.45; max-width: 60em; overflow-wrap: anywhere}
.gol-card ul {margin: .2em 0 .8em; padding-left: 1.2em}
.gol-pair {display: flex; flex-wrap: wrap; gap: 1em}
.gol-verdict {flex: 1 1 20em; min-width: 0; border: 1px solid var(--jp-border-color1, #bbb); border-radius: 6px;
  padding: .7em .9em; background: var(--jp-layout-color1, #fff)}
.gol-verdict h4 {margin: 0 0 .4em; font-size: 1.05em}
.gol-verdict p {margin: .5em 0}
.gol-advice {border-left: 3px solid var(--jp-brand-color1, #1976d2); padding-left: .6em}
.gol-bar {position: relative; display: flex; height: 1.5em; margin: .7em 0 .25em;
  border: 1px solid var(--jp-border-color0, #888); border-radius: 3px; overflow: hidden;
  background: var(--jp-layout-color2, #eee)}
.gol-bar span {height: 100%; box-sizing: border-box; border-right: 1px solid var(--jp-layout-color1, #fff)}
.gol-used {background: repeating-linear-gradient(45deg, #9e9e9e 0 3px, transparent 3px 7px)}
.gol-weights {background: #3b6fb6}
.gol-cache {background: repeating-linear-gradient(90deg, #e08a1e 0 5px, #b86a0c 5px 10px)}
.gol-compute {background: repeating-linear-gradient(0deg, #4f9d69 0 4px, #2f7d4a 4px 8px)}
.gol-margin {background: repeating-linear-gradient(135deg, #8e6bb0 0 2px, transparent 2px 6px)}
.gol-bar i {position: absolute; top: 0; bottom: 0; width: 3px; background: var(--jp-error-color1, #d32f2f)}
.gol-legend {display: flex; flex-wrap: wrap; gap: .1em 1em; font-size: .88em}
.gol-legend b {display: inline-block; width: .9em; height: .9em; margin-right: .35em; vertical-align: -1px}
.gol-card small {color: var(--jp-ui-font-color2, #555)}
.gol-card table {border-collapse: collapse; font-size: .88em}
.gol-card td, .gol-card th {text-align: left; padding: .15em .8em .15em 0; vertical-align: top}
</style>"""
_PARTS = ("weights", "cache", "compute", "margin")


def report_html(report: Report) -> str:
    """Return the whole card."""
    shown = machine_lines(report.machine) if report.machine else server_lines(report.server) if report.server else ()
    lines = [*([report.reason] if report.reason else []), *shown]
    facts = "".join(f"<li>{escape(line)}</li>" for line in lines)
    verdicts = "".join(verdict_html(verdict, report.machine) for verdict in report.verdicts)
    how = _how(report.machine) if report.machine else ""
    title = escape(text("card.title"))
    return (
        f'{_STYLE}<section class="gol-card" aria-label="{title}"><ul>{facts}</ul>'
        f'<div class="gol-pair">{verdicts}</div>{how}</section>'
    )


def verdict_html(verdict: Verdict, machine: Machine | None = None) -> str:
    """Return one verdict with its bars."""
    bars = "".join(_bar(verdict, place, machine) for place in places(verdict))
    speed = f"<p><b>{escape(feels(verdict.speed.middle_tok_s))}</b></p>" if verdict.speed else ""
    bar_lines = {bar_words(verdict, place) for place in places(verdict)}
    told = {verdict.sentence, *bar_lines, *verdict.advice, feels(verdict.speed.middle_tok_s) if verdict.speed else ""}
    small = "".join(f"<p><small>{escape(line)}</small></p>" for line in verdict_lines(verdict) if line not in told)
    advice = "".join(f'<p class="gol-advice">{escape(line)}</p>' for line in verdict.advice)
    head = f"<h4>{escape(heading(verdict))}</h4><p>{escape(verdict.sentence)}</p>"
    return f'<div class="gol-verdict">{head}{bars}{speed}{advice}{small}</div>'


def what_if_html(verdict: Verdict, machine: Machine) -> str:
    """Return one verdict on its own, with the style it needs."""
    return f'{_STYLE}<section class="gol-card">{verdict_html(verdict, machine)}</section>'


def _bar(verdict: Verdict, place: str, machine: Machine | None) -> str:
    """Return one memory as a bar to scale; a red line marks where the memory ends."""
    free, total = free_at(verdict, place), max(_total(machine, place), free_at(verdict, place))
    parts = parts_at(verdict, place)
    cache = parts.kv_full + parts.kv_sliding
    sizes = {"used": total - free}
    sizes |= {
        name: mib / 1024 for name, mib in zip(_PARTS, (parts.weights, cache, parts.compute, parts.margin), strict=True)
    }
    width = max(total, sum(sizes.values())) or 1.0
    drawn = "".join(
        f'<span class="gol-{name}" style="width:{100 * size / width:.2f}%"></span>' for name, size in sizes.items()
    )
    end = f'<i style="left:calc({100 * total / width:.2f}% - 2px)"></i>' if total < width else ""
    words = escape(bar_words(verdict, place), quote=True)
    legend = "".join(_legend(name, size) for name, size in sizes.items() if size >= 0.05)
    return (
        f'<div class="gol-bar" role="img" aria-label="{words}" title="{words}">{drawn}{end}</div>'
        f'<div class="gol-legend"><span>{escape(_scale(place, total))}</span>{legend}</div>'
    )


def _total(machine: Machine | None, place: str) -> float:
    if machine is None:
        return 0.0
    used, ram = machine.used_gpus, machine.ram_total_gib or 0.0
    vram = sum(gpu.total_gib for gpu in used if gpu.maker == used[0].maker)
    return {"host": ram, "gpu": vram, "both": ram + vram}[place]


def _scale(place: str, total: float) -> str:
    return f"{text(f'card.place_{place}')}: {total:.1f} GiB"


def _legend(name: str, size_gib: float) -> str:
    return f'<span><b class="gol-{name}"></b>{escape(text(f"card.part_{name}"))} {size_gib:.1f}</span>'


def _how(machine: Machine) -> str:
    """Return where each figure comes from, folded away."""
    columns = (text(f"card.column_{name}") for name in ("what", "value", "source", "reason"))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    rows = "".join(f"<tr>{row}</tr>" for row in _rows(machine))
    return f"<details><summary>{escape(text('card.how'))}</summary><table><tr>{head}</tr>{rows}</table></details>"


def _rows(machine: Machine) -> Iterator[str]:
    for name, reading in machine.readings.items():
        if reading.value is None and not reading.reason:
            continue
        value = (
            f"{reading.value:.1f}"
            if isinstance(reading.value, float)
            else str(reading.value if reading.value is not None else "?")
        )
        cells = (text(f"card.reading_{name}"), value, reading.source, reading.reason)
        yield "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
