"""The conversation as HTML without scripts: for notebooks that are read without a kernel, and for plain widgets."""

from collections.abc import Iterable
from html import escape

from gptoss_lab.chat import Message
from gptoss_lab.text import text

_NAMES = {"user": "you", "assistant": "model", "tool": "tool"}


def transcript_html(messages: Iterable[Message]) -> str:
    """Return messages as HTML: every text is escaped, thinking is folded."""
    return f"<div>{''.join(map(_message, messages))}</div>"


def _message(message: Message) -> str:
    name = escape(text(f"chat.{_NAMES[message.role]}"))
    content = escape(message.content).replace("\n", "<br>")
    thinking = ""
    if message.thinking:
        label = escape(text("chat.thinking"))
        thinking = f"<details><summary>{label}</summary><p>{escape(message.thinking)}</p></details>"
    return f"<p><b>{name}</b></p>{thinking}<p>{content}</p>"
