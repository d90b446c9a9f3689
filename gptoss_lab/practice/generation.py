"""From a checked request to events: the prompt is sent to the engine, its chunks come back as deltas and one end.

Everything Ollama does around a model happens here: defaults, effort, tools, structured output, cutting what does not
fit the context, counters. It knows nothing about HTTP or about how an event is written on the wire.
"""

import json
import secrets
import string
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from gptoss_lab.practice.engine import Chunk, Engine, EngineError, EngineSettings
from gptoss_lab.practice.models import Model, ModelError
from gptoss_lab.practice.requests import Thinking
from gptoss_lab.practice.scheduler import Scheduler

# Ollama's defaults (api/types.go of 0.33); the model's own parameters and the request's options come on top.
DEFAULT_OPTIONS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
_SAMPLING = {
    **{name: name for name in (*DEFAULT_OPTIONS, "typical_p", "presence_penalty", "frequency_penalty", "seed", "stop")},
    "repeat_last_n": "repeat_last_n",
    "num_keep": "n_keep",
}
_NO_LIMIT = 10  # windows a model may write when nobody set a limit: a small model can loop for ever
_EXCEEDED = "exceed_context_size_error"


@dataclass(frozen=True)
class Ask:
    """One checked request for text."""

    model: Model
    messages: list[dict[str, Any]]
    settings: EngineSettings
    options: dict[str, Any]
    keep_alive_s: float
    thinking: Thinking
    tools: list[dict[str, Any]] = field(default_factory=list)
    response_format: dict[str, Any] | None = None
    prompt: str | None = None  # raw text, sent without template and parser
    truncate: bool = True
    shift: bool = True
    top_logprobs: int | None = None  # None: no log-probabilities
    with_context: bool = False  # token ids of the whole exchange, for /api/generate


@dataclass(frozen=True)
class Delta:
    """A piece of the answer."""

    thinking: str = ""
    content: str = ""
    logprobs: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Done:
    """The end of an answer, with Ollama's counters (times in seconds)."""

    reason: str
    tool_calls: list[dict[str, Any]]
    prompt_tokens: int
    prompt_s: float
    tokens: int
    decode_s: float
    load_s: float
    total_s: float
    context: list[int] | None = None


Event = Delta | Done


async def generate(scheduler: Scheduler, ask: Ask) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one answer in small batches; the last event is Done.

    Raises EngineError and ModelError, before the first batch or between two.
    """
    started_s = time.monotonic()
    async with scheduler.slot(ask.model, ask.settings, ask.keep_alive_s) as (engine, load_s):
        answer = _Answer(ask, engine.num_ctx)
        async with aclosing(_chunks(engine, ask)) as chunks:
            async for batch in chunks:
                if events := answer.read(batch):
                    yield events
                if answer.window_is_full:
                    break
        context = await _context(engine, ask, answer) if ask.with_context else None
        yield [answer.done(load_s, time.monotonic() - started_s, context)]


async def render(scheduler: Scheduler, ask: Ask) -> str:
    """Return the prompt the model would see, without generating anything."""
    async with scheduler.slot(ask.model, ask.settings, ask.keep_alive_s) as (engine, _):
        return await engine.render(_chat_body(ask, ask.messages))


async def load(scheduler: Scheduler, ask: Ask) -> None:
    """Bring the model into memory and keep it there for `keep_alive_s`."""
    async with scheduler.slot(ask.model, ask.settings, ask.keep_alive_s):
        pass


async def _chunks(engine: Engine, ask: Ask) -> AsyncGenerator[list[Chunk], None]:
    """Yield the engine's chunks of the answer.

    A prompt that does not fit is cut as Ollama cuts it, unless `truncate` is false. An answer that breaks its own
    format ends there; if it breaks in its first words, its raw text is sent, as Ollama's harmony parser would.
    """
    messages, raw, sent = ask.messages, ask.prompt, False
    while True:
        body = {**_limits(ask), **({"prompt": raw} if raw is not None else _chat_body(ask, messages))}
        try:
            async with aclosing(engine.complete(body) if raw is not None else engine.chat(body)) as stream:
                async for batch in stream:
                    _raise_error(batch)
                    sent = sent or any(_has_text(chunk) for chunk in batch)
                    yield batch
            return
        except _BrokenFormat:
            if sent or raw is not None:
                return
            raw = await engine.render(_chat_body(ask, messages))
        except EngineError as error:
            if error.error.get("type") != _EXCEEDED or not ask.truncate or raw is not None:
                raise
            messages = _cut(messages, error.error)


class _BrokenFormat(EngineError):
    """What the model wrote does not fit the format its template promises."""


def _raise_error(batch: list[Chunk]) -> None:
    for chunk in batch:
        if error := chunk.get("error"):
            raise (_BrokenFormat if "does not match the expected" in error.get("message", "") else EngineError)(error)


def _has_text(chunk: Chunk) -> bool:
    deltas = (choice.get("delta", {}) for choice in chunk.get("choices", []))
    return any(delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls") for delta in deltas)


def _cut(messages: list[dict[str, Any]], exceeded: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages without the oldest that is no system message; a single long one keeps its tail."""
    oldest = next((i for i, m in enumerate(messages[:-1]) if m["role"] not in ("system", "developer")), None)
    if oldest is not None:
        return messages[:oldest] + messages[oldest + 1 :]
    last = messages[-1]
    keep = exceeded["n_ctx"] / 2 / exceeded["n_prompt_tokens"]  # Ollama leaves half of the window
    kept = int(len(last["content"]) * keep)
    if not kept:
        raise EngineError(exceeded)
    return [*messages[:-1], {**last, "content": last["content"][-kept:]}]


