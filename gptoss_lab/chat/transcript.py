"""Keep a conversation: as JSON without loss, as Markdown to read, as Python to run again."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_lab.chat.history import History
from gptoss_lab.chat.message import Call, Message, Metrics
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.chat.conversation import Chat, Settings

VERSION = 1
_KIND = "gptoss-lab chat"


def save(chat: "Chat", path: Path) -> Path:
    """Write a conversation to a file, whole or not at all."""
    written = json.dumps(as_json(chat), ensure_ascii=False, indent=1)
    half = path.with_name(f"{path.name}.part")
    half.write_text(written, encoding="utf-8")
    half.replace(path)
    return path


def as_json(chat: "Chat") -> dict[str, Any]:
    """Return a conversation as plain JSON values; a pydantic format becomes its JSON schema."""
    from gptoss_lab.chat.answer_format import wanted

    settings = {**asdict(chat.settings), "format": wanted(chat.settings.format)}
    nodes = [asdict(node) for node in chat.history.nodes.values()]
    return {"kind": _KIND, "version": VERSION, "settings": settings, "head": chat.history.head, "nodes": nodes}


def load(path: Path) -> "tuple[Settings, History]":
    """Return settings and history of a file; raises LabError when it holds none."""
    from gptoss_lab.chat.conversation import Settings

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version = told["version"] if told["kind"] == _KIND else 0
        if version > VERSION:
            raise LabError(text("chat.too_new", path=path, found=version, known=VERSION), text("chat.too_new_next"))
        return Settings(**told["settings"]), _history(told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(text("chat.not_a_chat", path=path), text("chat.not_a_chat_next")) from error


def _history(told: dict[str, Any]) -> History:
    history = History()
    for saved in told["nodes"]:
        message = saved["message"]
        calls = tuple(Call(**call) for call in message.pop("calls"))
        metrics = Metrics(**saved["metrics"]) if saved["metrics"] else None
        history.back_to(saved["parent"])
        history.add(Message(**message, calls=calls), metrics)
    history.back_to(told["head"])
    return history


def markdown(messages: Iterable[Message]) -> str:
    """Return messages as Markdown; thinking and tools are quoted."""
    return "\n\n".join(part for message in messages for part in _parts(message))


def _parts(message: Message) -> Iterator[str]:
    names = {"user": "you", "assistant": "model", "tool": "tool"}
    yield f"**{text(f'chat.{names[message.role]}')}**" + (f" `{message.tool}`" if message.tool else "")
    if message.thinking:
        yield "\n".join(f"> {line}" for line in [f"*{text('chat.thinking')}*", "", *message.thinking.splitlines()])
    for call in message.calls:
        yield f"> `{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False)})`"
    if message.content:
        yield message.content
    if message.stopped:
        yield text("chat.stopped")


def python(settings: "Settings", messages: Sequence[Message]) -> str:
    """Return code that asks the questions again with the same settings."""
    from gptoss_lab.chat.answer_format import wanted

    given = {
        "model": settings.model, "system": settings.system, "effort": settings.effort,
        "format": wanted(settings.format), **settings.options,
    }  # fmt: skip
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items() if value not in ("", None))
    asked = [f"chat.ask({message.content!r})" for message in messages if message.role == "user"]
    return "\n".join(["from gptoss_lab import Chat", "", f"chat = Chat({arguments})", *asked])
