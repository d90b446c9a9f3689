"""`hardware_card`: what the serving machine has and what gpt-oss will do there, to look at in a notebook."""

from typing import TYPE_CHECKING, Any

from ipywidgets import HTML, Button, Layout, VBox

from gptoss_lab.hardware.look import Report, look
from gptoss_lab.text import text
from gptoss_lab.ui.hardware_html import report_html
from gptoss_lab.ui.hardware_text import hardware_text

if TYPE_CHECKING:
    from gptoss_lab.connect import Connection


class HardwareCard(VBox):
    """The card with a button that looks again; where no widget can be shown, its text."""

    def __init__(self, lab: "Connection | None", report: Report | None) -> None:
        self.lab = lab
        self.report = report or look(lab)
        self.shown = HTML(report_html(self.report))
        again = Button(description=text("card.look_again"), icon="refresh", layout=Layout(width="auto"))
        again.on_click(lambda _: self.look_again())
        super().__init__([self.shown, again], layout=Layout(align_items="flex-start"))

    def look_again(self) -> None:
        """Look at the machine once more, for instance after closing programs."""
        self.report = look(self.lab)
        self.shown.value = report_html(self.report)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data |= {"text/plain": hardware_text(self.report), "text/html": report_html(self.report)}
        return bundle


def hardware_card(lab: "Connection | None" = None, report: Report | None = None) -> HardwareCard:
    """Return a card of the machine that serves the model of a connection; without one, of this computer."""
    return HardwareCard(lab, report)
