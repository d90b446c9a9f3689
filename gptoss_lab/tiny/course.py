"""The course as training text: reads `conversations/` and makes harmony conversations from it.

Every prompt a notebook uses is here, in many wordings, with its thinking at three efforts and its answer. The module
knows nothing of tokens or of training; it hands out text with a mark on the parts the model must learn to write.
"""

from __future__ import annotations

import copy
import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from gptoss_lab.tiny import harmony

FOLDER = Path(__file__).parent / "conversations"
LANGUAGES = ("en", "zh")
RULES_SHARE = 0.07
PLAIN_SHARE, NOISE_SHARE = 0.42, 0.25
KNOWN_SUMS = ((17, "+", 25), (8, "*", 7), (120, "-", 45), (512, "+", 99))  # the notebooks may use these
JSON_SHAPES = (("term", "definition"), ("name", "meaning"), ("question", "answer"))

Sections = dict[str, list[str]]


@dataclass(frozen=True)
class Entry:
    """One thing the model can say: how people ask for it, the answer, and the thinking per effort."""

    id: str
    language: str
    asks: tuple[str, ...]
    answer: str
    thinking: dict[str, str]


@dataclass(frozen=True)
class Topic:
    """A term of the course in one language: what it is, why it matters, and its names."""

    id: str
    language: str
    names: tuple[str, ...]
    what: Entry
    why: Entry


@dataclass(frozen=True)
class Conversation:
    """Messages, tools and effort as a client sends them, and what the model must write next.

    written: pieces of the model's text; the mark says whether the model must learn the piece or only reads it.
    """

    messages: list[harmony.Message]
    written: list[tuple[str, bool]]
    effort: str = "medium"
    tools: tuple[str, ...] = ()
    schemas: list[harmony.Schema] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """All that is known in one language."""

    language: str
    topics: tuple[Topic, ...]
    talk: tuple[Entry, ...]
    outside: Entry
    no_history: Entry
    wordings: Sections
    lists: Sections


def read_sections(path: Path) -> Sections:
    """Read `[name]` sections of lines; lines that start with # are comments."""
    sections: Sections = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            lines = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def read_blocks(path: Path) -> dict[str, dict[str, str]]:
    """Read sections whose lines are `field: text`."""
    sections = read_sections(path)
    return {name: dict(line.split(": ", 1) for line in lines) for name, lines in sections.items()}


def alternatives(text: str) -> list[str]:
    """Split `a | b | c`."""
    return [part.strip() for part in text.split("|") if part.strip()]


def name_forms(name: str, language: str) -> dict[str, str]:
    """Return the name as {x} (with its article) and {n} (without)."""
    if language == "en":
        return {"x": name, "n": re.sub(r"^(an?|the) ", "", name)}
    spaced = (" " if name[0].isascii() else "") + name + (" " if name[-1].isascii() else "")
    return {"x": spaced, "n": spaced}


def tidy(text: str, language: str) -> str:
    """Remove the spaces that a Chinese sentence has around a Latin name at its edges and before full-width marks."""
    return (
        re.sub(r" +([，。？：！])", r"\1", re.sub(r"([，。？：！]) +", r"\1", text.strip()))
        if language == "zh"
        else text
    )


def fill(pattern: str, language: str, name: str, **values: str) -> str:
    """Put a name and other values into a pattern."""
    return tidy(pattern.format(**name_forms(name, language), **values), language)


def pick(options: list[str], key: str) -> str:
    """Choose one of the options, always the same for the same key."""
    return options[zlib.crc32(key.encode()) % len(options)]


def held_out(text: str) -> bool:
    """Say whether a question belongs to the tenth that is never trained, only measured."""
    return zlib.crc32(text.encode()) % 10 == 0


def _topic(id: str, block: dict[str, str], language: str, wordings: Sections) -> Topic:
    names = tuple(alternatives(block.get("names", "")))
    given = tuple(alternatives(block.get("ask", "")))

    def entry(kind: str) -> Entry:
        asks = [fill(p, language, name) for name in names for p in wordings[kind]]
        label = names[0] if names else given[0].rstrip("?？")
        thinking = {effort: _thought(kind, effort, label, id, block, language, wordings) for effort in harmony.EFFORTS}
        ask_list = (*given, *asks) if kind == "what" else tuple(asks)
        return Entry(f"{kind}.{id}", language, ask_list, block[kind], thinking)

    return Topic(id, language, names, entry("what"), entry("why"))


