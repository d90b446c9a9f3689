"""The chat against a real Ollama: `OLLAMA_HOST=127.0.0.1:11434 uv run pytest -m live`.

Events, counters and shapes are checked, never wording: any gpt-oss model may answer.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

from gptoss_lab import Chat, LabError, compare, openai_lab
from gptoss_lab.chat.events import Content, Done, Event, Started, Thinking
from gptoss_lab.connect import Connection, connect
from gptoss_lab.ui.chat_panel import ChatPanel

pytestmark = pytest.mark.live
TOKEN, WHY, STORY, SUM = "What is a token?", "Why does it matter?", "Tell me a long story.", "What is 17 + 25?"
SHORT = {"num_predict": 400, "temperature": 0}
STOP_LIMIT_S = 5  # for a server far away; here it takes a fraction of a second


class Claim(BaseModel):
    """What a format asks for."""

    term: str
    definition: str


def calculate(a: float, op: Literal["+", "-", "*"], b: float) -> str:
    """Calculate with two numbers. Always use this tool for sums.

    Args:
        a: the first number
        op: what to do with them
        b: the second number
    """
    return f"{ {'+': a + b, '-': a - b, '*': a * b}[op]:g}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Connection]:
    """The server that OLLAMA_HOST names."""
    found = connect()
    assert found.kind != "practice"
    yield found


def test_a_question_and_a_follow_up_with_what_they_cost(lab: Connection) -> None:
    chat = Chat(lab=lab, **SHORT)
    first, second = chat.ask(TOKEN).metrics, chat.ask(WHY).metrics
    assert [one.role for one in chat.messages] == ["user", "assistant", "user", "assistant"]
    assert first.tokens and first.first_token_s > 0 and first.tok_s > 0
    assert second.prompt_tokens > first.prompt_tokens and second.window > second.prompt_tokens
    assert second.gpu_share is None or 0 <= second.gpu_share <= 1


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_events_add_up_to_the_reply(lab: Connection, effort: str) -> None:
    heard: list[Event] = []
    chat = Chat(lab=lab, effort=effort, **SHORT)
    reply = chat.stream(TOKEN, heard.append).wait()
    assert isinstance(heard[0], Started) and isinstance(heard[-1], Done)
    assert "".join(one.text for one in heard if isinstance(one, Thinking)) == reply.thinking
    assert "".join(one.text for one in heard if isinstance(one, Content)).strip() == reply.content.strip()


def test_a_stopped_answer_is_kept_and_the_next_one_comes(lab: Connection) -> None:
    chat = Chat(lab=lab)
    answer = chat.stream(STORY)
    next(event for event in answer if isinstance(event, (Thinking, Content)))
    pressed_s = time.monotonic()
    chat.stop()
    answer.wait()
    assert time.monotonic() - pressed_s < STOP_LIMIT_S and not chat.running
    chat.change(options={"num_predict": 5})
    assert chat.ask(TOKEN).metrics.tokens


def test_a_tool_is_called_and_its_result_goes_back(lab: Connection) -> None:
    chat = Chat(lab=lab, tools=[calculate], approve="always", temperature=0)
    reply = chat.ask(SUM)
    results = [step.content for step in reply.steps if step.role == "tool"]
    assert results and results[0] == "42" and "42" in reply.content


def test_a_format_is_checked(lab: Connection) -> None:
    reply = Chat(lab=lab, format=Claim, num_predict=800, temperature=0).ask(TOKEN)
    assert reply.valid is not None
    if reply.done_reason == "stop" and reply.content:
        assert reply.valid and isinstance(reply.data, Claim), reply.problem


def test_a_text_that_does_not_fit_is_refused_in_words(lab: Connection) -> None:
    chat = Chat(lab=lab, num_ctx=4096, num_predict=3)
    with pytest.raises(LabError) as error:
        chat.ask("word " * 9000)
    assert "4,096" in str(error.value) or "4096" in str(error.value)
    assert chat.undo().startswith("word")


def test_branches_survive_saving(lab: Connection, tmp_path: Path) -> None:
    chat = Chat(lab=lab, num_predict=40, seed=1)
    chat.ask(TOKEN)
    chat.regenerate().wait()
    chat.edit("What is a model?").wait()
    again = Chat.load(chat.save(tmp_path / "chat.json"), lab=lab)
    assert again.messages == chat.messages and again.branches() == chat.branches() == [TOKEN, "What is a model?"]
    assert again.ask(WHY).metrics.tokens


def test_efforts_side_by_side(lab: Connection) -> None:
    found = compare(TOKEN, efforts=["low", "high"], lab=lab, **SHORT)
    assert [case.problem for case in found.cases] == ["", ""]
    assert all(case.reply and case.reply.metrics.tokens for case in found.cases)


def test_the_panel_shows_what_python_asks(lab: Connection) -> None:
    panel = ChatPanel(Chat(lab=lab, **SHORT))
    reply = panel.chat.ask(TOKEN)
    assert [one["content"] for one in panel.state["messages"]] == [TOKEN, reply.content]
    assert panel.state["window"] and lab.model in panel.state["models"]


def test_the_same_server_over_openais_api(lab: Connection) -> None:
    other = openai_lab(f"{lab.host}/v1", lab.model)
    reply = Chat(lab=other, **SHORT).ask(TOKEN)
    assert reply.content or reply.thinking
