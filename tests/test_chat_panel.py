"""The panel's Python side: wishes from the browser, what goes out, and that panel and conversation are one."""

import json
import time
from collections.abc import Callable, Iterator
from html import escape, unescape
from typing import Any

import pytest

from gptoss_lab import Chat
from gptoss_lab.chat import Message
from gptoss_lab.chat.events import Approval, Content, Failed, Started
from gptoss_lab.chat.message import Call
from gptoss_lab.connect import Connection, connect
from gptoss_lab.setup.trouble import Trouble
from gptoss_lab.text import LANGUAGES, area_texts, text
from gptoss_lab.ui.chat_panel import ChatPanel, _Stream
from gptoss_lab.ui.plain_panel import PlainPanel
from gptoss_lab.ui.transcript import transcript_html

TOKEN = "What is a token?"


@pytest.fixture(scope="module")
def lab(practice_url: str) -> Connection:
    return connect(practice_url)


class Browser:
    """A panel with a browser that notes what it is sent, and can wish."""

    def __init__(self, chat: Chat) -> None:
        self.panel = ChatPanel(chat)
        self.heard: list[dict[str, Any]] = []
        self.panel.send = self.heard.append  # type: ignore[method-assign, assignment]
        self.panel._stream._send = self.heard.append

    def wish(self, kind: str, **more: Any) -> None:
        self.panel._told(None, {"k": kind, **more}, None)

    def wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and (self.panel.chat.running or self.panel.state["running"]):
            time.sleep(0.01)

    def text(self, channel: str) -> str:
        return "".join(one["s"] for one in self.heard if one["k"] == "d" and one["c"] == channel)


