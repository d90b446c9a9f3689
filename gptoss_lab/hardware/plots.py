"""Pictures for the hardware notebook: how much memory each model wants, by context, and where a machine's memory ends.

A picture has a twin in words, for those who hear the page and for tests. Only Latin letters stand in pictures.
"""

import io
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log2
from typing import TYPE_CHECKING, Any

from gptoss_lab.hardware.fit import fit
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.text import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTEXTS = tuple(4_096 * 2**step for step in range(6))
MODELS = ("gpt-oss:20b", "gpt-oss:120b")
_INK = "#808080"  # readable on white and on black
_STYLES = {"gpt-oss:20b": ("#3b8fd6", "o"), "gpt-oss:120b": ("#e08a1e", "s")}


@dataclass(frozen=True)
class Picture:
    """A figure and the same in words."""

    figure: "Figure" = field(repr=False)
    words: str

    def __repr__(self) -> str:
        return self.words

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return the picture for every kind of reader; as HTML, because JupyterLab gives a bare image no words."""
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=110, transparent=True, bbox_inches="tight")
        source = f"data:image/png;base64,{b64encode(drawn.getvalue()).decode()}"
        html = f'<img style="max-width:100%" alt="{escape(self.words)}" src="{source}">'
        return {"text/html": html, "image/png": drawn.getvalue(), "text/plain": self.words}


def need_against_context(machine: Machine, kv_type: str = "f16") -> Picture:
    """Return the GPU memory both models want, in GiB, against the context in tokens, with this machine's lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes: Axes = figure.add_subplot()
    needs = {model: [fit(machine, model, tokens, kv_type).on_gpu.total_gib for tokens in CONTEXTS] for model in MODELS}
    for model, sizes in needs.items():
        colour, marker = _STYLES[model]
        axes.plot(CONTEXTS, sizes, color=colour, marker=marker, label=f"{model} wants")
    for name, gib, style in _lines(machine):
        axes.axhline(gib, color="#c2557a", linestyle=style, label=f"{name} here: {gib:.0f} GiB free")
    _dress(axes, [*(gib for sizes in needs.values() for gib in sizes), *(gib for _, gib, _ in _lines(machine))])
    return Picture(figure, "\n".join(_words(needs, machine)))


def _lines(machine: Machine) -> list[tuple[str, float, str]]:
    verdict = fit(machine)
    found = [("GPU memory", verdict.gpu_free_gib, "--"), ("memory", verdict.host_free_gib, ":")]
    return [line for line in found if line[1] > 0]


def _dress(axes: "Axes", shown_gib: Iterable[float]) -> None:
    """Label the axes and let them hold everything, from a small laptop's memory to a large server's."""
    powers = [log2(gib) for gib in shown_gib]
    sizes = [2.0**power for power in range(floor(min(powers)), ceil(max(powers)) + 1)]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(CONTEXTS, [f"{tokens // 1024}k" for tokens in CONTEXTS])
    axes.set_yticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_ylim(sizes[0], sizes[-1] * 1.1)  # a line on the edge would be cut in half
    axes.set_xlabel("context (tokens)", color=_INK)
    axes.set_ylabel("GiB", color=_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.grid(color=_INK, alpha=0.25)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    axes.legend(labelcolor=_INK, framealpha=0, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))


def _words(needs: dict[str, list[float]], machine: Machine) -> list[str]:
    """Return the picture in words: both ends of each line, and this machine's memory."""
    ends = {"from_tokens": f"{CONTEXTS[0]:,}", "to_tokens": f"{CONTEXTS[-1]:,}"}
    told = [
        text("hardware.plot_line", model=model, low=f"{sizes[0]:.1f}", high=f"{sizes[-1]:.1f}", **ends)
        for model, sizes in needs.items()
    ]
    lines = [text("hardware.plot_here", name=name, gib=f"{gib:.1f}") for name, gib, _ in _lines(machine)]
    return [*told, *lines]
