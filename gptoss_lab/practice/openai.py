"""The OpenAI-compatible paths under /v1, as far as Ollama serves them: models, chat completions, responses.

Bodies are turned into Ollama's own form first, so one road leads to the model. Stateless: no `previous_response_id`.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from gptoss_lab.practice import generation
from gptoss_lab.practice.asks import chat_ask, find
from gptoss_lab.practice.engine import EngineError
from gptoss_lab.practice.generation import Ask, Delta, Done
from gptoss_lab.practice.handlers import Handler, JsonHandler, explain
from gptoss_lab.practice.requests import BadRequest
from gptoss_lab.practice.wire import dump, joined

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "max_output_tokens": "num_predict",
}
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_EFFORTS = {"none": False, "minimal": "low", "xhigh": "max"}


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    return {"error": {"message": message, "type": _ERROR_TYPES.get(status, "api_error"), "param": None, "code": None}}


class OpenAIHandler(JsonHandler):
    """A path whose errors have OpenAI's form."""

    def send_error_words(self, status: int, message: str) -> None:
        self.send_json(error_body(status, message), status)


class Models(Handler):
    def get(self) -> None:
        self.send_json({
            "object": "list",
            "data": [_model(model.name, model.modified_at) for model in self.server.shelf],
        })


class OneModel(Handler):
    def get(self, name: str) -> None:
        try:
            model = find(name, self.server.shelf)
        except Exception as error:
            status, message = explain(error)
            self.send_json(error_body(status, message), status)
            return
        self.send_json(_model(model.name, model.modified_at))


def _model(name: str, modified_at: str) -> dict[str, Any]:
    from datetime import datetime

    created = int(datetime.fromisoformat(modified_at.replace("Z", "+00:00")).timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "library"}


class ChatCompletions(OpenAIHandler):
    kind = "ChatCompletionRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        if not body.get("messages"):
            raise BadRequest("[] is too short - 'messages'")
        ask = chat_ask(
            ollama_body(body, body["messages"], body.get("reasoning_effort")), self.server.shelf, self.server.defaults
        )
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        await self.send_events(ask, CompletionsWire(body["model"], usage), bool(body.get("stream")))


