"""The chat where anywidget is not installed: the same conversation, in plain ipywidgets.

A box, buttons and the transcript as escaped HTML, drawn a few times a second; `chat_panel` is the full one.
"""

import threading
import time
from collections.abc import Callable
from html import escape

from ipywidgets import HTML, Button, Dropdown, HBox, Layout, Textarea, VBox

from gptoss_lab.chat import Chat, Message
from gptoss_lab.chat.conversation import EFFORTS
from gptoss_lab.chat.events import Approval, Content, Done, Event, Failed, Thinking, Waiting
from gptoss_lab.errors import LabError
from gptoss_lab.text import area_texts, language, text
from gptoss_lab.ui.transcript import transcript_html

_DRAW_EVERY_S = 0.25


class PlainPanel(VBox):
    """The transcript, a box to write in, and buttons to send, stop and answer for a tool."""

    def __init__(self, chat: Chat) -> None:
        self.chat, self._words = chat, area_texts(language(), "panel")["words"]
        self._drawing, self._drawn_s = threading.RLock(), 0.0
        self._thinking, self._content, self._status = "", "", ""
        self.shown, self.approval = HTML(), HBox()
        self.box = Textarea(placeholder=text("panel.plain_placeholder"), layout=Layout(width="100%"))
        self.effort = Dropdown(
            options=[(self._words[f"effort_{one}"], one) for one in EFFORTS], value=chat.settings.effort,
            description=self._words["effort"], layout=Layout(width="auto"),
        )  # fmt: skip
        self.effort.observe(lambda change: self.chat.change(effort=change["new"]), "value")
        self.send_button, self.stop_button = self._button("send", self._send), self._button("stop", chat.stop)
        self.stop_button.disabled = True
        row = HBox([self.send_button, self.stop_button, self.effort])
        super().__init__([self.shown, self.approval, self.box, row, HTML(escape(text("panel.plain")))])
        self.chat.watch(self.hear)
        self._draw()

    def _button(self, word: str, act: Callable[[], object]) -> Button:
        button = Button(description=self._words[word], layout=Layout(width="auto"))
        button.on_click(lambda _: act())
        return button

    def _send(self) -> None:
        question, self.box.value = self.box.value, ""
        try:
            self.chat.stream(question)
        except LabError as error:
            self.box.value, self._status = question, str(error)
            self._draw()

    def hear(self, event: Event) -> None:
        """Draw an event of a generation; called from its thread."""
        with self._drawing:
            if isinstance(event, (Thinking, Content)):
                self._add(event)
                return
            self.approval.children = ()
            self._thinking = self._content = self._status = ""
            self.stop_button.disabled = isinstance(event, (Done, Failed))
            if isinstance(event, Waiting):
                self._status = f"{event.status} · {event.seconds:.0f} s"
            elif isinstance(event, Approval):
                self._ask(event)
            elif isinstance(event, Failed):
                self._status = str(event.trouble)
            self._draw()

    def _add(self, piece: Thinking | Content) -> None:
        if isinstance(piece, Thinking):
            self._thinking += piece.text
        else:
            self._content += piece.text
        if time.monotonic() - self._drawn_s > _DRAW_EVERY_S:
            self._draw()

    def _ask(self, event: Approval) -> None:
        arguments = ", ".join(f"{name}={value!r}" for name, value in event.call.arguments.items())
        question = HTML(escape(f"{self._words['approve']} {event.call.name}({arguments})"))
        allow = self._button("allow", lambda: event.decide(True))
        deny = self._button("deny", lambda: event.decide(False))
        self.approval.children = (question, allow, deny)

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        live = [Message("assistant", self._content, self._thinking)] if self._thinking or self._content else []
        self.shown.value = transcript_html([*self.chat.messages, *live]) + f"<p>{escape(self._status)}</p>"