def _limits(ask: Ask) -> dict[str, Any]:
    options = {**DEFAULT_OPTIONS, **ask.model.parameters, **ask.options}
    body = {ours: options[name] for name, ours in _SAMPLING.items() if name in options}
    limit = options.get("num_predict", -1)
    body["max_tokens"] = limit if limit >= 0 else _NO_LIMIT * ask.settings.num_ctx
    if ask.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": ask.top_logprobs}
    body["return_progress"] = True  # a chunk per batch of the prompt, so that a client who leaves is noticed
    body["timings_per_token"] = True  # counters also for an answer that is stopped or breaks off
    return body


def _chat_body(ask: Ask, messages: list[dict[str, Any]]) -> dict[str, Any]:
    switches = {"reasoning_effort": ask.thinking.effort, "enable_thinking": ask.thinking.on}
    body: dict[str, Any] = {"messages": messages, "chat_template_kwargs": switches}
    if ask.tools:
        body["tools"] = ask.tools
    if ask.response_format:
        body["response_format"] = ask.response_format
    return body


async def _context(engine: Engine, ask: Ask, answer: "_Answer") -> list[int]:
    prompt = await engine.render(_chat_body(ask, ask.messages))
    return await engine.tokenize(prompt + answer.text)


class _Answer:
    """What has come so far, and how far the window is filled."""

    def __init__(self, ask: Ask, num_ctx: int) -> None:
        self._ask, self._num_ctx = ask, num_ctx
        self._calls: dict[int, dict[str, str]] = {}
        self._timings: dict[str, Any] = {}
        self._reason = "stop"
        self.text = ""
        self.window_is_full = False

    def read(self, batch: list[Chunk]) -> list[Event]:
        """Return the deltas in these chunks and remember the rest."""
        events: list[Event] = []
        for chunk in batch:
            self._timings = chunk.get("timings", self._timings)
            for choice in chunk.get("choices", [])[:1]:
                self._reason = choice.get("finish_reason") or self._reason
                if delta := self._delta(choice):
                    events.append(delta)
                    self.text += delta.content
        if not self._ask.shift and self._tokens() >= self._num_ctx:
            self.window_is_full, self._reason = True, "length"
        return events

    def done(self, load_s: float, total_s: float, context: list[int] | None) -> Done:
        """Return the end of the answer; raises ModelError when a tool call is not JSON."""
        timings = self._timings
        return Done(
            reason="length" if self._reason == "length" else "stop",
            tool_calls=[_tool_call(index, call) for index, call in sorted(self._calls.items())],
            prompt_tokens=timings.get("prompt_n", 0) + timings.get("cache_n", 0),
            prompt_s=timings.get("prompt_ms", 0.0) / 1000,
            tokens=timings.get("predicted_n", 0),
            decode_s=timings.get("predicted_ms", 0.0) / 1000,
            load_s=load_s,
            total_s=total_s,
            context=context,
        )

    def _tokens(self) -> int:
        return sum(int(self._timings.get(name, 0)) for name in ("prompt_n", "cache_n", "predicted_n"))

    def _delta(self, choice: dict[str, Any]) -> Delta | None:
        delta = choice.get("delta", {"content": choice.get("text")})
        for call in delta.get("tool_calls", []):
            self._collect(call)
        thinking, content = delta.get("reasoning_content") or "", delta.get("content") or ""
        logprobs = _logprobs(choice) if self._ask.top_logprobs is not None else None
        return Delta(thinking, content, logprobs) if thinking or content or logprobs else None

    def _collect(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(part["index"], {"name": "", "arguments": ""})
        for key, value in part.get("function", {}).items():
            call[key] += value


def _tool_call(index: int, call: dict[str, str]) -> dict[str, Any]:
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except json.JSONDecodeError as error:
        what = f"error parsing tool call: raw='{call['arguments']}', err=unexpected end of JSON input"
        raise ModelError(500, what) from error
    identity = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    return {"id": f"call_{identity}", "function": {"index": index, "name": call["name"], "arguments": arguments}}


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]] | None:
    content = (choice.get("logprobs") or {}).get("content")
    return (
        [
            {**_logprob(token), "top_logprobs": [_logprob(top) for top in token.get("top_logprobs", [])]}
            for token in content
        ]
        if content
        else None
    )


def _logprob(token: dict[str, Any]) -> dict[str, Any]:
    return {name: token[name] for name in ("token", "logprob", "bytes")}
