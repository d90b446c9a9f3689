"""From a decoded body to an `Ask`: the model's settings, the messages in the engine's form, what the model can do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gptoss_lab.practice.engine import EngineError, EngineSettings
from gptoss_lab.practice.generation import Ask
from gptoss_lab.practice.models import Model, ModelError, Shelf
from gptoss_lab.practice.requests import BadRequest, Thinking, check_options, read_format, read_keep_alive, read_think


@dataclass(frozen=True)
class Defaults:
    """What holds when a request says nothing."""

    num_ctx: int
    parallel: int
    threads: int
    keep_alive_s: float


def chat_ask(body: Mapping[str, Any], shelf: Shelf, defaults: Defaults) -> Ask:
    """Return the Ask of an /api/chat body; raises BadRequest and ModelError as a real server does."""
    model = find(body.get("model"), shelf)
    ask = _ask(body, model, defaults)
    if body.get("tools") and "tools" not in model.capabilities:
        raise ModelError(400, f"{registry_name(model)} does not support tools")
    own = [*model.messages, *(body.get("messages") or [])]
    if model.system and not any(message.get("role") == "system" for message in own):
        own.insert(0, {"role": "system", "content": model.system})
    return replace(ask, messages=engine_messages(own), tools=body.get("tools") or [])


def generate_ask(body: Mapping[str, Any], shelf: Shelf, defaults: Defaults) -> Ask:
    """Return the Ask of an /api/generate body; raises BadRequest and ModelError as a real server does."""
    model = find(body.get("model"), shelf)
    if body.get("suffix"):
        raise ModelError(400, f"{registry_name(model)} does not support insert")
    if body.get("context"):
        raise BadRequest("this server does not continue from `context`: send the messages to /api/chat")
    if body.get("raw"):
        return replace(_ask({**body, "think": None}, model, defaults), prompt=body.get("prompt") or "")
    user = {"role": "user", "content": body.get("prompt") or "", "images": body.get("images")}
    system = {"role": "system", "content": body.get("system") or model.system}
    messages = engine_messages([*([system] if system["content"] else []), *model.messages, user])
    return replace(_ask(body, model, defaults), messages=messages, with_context=True)


def find(name: Any, shelf: Shelf) -> Model:
    """Return the model of a request; raises BadRequest without a name, ModelError for a missing or cloud model."""
    if not name:
        raise BadRequest("model is required")
    if name.endswith(("-cloud", ":cloud")):
        raise ModelError(403, "ollama cloud is disabled: remote model is unavailable")
    return shelf.get(name)


def registry_name(model: Model) -> str:
    """Return the full name that some of Ollama's errors use."""
    return f"registry.ollama.ai/library/{model.name}"


def engine_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Ollama's messages as llama.cpp takes them: call ids, arguments as text, thinking by its other name."""
    ids: list[str] = []
    return [_engine_message(message, ids) for message in messages]


def _engine_message(message: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    if message.get("images"):
        words = "Multimodal data provided, but model does not support multimodal requests."
        raise EngineError({"code": 400, "message": words, "type": "invalid_request_error"})
    shaped = {"role": message.get("role", ""), "content": message.get("content") or ""}
    if message.get("thinking"):
        shaped["reasoning_content"] = message["thinking"]
    if message.get("tool_calls"):
        shaped["tool_calls"] = [_engine_call(call, ids) for call in message["tool_calls"]]
    if shaped["role"] == "tool":
        shaped["name"] = message.get("tool_name") or ""
        shaped["tool_call_id"] = message.get("tool_call_id") or (ids.pop(0) if ids else "call_0")
    return shaped


def _engine_call(call: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or {}
    identity = call.get("id") or f"call_{len(ids)}"
    ids.append(identity)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": identity, "type": "function", "function": {"name": function.get("name", ""), "arguments": text}}


def _ask(body: Mapping[str, Any], model: Model, defaults: Defaults) -> Ask:
    thinking = read_think(body.get("think"))
    _check_thinking(thinking, model)
    options = check_options(body.get("options") or {})
    merged = {**model.parameters, **options}
    settings = EngineSettings(
        merged.get("num_ctx", defaults.num_ctx), defaults.parallel, merged.get("num_thread") or defaults.threads
    )
    return Ask(
        model=model,
        messages=[],
        settings=settings,
        options=options,
        keep_alive_s=read_keep_alive(body.get("keep_alive"), defaults.keep_alive_s),
        thinking=thinking,
        response_format=read_format(body.get("format")),
        truncate=body.get("truncate") is not False,
        shift=body.get("shift") is not False,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )


def _check_thinking(thinking: Thinking, model: Model) -> None:
    if thinking.asked and "thinking" not in model.capabilities:
        raise ModelError(400, f'"{model.name.removesuffix(":latest")}" does not support thinking')
