"""The conversation: events, stop, branches, tools, formats, the window, keeping; against the practice server.

Faults that a healthy server does not have are staged by `tests.staged`, in a real server's words.
"""

import enum
import json
import random
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import ollama
import pytest
from pydantic import BaseModel

from gptoss_lab import Chat, LabError, compare, compare_panel, openai_lab
from gptoss_lab.chat import Call, Message, Metrics, Settings, tool
from gptoss_lab.chat.conversation import EFFORTS
from gptoss_lab.chat.events import Approval, Content, Done, Failed, Notice, Thinking, ToolCall, ToolResult, Waiting
from gptoss_lab.chat.history import History
from gptoss_lab.chat.openai_lab import request
from gptoss_lab.connect import Connection, connect
from tests.staged import MODEL, Staged, staged

TOKEN, WHY, STORY, SUM = "What is a token?", "Why does it matter?", "Tell me a long story.", "What is 17 + 25?"


@pytest.fixture(scope="module")
def lab(practice_url: str) -> Connection:
    return connect(practice_url)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")


@pytest.fixture
def stage() -> Iterator[Staged]:
    with staged() as stage:
        stage.loaded(14, 14)
        stage.answers["/api/show"] = (200, {"capabilities": ["completion", "tools", "thinking"], "details": {}})
        yield stage


def staged_lab(stage: Staged) -> Connection:
    client = ollama.Client(stage.host, trust_env=False)
    return Connection(client, ollama.AsyncClient(stage.host), MODEL, stage.host, "ollama", "", "")


def lines(*parts: dict[str, Any], **last: Any) -> str:
    """Return a stream as a server sends it: one line per message part, and a last line with counters."""
    end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "eval_count": 5}
    return "\n".join(json.dumps(one) for one in [*({"message": part} for part in parts), {**end, **last}]) + "\n"


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_question_and_a_follow_up(lab: Connection) -> None:
    chat = Chat(lab=lab, effort="medium")
    first, second = chat.ask(TOKEN), chat.ask(WHY)
    assert "token" in first.content and first.thinking and second.content != first.content
    assert first.metrics.tokens > 5 and first.metrics.tok_s > 1 and first.metrics.prompt_tokens > 10
    assert first.metrics.window >= 4096 and first.metrics.gpu_share == 0 and first.metrics.first_token_s > 0
    assert [one.role for one in chat.messages] == ["user", "assistant", "user", "assistant"]


def test_events_come_in_order_and_add_up(lab: Connection) -> None:
    events = list(Chat(lab=lab, effort="medium").stream(TOKEN))
    kinds = [type(event) for event in events if not isinstance(event, Waiting)]
    assert kinds[0] is Thinking and kinds[-1] is Done and kinds == sorted(kinds, key=[Thinking, Content, Done].index)
    reply = events[-1].reply
    assert "".join(event.text for event in events if isinstance(event, Content)) == reply.content
    assert "".join(event.text for event in events if isinstance(event, Thinking)) == reply.thinking


def test_effort_goes_out_as_a_level(lab: Connection) -> None:
    for effort in ("low", "medium", "high"):
        assert Chat(lab=lab, effort=effort).body([])["think"] == effort
    thoughts = [len(Chat(lab=lab, effort=effort).ask(TOKEN).thinking) for effort in ("low", "high")]
    assert thoughts[0] < thoughts[1]


def test_a_watcher_hears_everything(lab: Connection) -> None:
    heard: list[Any] = []
    chat = Chat(lab=lab)
    reply = chat.stream(TOKEN, heard.append).wait()
    assert isinstance(heard[-1], Done) and heard[-1].reply == reply


@pytest.mark.parametrize(
    "wrong", [{"effort": "max"}, {"effort": True}, {"approve": "maybe"}, {"format": 3}, {"tools": [3]}]
)
def test_bad_settings_are_sentences(lab: Connection, wrong: dict[str, Any]) -> None:
    with pytest.raises(LabError) as caught:
        Chat(lab=lab, **wrong)
    assert caught.value.next_step


