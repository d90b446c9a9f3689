"""What a client may ask: request bodies decoded and checked as Ollama's Go server does, in its words.

Only shapes and types are checked here; whether a model exists or can think is the handler's business.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

# The JSON types of the fields that the practice server reads, and the Go types a real server names in its errors.
_MESSAGE = {
    "role": "string",
    "content": "string",
    "thinking": "string",
    "images": "[]api.ImageData",
    "tool_calls": "[]api.ToolCall",
    "tool_name": "string",
    "tool_call_id": "string",
}
_COMMON = {"model": "string", "stream": "bool", "options": "map[string]interface {}"}
_ASK = {**_COMMON, "truncate": "bool", "shift": "bool", "logprobs": "bool", "top_logprobs": "int"}
FIELDS: dict[str, dict[str, str]] = {
    "ChatRequest": {**_ASK, "messages": "[]api.Message", "tools": "api.Tools"},
    "GenerateRequest": {
        **_ASK,
        "prompt": "string",
        "suffix": "string",
        "system": "string",
        "raw": "bool",
        "context": "[]int",
        "images": "[]api.ImageData",
    },
    "ChatCompletionRequest": {"model": "string", "stream": "bool", "messages": "[]openai.Message"},
    "ResponsesRequest": {"model": "string", "stream": "bool"},
    "EmbedRequest": {**_COMMON, "truncate": "bool"},
    "EmbeddingRequest": {**_COMMON, "prompt": "string"},
    "ShowRequest": {"model": "string", "name": "string", "verbose": "bool"},
    "CopyRequest": {"source": "string", "destination": "string"},
    "DeleteRequest": {"model": "string", "name": "string"},
    "PullRequest": {"model": "string", "name": "string", "insecure": "bool", "stream": "bool"},
    "CreateRequest": {
        "model": "string",
        "name": "string",
        "from": "string",
        "files": "map[string]string",
        "system": "string",
        "template": "string",
        "parameters": "map[string]interface {}",
        "messages": "[]api.Message",
        "quantize": "string",
        "stream": "bool",
    },
}
_INTEGERS = ("num_ctx", "num_predict", "num_keep", "seed", "top_k", "repeat_last_n", "num_thread", "num_batch")
_FLOATS = ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOREVER_S = 292 * 365.25 * 86400  # what Ollama makes of a negative keep_alive
LEVELS = ("low", "medium", "high")


class BadRequest(Exception):
    """A request body that cannot be served: status and the words a real server uses."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def decode(kind: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request; raises BadRequest in Go's words for what does not fit."""
    if not body.strip():
        raise BadRequest("missing request body")
    try:
        content = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRequest("invalid UTF-8 in request body") from error
    except json.JSONDecodeError as error:
        raise BadRequest(_go_syntax_error(error)) from error
    except RecursionError as error:
        raise BadRequest("exceeded max depth") from error
    if not isinstance(content, dict):
        raise BadRequest(f"json: cannot unmarshal {_json_type(content)} into Go value of type api.{kind}")
    _check_fields(kind, "", content, FIELDS[kind])
    if FIELDS[kind].get("messages") == "[]api.Message":
        for message in content.get("messages") or []:
            _check_message(kind, message)
    return content


def _check_message(kind: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise BadRequest(_mismatch(message, f"{kind}.messages", "api.Message"))
    _check_fields(kind, "messages.", message, _MESSAGE)


def _check_fields(kind: str, prefix: str, content: dict[str, Any], fields: dict[str, str]) -> None:
    for name, go_type in fields.items():
        value = content.get(name)
        if value is not None and _json_type(value) != _expected(go_type):
            raise BadRequest(_mismatch(value, f"{kind}.{prefix}{name}", go_type))


def _mismatch(value: Any, where: str, go_type: str) -> str:
    return f"json: cannot unmarshal {_json_type(value)} into Go struct field {where} of type {go_type}"


def _expected(go_type: str) -> str:
    if go_type.startswith("map["):
        return "object"
    if go_type.startswith("[]") or go_type == "api.Tools":
        return "array"
    return {"int": "number"}.get(go_type, go_type)


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {str: "string", int: "number", float: "number", list: "array", dict: "object"}.get(type(value), "null")


def _go_syntax_error(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    found = error.doc[error.pos]
    wanted = "looking for beginning of value" if error.msg == "Expecting value" else "in JSON"
    return f"invalid character '{found}' {wanted}"


@dataclass(frozen=True)
class Thinking:
    """What `think` asks for: the effort line of the prompt, and whether anything was asked at all."""

    effort: str
    asked: bool
    on: bool


def read_think(value: Any) -> Thinking:
    """Return the effort for a `think` value; raises BadRequest for anything that is no bool or level.

    gpt-oss cannot switch thinking off: `false` gives the default effort, as on a real server.
    """
    if value is None or isinstance(value, bool):
        return Thinking("medium", asked=value is True, on=value is not False)
    if not isinstance(value, str):
        raise BadRequest('think must be a boolean or string ("high", "medium", "low", "max", true, or false)')
    if value not in (*LEVELS, "max"):
        must = '"high", "medium", "low", "max", true, or false'
        raise BadRequest(f'invalid think value: "{value}" (must be {must})')
    return Thinking("high" if value == "max" else value, asked=True, on=True)


def read_keep_alive(value: Any, default_s: float) -> float:
    """Return how many seconds a model stays loaded after the answer; negative means for ever."""
    if value is None:
        return default_s
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise BadRequest(f"invalid keep_alive: {json.dumps(value)}")
    seconds = parse_duration(value) if isinstance(value, str) else float(value)
    return FOREVER_S if seconds < 0 else seconds


def parse_duration(written: str) -> float:
    """Return the seconds of a Go duration such as `5m`, `1h30m` or `-1`; raises BadRequest for other text."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", written):
        return float(written)
    match = re.fullmatch(r"([+-]?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)", written)
    if not match:
        raise BadRequest(f'time: invalid duration "{written}"')
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", match[2])
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return -seconds if match[1] == "-" else seconds


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, whole floats as integers; raises BadRequest 500, as a real server, for a wrong type."""
    checked = dict(options)
    for name, value in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is None:
            del checked[name]
        elif name in _INTEGERS:
            if not number or value != int(value):
                raise BadRequest(f'option "{name}" must be of type integer', 500)
            checked[name] = int(value)
        elif name in _FLOATS and not number:
            raise BadRequest(f'option "{name}" must be of type float32', 500)
        elif name == "stop" and not isinstance(value, (list, str)):
            raise BadRequest('option "stop" must be of type array', 500)
    return checked


def read_format(value: Any) -> dict[str, Any] | None:
    """Return llama.cpp's `response_format` for Ollama's `format`; raises BadRequest 500 for what is neither."""
    if value in (None, ""):
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"schema": value}}
    written = json.dumps(value).replace('"', '\\"')
    raise BadRequest(f'invalid format: "{written}"; expected "json" or a valid JSON Schema object', 500)
