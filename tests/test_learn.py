"""Answers, hints, quizzes and progress: every reply a learner can get, and a record that survives accidents."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gptoss_lab.chat import Reply
from gptoss_lab.chat.generation import Generation
from gptoss_lab.errors import LabError
from gptoss_lab.learn import check, checks, hint, progress, quiz, records
from gptoss_lab.learn.course import COURSE
from gptoss_lab.learn.rules import RULES
from gptoss_lab.text import LANGUAGES, area_texts


@pytest.fixture(autouse=True)
def a_known_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exercise on free memory be about a computer with 12 of 16 GiB free."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=16 * 2**30, available=12 * 2**30))


@pytest.fixture(autouse=True)
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own, with a name that needs care."""
    home = tmp_path / "学习 者"
    monkeypatch.setenv("GPTOSS_LAB_HOME", str(home))
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")
    monkeypatch.setattr(records, "_unsaved", {})
    checks._hints_given.clear()
    return home


USER, ASSISTANT = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
REPLY = {"message": {"content": "a"}, "done": True, "done_reason": "stop"}
STREAM = (one for one in ())
GENERATION = Generation.__new__(Generation)


def conversation(loaded: int | None, now: int) -> SimpleNamespace:
    """Return what the rule looks at in a conversation."""
    return SimpleNamespace(loaded_messages=loaded, history=SimpleNamespace(nodes=range(now)))