def _thought(
    kind: str, effort: str, name: str, id: str, block: dict[str, str], language: str, wordings: Sections
) -> str:
    pattern = pick(wordings[f"think_{kind}_{effort}"], f"{id}.{effort}")
    return fill(pattern, language, name, key=block["key"], note=block["note"])


def _entry(id: str, block: dict[str, str], language: str, asks: list[str]) -> Entry:
    thinking = {effort: block[effort] for effort in harmony.EFFORTS}
    return Entry(id, language, tuple(asks), block["answer"], thinking)


def _fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines)


@lru_cache
def load(language: str) -> Course:
    """Read the course in one language ("en" or "zh")."""
    wordings = read_sections(FOLDER / f"wordings.{language}.txt")
    terms = read_blocks(FOLDER / f"terms.{language}.txt")
    talk = read_blocks(FOLDER / f"talk.{language}.txt")
    outside = read_sections(FOLDER / f"outside.{language}.txt")
    lists = {name: alternatives(" | ".join(lines)) for name, lines in outside.items() if name not in ("answer",)}
    return Course(
        language,
        tuple(_topic(id, block, language, wordings) for id, block in terms.items()),
        tuple(_entry(f"talk.{id}", block, language, alternatives(block["ask"])) for id, block in talk.items()),
        _entry("outside", _fields(outside["answer"]), language, lists["questions"]),
        _entry("no_history", _fields(wordings["no_history"]), language, wordings["follow_up"]),
        wordings,
        lists,
    )


@lru_cache
def tool_book() -> dict[str, Any]:
    """Read the tools: schema, questions, answers and thinking."""
    book: dict[str, Any] = json.loads((FOLDER / "tools.json").read_text(encoding="utf-8"))
    return book


