"""Keep a conversation: as JSON without loss, as Markdown to read, as Python to run again."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_lab.chat.answer_format import wanted
from gptoss_lab.chat.history import History, Node
from gptoss_lab.chat.message import Call, Message, Metrics, Settings
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.chat.conversation import Chat

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
    nodes = [{**asdict(node), "settings": _plain(node.settings)} for node in chat.history.nodes.values()]
    settings = _plain(chat.settings)
    return {"kind": _KIND, "version": VERSION, "settings": settings, "head": chat.history.head, "nodes": nodes}


def _plain(settings: Settings | None) -> dict[str, Any] | None:
    return {**asdict(settings), "format": wanted(settings.format)} if settings else None


def load(path: Path) -> tuple[Settings, History]:
    """Return settings and history of a file; raises LabError when it holds none."""
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
        settings = Settings(**saved["settings"]) if saved["settings"] else None
        history.back_to(saved["parent"])
        history.add(Message(**message, calls=calls), metrics, settings)
    history.back_to(told["head"])
    return history


def markdown(path: Iterable[Node]) -> str:
    """Return messages as Markdown; thinking and tools are quoted, and each answer says how it was asked for."""
    return "\n\n".join(part for node in path for part in _parts(node))


def _parts(node: Node) -> Iterator[str]:
    message, names = node.message, {"user": "you", "assistant": "model", "tool": "tool"}
    label = f" `{message.tool}`" if message.tool else f" ({node.settings})" if node.settings else ""
    yield f"**{text(f'chat.{names[message.role]}')}**{label}"
    if message.thinking:
        yield "\n".join(f"> {line}" for line in [f"*{text('chat.thinking')}*", "", *message.thinking.splitlines()])
    for call in message.calls:
        yield f"> `{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False)})`"
    if message.content:
        yield message.content
    if message.stopped:
        yield text("chat.stopped")


def python(settings: Settings, path: Sequence[Node]) -> str:
    """Return code that asks the questions again, each with the settings it was asked with, and ends with `settings`."""
    turns = list(_turns(path, settings))
    now = turns[0][0] if turns else settings
    lines = [f"chat = Chat({_arguments(now)})"]
    for used, question in turns:
        lines += [*_change(now, used), f"chat.ask({question!r})"]
        now = used
    return "\n".join(["from gptoss_lab import Chat", "", *lines, *_change(now, settings)])


def _turns(path: Sequence[Node], settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Yield each question with its settings: those of the answer after it, or of the whole conversation."""
    for at, node in enumerate(path):
        if node.message.role == "user":
            after = path[at + 1].settings if at + 1 < len(path) else None
            yield after or settings, node.message.content


def _arguments(settings: Settings) -> str:
    given = _plain(settings) or {}
    given |= given.pop("options")
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value not in ("", None))


def _change(before: Settings, after: Settings) -> list[str]:
    old, new = _plain(before) or {}, _plain(after) or {}
    changed = ", ".join(f"{name}={value!r}" for name, value in new.items() if value != old[name])
    return [f"chat.change({changed})"] if changed else []
