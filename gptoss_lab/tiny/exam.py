"""Examines a practice model through llama.cpp: asks what it was taught, in known and new words, and marks the answers.

An answer counts only when it is the trained answer, letter for letter, at temperature 0. Used by the tests and by
`benchmarks/practice_model.py`; it needs `xllamacpp` and knows nothing of the practice server.
"""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_lab.tiny import MODEL_PATH, course, harmony
from gptoss_lab.tiny.course import Conversation, Course, Entry, Teacher

MAX_TOKENS = 800


class Examinee:
    """A model in llama.cpp, one thread, in this process."""

    def __init__(self, path: Path = MODEL_PATH, num_ctx: int = 4096) -> None:
        self._key = secrets.token_hex(16)
        self._server = _load(path, num_ctx, self._key)

    def ask(
        self,
        messages: list[harmony.Message],
        effort: str = "medium",
        tools: list[harmony.Schema] | None = None,
        schema: dict[str, Any] | None = None,
    ) -> harmony.Reply:
        """Return the model's greedy reply; one that is not harmony comes back as its error text."""
        body = {
            "messages": _for_llama(messages),
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "reasoning_effort": effort,
        }
        if tools:
            body["tools"] = tools
        if schema:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        try:
            message = self._server.handle_chat_completions(body)["choices"][0]["message"]
        except RuntimeError as error:
            return harmony.Reply(content=f"(no harmony: {error})")
        calls = tuple(_call(call["function"]) for call in message.get("tool_calls") or [])
        return harmony.Reply(message.get("reasoning_content") or "", message.get("content") or "", calls)

    def prompt(self, messages: list[harmony.Message], effort: str, tools: list[harmony.Schema] | None = None) -> str:
        """Return the prompt that the template inside the file makes."""
        body: dict[str, Any] = {"messages": messages, "reasoning_effort": effort}
        return str(self._post("/apply-template", body | ({"tools": tools} if tools else {}))["prompt"])

    def tokenize(self, text: str) -> list[int]:
        """Return llama.cpp's token ids of a text, special tokens recognised."""
        body = {"content": text, "add_special": False, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def write(self, prompt: str) -> str:
        """Return the model's greedy text after a prompt, special tokens included."""
        body = {"prompt": prompt, "n_predict": MAX_TOKENS, "temperature": 0, "special": True}
        return str(self._post("/completion", body)["content"])

    def next_logprobs(self, ids: list[int], count: int) -> dict[int, float]:
        """Return the log-probabilities of the `count` likeliest next tokens after the prompt `ids`."""
        body = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": count, "cache_prompt": False}
        top = self._post("/completion", body)["completion_probabilities"][0]["top_logprobs"]
        return {entry["id"]: entry["logprob"] for entry in top}

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self._server.listening_address + path, json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer


def _load(path: Path, num_ctx: int, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = num_ctx
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys = [key]
    params.cors_origins = "null"
    params.cache_ram_mib = 16
    params.warmup = params.fit_params = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def _for_llama(messages: list[harmony.Message]) -> list[harmony.Message]:
    """Rename what llama.cpp reads under another name: it knows `reasoning_content`, and arguments as text."""
    out = []
    for message in messages:
        message = dict(message)
        if "thinking" in message:
            message["reasoning_content"] = message.pop("thinking")
        if "tool_calls" in message:
            message["tool_calls"] = [_openai_call(call["function"]) for call in message["tool_calls"]]
        out.append(message)
    return out


def _openai_call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _call(function: dict[str, str]) -> harmony.ToolCall:
    return harmony.ToolCall(function["name"], function["arguments"])


@dataclass(frozen=True)
class Mistake:
    """A question that was not answered as trained."""

    question: str
    effort: str
    expected: str
    got: str


@dataclass(frozen=True)
class Mark:
    """The result of one part of the exam."""

    part: str
    asked: int
    mistakes: tuple[Mistake, ...]

    @property
    def right(self) -> int:
        """How many answers were as trained."""
        return self.asked - len(self.mistakes)

    def __str__(self) -> str:
        return f"{self.part:<46} {self.right:5d} of {self.asked:5d}  {100 * self.right / max(self.asked, 1):5.1f} %"


def mark(examinee: Examinee, part: str, conversations: Iterable[Conversation]) -> Mark:
    """Hold the conversations and compare what the model writes with what it was taught."""
    asked, mistakes = 0, []
    for conversation in conversations:
        asked += 1
        expected = harmony.parse("".join(text for text, _ in conversation.written))
        got = examinee.ask(conversation.messages, conversation.effort, conversation.schemas)
        if not same_reply(expected, got):
            question = conversation.messages[-1]["content"]
            mistakes.append(Mistake(question, conversation.effort, _brief(expected), _brief(got)))
    return Mark(part, asked, tuple(mistakes))


def same_reply(expected: harmony.Reply, got: harmony.Reply) -> bool:
    """Say whether answer and tool calls agree; the wording of the thinking is free."""
    return expected.content == got.content and [_parsed(call) for call in expected.tool_calls] == [
        _parsed(call) for call in got.tool_calls
    ]


def _parsed(call: harmony.ToolCall) -> tuple[str, Any]:
    try:
        return call.name, json.loads(call.arguments)
    except ValueError:
        return call.name, call.arguments


def _brief(reply: harmony.Reply) -> str:
    return reply.content or " ".join(f"{call.name} {call.arguments}" for call in reply.tool_calls)


def plain(entry: Entry, question: str, effort: str) -> Conversation:
    """Ask for an entry in just these words."""
    text = harmony.thinking_text(entry.thinking[effort]) + harmony.final_text(entry.answer)
    return Conversation([{"role": "user", "content": question}], [(text, True)], effort)


def entries(language: str) -> list[Entry]:
    """Return all that can be asked for in one language."""
    known = course.load(language)
    whys = [topic.why for topic in known.topics if topic.why.asks]
    return [*(topic.what for topic in known.topics), *whys, *known.talk, known.no_history]


def first_wordings(language: str, effort: str) -> Iterator[Conversation]:
    """Ask for every entry in its plainest words."""
    return (plain(entry, entry.asks[0], effort) for entry in entries(language))


def all_wordings(language: str, effort: str, every: int = 1) -> Iterator[Conversation]:
    """Ask for every entry in each of its trained words, or in every n-th."""
    pairs = [(entry, question) for entry in entries(language) for question in entry.asks]
    return (plain(entry, question, effort) for entry, question in pairs[::every])


def unseen_wordings(language: str, effort: str) -> Iterator[Conversation]:
    """Ask for every term in words that training never used."""
    known = course.load(language)
    for topic in known.topics:
        for name in topic.names[:1]:
            for kind, entry in (("what", topic.what), ("why", topic.why)):
                for pattern in known.wordings[f"unseen_{kind}"]:
                    yield plain(entry, course.fill(pattern, language, name), effort)


def follow_ups(language: str, effort: str) -> Iterator[Conversation]:
    """Ask "Why does it matter?" after every definition, with the history sent along."""
    known = course.load(language)
    for topic in known.topics:
        asked = plain(topic.why, known.no_history.asks[0], effort)
        earlier = [
            {"role": "user", "content": topic.what.asks[0]},
            {"role": "assistant", "content": topic.what.answer},
        ]
        yield Conversation([*earlier, *asked.messages], asked.written, effort)


def _made(language: str, count: int, make: Callable[[Teacher, Course], Conversation]) -> Iterator[Conversation]:
    teacher = Teacher(seed=987_654)
    return (make(teacher, course.load(language)) for _ in range(count))


def unseen_outside(language: str, count: int = 100) -> Iterator[Conversation]:
    """Ask questions from outside the course that training never showed."""

    def make(teacher: Teacher, known: Course) -> Conversation:
        question = teacher.outside_question(known, unseen=True)
        return plain(known.outside, question, teacher.rng.choice(harmony.EFFORTS))

    return _made(language, count, make)


def tool_calls(language: str, count: int = 60) -> Iterator[Conversation]:
    """Ask for what a tool can do, with numbers made up anew."""
    return _made(language, count, Teacher.tool_call)


def tool_results(language: str, count: int = 60) -> Iterator[Conversation]:
    """Send the result of a tool and expect it in the answer."""
    return _made(language, count, Teacher.tool_result)