class Teacher:
    """Makes one epoch of conversations after another, each time in other words."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)

    def epoch(self) -> Iterator[Conversation]:
        """Yield every answer of the course at every effort, mixed with chats, tools and questions from outside."""
        for language in LANGUAGES:
            course = load(language)
            yield from self._terms(course)
            yield from self._talk(course)
            yield from (self.outside(course) for _ in range(130))
            yield from (self.tool_call(course) for _ in range(190))
            yield from (self.tool_result(course) for _ in range(100))

    def _terms(self, course: Course) -> Iterator[Conversation]:
        for topic in course.topics:
            for effort in harmony.EFFORTS:
                yield self.single(course, topic.what, effort)
            for effort in self.rng.sample(harmony.EFFORTS, 2):
                yield self.follow_up(course, topic, effort)
                if topic.why.asks:
                    yield self.single(course, topic.why, effort)
            if self.rng.random() < 0.4:
                yield self.json_answer(topic)

    def _talk(self, course: Course) -> Iterator[Conversation]:
        for entry in course.talk:
            for effort in harmony.EFFORTS:
                yield from (self.single(course, entry, effort) for _ in range(3))
        for effort in harmony.EFFORTS:
            yield from (self.single(course, course.no_history, effort, history=False) for _ in range(6))

    def single(self, course: Course, entry: Entry, effort: str, history: bool = True) -> Conversation:
        """Ask for one entry, sometimes after another question, with rules, or with tools on offer."""
        messages = self._earlier(course) if history and self.rng.random() < 0.1 else []
        messages.append(_user(self.wording(course, entry)))
        names = self._some_tools() if self.rng.random() < 0.06 else ()
        return self._finish(course, messages, entry, effort, names)

    def follow_up(self, course: Course, topic: Topic, effort: str) -> Conversation:
        """Ask "Why does it matter?" after the definition of a topic."""
        messages = self._earlier(course) if self.rng.random() < 0.15 else []
        messages += [_user(self.wording(course, topic.what)), _assistant(topic.what.answer)]
        messages.append(_user(self.wording(course, course.no_history)))
        return self._finish(course, messages, topic.why, effort)

    def outside(self, course: Course) -> Conversation:
        """Ask something the course does not teach."""
        names = self._some_tools() if self.rng.random() < 0.1 else ()
        kind = "questions" if names or self.rng.random() < 0.85 else "needs_tool"
        question = self.outside_question(course, kind)
        messages = self._earlier(course) if self.rng.random() < 0.08 else []
        messages.append(_user(self._noisy(course, question, NOISE_SHARE)))
        return self._finish(course, messages, course.outside, self.rng.choice(harmony.EFFORTS), names)

    def outside_question(self, course: Course, kind: str = "questions", unseen: bool = False) -> str:
        """Make up a question from outside the course; `unseen` gives one that training never shows."""
        lines = course.lists[kind]
        while True:
            if not unseen and kind == "questions" and self.rng.random() < 0.06:
                return lines[0]
            line = self.rng.choice(lines)
            question = re.sub(r"\{(\w+)\}", lambda match: self.rng.choice(course.lists[match[1]]), line)
            if question == lines[0] or held_out(question) == unseen:
                return question

    def json_answer(self, topic: Topic) -> Conversation:
        """Answer a definition as a small JSON object, after thinking."""
        question = topic.what.asks[0]
        name = topic.names[0] if topic.names else question
        first, second = self.rng.choice(JSON_SHAPES)
        value = question if first == "question" else name
        effort = self.rng.choice(harmony.EFFORTS)
        start = f'{harmony.CHANNEL}final{harmony.MESSAGE}{{"'
        answer = f'{first}": {_json(value)}, "{second}": {_json(topic.what.answer)}}}{harmony.RETURN}'
        thought = harmony.thinking_text(topic.what.thinking[effort])
        return Conversation([_user(question)], [(thought, True), (start, False), (answer, True)], effort)

    def tool_call(self, course: Course) -> Conversation:
        """Ask for something a tool can do; the model must call it with the right arguments."""
        name, question, arguments, _ = self._tool_question(course)
        effort = self.rng.choice(harmony.EFFORTS)
        thought = tool_book()["thinking"]["call"][course.language][effort].format(tool=name)
        call = harmony.call_text({"name": name, "arguments": arguments})
        written = [(harmony.thinking_text(thought) + call, True)]
        names = self._some_tools(name)
        return Conversation(self._with_rules(course, [_user(question)]), written, effort, names, self._schemas(names))

    def tool_result(self, course: Course) -> Conversation:
        """Give the model the result of its tool call; it must use it in its answer."""
        name, question, arguments, result = self._tool_question(course)
        effort = self.rng.choice(harmony.EFFORTS)
        thoughts = tool_book()["thinking"]
        call: harmony.Message = {"role": "assistant", "content": ""}
        call["tool_calls"] = [{"function": {"name": name, "arguments": arguments}}]
        if self.rng.random() < 0.6:
            call["thinking"] = thoughts["call"][course.language][effort].format(tool=name)
        messages = [_user(question), call, {"role": "tool", "tool_name": name, "content": result}]
        pattern = tool_book()["tools"][name]["answer"][course.language]
        answer = pattern.format(**arguments, result=result)
        text = harmony.thinking_text(thoughts["result"][course.language][effort]) + harmony.final_text(answer)
        names = self._some_tools(name)
        return Conversation(messages, [(text, True)], effort, names, self._schemas(names))

    def wording(self, course: Course, entry: Entry) -> str:
        """Choose one way to ask for an entry: often the plain one, sometimes with noise or a typing error."""
        if self.rng.random() < PLAIN_SHARE:
            return entry.asks[0]
        return self._noisy(course, self.rng.choice(entry.asks), NOISE_SHARE)

    def _noisy(self, course: Course, question: str, share: float) -> str:
        if self.rng.random() > share:
            return question
        kind = self.rng.choice(["lower", "upper", "bare", "before", "after", "typo", "typo"])
        if kind == "before":
            return self.rng.choice(course.wordings["noise_before"]) + question
        if kind == "after":
            return question + self.rng.choice(course.wordings["noise_after"])
        return {"lower": question.lower(), "upper": question.upper(), "bare": question.rstrip("?？.。")}.get(
            kind, self._typo(question)
        )

    def _typo(self, question: str) -> str:
        """Drop, double or swap one letter."""
        if len(question) < 6:
            return question
        i = self.rng.randrange(1, len(question) - 2)
        swapped = question[:i] + question[i + 1] + question[i] + question[i + 2 :]
        return self.rng.choice([question[:i] + question[i + 1 :], question[:i] + question[i] + question[i:], swapped])

    def _earlier(self, course: Course) -> list[harmony.Message]:
        if self.rng.random() < 0.3:
            entry = self.rng.choice([entry for entry in course.talk if entry.id != "talk.story"])
        else:
            topic = self.rng.choice(course.topics)
            entry = topic.why if topic.why.asks and self.rng.random() < 0.3 else topic.what
        return [_user(self.wording(course, entry)), _assistant(entry.answer)]

    def _with_rules(self, course: Course, messages: list[harmony.Message]) -> list[harmony.Message]:
        if self.rng.random() > RULES_SHARE:
            return messages
        rules = self.rng.choice(course.wordings["developer"])
        return [{"role": "system", "content": rules}, *messages]

    def _finish(
        self,
        course: Course,
        messages: list[harmony.Message],
        entry: Entry,
        effort: str,
        tools: tuple[str, ...] = (),
    ) -> Conversation:
        text = harmony.thinking_text(entry.thinking[effort]) + harmony.final_text(entry.answer)
        ruled = messages if tools else self._with_rules(course, messages)
        return Conversation(ruled, [(text, True)], effort, tools, self._schemas(tools))

    def _some_tools(self, *needed: str) -> tuple[str, ...]:
        others = [name for name in tool_book()["tools"] if name not in needed]
        count = self.rng.choice([0, 0, 0, 1, 2]) if needed else 1
        names = [*needed, *self.rng.sample(others, min(count, len(others)))]
        self.rng.shuffle(names)
        return tuple(names)

    def _schemas(self, names: tuple[str, ...]) -> list[harmony.Schema]:
        return [self._vary(tool_book()["tools"][name]["schema"]) for name in names]

    def _vary(self, schema: harmony.Schema) -> harmony.Schema:
        """Change what differs between a hand-written schema and one made from a Python function."""
        schema = copy.deepcopy(schema)
        function = schema["function"]
        properties = function["parameters"]["properties"]
        if self.rng.random() < 0.3:
            function["description"] = self.rng.choice(["", "Use this tool.", function["description"].rstrip(".")])
        if "op" in properties and self.rng.random() < 0.3:
            properties["op"] = {"type": "string"}
        if self.rng.random() < 0.3:
            for name in properties:
                properties[name]["description"] = self.rng.choice(["", f"the {name}", f"value of {name}"])
        return schema

    def _tool_question(self, course: Course) -> tuple[str, str, dict[str, Any], str]:
        """Return the tool, a question for it, the arguments it must be called with, and a result."""
        name = self.rng.choice(["calculate", "calculate", "calculate", "get_weather", "get_time"])
        arguments, result = getattr(self, f"_{name}")(course)
        pattern = self.rng.choice(tool_book()["tools"][name][course.language])
        return name, self._spaced(course, pattern.format(**arguments)), arguments, result

    def _spaced(self, course: Course, question: str) -> str:
        before = self.rng.choice(course.wordings["noise_before"]) if self.rng.random() < 0.1 else ""
        return before + question

    def _calculate(self, course: Course) -> tuple[dict[str, Any], str]:
        if self.rng.random() < 0.12:
            a, op, b = self.rng.choice(KNOWN_SUMS)
        else:
            op = self.rng.choice("++--*")
            a, b = self._number(3), self._number(2 if op == "*" else 3)
        return {"a": a, "op": op, "b": b}, str({"+": a + b, "-": a - b, "*": a * b}[op])

    def _number(self, most_digits: int) -> int:
        digits = min(self.rng.choice([1, 2, 2, 2, 3, 3]), most_digits)
        return self.rng.randrange(10 ** (digits - 1), 10**digits)

    def _get_weather(self, course: Course) -> tuple[dict[str, Any], str]:
        return {"city": self.rng.choice(course.lists["country"])}, self.rng.choice(
            tool_book()["results"]["get_weather"]
        )

    def _get_time(self, course: Course) -> tuple[dict[str, Any], str]:
        return {}, f"{self.rng.randrange(24):02d}:{self.rng.randrange(60):02d}"


def _user(text: str) -> harmony.Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> harmony.Message:
    return {"role": "assistant", "content": text}


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def texts() -> Iterator[str]:
    """Yield all text of the course once or a few times, to learn a tokenizer from."""
    teacher = Teacher(1)
    for conversation in teacher.epoch():
        yield conversation.messages[-1]["content"]
        yield from (text for text, _ in conversation.written)


def dated(conversation: Conversation, today: str) -> tuple[str, str]:
    """Render the prompt and split it into the part many conversations share (rules, tools) and the chat itself."""
    prompt = harmony.render(conversation.messages, conversation.schemas, conversation.effort, today)
    cut = prompt.index(f"{harmony.START}user")
    return prompt[:cut], prompt[cut:]


def with_schemas(conversation: Conversation, schemas: list[harmony.Schema]) -> Conversation:
    """Return the conversation with other schemas of the same tools."""
    return replace(conversation, schemas=schemas)