class CompletionsWire:
    """Chat completions: server-sent events of `chat.completion.chunk`, or one `chat.completion`."""

    content_type = "text/event-stream"

    def __init__(self, model: str, usage: bool) -> None:
        self._model, self._usage, self._first = model, usage, True
        self._id, self._created = f"chatcmpl-{secrets.randbelow(1000)}", int(time.time())

    def delta(self, delta: Delta) -> bytes:
        content: dict[str, Any] = {"content": delta.content}
        if delta.thinking:
            content["reasoning"] = delta.thinking
        return self._event(content, None, delta.logprobs)

    def done(self, done: Done) -> bytes:
        calls = self._event({"content": "", "tool_calls": openai_calls(done)}, None) if done.tool_calls else b""
        end = self._event({}, "tool_calls" if done.tool_calls else done.reason)
        usage = (
            _sse({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(done)}) if self._usage else b""
        )
        return calls + end + usage + b"data: [DONE]\n\n"

    def error(self, message: str) -> bytes:
        return _sse(error_body(500, message))

    def whole(self, deltas: list[Delta], done: Done) -> dict[str, Any]:
        thinking, content = joined(deltas)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thinking:
            message["reasoning"] = thinking
        if done.tool_calls:
            message["tool_calls"] = openai_calls(done)
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if done.tool_calls else done.reason,
        }
        if logprobs := [token for delta in deltas for token in delta.logprobs or []]:
            choice["logprobs"] = {"content": logprobs}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(done)}

    def _event(self, delta: dict[str, Any], reason: str | None, logprobs: list[dict[str, Any]] | None = None) -> bytes:
        role = {"role": "assistant"} if self._first and delta else {}
        self._first = False
        choice: dict[str, Any] = {"index": 0, "delta": {**role, **delta}, "finish_reason": reason}
        if logprobs:
            choice["logprobs"] = {"content": logprobs}
        return _sse({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": "fp_ollama",
        }


class Responses(OpenAIHandler):
    kind = "ResponsesRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        if body.get("previous_response_id"):
            raise BadRequest("previous_response_id is not supported: send the whole conversation as input")
        effort = (body.get("reasoning") or {}).get("effort")
        ask = chat_ask(ollama_body(body, response_messages(body), effort), self.server.shelf, self.server.defaults)
        response = _Response(body)
        if body.get("stream"):
            await self.send_stream("text/event-stream", response.stream(self.server.scheduler, ask), response.failed)
        else:
            self.send_json(await response.whole(self.server.scheduler, ask))


class _Response:
    """One response: reasoning item, message item, function calls, and the events that build them up."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body, self._number = body, secrets.randbelow(100_000)
        self._created, self._sequence = int(time.time()), -1
        self._deltas: list[Delta] = []

    async def whole(self, scheduler: Any, ask: Ask) -> dict[str, Any]:
        """Return the finished response."""
        async for _ in self.stream(scheduler, ask):
            pass
        return self._final

    async def stream(self, scheduler: Any, ask: Ask) -> AsyncIterator[bytes]:
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


def ollama_body(body: dict[str, Any], messages: list[dict[str, Any]], effort: Any) -> dict[str, Any]:
    """Return the /api/chat body that asks the same."""
    options = {ours: body[name] for name, ours in _OPTIONS.items() if body.get(name) is not None}
    return {
        "model": body.get("model"),
        "messages": [_ollama_message(message) for message in messages],
        "tools": [_ollama_tool(tool) for tool in body.get("tools") or []],
        "options": options,
        "format": _format(body),
        "logprobs": bool(body.get("logprobs")),
        "top_logprobs": body.get("top_logprobs") or 0,
        **({"think": _EFFORTS.get(effort, effort)} if effort else {}),
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
        return {"role": "tool", "content": _text(item.get("output")), "tool_call_id": item.get("call_id")}
    if kind == "message":
        return {"role": item.get("role", "user"), "content": item.get("content")}
    return None  # reasoning items of earlier answers are not shown to the model again


def _ollama_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRequest("invalid message format")
    shaped = {"role": message.get("role", ""), "content": _text(message.get("content"))}
    if shaped["role"] == "developer":
        shaped["role"] = "system"
    for theirs, ours in (
        ("reasoning", "thinking"),
        ("tool_calls", "tool_calls"),
        ("tool_call_id", "tool_call_id"),
        ("name", "tool_name"),
    ):
        if message.get(theirs):
            shaped[ours] = message[theirs]
    return shaped


def _text(content: Any) -> str:
    """Return the text of a content that is a string or a list of text parts; raises EngineError for an image."""
    if isinstance(content, str) or content is None:
        return content or ""
    if any("image" in part.get("type", "") for part in content):
        words = "Multimodal data provided, but model does not support multimodal requests."
        raise EngineError({"code": 400, "message": words, "type": "invalid_request_error"})
    return "".join(part.get("text", "") for part in content)


def _ollama_tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool or tool.get("type") != "function":
        return tool
    return {
        "type": "function",
        "function": {name: tool[name] for name in ("name", "description", "parameters") if name in tool},
    }


def _format(body: dict[str, Any]) -> Any:
    wanted = body.get("response_format") or (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_object":
        return "json"
    if wanted.get("type") == "json_schema":
        return wanted.get("schema") or (wanted.get("json_schema") or {}).get("schema")
    return None


def openai_calls(done: Done) -> list[dict[str, Any]]:
    """Return tool calls in OpenAI's form: arguments as JSON text."""
    return [
        {
            "id": call["id"],
            "index": call["function"]["index"],
            "type": "function",
            "function": {"name": call["function"]["name"], "arguments": _arguments(call)},
        }
        for call in done.tool_calls
    ]


def _arguments(call: dict[str, Any]) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False, separators=(",", ":"))


def _function_call(call: dict[str, Any]) -> dict[str, Any]:
    name, identity = call["function"]["name"], call["id"]
    head = {"id": f"fc_{identity}", "type": "function_call", "status": "completed", "call_id": identity}
    return {**head, "name": name, "arguments": _arguments(call)}


def _part(content: str) -> dict[str, Any]:
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}


def _usage(done: Done) -> dict[str, int]:
    total = done.prompt_tokens + done.tokens
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.tokens, "total_tokens": total}


def _response_usage(done: Done) -> dict[str, Any]:
    return {
        "input_tokens": done.prompt_tokens,
        "output_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _sse(content: dict[str, Any]) -> bytes:
    return b"data: " + dump(content) + b"\n\n"


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/v1/models", Models),
    (r"/v1/models/(.+)", OneModel),
    (r"/v1/chat/completions", ChatCompletions),
    (r"/v1/responses", Responses),
]