@pytest.fixture
def browser(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")
    yield Browser(Chat(lab=lab, effort="medium"))


def test_a_question_from_the_browser_is_one_of_the_conversation(browser: Browser) -> None:
    browser.wish("ask", text=TOKEN)
    browser.wait()
    chat = browser.panel.chat
    answer = chat.messages[-1]
    assert browser.text("content") == answer.content and browser.text("thinking") == answer.thinking
    shown = browser.panel.state["messages"]
    assert [one["content"] for one in shown] == [TOKEN, answer.content] and "per second" in shown[-1]["line"]
    assert browser.panel.state["window"] >= 4096 and browser.heard[-1]["k"] == "end"


def test_a_question_from_python_shows_in_the_panel(browser: Browser) -> None:
    reply = browser.panel.chat.ask(TOKEN)
    browser.wait()
    assert browser.text("content") == reply.content
    assert browser.panel.state["messages"][-1]["content"] == reply.content


def test_wishes_change_the_conversation(browser: Browser) -> None:
    browser.wish("ask", text=TOKEN)
    browser.wait()
    browser.wish("again")
    browser.wait()
    first = browser.panel.state["messages"][-1]
    assert (first["versions"], first["version"]) == (2, 1)
    browser.wish("go", node=first["node"], version=0)
    assert browser.panel.state["messages"][-1]["version"] == 0
    browser.wish("edit", text="What is prefill?", turn=0)
    browser.wait()
    assert browser.panel.state["messages"][0]["versions"] == 2
    browser.wish("set", effort="high", options={"seed": 7, "top_p": None})
    assert browser.panel.chat.settings.effort == "high" and browser.panel.chat.settings.options == {"seed": 7}
    browser.wish("raw", node=browser.panel.state["messages"][-1]["node"])
    assert '"truncate": false' in browser.heard[-1]["s"] and '"metrics"' in browser.heard[-1]["s"]
    for kind, word in (("md", "**You**"), ("py", "Chat(")):
        browser.wish("save", **{"as": kind})
        assert word in browser.heard[-1]["s"]
    browser.wish("undo")
    assert browser.panel.state["messages"] == []
    browser.wish("unload")
    assert browser.panel.state["problem"] == ""


IMPOSSIBLE: list[dict[str, Any]] = [
    {"k": "ask", "text": " "},
    {"k": "ask"},
    {"k": "go", "node": 99, "version": 0},
    {"k": "set", "effort": "max"},
    {"k": "edit", "turn": 9, "text": "x"},
]


@pytest.mark.parametrize("wish", IMPOSSIBLE)
def test_a_wish_that_cannot_be_is_a_sentence(browser: Browser, wish: dict[str, Any]) -> None:
    browser.panel._told(None, wish, None)
    assert browser.panel.state["problem"] and not browser.panel.state["running"]
    browser.panel._told(None, {"k": "nonsense"}, None)


def test_a_failure_is_shown_and_announced(lab: Connection) -> None:
    browser = Browser(Chat(lab=lab, model="no-such-model"))
    browser.wish("ask", text=TOKEN)
    browser.wait()
    assert "no-such-model" in browser.panel.state["problem"] and browser.heard[-1]["problem"]


def test_batches_say_where_they_begin_as_a_browser_counts() -> None:
    sent: list[dict[str, Any]] = []
    stream = _Stream(sent.append)
    for piece in ("🙂", "a", "显", "b" * 300):
        stream.add("content", piece)
    stream.flush()
    assert "".join(one["s"] for one in sent) == "🙂a显" + "b" * 300
    at = 0
    for one in sent:
        assert one["n"] == at
        at += len(one["s"].encode("utf-16-le")) // 2
    stream.whole()
    assert sent[-1] == {"k": "full", "thinking": "", "content": "🙂a显" + "b" * 300}


def test_the_wire_is_quiet(browser: Browser) -> None:
    reply = browser.panel.chat.ask("Tell me a long story.")
    pieces = [one for one in browser.heard if one["k"] == "d"]
    assert len(pieces) < reply.metrics.tokens / 3


def test_the_plain_transcript_is_escaped() -> None:
    html = transcript_html([Message("user", "<script>alert(1)</script>"), Message("assistant", "<img src=x>", "<b>")])
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_of_the_front_end_is_there(lang: str) -> None:
    import re
    from pathlib import Path

    source = (Path(__file__).parent.parent / "frontend" / "src" / "panel.js").read_text(encoding="utf-8")
    source += (Path(__file__).parent.parent / "frontend" / "src" / "markdown.js").read_text(encoding="utf-8")
    used = set(re.findall(r'(?:words|\bw|small)\("(\w+)"', source))
    assert used and used <= set(area_texts(lang, "panel")["words"])


def test_raw_shows_what_was_asked_then(browser: Browser) -> None:
    chat = browser.panel.chat
    chat.ask(TOKEN)
    node = chat.history.head
    chat.change(effort="high", options={"seed": 3})
    browser.wish("raw", node=node)
    raw = json.loads(browser.heard[-1]["s"])
    assert raw["request"]["think"] == "medium" and "options" not in raw["request"]
    assert raw["request"]["messages"] == [{"role": "user", "content": TOKEN}]
    assert browser.panel.state["messages"][-1]["line"].startswith(f"{chat.lab.model} · medium · ")
    assert "tokens" in browser.panel.state["messages"][-1]["thought"]


def test_a_trouble_comes_with_a_button(browser: Browser) -> None:
    chat = browser.panel.chat
    there = chat.settings.model
    chat.change(model="gpt-oss:not-there")
    browser.wish("ask", text=TOKEN)
    browser.wait()
    assert browser.panel.state["acts"] == ("pull",) and "not-there" in browser.panel.state["problem"]
    chat.change(model=there)
    browser.wish("pull")  # it is there: nothing to fetch
    until(lambda: len(chat.messages) == 2)
    assert browser.panel.state["acts"] == ()


def test_a_stop_that_comes_late_does_not_end_the_next_answer(browser: Browser) -> None:
    chat = browser.panel.chat
    chat.ask(TOKEN)
    late = browser.panel.state["number"]
    answer = chat.stream("Tell me a long story.")
    browser.wish("stop", number=late)
    answer.wait()
    assert not chat.messages[-1].stopped
    answer = chat.stream("Tell me a long story.")
    browser.wish("stop", number=late + 2)
    answer.wait()
    assert chat.messages[-1].stopped


def test_a_wish_that_comes_twice_counts_once(browser: Browser) -> None:
    asked = Approval(Call("look_up", {"word": "x"}))
    browser.panel.hear(asked)
    number = browser.heard[-1]["id"]
    browser.wish("approve", id=number, allow=True)
    browser.wish("approve", id=number, allow=True)
    assert asked.wait(1) is True and browser.panel.state["problem"] == ""


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and not true():
        time.sleep(0.01)
    assert true()


@pytest.fixture
def plain(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> PlainPanel:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")
    monkeypatch.setattr("gptoss_lab.ui.panel.find_spec", lambda name: None)
    panel = Chat(lab=lab, tools=[look_up]).panel()
    assert isinstance(panel, PlainPanel)
    return panel


def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: the word
    """
    return word


def test_without_anywidget_there_is_a_plain_panel(plain: PlainPanel) -> None:
    assert "anywidget" in plain.children[-1].value and plain.stop_button.disabled
    plain.effort.value = "medium"
    plain.box.value = TOKEN
    plain.send_button.click()
    until(lambda: len(plain.chat.messages) == 2 and plain.stop_button.disabled)
    answer = plain.chat.messages[-1]
    assert answer.thinking and plain.box.value == ""
    assert all(escape(said) in plain.shown.value for said in (TOKEN, answer.content, answer.thinking))


def test_the_plain_panel_keeps_a_question_that_cannot_be_asked(plain: PlainPanel) -> None:
    plain.box.value = "  "
    plain.send_button.click()
    assert plain.box.value == "  " and text("chat.empty") in unescape(plain.shown.value)


def test_the_plain_panel_escapes_asks_and_stops(plain: PlainPanel) -> None:
    plain.hear(Started("hi"))
    assert not plain.stop_button.disabled
    plain._drawn_s = 0
    plain.hear(Content("<script>alert(1)</script>"))
    assert "<script" not in plain.shown.value and "&lt;script" in plain.shown.value
    asked = Approval(Call("look_up", {"word": "<b>"}))
    plain.hear(asked)
    question, _, deny = plain.approval.children
    assert "look_up" in question.value and "<b>" not in question.value
    deny.click()
    assert asked.wait(1) is False
    plain.hear(Failed(Trouble("tool_limit", "too many", "", "ask again")))
    assert "too many" in plain.shown.value and plain.stop_button.disabled and not plain.approval.children
