"""`compare_panel`: two to four answers side by side while they are made, with a table under them.

They are asked one after the other, for a server on one machine would only slow them all down side by side.
"""

import threading
import time
from html import escape
from typing import Any

from ipywidgets import HTML, HBox, Layout, VBox

from gptoss_lab.chat.compare import Asked, Case, Comparison, ways
from gptoss_lab.chat.events import Content, Event, Thinking
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

_MOST, _DRAW_EVERY_S = 4, 0.25
_CARD = (
    '<div style="flex:1 1 14em;min-width:0;border:1px solid var(--jp-border-color1,#bbb);border-radius:6px;'
    'padding:.6em .8em;overflow-wrap:anywhere;line-height:1.5"><b>{name}</b>'
    '<div style="color:var(--jp-ui-font-color2,#555);font-size:.92em;white-space:pre-wrap">{thinking}</div>'
    '<div style="white-space:pre-wrap">{content}</div></div>'
)


class ComparePanel(VBox):
    """The cards, the table, and a worker that asks; `wait()` returns the comparison."""

    def __init__(self, asked: list[Asked]) -> None:
        self.asked = asked
        self.cards = [HTML(layout=Layout(flex="1 1 14em", min_width="0")) for _ in asked]
        self.table = HTML()
        self._ended = threading.Event()
        self._cases: list[Case] = []
        super().__init__([HBox(self.cards, layout=Layout(flex_flow="row wrap", width="100%")), self.table])
        for one, card in zip(asked, self.cards, strict=True):
            one.chat.watch(_Drawing(one.name, card).hear)
        threading.Thread(target=self._run, name="compare", daemon=True).start()

    def wait(self, timeout: float | None = None) -> Comparison:
        """Wait for the last answer and return the comparison."""
        self._ended.wait(timeout)
        return Comparison(tuple(self._cases))

    def _run(self) -> None:
        try:
            for one in self.asked:
                self._cases.append(one.done())
                self.table.value = Comparison(tuple(self._cases))._repr_html_()
        finally:
            self._ended.set()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        done = Comparison(tuple(self._cases))
        data |= {"text/plain": repr(done), "text/html": done._repr_html_()}
        return bundle


class _Drawing:
    """One card: escaped text, drawn a few times a second."""

    def __init__(self, name: str, card: HTML) -> None:
        self._name, self._card, self._drawn_s = name, card, 0.0
        self._thinking, self._content = "", ""
        self._draw()

    def hear(self, event: Event) -> None:
        """Take an event of the answer."""
        if isinstance(event, Thinking):
            self._thinking += event.text
        elif isinstance(event, Content):
            self._content += event.text
        if not isinstance(event, (Thinking, Content)) or time.monotonic() - self._drawn_s > _DRAW_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        parts = {"name": self._name, "thinking": self._thinking, "content": self._content}
        self._card.value = _CARD.format(**{name: escape(words) for name, words in parts.items()})


def compare_panel(prompt: str = "", **lists_and_settings: Any) -> ComparePanel:
    """Return two to four answers side by side; takes what `compare` takes. Raises LabError for more or fewer."""
    asked = ways(prompt, **lists_and_settings)
    if len(asked) > _MOST:
        raise LabError(text("chat.too_many", most=_MOST), text("chat.nothing_to_compare_next"))
    return ComparePanel(asked)