ANSWERS: list[tuple[str, Any, str]] = [
    ("first_question", "A token is …", ""),
    ("first_question", STREAM, "stream"),
    ("first_question", REPLY, "whole_reply"),
    ("first_question", 3, "not_text"),
    ("first_question", "  ", "empty"),
    ("two_texts", ("hm", "a"), ""),
    ("two_texts", ("hm", ""), ""),
    ("two_texts", "hm", "not_a_pair"),
    ("two_texts", (None, "a"), "no_thinking"),
    ("two_texts", (3, "a"), "not_text"),
    ("two_texts", ("a", "a"), "same"),
    ("raw_answer", REPLY, ""),
    ("raw_answer", SimpleNamespace(status_code=200), "response"),
    ("raw_answer", "{}", "text"),
    ("raw_answer", {"error": "model 'x' not found"}, "error"),
    ("raw_answer", {"models": []}, "no_message"),
    ("raw_answer", REPLY | {"done": False}, "streamed"),
    ("whole_history", [USER, ASSISTANT, USER], ""),
    ("whole_history", [{"role": "system", "content": "s"}, USER, ASSISTANT, USER], ""),
    ("whole_history", "Why?", "not_a_list"),
    ("whole_history", [USER], "no_answer"),
    ("whole_history", [USER, USER], "no_answer"),
    ("whole_history", [ASSISTANT, USER], "order"),
    ("whole_history", [USER, ASSISTANT | {"content": ""}, USER], "empty"),
    ("speed", 30, ""),
    ("speed", 30.0, ""),
    ("speed", 120 / 4_000_000_000, "nanoseconds"),
    ("speed", 4 / 120, "upside_down"),
    ("speed", 120 / 5, "total"),
    ("speed", 7, "other"),
    ("cut_off", REPLY | {"done_reason": "length"}, ""),
    ("cut_off", REPLY, "stopped"),
    ("cut_off", STREAM, "stream"),
    ("cut_off", "a text", "not_a_reply"),
    ("cut_off", REPLY | {"done_reason": "load"}, "other"),
    ("free_memory", 12.0, ""),
    ("free_memory", 12.4, ""),
    ("free_memory", 16.0, "total"),
    ("free_memory", 12 * 2**30 / 1e9, "decimal"),
    ("free_memory", 12 * 2**30, "bytes"),
    ("free_memory", 5, "other"),
    ("kv_cache", 0.75, ""),
    ("kv_cache", 1.5, "all_layers"),
    ("kv_cache", 0.375, "half"),
    ("kv_cache", 0.75 * 2**30, "bytes"),
    ("kv_cache", 0.0625, "one"),
    ("kv_cache", 3, "other"),
    ("memory_need", 12.5, ""),
    ("memory_need", 11.755, "no_cache"),
    ("memory_need", 0.75, "no_weights"),
    ("memory_need", 12.621 + 0.75, "decimal"),
    ("memory_need", 12.833 + 0.75, "embedding"),
    ("memory_need", 12.505 * 2**30, "bytes"),
    ("memory_need", 20, "other"),
    ("top_speed", 504e9 / 3.7148e9, ""),
    ("top_speed", 504e9 / 13.78e9, "whole_file"),
    ("top_speed", 3.7148e9 / 504e9, "upside_down"),
    ("top_speed", 504, "other"),
    ("server_version", "0.33.0-rc2", ""),
    ("server_version", SimpleNamespace(status_code=200), "response"),
    ("server_version", {"version": "0.33.0"}, "dictionary"),
    ("server_version", version("ollama"), "client"),
    ("server_version", 33, "not_text"),
    ("server_version", "new", "other"),
    ("size_in_gib", 12.846, ""),
    ("size_in_gib", 13.793, "decimal"),
    ("size_in_gib", 13, "rounded"),
    ("size_in_gib", 13_793_441_244, "bytes"),
    ("size_in_gib", 5.5, "other"),
    ("diagnosis_code", "B8", ""),
    ("diagnosis_code", SimpleNamespace(wait=len), "panel"),
    ("diagnosis_code", SimpleNamespace(findings=()), "diagnosis"),
    ("diagnosis_code", "OK-J1", "well"),
    ("diagnosis_code", "B1", "other"),
    ("trouble_code", "model_missing", ""),
    ("trouble_code", SimpleNamespace(code="x"), "trouble"),
    ("trouble_code", ValueError("x"), "error"),
    ("trouble_code", "no_server", "other"),
    ("pressed_twice", [USER, ASSISTANT] * 2, ""),
    ("pressed_twice", "Why?", "not_a_list"),
    ("pressed_twice", [USER, ASSISTANT], "one_question"),
    ("pressed_twice", [USER, ASSISTANT] * 3, "more"),
    ("pressed_twice", [USER, USER, ASSISTANT, ASSISTANT], "order"),
    ("pressed_twice", [USER, ASSISTANT, USER | {"content": " "}, ASSISTANT], "empty"),
    ("joined_events", "Prefill is …", ""),
    ("joined_events", GENERATION, "generation"),
    ("joined_events", Reply("Prefill is …"), "reply"),
    ("joined_events", ["Pre", "fill"], "events"),
    ("joined_events", 3, "not_text"),
    ("joined_events", "", "empty"),
    ("three_versions", ["a", "b", "c"], ""),
    ("three_versions", GENERATION, "generation"),
    ("three_versions", Reply("a"), "reply"),
    ("three_versions", ("a", "b", "c"), "not_a_list"),
    ("three_versions", ["a", "b"], "too_few"),
    ("loaded_chat", conversation(loaded=2, now=4), ""),
    ("loaded_chat", Path("chat.json"), "path"),
    ("loaded_chat", Reply("a"), "reply"),
    ("loaded_chat", "a", "not_a_chat"),
    ("loaded_chat", conversation(loaded=2, now=2), "not_asked"),
    ("loaded_chat", conversation(loaded=None, now=4), "original"),
]


