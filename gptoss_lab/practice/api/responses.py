"""OpenAI's Responses path, as far as Ollama serves it: one answer as items, whole or as events that build it up.

Stateless: no `previous_response_id`.
"""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from gptoss_lab.practice import generation
from gptoss_lab.practice.api.base import Handler
from gptoss_lab.practice.api.openai import OpenAIHandler, call_arguments, message_text, ollama_body
from gptoss_lab.practice.asks import chat_ask
from gptoss_lab.practice.generation import Ask, Delta, Done
from gptoss_lab.practice.requests import BadRequest
from gptoss_lab.practice.scheduler import Scheduler
from gptoss_lab.practice.wire import dump, joined


class Responses(OpenAIHandler):
    kind = "ResponsesRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        if body.get("previous_response_id"):
            raise BadRequest("previous_response_id is not supported: send the whole conversation as input")
        effort = (body.get("reasoning") or {}).get("effort")
        ask = chat_ask(ollama_body(body, response_messages(body), effort), self.room.shelf, self.room.defaults)
        response = _Response(body)
        if body.get("stream"):
            await self.send_stream("text/event-stream", response.stream(self.room.scheduler, ask), response.failed)
        else:
            self.send_json(await response.whole(self.room.scheduler, ask))


class _Response:
    """One response: reasoning item, message item, function calls, and the events that build them up."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body, self._number = body, secrets.randbelow(100_000)
        self._created, self._sequence = int(time.time()), -1
        self._deltas: list[Delta] = []

    async def whole(self, scheduler: Scheduler, ask: Ask) -> dict[str, Any]:
        """Return the finished response."""
        async for _ in self.stream(scheduler, ask):
            pass
        return self._final

    async def stream(self, scheduler: Scheduler, ask: Ask) -> AsyncIterator[bytes]:
        """Yield the server-sent events of the response as it grows."""
        started = False
        async with aclosing(generation.generate(scheduler, ask)) as events:
            async for batch in events:
                if not started:
                    started = True
                    shell = self._shell("in_progress", [], None)
                    yield self._event("response.created", response=shell)
                    yield self._event("response.in_progress", response=shell)
                yield b"".join(self._read(event) for event in batch)

    def failed(self, message: str) -> bytes:
        """Return the event that ends a response which broke."""
        shell = {**self._shell("failed", [], None), "error": {"code": "server_error", "message": message}}
        return self._event("response.failed", response=shell)

    def _read(self, event: Delta | Done) -> bytes:
        if isinstance(event, Done):
            return self._end(event)
        first_text = event.content and not any(delta.content for delta in self._deltas)
        first_thought = event.thinking and not any(delta.thinking for delta in self._deltas)
        self._deltas.append(event)
        out = b""
        if first_thought:
            out += self._event("response.output_item.added", output_index=0, item=self._reasoning("", []))
        if event.thinking:
            where = {"item_id": self._reasoning_id, "output_index": 0, "summary_index": 0}
            out += self._event("response.reasoning_summary_text.delta", **where, delta=event.thinking)
        if first_text:
            out += self._event(
                "response.output_item.added", output_index=self._text_index, item=self._message("in_progress", None)
            )
            out += self._event("response.content_part.added", **self._where, part=_part(""))
        if event.content:
            out += self._event("response.output_text.delta", **self._where, delta=event.content, logprobs=[])
        return out

    def _end(self, done: Done) -> bytes:
        thinking, content = joined(self._deltas)
        out, items = b"", []
        if thinking:
            items.append(self._reasoning(thinking, [{"type": "summary_text", "text": thinking}]))
            where = {"item_id": self._reasoning_id, "output_index": 0}
            out += self._event("response.reasoning_summary_text.done", **where, summary_index=0, text=thinking)
        if content or not done.tool_calls:
            items.append(self._message("completed", content))
        if content:
            out += self._event("response.output_text.done", **self._where, text=content, logprobs=[])
            out += self._event("response.content_part.done", **self._where, part=_part(content))
        first_call = len(items)
        items += [_function_call(call) for call in done.tool_calls]
        for index, item in enumerate(items):
            if index >= first_call:
                out += self._event("response.output_item.added", output_index=index, item=item)
            out += self._event("response.output_item.done", output_index=index, item=item)
        self._final = self._shell("incomplete" if done.reason == "length" else "completed", items, done)
        return out + self._event(f"response.{self._final['status']}", response=self._final)

    @property
    def _reasoning_id(self) -> str:
        return f"rs_resp_{self._number}"

    @property
    def _text_index(self) -> int:
        return int(any(delta.thinking for delta in self._deltas))

    @property
    def _where(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._number}", "output_index": self._text_index, "content_index": 0}

    def _reasoning(self, thinking: str, summary: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._reasoning_id, "type": "reasoning", "summary": summary, "encrypted_content": thinking}

    def _message(self, status: str, content: str | None) -> dict[str, Any]:
        parts = [] if content is None else [_part(content)]
        return {"id": f"msg_{self._number}", "type": "message", "status": status, "role": "assistant", "content": parts}

    def _event(self, kind: str, **content: Any) -> bytes:
        self._sequence += 1
        body = dump({"type": kind, "sequence_number": self._sequence, **content})
        return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"

    def _shell(self, status: str, output: list[dict[str, Any]], done: Done | None) -> dict[str, Any]:
        body, ended = self._body, status in ("completed", "incomplete")
        return {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if ended else None,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": body["model"],
            "previous_response_id": None,
            "instructions": body.get("instructions"),
            "output": output,
            "error": None,
            "tools": body.get("tools") or [],
            "tool_choice": body.get("tool_choice", "auto"),
            "truncation": body.get("truncation", "disabled"),
            "parallel_tool_calls": True,
            "text": body.get("text") or {"format": {"type": "text"}},
            "top_p": body.get("top_p", 1),
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "temperature": body.get("temperature", 1),
            "reasoning": body.get("reasoning"),
            "usage": _response_usage(done) if done else None,
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None,
            "store": False,
            "background": False,
            "service_tier": "default",
            "metadata": body.get("metadata") or {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }


def response_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chat messages of a Responses `instructions` and `input` (text, or a list of items)."""
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    head = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    return head + [message for item in items if (message := _from_item(item))]


def _from_item(item: dict[str, Any]) -> dict[str, Any] | None:
    kind = item.get("type", "message")
    if kind == "function_call":
        call = {"id": item.get("call_id"), "function": {"name": item.get("name"), "arguments": item.get("arguments")}}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        return {"role": "tool", "content": message_text(item.get("output")), "tool_call_id": item.get("call_id")}
    if kind == "message":
        return {"role": item.get("role", "user"), "content": item.get("content")}
    return None  # reasoning items of earlier answers are not shown to the model again


def _function_call(call: dict[str, Any]) -> dict[str, Any]:
    name, identity = call["function"]["name"], call["id"]
    head = {"id": f"fc_{identity}", "type": "function_call", "status": "completed", "call_id": identity}
    return {**head, "name": name, "arguments": call_arguments(call)}


def _part(content: str) -> dict[str, Any]:
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}


def _response_usage(done: Done) -> dict[str, Any]:
    return {
        "input_tokens": done.prompt_tokens,
        "output_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


ROUTES: list[tuple[str, type[Handler]]] = [(r"/v1/responses", Responses)]