def test_an_empty_question_and_a_second_one_at_once(lab: Connection) -> None:
    chat = Chat(lab=lab)
    with pytest.raises(LabError):
        chat.ask("  ")
    generation = chat.stream(STORY)
    with pytest.raises(LabError, match="still answering"):
        chat.ask(TOKEN)
    generation.stop()
    generation.wait()


def test_a_server_that_is_gone_is_a_sentence_and_nothing_is_lost() -> None:
    gone = Connection(
        ollama.Client("http://127.0.0.1:9"), ollama.AsyncClient(), MODEL, "http://127.0.0.1:9", "ollama", "", ""
    )
    chat = Chat(lab=gone)
    with pytest.raises(LabError, match="No server answers"):
        chat.ask(TOKEN)
    assert [one.content for one in chat.messages] == [TOKEN]


# --- stop -------------------------------------------------------------------------------------------------------------


def test_stop_keeps_what_came_and_frees_the_server(lab: Connection) -> None:
    chat = Chat(lab=lab, num_predict=2000)
    generation = chat.stream(STORY)
    for event in generation:
        if isinstance(event, Content):
            break
    stopped_s = time.monotonic()
    chat.stop()
    reply = generation.wait()
    assert time.monotonic() - stopped_s < 5 and reply.content and reply.done_reason == "stopped"
    assert chat.messages[-1].stopped and not chat.running
    assert chat.ask(TOKEN).content


def test_stop_while_nothing_has_come(stage: Staged) -> None:
    release = []

    def silent(body: Any) -> tuple[int, Any]:
        while not release:
            time.sleep(0.02)
        return 200, lines({"content": "late"})

    stage.answers["/api/chat"] = (200, silent)
    generation = Chat(lab=staged_lab(stage)).stream(TOKEN)
    seen = next(event for event in generation if isinstance(event, Waiting))
    assert seen.seconds >= 1 and seen.status
    generation.stop()
    assert generation.wait().content == ""
    release.append(True)


# --- history ----------------------------------------------------------------------------------------------------------


def test_edit_regenerate_branches_and_undo(lab: Connection) -> None:
    chat = Chat(lab=lab)
    chat.ask(TOKEN)
    chat.ask(WHY)
    chat.edit("What is prefill?", turn=0).wait()
    assert [one.content for one in chat.messages if one.role == "user"] == ["What is prefill?"]
    assert chat.branches(0) == [TOKEN, "What is prefill?"]
    chat.go(0, 0)
    assert [one.content for one in chat.messages if one.role == "user"] == [TOKEN, WHY]
    before = len(chat.history.nodes)
    chat.regenerate().wait()
    assert len(chat.history.nodes) == before + 1 and len(chat.messages) == 4
    assert chat.undo() == WHY and chat.undo() == TOKEN and chat.undo() == "" and chat.messages == []
    with pytest.raises(LabError):
        chat.regenerate()


def test_a_question_that_is_not_there(lab: Connection) -> None:
    chat = Chat(lab=lab)
    chat.ask(TOKEN)
    for call in (lambda: chat.edit("x", turn=3), lambda: chat.go(0, 5)):
        with pytest.raises(LabError):
            call()


# --- tools ------------------------------------------------------------------------------------------------------------


def calculate(a: float, op: Literal["+", "-", "*"], b: float) -> float:
    """Calculate with two numbers."""
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def test_the_model_calls_a_function_and_uses_its_result(lab: Connection) -> None:
    chat = Chat(lab=lab, tools=[calculate], approve="always", effort="medium")
    events = list(chat.stream(SUM))
    called = next(event.call for event in events if isinstance(event, ToolCall))
    result = next(event for event in events if isinstance(event, ToolResult))
    assert called.name == "calculate" and result.ok and float(result.text) == 42
    assert "42" in events[-1].reply.content
    assert [one.role for one in events[-1].reply.steps] == ["assistant", "tool", "assistant"]


@pytest.mark.parametrize(("rule", "allowed"), [("never", False), (lambda call: call.name == "calculate", True)])
def test_a_rule_decides_about_tools(lab: Connection, rule: Any, allowed: bool) -> None:
    events = list(Chat(lab=lab, tools=[calculate], approve=rule).stream(SUM))
    assert next(event for event in events if isinstance(event, ToolResult)).ok is allowed


