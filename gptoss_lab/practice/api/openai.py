"""The OpenAI-compatible paths under /v1, as far as Ollama serves them: models, chat completions, responses.

Bodies are turned into Ollama's own form first, so one road leads to the model. Stateless: no `previous_response_id`.
"""

import json
import secrets
import time
from typing import Any

from gptoss_lab.practice.api.base import Handler, JsonHandler, explain
from gptoss_lab.practice.asks import chat_ask, find
from gptoss_lab.practice.engine import EngineError
from gptoss_lab.practice.generation import Delta, Done
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
        self.send_json(
            {
                "object": "list",
                "data": [_model(model.name, model.modified_at) for model in self.room.shelf],
            }
        )


class OneModel(Handler):
    def get(self, name: str) -> None:
        try:
            model = find(name, self.room.shelf)
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
            ollama_body(body, body["messages"], body.get("reasoning_effort")), self.room.shelf, self.room.defaults
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


def _ollama_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRequest("invalid message format")
    shaped = {"role": message.get("role", ""), "content": message_text(message.get("content"))}
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


def message_text(content: Any) -> str:
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
            "function": {"name": call["function"]["name"], "arguments": call_arguments(call)},
        }
        for call in done.tool_calls
    ]


def call_arguments(call: dict[str, Any]) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False, separators=(",", ":"))


def _usage(done: Done) -> dict[str, int]:
    total = done.prompt_tokens + done.tokens
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.tokens, "total_tokens": total}


def _sse(content: dict[str, Any]) -> bytes:
    return b"data: " + dump(content) + b"\n\n"


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/v1/models", Models),
    (r"/v1/models/(.+)", OneModel),
    (r"/v1/chat/completions", ChatCompletions),
]
