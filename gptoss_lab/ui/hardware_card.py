"""`hardware_card`: what the serving machine has and what gpt-oss will do there, to look at in a notebook."""

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Button, HBox, Layout, VBox

from gptoss_lab.hardware import with_reply
from gptoss_lab.hardware.look import Report, look, one_reply
from gptoss_lab.setup.trouble import explain
from gptoss_lab.text import text
from gptoss_lab.ui.hardware_html import report_html
from gptoss_lab.ui.hardware_text import hardware_text

if TYPE_CHECKING:
    from gptoss_lab.connect import Connection


class HardwareCard(VBox):
    """The card, with a button that looks again and one that times a reply; elsewhere its text."""

    def __init__(self, lab: "Connection | None", report: Report | None) -> None:
        self.lab = lab
        self.report = report or look(lab)
        self.shown, self.said = HTML(), HTML()
        again = _button("card.look_again", "refresh", self.look_again)
        timed = [_button("card.time_it", "clock-o", self.time_reply)] if lab and lab.kind != "practice" else []
        super().__init__([self.shown, HBox([again, *timed]), self.said], layout=Layout(align_items="flex-start"))
        self._draw()

    def look_again(self) -> None:
        """Look at the machine once more, for instance after closing programs."""
        self.report = look(self.lab)
        self._draw()

    def time_reply(self) -> None:
        """Ask the model one question and put its speed in place of the estimate."""
        if not self.lab:
            return
        try:
            if self.report.server:
                self.report = look(self.lab, timed=True)
            else:
                reply = one_reply(self.lab)
                verdicts = (
                    with_reply(one, reply) if one.model == self.lab.model else one for one in self.report.verdicts
                )
                self.report = replace(self.report, verdicts=tuple(verdicts))
            self._draw()
        except Exception as error:
            self._draw(str(explain(error, self.lab.host, self.lab.model)))

    def _draw(self, trouble: str = "") -> None:
        self.shown.value = report_html(self.report)
        self.said.value = f"<pre>{escape(trouble)}</pre>" if trouble else ""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data |= {"text/plain": hardware_text(self.report), "text/html": report_html(self.report)}
        return bundle


def _button(words: str, icon: str, act: Callable[[], None]) -> Button:
    button = Button(description=text(words), icon=icon, layout=Layout(width="auto"))
    button.on_click(lambda _: act())
    return button


def hardware_card(lab: "Connection | None" = None, report: Report | None = None) -> HardwareCard:
    """Return a card of the machine that serves the model of a connection; without one, of this computer."""
    return HardwareCard(lab, report)
