"""Tools for a model, from ordinary Python functions: a schema it can read, and a call that cannot run away.

gpt-oss's template in Ollama takes one plain type per parameter, so a union becomes one of its plain types, and an
optional parameter one that is not required. Arguments are checked and converted before the function runs.
"""

import inspect
import json
import re
import threading
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from gptoss_lab.chat.message import Call
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

LIMIT_S = 30.0
MOST_LETTERS = 20_000
_PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Tool:
    """A function the model may call."""

    function: Callable[..., Any]
    schema: Mapping[str, Any]  # as /api/chat takes it

    @property
    def name(self) -> str:
        name: str = self.schema["function"]["name"]
        return name

    def run(self, call: Call, limit_s: float = LIMIT_S, most_letters: int = MOST_LETTERS) -> tuple[str, bool]:
        """Return the result of a call as text, and whether it worked; never raises."""
        outcome: list[tuple[str, bool]] = []
        worker = threading.Thread(target=lambda: outcome.append(self._tried(call)), name=self.name, daemon=True)
        worker.start()
        worker.join(limit_s)
        words, ok = outcome[0] if outcome else (text("chat.tool_slow", seconds=round(limit_s)), False)
        if len(words) > most_letters:
            words = words[:most_letters] + text("chat.tool_cut", letters=most_letters)
        return words, ok

    def _tried(self, call: Call) -> tuple[str, bool]:
        try:
            return as_text(self.function(**self._checked(call.arguments))), True
        except Exception as error:  # the model reads it and may do better
            return f"{type(error).__name__}: {error}", False

    def _checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from pydantic import ConfigDict, create_model

        fields: dict[str, Any] = {
            name: (hint, ... if one.default is inspect.Parameter.empty else one.default)
            for name, (one, hint) in _parameters(self.function).items()
        }
        model = create_model("Arguments", __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **fields)
        checked = model(**arguments)
        return {name: getattr(checked, name) for name in fields}


def as_text(result: Any) -> str:
    """Return a tool's result as the model reads it: text as it is, anything else as JSON."""
    if isinstance(result, str):
        return result
    return json.dumps(result, ensure_ascii=False, default=str)


def tool(function: "Callable[..., Any] | Tool") -> Tool:
    """Return a function as a tool; raises LabError when the model could not be told how to call it."""
    if isinstance(function, Tool):
        return function
    if not callable(function):
        raise LabError(text("chat.no_tool", tool=repr(function)), text("chat.no_tool_next"))
    told, lines = _described(function)
    properties, required = {}, []
    for name, (parameter, hint) in _parameters(function).items():
        properties[name] = {**_schema(hint), "description": lines.get(name, name)}
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    parameters = {"type": "object", "properties": properties, "required": required}
    described = {"name": function.__name__, "description": told, "parameters": parameters}
    return Tool(function, {"type": "function", "function": described})


def _parameters(function: Callable[..., Any]) -> dict[str, tuple[inspect.Parameter, Any]]:
    hints = typing.get_type_hints(function)
    found = {}
    for name, one in inspect.signature(function).parameters.items():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise LabError(text("chat.odd_parameter", tool=function.__name__, name=name), text("chat.no_tool_next"))
        found[name] = (one, hints.get(name, str))
    return found


def _described(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and what it says of each parameter (`name: words`)."""
    words = inspect.getdoc(function) or function.__name__.replace("_", " ")
    first = " ".join(words.split("\n\n")[0].split())
    found = re.findall(r"^\s*:?(?:param )?\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.+)$", words, re.MULTILINE)
    return first, {name: said.strip() for name, said in found}


def _schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of one parameter: always with one plain type."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"type": _PLAIN.get(type(inner[0]), "string"), "enum": list(inner)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [one.value for one in hint]
        return {"type": _PLAIN.get(type(values[0]), "string"), "enum": values}
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in inner if one is not type(None)]
        return _schema(str if str in kinds else kinds[0])
    if origin in (list, tuple, set) or hint in (list, tuple, set):
        return {"type": "array", "items": _schema(inner[0]) if inner else {"type": "string"}}
    if origin is typing.Annotated:
        return _schema(inner[0])
    return {"type": "object"} if origin is dict or hint is dict else {"type": "string"}
