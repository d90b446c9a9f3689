"""The harmony format of gpt-oss: messages to prompt text, and the model's text back to thinking, answer and tool calls.

`render` gives exactly what `harmony.jinja` (the template inside the GGUF file) gives; a test compares the two.
It does not know the built-in browser and python tools, images, or the response formats section.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

START, END, MESSAGE, CHANNEL = "<|start|>", "<|end|>", "<|message|>", "<|channel|>"
RETURN, CALL, CONSTRAIN = "<|return|>", "<|call|>", "<|constrain|>"
SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>", RETURN, CONSTRAIN, CHANNEL, START, END, MESSAGE, CALL)
EFFORTS = ("low", "medium", "high")

SYSTEM = """You are ChatGPT, a large language model trained by OpenAI.
Knowledge cutoff: 2024-06
Current date: {today}

Reasoning: {effort}

# Valid channels: analysis, commentary, final. Channel must be included for every message."""
SYSTEM_TOOLS = "\nCalls to these tools must go to the commentary channel: 'functions'."

Message = dict[str, Any]
Schema = dict[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """One call the model asks for: the function and its arguments, still as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What the model wrote, sorted by channel."""

    thinking: str = ""
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())


def render(
    messages: list[Message], tools: list[Schema] | None = None, effort: str = "medium", today: str = "2026-01-01"
) -> str:
    """Turn messages into the prompt text, up to the point where the model goes on.

    messages: dicts with "role" and "content", as in Ollama; `thinking` or `reasoning_content`, and `tool_calls`, count.
    tools: function schemas, as for Ollama. today: ISO date.
    """
    rules, turns = _split_rules(messages)
    system = SYSTEM.format(today=today, effort=effort) + (SYSTEM_TOOLS if tools else "")
    parts = [_message("system", system)]
    if rules or tools:
        parts.append(_message("developer", _developer(rules, tools or [])))
    return "".join(parts) + _render_turns(turns) + START + "assistant"


def _split_rules(messages: list[Message]) -> tuple[str, list[Message]]:
    if messages and messages[0]["role"] in ("system", "developer"):
        return messages[0]["content"], messages[1:]
    return "", messages


def _message(header: str, text: str, end: str = END) -> str:
    return f"{START}{header}{MESSAGE}{text}{end}"


def _developer(rules: str, tools: list[Schema]) -> str:
    sections = [f"# Instructions\n\n{rules}"] if rules else []
    if tools:
        declared = "".join(_declare(tool["function"]) for tool in tools)
        sections.append(f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{declared}}} // namespace functions")
    return "\n\n".join(sections)


def _declare(function: Schema) -> str:
    """Declare one function as TypeScript, the way gpt-oss learned to read tools."""
    comment = f"// {function['description']}\n" if function.get("description") else ""
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    if not properties:
        return f"{comment}type {function['name']} = () => any;\n\n"
    required = parameters.get("required") or []
    fields = "".join(_field(name, schema, name in required) for name, schema in properties.items())
    return f"{comment}type {function['name']} = (_: {{\n{fields}}}) => any;\n\n"


def _field(name: str, schema: Schema, required: bool) -> str:
    comment = f"// {schema['description']}\n" if schema.get("description") else ""
    return f"{comment}{name}{'' if required else '?'}: {_type(schema)},\n"


def _type(schema: Schema) -> str:
    """Name a JSON schema as a TypeScript type; what has no simple name is `any`."""
    if schema.get("enum"):
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if schema.get("anyOf"):
        return " | ".join(_type(part) for part in schema["anyOf"])
    kinds = schema.get("type") or "any"
    return " | ".join(_simple(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _simple(kind: str, schema: Schema) -> str:
    if kind in ("integer", "number"):
        return "number"
    if kind == "array":
        return (_type(schema["items"]) if schema.get("items") else "any") + "[]"
    return kind if kind in ("string", "boolean", "null") else "any"


def _render_turns(turns: list[Message]) -> str:
    """Render the chat; thinking is kept only after the last question, that is inside a running tool loop."""
    last_user = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    tool, text = "", ""
    for i, turn in enumerate(turns):
        if turn["role"] == "tool":
            name = turn.get("tool_name") or turn.get("name") or tool
            text += _message(f"functions.{name} to=assistant{CHANNEL}commentary", turn["content"])
        elif turn["role"] == "assistant":
            text += _assistant(turn, keep_thinking=i > last_user)
            tool = turn["tool_calls"][-1]["function"]["name"] if turn.get("tool_calls") else tool
        else:
            text += _message("developer" if turn["role"] == "system" else turn["role"], turn["content"])
    return text


def _assistant(turn: Message, keep_thinking: bool) -> str:
    thinking = turn.get("thinking") or turn.get("reasoning_content")
    text = _message(f"assistant{CHANNEL}analysis", thinking) if thinking and keep_thinking else ""
    if turn.get("tool_calls"):
        return text + "".join(START + "assistant" + call_text(call["function"]) for call in turn["tool_calls"])
    if turn.get("content"):
        text += _message(f"assistant{CHANNEL}final", turn["content"])
    return text


def call_text(function: Schema) -> str:
    """Return a tool call as the model writes it, after `<|start|>assistant`."""
    arguments = _json_text(function["arguments"])
    return f"{CHANNEL}commentary to=functions.{function['name']} {CONSTRAIN}json{MESSAGE}{arguments}{CALL}"


def _json_text(arguments: Any) -> str:
    """Return arguments as JSON with spaces after `:` and `,`; text that is no JSON stays as it is."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return str(arguments)
    return json.dumps(arguments, ensure_ascii=False)


def thinking_text(text: str) -> str:
    """Return thinking as the model writes it, up to the header of its next message."""
    return f"{CHANNEL}analysis{MESSAGE}{text}{END}{START}assistant"


def final_text(text: str) -> str:
    """Return the answer as the model writes it."""
    return f"{CHANNEL}final{MESSAGE}{text}{RETURN}"


_SECTION = re.compile(
    r"(?:<\|start\|>assistant)?(?P<header>[^<]*(?:<\|channel\|>[^<]*)(?:<\|constrain\|>[^<]*)?)<\|message\|>"
    r"(?P<body>.*?)(?:<\|(?:end|return|call)\|>|$)",
    re.DOTALL,
)


def parse(text: str) -> Reply:
    """Sort the model's text, as it follows `<|start|>assistant`, into thinking, content and tool calls."""
    thinking, content, calls = "", "", []
    for section in _SECTION.finditer(text):
        header, body = section["header"], section["body"]
        to = re.search(r"to=functions\.([^\s<]+)", header)
        if to:
            calls.append(ToolCall(to[1], body))
        elif f"{CHANNEL}analysis" in header:
            thinking += body
        else:
            content += body
    return Reply(thinking, content, tuple(calls))