def test_asking_is_the_default_and_silence_is_no(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    results = [event for event in Chat(lab=lab, tools=[calculate]).stream(SUM) if isinstance(event, ToolResult)]
    assert results and not results[0].ok and "not allow" in results[0].text
    allowed = []
    for event in Chat(lab=lab, tools=[calculate]).stream(SUM):
        if isinstance(event, Approval):
            event.decide(True)
        if isinstance(event, ToolResult):
            allowed.append(event.ok)
    assert allowed == [True]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def odd(
    city: str, days: int = 3, unit: Literal["C", "F"] = "C", note: str | None = None, size: int | str = 1,
    colour: Colour = Colour.RED, tags: list[str] | None = None, exact: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Tell the weather.

    city: where
    days (int): how many days
    """
    return {"city": city, "days": days, "colour": colour.value}


def test_a_schema_has_one_plain_type_everywhere() -> None:
    schema = tool(odd).schema["function"]
    assert schema["description"] == "Tell the weather." and schema["parameters"]["required"] == ["city"]
    properties = schema["parameters"]["properties"]
    assert all(isinstance(one["type"], str) for one in properties.values())
    assert properties["city"]["description"] == "where" and properties["days"]["description"] == "how many days"
    assert properties["unit"]["enum"] == ["C", "F"] and properties["colour"]["enum"] == ["red", "blue"]
    assert (properties["note"]["type"], properties["size"]["type"], properties["tags"]["type"]) == (
        "string",
        "string",
        "array",
    )


def test_arguments_are_checked_and_converted() -> None:
    words, ok = tool(odd).run(Call("odd", {"city": "Rome", "days": "5", "colour": "blue"}))
    assert ok and json.loads(words) == {"city": "Rome", "days": 5, "colour": "blue"}
    for arguments in ({}, {"city": "Rome", "planet": "Mars"}, {"city": "Rome", "days": "many"}):
        words, ok = tool(odd).run(Call("odd", arguments))
        assert not ok and words


def test_a_tool_cannot_run_away() -> None:
    def slow() -> str:
        time.sleep(5)
        return ""

    def long() -> str:
        return "x" * 1_000

    def broken() -> str:
        raise ZeroDivisionError("by zero")

    assert tool(slow).run(Call("slow"), limit_s=0.1) == ("The tool did not answer within 0 seconds.", False)
    words, ok = tool(long).run(Call("long"), most_letters=100)
    assert ok and words.startswith("x" * 100) and len(words) < 200
    assert tool(broken).run(Call("broken")) == ("ZeroDivisionError: by zero", False)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def test_a_tool_nobody_offered_and_a_loop_without_end(stage: Staged) -> None:
    stage.answers["/api/chat"] = (200, lines(call("launch")))
    chat = Chat(lab=staged_lab(stage), tools=[calculate], approve="always", most_steps=3)
    events = list(chat.stream(SUM))
    assert isinstance(events[-1], Failed) and events[-1].trouble.code == "tool_limit"
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["There is no tool named launch."] * 3


def test_reasoning_stays_inside_a_tool_loop_and_is_dropped_after_the_answer(stage: Staged) -> None:
    replies = [lines({"thinking": "I need it. "}, call("calculate", a=1, op="+", b=2)), lines({"content": "3"})] * 2
    stage.answers["/api/chat"] = (200, lambda body: (200, replies.pop(0)))
    chat = Chat(lab=staged_lab(stage), tools=[calculate], approve="always")
    assert chat.ask("1 + 2?").content == "3"
    chat.ask("and again?")
    asked = [body["messages"] for path, body in stage.asked if path == "/api/chat"]
    assert [one.get("thinking") for one in asked[1]] == [None, "I need it. ", None]
    assert [one.get("thinking") for one in asked[2]] == [None] * 5
    assert asked[1][2] == {"role": "tool", "content": "3.0", "tool_name": "calculate"}


def test_one_broken_tool_call_is_asked_for_again(stage: Staged) -> None:
    broken = '{"error":"error parsing tool call: raw=\'{\\"a\\": 1\', err=unexpected end of JSON input"}\n'
    replies = [broken, lines({"content": "fine"}), broken, broken]
    stage.answers["/api/chat"] = (200, lambda body: (200, replies.pop(0)))
    chat = Chat(lab=staged_lab(stage))
    events = list(chat.stream(TOKEN))
    assert [event.trouble.code for event in events if isinstance(event, Notice)] == ["tool_json"]
    assert events[-1].reply.content == "fine" and events[-1].reply.notes
    with pytest.raises(LabError, match="broken JSON"):
        chat.ask(TOKEN)


# --- formats ----------------------------------------------------------------------------------------------------------


class City(BaseModel):
    name: str
    people: int


def test_structured_answers_are_always_checked(stage: Staged) -> None:
    good, bad = '{"name": "Rome", "people": 2800000}', '{"name": "Rome"}'
    for format, checked in ((City, City(name="Rome", people=2_800_000)), (City.model_json_schema(), json.loads(good))):
        chat = Chat(lab=staged_lab(stage), format=format)
        stage.answers["/api/chat"] = (200, lines({"content": good}))
        reply = chat.ask("Rome?")
        assert reply.valid and reply.data == checked and not reply.problem
        assert stage.asked[-2][1]["format"] == City.model_json_schema() or stage.asked[-1][1]
        stage.answers["/api/chat"] = (200, lines({"content": bad}))
        worse = chat.ask("Rome?")
        assert worse.valid is False and worse.data is None and "people" in worse.problem
    stage.answers["/api/chat"] = (200, lines({"content": "no json"}))
    assert Chat(lab=staged_lab(stage), format="json").ask("Rome?").valid is False


def test_a_schema_binds_the_practice_model(lab: Connection) -> None:
    reply = Chat(lab=lab, format=City, num_predict=300).ask("What is Ollama?")
    assert reply.valid is not None and (reply.valid or reply.problem)


# --- the window -------------------------------------------------------------------------------------------------------


def test_a_text_that_does_not_fit_is_refused_in_words(lab: Connection) -> None:
    chat = Chat(lab=lab, num_ctx=512)
    with pytest.raises(LabError, match=r"\d+ tokens and the context only 512"):
        chat.ask("A token is a piece of text. " * 400)
    assert chat.body([])["truncate"] is False and chat.body([])["shift"] is False


def test_a_server_that_cuts_in_silence_is_noticed(stage: Staged) -> None:
    stage.loaded(14, 14, context=4096)
    stage.answers["/api/chat"] = (200, lines({"content": "hm"}, prompt_eval_count=2048))
    reply = Chat(lab=staged_lab(stage)).ask("word " * 8_000)
    assert reply.notes and "context is full" in reply.notes[0]


def test_the_estimate_learns_from_the_counter(lab: Connection) -> None:
    chat = Chat(lab=lab)
    reply = chat.ask("A token is a piece of text. " * 60)
    again = chat.estimate("A token is a piece of text. " * 60) - chat.estimate()
    assert abs(again - reply.metrics.prompt_tokens) < 0.3 * reply.metrics.prompt_tokens


LEAKS = (
    "<|channel|>analysis<|message|>hm",
    "<|start|>assistant<|channel|>final<|message|>Hello",
    "Hello<|return|>",
    "Hi<|end|>",
    "<|constrain|>json<|message|>{}",
    "<|channel|>commentary to=functions.look_up",
    "assistantfinalHello",
    "Hm.<|call|>",
    "analysisThe user greets me.assistantfinalHello",
    "commentary to=functions.look_up json{}",
    "analysisWe need to answer.",
    "<|endoftext|>",
    "First.<|end|><|start|>assistantcommentary to=functions.x",
    '{"a": 1}<|call|>',
    "assistantanalysisHm",
)
QUOTES = (
    "The `<|channel|>` sign names the channel.",
    "```\n<|start|>assistant<|end|>\n```",
    "The analysis channel holds notes.",
    "My assistant finally came.",
    "Analysis: it is fine.",
    "Call it with functions and to = 3.",
)


@pytest.mark.parametrize("said", LEAKS + QUOTES)
def test_leaked_signs_of_the_format_are_explained_and_quoted_ones_are_not(stage: Staged, said: str) -> None:
    stage.answers["/api/chat"] = (200, lines({"content": said}))
    notes = Chat(lab=staged_lab(stage)).ask(TOKEN).notes
    assert any("<|channel|>" in note for note in notes) == (said in LEAKS)


# --- keeping ----------------------------------------------------------------------------------------------------------


def random_history(dice: random.Random) -> History:
    """Return a history as hands and models make them: branches, tools, thinking, Chinese, stops."""
    history = History()
    words = ["", "Hello", "你好", "a\nb", '"quoted" \\ {x}', "<script>", "\u2028", "🙂"]
    for _ in range(dice.randrange(1, 25)):
        if history.nodes and dice.random() < 0.3:
            history.back_to(dice.choice([None, *history.nodes]))
        role = dice.choice(("user", "assistant", "tool"))
        calls = tuple(Call("f", {"x": dice.choice([1, "y", None, [1]])}, "id") for _ in range(dice.randrange(2)))
        message = Message(
            role, dice.choice(words), dice.choice(words) if role == "assistant" else "",
            calls if role == "assistant" else (), "f" if role == "tool" else "", dice.random() < 0.1,
        )  # fmt: skip
        cost = Metrics(tokens=dice.randrange(99), load_s=dice.random()) if dice.random() < 0.5 else None
        history.add(message, cost, random_settings(dice) if role == "assistant" else None)
    return history


def random_settings(dice: random.Random) -> Settings:
    """Return settings as learners change them between two questions."""
    options = {"seed": dice.randrange(9), "temperature": dice.random(), "stop": ["\n", '"']}
    kept = {name: options[name] for name in dice.sample(list(options), dice.randrange(4))}
    return Settings(dice.choice(("a:1b", MODEL)), dice.choice(["", 'Say "yes".\n']), dice.choice(EFFORTS), kept)


def test_two_hundred_histories_survive_saving(tmp_path: Path, lab: Connection) -> None:
    dice = random.Random(3)
    for number in range(200):
        chat = Chat(lab=lab, system=dice.choice(["", "Be brief."]), effort="high", seed=number, temperature=0.5)
        chat.history = random_history(dice)
        again = Chat.load(chat.save(tmp_path / "对话.json"), lab=lab)
        assert (again.settings, again.messages) == (chat.settings, chat.messages)
        assert again.history.nodes == chat.history.nodes and again.history.head == chat.history.head
        assert again.to_python() == chat.to_python()


def test_the_code_of_two_hundred_histories_asks_their_questions(
    lab: Connection, monkeypatch: pytest.MonkeyPatch, practice_url: str
) -> None:
    asked: list[tuple[str, Settings]] = []
    monkeypatch.setattr(Chat, "ask", lambda self, question: asked.append((question, self.settings)))
    monkeypatch.setenv("GPTOSS_LAB_SERVER", practice_url)
    dice = random.Random(4)
    for _ in range(200):
        chat = Chat(lab=lab)
        chat.settings, chat.history = random_settings(dice), random_history(dice)
        asked.clear()
        names: dict[str, Any] = {}
        exec(chat.to_python(), names)
        assert names["chat"].settings == chat.settings
        path = [*chat.history.path(), None]
        pairs = [(one, after) for one, after in pairwise(path) if one and one.message.role == "user"]
        settings = [after.settings if after and after.settings else chat.settings for _, after in pairs]
        assert asked == [(one.message.content, used) for (one, _), used in zip(pairs, settings, strict=True)]


def test_the_exported_code_asks_the_same(lab: Connection, practice_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat(lab=lab, effort="medium", system="Be brief.", seed=7)
    chat.ask(TOKEN)
    chat.ask(WHY)
    monkeypatch.setenv("GPTOSS_LAB_SERVER", practice_url)
    names: dict[str, Any] = {}
    exec(chat.to_python(), names)
    assert names["chat"].messages == chat.messages
    assert names["chat"].body(chat.messages) == chat.body(chat.messages)


def test_every_answer_remembers_how_it_was_asked_for(lab: Connection) -> None:
    chat = Chat(lab=lab, seed=7)
    chat.ask(TOKEN)
    chat.change(effort="high", options={})
    chat.ask(WHY)
    first, second = (node.settings for node in chat.history.path() if node.message.role == "assistant")
    assert first == Settings(lab.model, effort="low", options={"seed": 7})
    assert second == Settings(lab.model, effort="high")
    assert f"({lab.model} · low · seed 7)" in chat.to_markdown()
    assert chat.to_python().splitlines()[2:] == [
        f"chat = Chat(model={lab.model!r}, effort='low', seed=7)", f"chat.ask({TOKEN!r})",
        "chat.change(effort='high', options={})", f"chat.ask({WHY!r})",
    ]  # fmt: skip


def test_thinking_is_counted(lab: Connection) -> None:
    heard: list[Any] = []
    cost = Chat(lab=lab, effort="high").stream(TOKEN, heard.append).wait().metrics
    assert cost.thinking_tokens == sum(isinstance(event, Thinking) for event in heard) > 5
    assert 0 < cost.thinking_tokens < cost.tokens and cost.thinking_s > 0


def test_markdown_shows_who_said_what(lab: Connection) -> None:
    chat = Chat(lab=lab, tools=[calculate], approve="always", effort="medium")
    chat.ask(SUM)
    shown = chat.to_markdown()
    assert all(word in shown for word in ("**You**", "**Model**", "> *Thinking*", "`calculate(", "42", SUM))
    assert chat._repr_markdown_() == shown


@pytest.mark.parametrize("content", ["", "{}", '{"kind": "gptoss-lab chat", "version": 99}', "[]"])
def test_a_file_that_is_no_conversation(tmp_path: Path, content: str, lab: Connection) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LabError):
        Chat.load(path, lab=lab)
    with pytest.raises(LabError):
        Chat.load(tmp_path / "missing.json", lab=lab)


# --- comparing --------------------------------------------------------------------------------------------------------


def test_efforts_side_by_side(lab: Connection) -> None:
    found = compare(TOKEN, efforts=["low", "medium", "high"], lab=lab)
    thoughts = [len(case.reply.thinking) for case in found.cases if case.reply]
    assert thoughts == sorted(thoughts) and len(thoughts) == 3
    assert all(
        f"effort {level}" in repr(found) and f"effort {level}" in found._repr_html_() for level in ("low", "high")
    )
    assert found.to_markdown().count("## effort") == 3


def test_the_same_seed_repeats(lab: Connection) -> None:
    one, other = (compare(prompts=[TOKEN, STORY], lab=lab, seed=5, temperature=1.0) for _ in range(2))
    assert [case.reply.content for case in one.cases] == [case.reply.content for case in other.cases]  # type: ignore[union-attr]


def test_a_case_that_fails_does_not_end_the_others(lab: Connection) -> None:
    found = compare(TOKEN, models=["no-such-model", lab.model], lab=lab)
    assert found.cases[0].reply is None and "no-such-model" in found.cases[0].problem and found.cases[1].reply


@pytest.mark.parametrize("lists", [{}, {"seeds": [1]}, {"seeds": [1, 2], "efforts": ["low", "high"]}])
def test_what_cannot_be_compared(lab: Connection, lists: dict[str, Any]) -> None:
    with pytest.raises(LabError):
        compare(TOKEN, lab=lab, **lists)


# --- in a cell and in a terminal --------------------------------------------------------------------------------------


def test_the_magic_streams_and_keeps_the_reply(
    practice_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("GPTOSS_LAB_SERVER", practice_url)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "gptoss_lab")
    shell.run_cell_magic("ask", "--effort medium --to reply --new", TOKEN)
    shown = capsys.readouterr().out
    reply = shell.user_ns["reply"]
    assert reply.content in shown and reply.thinking in re.sub(r"\x1b\[\d+m", "", shown)
    shell.run_cell_magic("ask", "--to second", WHY)
    assert shell.user_ns["second"].content != reply.content
    for line in ("--effort max", "--nope", "--to 3x", '--system "open'):
        with pytest.raises(LabError):
            shell.run_cell_magic("ask", line, TOKEN)


def test_a_talk_in_a_terminal(lab: Connection, tmp_path: Path) -> None:
    from rich.console import Console

    from gptoss_lab.terminal import talk

    said = iter([
        "/help", "/metrics", TOKEN, "/metrics", "/effort high", "/effort max", "/again", "/system Be brief.", "/tools",
        f"/save {tmp_path / 'a.json'}", f"/markdown {tmp_path / 'a.md'}", "/undo", "/nope", "", "/bye",
    ])  # fmt: skip
    console = Console(record=True, width=200, force_terminal=False)
    assert talk(Chat(lab=lab), console, lambda: next(said)) == 0
    shown = console.export_text()
    for words in (
        "/effort low|medium|high",
        "Nothing has been asked",
        "A token is",
        "tokens,",
        "effort: high",
        "no reasoning effort",
        "Taken back: What is a token?",
        "No such command",
    ):
        assert words in shown, words
    assert Chat.load(tmp_path / "a.json", lab=lab).messages and "**You**" in (tmp_path / "a.md").read_text("utf-8")


def test_the_end_of_the_input_ends_the_talk(lab: Connection) -> None:
    from rich.console import Console

    from gptoss_lab.terminal import talk

    def nothing() -> str:
        raise EOFError

    assert talk(Chat(lab=lab), Console(record=True), nothing) == 0


# --- an OpenAI-compatible server --------------------------------------------------------------------------------------


@pytest.fixture
def other(practice_url: str) -> Connection:
    pytest.importorskip("openai")
    return openai_lab(f"{practice_url}/v1")


def test_the_same_conversation_over_openais_api(other: Connection) -> None:
    chat = Chat(lab=other, effort="medium")
    reply = chat.ask(TOKEN)
    assert "token" in reply.content and reply.thinking and reply.metrics.tokens > 5 and reply.metrics.first_token_s > 0
    assert chat.ask(WHY).content != reply.content


def test_tools_and_stop_over_openais_api(other: Connection) -> None:
    reply = Chat(lab=other, tools=[calculate], approve="always").ask(SUM)
    assert "42" in reply.content and [one.role for one in reply.steps] == ["assistant", "tool", "assistant"]
    generation = Chat(lab=other, num_predict=2000).stream(STORY)
    for event in generation:
        if isinstance(event, Content):
            break
    generation.stop()
    assert generation.wait().done_reason == "stopped"


def test_a_request_in_openais_form() -> None:
    chat = Chat(lab=Connection(None, None, MODEL, "", "ollama", "", ""), format=City, seed=3, num_predict=9)  # type: ignore[arg-type]
    call = Message("assistant", calls=(Call("f", {"x": 1}),))
    sent = request(chat.body([Message("user", "q"), call, Message("tool", "r", tool="f")]))
    assert sent["reasoning_effort"] == "low" and sent["seed"] == 3 and sent["max_tokens"] == 9
    assert sent["response_format"]["json_schema"]["schema"] == City.model_json_schema()
    assert sent["messages"][2]["tool_call_id"] == sent["messages"][1]["tool_calls"][0]["id"]


def test_no_openai_server_is_a_sentence() -> None:
    pytest.importorskip("openai")
    with pytest.raises(LabError, match="No server answers"):
        openai_lab("http://127.0.0.1:9/v1")


def test_answers_side_by_side(lab: Connection) -> None:
    panel = compare_panel(TOKEN, efforts=["low", "high"], lab=lab)
    found = panel.wait(60)
    assert [case.name for case in found.cases] == ["effort low", "effort high"]
    for card, case in zip(panel.cards, found.cases, strict=True):
        assert case.reply and case.reply.content in card.value
    assert "effort high" in panel.table.value and "effort low" in panel._repr_mimebundle_()["text/plain"]
    with pytest.raises(LabError):
        compare_panel(TOKEN, seeds=[1, 2, 3, 4, 5], lab=lab)
