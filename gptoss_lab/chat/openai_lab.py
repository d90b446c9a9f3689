"""Any OpenAI-compatible server as a place to chat: vLLM, LM Studio, a room's server, OpenAI itself.

A stream of its chunks is read as the lines that Ollama sends, so the conversation is the same.
Needs the extra `openai`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gptoss_lab.connect import Connection
from gptoss_lab.errors import LabError
from gptoss_lab.stream import Lines
from gptoss_lab.text import text

_THINKING = ("reasoning", "reasoning_content", "thinking")  # the name differs from server to server
_NO_KEY = "none"  # many servers want some key and look at none


@dataclass(frozen=True)
class OpenAIConnection(Connection):
    """A connection whose server speaks OpenAI's API."""

    openai: Any = None

    def lines(self, body: Mapping[str, Any]) -> "OpenAILines":
        """Open a stream for a request in Ollama's form."""
        return OpenAILines(self.openai, request(body))


def openai_lab(base_url: str, model: str | None = None, api_key: str = _NO_KEY) -> OpenAIConnection:
    """Return a connection to an OpenAI-compatible server, for `Chat(lab=…)`.

    `model` None takes the first the server lists. Raises LabError when the package `openai` is missing, nothing answers
    or there is no model.
    """
    try:
        import openai
    except ImportError as error:
        raise LabError(text("chat.no_openai"), text("chat.no_openai_next")) from error
    from gptoss_lab.setup.trouble import as_error

    client = openai.OpenAI(base_url=base_url, api_key=api_key, timeout=None, max_retries=0)
    try:
        names = [one.id for one in client.models.list()]
    except Exception as error:
        raise as_error(error, base_url, model or "") from error
    if not (model or names):
        raise LabError(text("connect.no_model", host=base_url), text("connect.no_model_next"))
    listed = SimpleNamespace(models=[SimpleNamespace(model=name) for name in names])
    known = SimpleNamespace(capabilities=["thinking", "tools"])
    shim: Any = SimpleNamespace(
        list=lambda: listed, show=lambda _: known
    )  # what a Chat asks an Ollama besides chatting
    label = text("chat.openai_label", host=base_url)
    return OpenAIConnection(shim, shim, model or names[0], base_url, "openai", "", label, openai=client)


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request in Ollama's form as one for /v1/chat/completions."""
    options = dict(body.get("options") or {})
    sent: dict[str, Any] = {
        "model": body["model"], "messages": list(_messages(body["messages"])), "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    sent |= {name: options[name] for name in ("temperature", "top_p", "seed", "stop") if name in options}
    if "num_predict" in options:
        sent["max_tokens"] = options["num_predict"]
    if body.get("think"):
        sent["reasoning_effort"] = body["think"]
    if body.get("tools"):
        sent["tools"] = body["tools"]
    if isinstance(body.get("format"), Mapping):
        sent["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": body["format"]}}
    elif body.get("format") == "json":
        sent["response_format"] = {"type": "json_object"}
    return sent


def _messages(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield messages with the ids that OpenAI wants between a call and its result."""
    number = 0
    open_ids: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            yield {
                "role": "tool",
                "content": message["content"],
                "tool_call_id": open_ids.pop(0) if open_ids else "call_0",
            }
            continue
        kept = {name: message[name] for name in ("role", "content")}
        if calls := message.get("tool_calls"):
            open_ids = [f"call_{number + at}" for at in range(len(calls))]
            number += len(calls)
            kept["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for id, (name, arguments) in zip(open_ids, map(_name_and_arguments, calls), strict=True)
            ]
        yield kept


def _name_and_arguments(call: Mapping[str, Any]) -> tuple[str, Any]:
    return call["function"]["name"], call["function"]["arguments"]


class OpenAILines(Lines):
    """A stream of chunks, told as the lines of Ollama's stream."""

    def __init__(self, client: Any, sent: Mapping[str, Any]) -> None:
        super().__init__()
        self._client, self._sent = client, sent
        self._stream: Any = None
        self._closed = False
        threading.Thread(target=self._read, name="openai stream", daemon=True).start()

    def close(self) -> None:
        """Leave the server."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def _read(self) -> None:
        try:
            self._stream = self._client.chat.completions.create(**self._sent)
            if self._closed:
                self._stream.close()
            for line in told(self._stream):
                self._lines.put(line)
        except Exception as error:
            self._lines.put(error)


def told(chunks: Any) -> Iterator[dict[str, Any]]:
    """Yield Ollama's lines for OpenAI's chunks; a tool call comes whole, at the end."""
    calls: dict[int, dict[str, str]] = {}
    reason, usage = "", None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            thinking = next((words for name in _THINKING if (words := getattr(choice.delta, name, None))), "")
            if thinking or choice.delta.content:
                yield {"message": {"role": "assistant", "thinking": thinking, "content": choice.delta.content or ""}}
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, {"name": "", "arguments": ""})
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
    functions = ({"name": call["name"], "arguments": json.loads(call["arguments"] or "{}")} for call in calls.values())
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": one} for one in functions]}
    counted = {"prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens} if usage else {}
    yield {"message": message, "done": True, "done_reason": "length" if reason == "length" else "stop", **counted}
