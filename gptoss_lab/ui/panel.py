"""`panel`: the chat in a notebook, as good as the installed packages allow."""

from importlib.util import find_spec
from typing import Any

from gptoss_lab.chat import Chat


def panel(chat: Chat | None = None, **settings: Any) -> Any:
    """Return the panel of a conversation; without one, of a new one with `settings` as `Chat` takes them.

    Where anywidget is missing it is a plain one, and says how to get the full one.
    """
    chat = chat or Chat(**settings)
    if find_spec("anywidget") is None:
        from gptoss_lab.ui.plain_panel import PlainPanel

        return PlainPanel(chat)
    from gptoss_lab.ui.chat_panel import ChatPanel

    return ChatPanel(chat)