@pytest.mark.parametrize(("name", "value", "reason"), ANSWERS)
def test_each_answer_gets_its_own_reply(name: str, value: Any, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(name, value) is (reason == "")
    said = capsys.readouterr().out
    words = area_texts("en", "check")[name]
    assert (words["wrong"][reason] if reason else words["right"]) in said
    assert (words["hints"][0] in said) is bool(reason)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_reason_has_words_and_every_word_a_reason(lang: str) -> None:
    words = area_texts(lang, "check")
    assert set(words) == set(RULES)
    for name in RULES:
        assert set(words[name]["wrong"]) == {reason for rule, _, reason in ANSWERS if rule == name and reason}
        assert len(words[name]["hints"]) == 2


class Hostile:
    """A value that defends itself against everything."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "value",
    [None, 0, float("nan"), [], {}, object(), Hostile(), len, b"x", [1], (1, 2)],
    ids=lambda one: type(one).__name__,
)
def test_check_never_raises(name: str, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(name, value) is False
    assert capsys.readouterr().out.startswith("✘ Not yet")


def test_three_dots_are_not_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("speed", ...) is False
    assert "Not tried yet" in capsys.readouterr().out


def test_an_unknown_exercise_is_named_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("sped", 30) is False
    hint("sped")
    assert capsys.readouterr().out.count(" speed,") == 2


def test_hints_come_one_by_one_and_end_at_the_solution(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        hint("speed")
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Hint 1 of 2") and second.startswith("Hint 2 of 2") and third == second
    assert "Solution" in last


def test_a_right_answer_is_remembered_and_can_be_forgotten() -> None:
    assert not records.load().done("check:speed")
    check("speed", 30)
    assert records.load().done("check:speed")
    assert json.loads(records.path().read_text(encoding="utf-8"))["entries"]["check:speed"]["right"] == 1
    records.clear()
    assert not records.load().done("check:speed")


def test_running_the_solution_does_not_count_as_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    running = SimpleNamespace(get_parent=lambda: {"metadata": {"cellId": "solution-speed"}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: running))
    assert check("speed", 30)
    assert not records.load().done("check:speed")


def test_a_worse_result_never_replaces_a_better_one() -> None:
    records.note("quiz:x", 3, 3)
    records.note("quiz:x", 1, 3)
    assert records.load().done("quiz:x")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"entries": 3}', '{"entries": {"a": 3}}', "\x00\x01"])
def test_a_damaged_file_is_put_aside_and_said(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    records.path().write_text(content, encoding="utf-8")
    assert check("speed", 30)
    kept = records.path().with_suffix(".json.bad")
    assert str(kept) in capsys.readouterr().out
    assert kept.read_text(encoding="utf-8") == content
    assert records.load().done("check:speed")


def test_what_cannot_be_written_is_kept_in_memory_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    records.path().mkdir()
    assert check("speed", 30)
    assert "cannot be written" in capsys.readouterr().out
    assert records.load().done("check:speed")
    assert "cannot be written" in progress().children[0].value


def press(widget: Any, words: str) -> None:
    """Press the button that shows these words."""
    if getattr(widget, "description", "") == words:
        widget.click()
    for child in getattr(widget, "children", ()):
        press(child, words)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", [name for lesson in COURSE for name in lesson.quizzes])
def test_every_choice_of_a_quiz_has_a_reply(lang: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    shown = quiz(name)
    questions = area_texts(lang, "quiz")[name]
    for box, question in zip(shown.children, questions, strict=False):
        assert [bool(choice.get("right")) for choice in question["choices"]].count(True) == 1
        for choice in sorted(question["choices"], key=lambda one: bool(one.get("right"))):
            press(box, choice["text"])
            assert choice["why"] in box.children[-1].value
    assert str(len(questions)) in shown.children[-1].value
    assert records.load().done(f"quiz:{name}")


def test_an_unknown_quiz_says_which_exist() -> None:
    with pytest.raises(LabError, match="start_here"):
        quiz("nope")


def test_progress_counts_and_the_reset_button_asks_first() -> None:
    check("speed", 30)
    shown = progress()
    assert "1 / 4" in shown.children[0].value and str(records.path()) in shown.children[0].value
    press(shown, "Start over")
    assert records.load().done("check:speed")
    press(shown, "No, keep it")
    press(shown, "Start over")
    press(shown, "Yes, forget my progress")
    assert not records.load().done("check:speed") and "0 / 4" in shown.children[0].value
    assert [button.description for button in shown.children[1].children] == ["Start over"]
