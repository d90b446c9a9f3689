"""The card and the what-if: what they show, in words and in HTML, on staged machines."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from gptoss_lab import hardware_card, what_if
from gptoss_lab.connect import connect
from gptoss_lab.hardware import Gpu, Machine, Reading, Report, ServerView, fit, with_reply
from gptoss_lab.hardware.look import MODELS, Loaded
from gptoss_lab.hardware.profiles import machine_of, profiles
from gptoss_lab.text import LANGUAGES
from gptoss_lab.ui.hardware_html import report_html
from gptoss_lab.ui.hardware_text import feels, hardware_text

NASTY = "<script>alert(1)</script> & Söhne 显卡"


def report_on(machine: Machine) -> Report:
    return Report(machine, None, tuple(fit(machine, model) for model in MODELS))


class Page(HTMLParser):
    """Every tag with its attributes, whether tags close, and the text a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("row", profiles(), ids=lambda row: row["machine"])
def test_every_profile_is_drawn_and_told(row: Any, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    report = report_on(machine_of(row))
    page, told = Page(report_html(report)), hardware_text(report)
    assert not page.open
    for verdict in report.verdicts:
        assert verdict.sentence in page.words and verdict.sentence in told
        assert all(line in page.words and line in told for line in verdict.advice)
    bars = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(bars) >= 2 and all(str(bar["aria-label"]) in told for bar in bars)


def widths(html: str) -> list[list[float]]:
    """Return the widths in percent of each bar's parts."""
    bars = re.findall(r'<div class="gol-bar".*?</div>', html)
    return [[float(width) for width in re.findall(r"width:([\d.]+)%", bar)] for bar in bars]


def test_bars_are_to_scale_and_what_overflows_shows() -> None:
    fits = report_on(Machine("a", "Linux", 64, 58, 83, (Gpu("card", "nvidia", 24, 23, 900, (8, 9)),)))
    small = report_on(Machine("b", "Linux", 8, 5, 83))
    (first, *_), overflow = widths(report_html(fits)), report_html(small)
    assert sum(first) < 100 and first[0] == pytest.approx(100 / 24, abs=0.1)  # one of 24 GiB is in use
    assert first[1] == pytest.approx(100 * 11.755 / 24, abs=0.1)
    assert "<i style" not in report_html(Report(fits.machine, None, fits.verdicts[:1])) and "<i style" in overflow
    assert all(sum(bar) == pytest.approx(100, abs=0.1) for bar in widths(overflow))


def test_nothing_of_a_machine_becomes_html() -> None:
    readings = {"cpu": Reading(NASTY, NASTY, NASTY), "gpus": Reading(0, "", NASTY)}
    machine = Machine(NASTY, "Linux", 16, 12, 50, models_folder=NASTY, disk_free_gb=5.0, readings=readings)
    html = report_html(report_on(machine))
    assert "<script" not in html and "&lt;script&gt;" in html and NASTY in Page(html).words


def test_another_machines_server_is_shown_and_nothing_of_this_one() -> None:
    server = ServerView(
        "http://10.0.0.5:11434", "0.33.0", (("gpt-oss:120b", 65.4),), (Loaded("gpt-oss:120b", 61, 61, 8192),), 44.0
    )
    report = Report(None, server, (), "elsewhere")
    for shown in (hardware_text(report), Page(report_html(report)).words):
        assert all(word in shown for word in ("10.0.0.5", "0.33.0", "65.4", "100 %", "8,192", "44.0", "elsewhere"))


def test_a_measured_reply_is_shown_with_the_error() -> None:
    machine = Machine("a", "Linux", 64, 58, 83, (Gpu("card", "nvidia", 24, 23, 1008, (8, 9)),))
    verdict = with_reply(fit(machine), {"eval_count": 100, "eval_duration": 1_000_000_000})
    told = hardware_text(Report(machine, None, (verdict,)))
    assert "100.0 tokens per second" in told and "off by +" in told


@pytest.mark.parametrize(
    ("tok_s", "words"), [(2, "Slower"), (5.3, "About"), (15, "Faster"), (50, "Several"), (200, "page")]
)
def test_speed_in_words(tok_s: float, words: str) -> None:
    assert words in feels(tok_s)


def test_the_card_of_this_computer_has_a_twin_and_looks_again() -> None:
    card = hardware_card()
    bundle = card._repr_mimebundle_()
    assert "gpt-oss:120b" in bundle["text/plain"] and "<section" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    before = card.report
    card.children[1].children[0].click()
    assert card.report is not before and card.shown.value == report_html(card.report)


def test_what_if_follows_every_control() -> None:
    panel = what_if(Machine("a", "Linux", 32, 26, 83, (Gpu("RTX", "nvidia", 12, 11, 504, (8, 9)),)))
    assert panel.verdict.placement == "split"
    for name, value, placement in (
        ("vram", 16, "gpu"), ("parallel", 8, "gpu"), ("context", 131_072, "no"), ("parallel", 1, "split"),
        ("kv", "q4_0", "gpu"),
        ("model", "gpt-oss:120b", "no"), ("ram", 128, "split"), ("vram", 0, "cpu"), ("ram", 4, "no"),
        ("model", "llama3.2:3b", "no"),
    ):  # fmt: skip
        shown = panel.shown.value
        panel.controls[name].value = value
        assert panel.verdict.placement == placement, (name, value)
        assert panel.shown.value != shown
    assert "llama3.2:3b" in panel._repr_mimebundle_()["text/plain"]


def test_what_if_changes_with_the_version() -> None:
    panel = what_if(Machine("a", "Linux", 32, 26, 83, (Gpu("RTX", "nvidia", 12, 11, 504, (8, 9)),)))
    new = panel.verdict.speed
    panel.controls["version"].value = "0.24.0"
    old = panel.verdict.speed
    assert new and old and old.middle_tok_s < new.middle_tok_s * 0.6


def test_a_reply_is_timed_where_the_model_answers(practice_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = connect(practice_url)
    machine = Machine("a", "Linux", 64, 58, 83)
    card = hardware_card(lab, Report(machine, None, (replace(fit(machine), model=lab.model),)))
    card.time_reply()
    (verdict,) = card.report.verdicts
    assert verdict.speed and verdict.speed.confidence == "measured" and "Measured here" in card.shown.value
    gone = hardware_card(replace(lab, model="no-such-model"), card.report)
    gone.time_reply()
    assert "no-such-model" in gone.said.value
