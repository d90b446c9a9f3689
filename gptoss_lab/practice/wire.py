"""How an answer is written: Ollama's own lines for /api/chat and /api/generate.

A wire turns events into bytes (a stream) or into one JSON object (the whole). `gptoss_lab.practice.api.openai` has the
wires for /v1.
"""

import json
from collections.abc import Iterable
from typing import Any, Protocol

from gptoss_lab.practice.generation import Delta, Done
from gptoss_lab.practice.models import now


class Wire(Protocol):
    """The bytes of one answer."""

    content_type: str

    def delta(self, delta: Delta) -> bytes: ...
    def done(self, done: Done) -> bytes: ...
    def error(self, message: str) -> bytes: ...
    def whole(self, deltas: list[Delta], done: Done) -> dict[str, Any]: ...


def dump(content: Any) -> bytes:
    """Return compact JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class OllamaWire:
    """NDJSON lines with `message` (chat) or `response` (generate)."""

    content_type = "application/x-ndjson"

    def __init__(self, model: str, chat: bool) -> None:
        self._model, self._chat = model, chat

    def delta(self, delta: Delta) -> bytes:
        line = {**self._head(), **self._body(delta.thinking, delta.content), "done": False}
        if delta.logprobs:
            line["logprobs"] = delta.logprobs
        return dump(line) + b"\n"

    def done(self, done: Done) -> bytes:
        return dump({**self._head(), **self._body("", "", done.tool_calls), **counters(done)}) + b"\n"

    def error(self, message: str) -> bytes:
        return dump({"error": message}) + b"\n"

    def whole(self, deltas: list[Delta], done: Done) -> dict[str, Any]:
        body = self._body(*joined(deltas), done.tool_calls)
        logprobs = [token for delta in deltas for token in delta.logprobs or []]
        return {**self._head(), **body, **counters(done), **({"logprobs": logprobs} if logprobs else {})}

    def loaded(self, reason: str) -> dict[str, Any]:
        """Return the answer to a request that only loads or unloads."""
        return {**self._head(), **self._body("", ""), "done": True, "done_reason": reason}

    def rendered(self) -> dict[str, Any]:
        """Return the head of an answer that shows the prompt only."""
        empty = {"message": {"role": "", "content": ""}} if self._chat else {"response": ""}
        return {**self._head(), **empty, "done": False}

    def _head(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": now()}

    def _body(self, thinking: str, content: str, calls: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
        parts: dict[str, Any] = {"thinking": thinking} if thinking else {}
        if calls:
            parts["tool_calls"] = list(calls)
        if self._chat:
            return {"message": {"role": "assistant", "content": content, **parts}}
        return {"response": content, **parts}


def joined(deltas: list[Delta]) -> tuple[str, str]:
    """Return the thinking and the content of a whole answer."""
    return "".join(delta.thinking for delta in deltas), "".join(delta.content for delta in deltas)


def counters(done: Done) -> dict[str, Any]:
    """Return the last line's counters; durations in nanoseconds, as Ollama counts."""
    return {
        "done": True,
        "done_reason": done.reason,
        **({"context": done.context} if done.context else {}),
        "total_duration": _ns(done.total_s),
        "load_duration": _ns(done.load_s),
        "prompt_eval_count": done.prompt_tokens,
        "prompt_eval_duration": _ns(done.prompt_s),
        "eval_count": done.tokens,
        "eval_duration": _ns(done.decode_s),
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
