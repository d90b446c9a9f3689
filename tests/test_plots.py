"""The picture of the hardware notebook: it holds every line, says itself in words, and needs no Chinese font."""

import re

import numpy as np
import pytest
from matplotlib.lines import Line2D

from gptoss_lab.hardware import Gpu, Machine, fit
from gptoss_lab.hardware.plots import CONTEXTS, MODELS, need_against_context
from gptoss_lab.text import LANGUAGES

CARD = Gpu("RTX 4070 Ti", "nvidia", 11.99, 10.7, 504, (8, 9))
CHIP = Gpu("integrated", "amd", 15.0, 12.0, unified=True)
MACHINES = {
    "card": Machine("PC", "Windows", 32, 26, gpus=(CARD,)),
    "small": Machine("old laptop", "Linux", 4, 1.5),
    "server": Machine("server", "Linux", 1024, 900.0),
    "unknown": Machine("unknown", "Linux", None, None),
}
each_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def heights(line: Line2D) -> list[float]:
    """Return where a line runs, in GiB."""
    return [float(gib) for gib in np.asarray(line.get_ydata())]


@each_machine
def test_every_line_is_inside_the_picture(machine: Machine) -> None:
    axes = need_against_context(machine).figure.axes[0]
    low, high = axes.get_ylim()
    assert len(axes.lines) == len(MODELS) + len(machine.gpus) + bool(machine.ram_free_gib)
    assert all(low <= gib < high for line in axes.lines for gib in heights(line))


def test_the_lines_are_what_fit_says() -> None:
    small, large, gpu, ram = need_against_context(MACHINES["card"]).figure.axes[0].lines
    for line, model in ((small, MODELS[0]), (large, MODELS[1])):
        expected = [fit(MACHINES["card"], model, tokens).on_gpu.total_gib for tokens in CONTEXTS]
        assert heights(line) == expected
    assert (heights(gpu)[0], heights(ram)[0]) == (10.7, 26)


def test_only_the_cards_that_work_together_make_a_line() -> None:
    mixed = Machine("PC", "Linux", 32, 26, gpus=(CARD, CHIP))
    assert heights(need_against_context(mixed).figure.axes[0].lines[2])[0] == CARD.free_gib


@pytest.mark.parametrize("lang", LANGUAGES)
def test_who_hears_the_page_gets_the_same_in_words(lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    picture = need_against_context(MACHINES["card"])
    shown = picture._repr_mimebundle_()
    alt = re.search(r'alt="([^"]+)"', shown["text/html"])
    assert alt and alt[1] == picture.words == shown["text/plain"] == repr(picture)
    assert all(said in picture.words for said in (*MODELS, "10.7", "26.0"))
    assert shown["image/png"].startswith(b"\x89PNG")


def test_no_font_is_asked_for_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "zh")
    axes = need_against_context(MACHINES["card"]).figure.axes[0]
    labels = [*axes.get_legend_handles_labels()[1], axes.get_xlabel(), axes.get_ylabel(), axes.get_title()]
    ticks = [tick.get_text() for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_ticklabels()]
    assert "".join(labels + ticks).isascii()
