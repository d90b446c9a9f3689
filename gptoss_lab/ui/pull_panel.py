"""`pull`: a download that shows itself and can be stopped; `gptoss_lab.setup.pull` does the work."""

from html import escape
from typing import Any

from ipywidgets import HTML, Button, FloatProgress, HBox, Layout, VBox

from gptoss_lab.connect import Connection
from gptoss_lab.setup import pull as work
from gptoss_lab.setup.pull import Progress
from gptoss_lab.text import text


class PullPanel(VBox):
    """A bar, the words for it, and a button; `wait()` returns the last progress or raises."""

    def __init__(self, model: str, lab: Connection | None, force: bool, insecure: bool) -> None:
        self.model, self.lab, self.force, self.insecure = model, lab, force, insecure
        self.bar = FloatProgress(0, min=0, max=1, layout=Layout(width="100%", max_width="40em"))
        self.words = HTML()
        self.stop = Button(description=text("pull.stop"), icon="stop", layout=Layout(width="auto"))
        self.go_on = Button(description=text("pull.go_on"), icon="play", layout=Layout(width="auto"))
        self.stop.on_click(lambda _: self.pull.cancel())
        self.go_on.on_click(lambda _: self.start())
        self.buttons = HBox([self.stop])
        super().__init__([HTML(f"<b>{escape(model)}</b>"), self.bar, self.words, self.buttons])
        self.start()

    def start(self) -> None:
        """Start the pull, or go on with it."""
        self.pull = work.pull(self.model, self.lab, force=self.force, insecure=self.insecure)
        self.pull.watch(self._show)
        self._show(self.pull.progress)

    def wait(self, timeout: float | None = None) -> Progress:
        """Wait for the end and return the progress; raises LabError when the pull failed."""
        return self.pull.wait(timeout)

    def cancel(self) -> Progress:
        """Stop the pull; what has come is kept."""
        return self.pull.cancel()

    def _show(self, progress: Progress) -> None:
        self.bar.value = progress.share
        self.bar.bar_style = {"failed": "danger", "done": "success", "stalled": "warning"}.get(progress.state, "")
        lines = [str(progress), progress.note, str(progress.trouble or "")]
        self.words.value = "<br>".join(escape(line).replace("\n", "<br>") for line in lines if line)
        self.buttons.children = () if progress.state == "done" else (self.go_on,) if progress.ended else (self.stop,)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data |= {"text/plain": f"{self.model}: {self.pull.progress}"}
        return bundle


def pull(model: str, lab: Connection | None = None, force: bool = False, insecure: bool = False) -> PullPanel:
    """Pull a model and show how far it is; it goes on in the background when the tab is closed.

    Raises LabError when no server answers; see `gptoss_lab.setup.pull.pull` for the rest.
    """
    return PullPanel(model, lab, force, insecure)
