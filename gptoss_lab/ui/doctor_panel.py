"""`doctor`: the examination as a list that fills while one looks, with a button where a button can help.

The steps run in a worker thread, so the notebook stays usable; `wait()` returns the diagnosis.
"""

import threading
from html import escape
from typing import Any

from ipywidgets import HTML, Button, HBox, Layout, VBox

from gptoss_lab.errors import LabError
from gptoss_lab.setup.doctor import examine
from gptoss_lab.setup.finding import STEPS, Diagnosis, Finding, told
from gptoss_lab.text import text

_STYLE = """<style>
.gol-doctor {font-family: var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222);
  font-size: var(--jp-content-font-size1, 14px); line-height: 1.5; max-width: 60em; overflow-wrap: anywhere}
.gol-doctor ul {list-style: none; padding-left: 0; margin: .3em 0}
.gol-doctor li {display: flex; gap: .6em; padding: .2em 0}
.gol-doctor li > b {flex: 0 0 1.2em; text-align: center}
.gol-doctor li > div {min-width: 0}
.gol-ok > b {color: var(--jp-success-color0, #1b7a33)}
.gol-warning > b {color: var(--jp-warn-color0, #b26a00)}
.gol-fault > b {color: var(--jp-error-color1, #c62828)}
.gol-skipped, .gol-waiting {color: var(--jp-ui-font-color2, #666)}
.gol-doctor p {margin: .15em 0}
.gol-doctor pre {background: var(--jp-layout-color2, #eee); padding: .3em .6em; margin: .25em 0; white-space: pre-wrap;
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px)}
.gol-doctor kbd {border: 1px solid var(--jp-border-color1, #bbb); border-radius: 3px; padding: 0 .4em}
</style>"""
_SIGNS = {"ok": "✓", "warning": "!", "fault": "✗", "skipped": "–", "waiting": "·"}


class DoctorPanel(VBox):
    """The list, and buttons for what can be done from here."""

    def __init__(self, server: str | None, model: str | None, prompt: str) -> None:
        self.asked = (server, model, prompt)
        self.findings: list[Finding] = []
        self.shown, self.buttons, self.below = HTML(), HBox(), VBox()
        self._ended = threading.Event()
        self._error: Exception | None = None
        super().__init__([self.shown, self.buttons, self.below])
        self.examine()

    def examine(self) -> None:
        """Begin the examination, or begin it anew."""
        self.findings, self.buttons.children, self._error = [], (), None
        self._ended.clear()
        self._draw()
        threading.Thread(target=self._run, name="doctor", daemon=True).start()

    def wait(self, timeout: float | None = None) -> Diagnosis:
        """Wait for the end and return the diagnosis; raises what broke the examination."""
        self._ended.wait(timeout)
        if self._error:
            raise self._error
        return Diagnosis(tuple(self.findings))

    def _run(self) -> None:
        try:
            for finding in examine(*self.asked):
                self.findings.append(finding)
                self._draw()
        except Exception as error:  # for whoever waits
            self._error = error
        finally:
            self._ended.set()
            self._draw()
            self._offer()

    def _draw(self) -> None:
        self.shown.value = findings_html(self.findings, ended=self._ended.is_set())

    def _offer(self) -> None:
        """Show the buttons that help with the last finding."""
        again = _button("doctor.again", "refresh", lambda: self.examine())
        last = self.findings[-1].name if self.findings else ""
        acts = {
            "stopped_server": ("doctor.start", "play", self._start),
            "model_missing": ("doctor.pull", "download", self._pull),
        }
        acts["no_model"] = acts["pull_failed"] = acts["model_missing"]
        self.buttons.children = (_button(*acts[last]), again) if last in acts else (again,)

    def _start(self) -> None:
        from gptoss_lab.setup.start import start_server

        try:
            words = str(start_server(yes=True))
        except LabError as error:
            words = str(error)
        self.below.children = (HTML(f"<p>{escape(words)}</p>"),)
        self.examine()

    def _pull(self) -> None:
        from gptoss_lab.ui.pull_panel import pull

        model = self.findings[-1].data.get("model", "gpt-oss:20b")
        self.below.children = (pull(model),)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data |= {"text/plain": str(Diagnosis(tuple(self.findings))), "text/html": self.shown.value}
        return bundle


def doctor(server: str | None = None, model: str | None = None, prompt: str = "") -> DoctorPanel:
    """Examine the road to an answer of gpt-oss and show it; nothing is changed unless you press a button.

    `server` is an address or "practice", None to look everywhere; `model` the model to want; `prompt` a text that is to
    fit into the context. `wait()` returns the diagnosis as data.
    """
    return DoctorPanel(server, model, prompt)


def findings_html(findings: list[Finding], ended: bool) -> str:
    """Return the list as HTML; steps still to come are grey."""
    rows = "".join(_row(finding) for finding in findings)
    done = {finding.step for finding in findings}
    waiting = [] if ended else [step for step in STEPS if step not in done]
    rows += "".join(
        f'<li class="gol-waiting"><b>{_SIGNS["waiting"]}</b><div>{escape(text(f"doctor.step_{step}"))}</div></li>'
        for step in waiting
    )
    code = (
        escape(text("doctor.code", code=Diagnosis(tuple(findings)).code)) if ended else escape(text("doctor.looking"))
    )
    return f'{_STYLE}<div class="gol-doctor" role="status"><ul>{rows}</ul><kbd>{code}</kbd></div>'


def _row(finding: Finding) -> str:
    first, *more = told(finding)
    words = escape(first[2:])  # without the mark of the terminal
    below = "".join(f"<p>{escape(words)}</p>" for words in (finding.means, finding.do) if words and more)
    command = f"<pre>{escape(finding.command)}</pre>" if finding.command and more else ""
    sign = f'<b aria-label="{escape(text(f"doctor.state_{finding.state}"))}">{_SIGNS[finding.state]}</b>'
    return f'<li class="gol-{finding.state}">{sign}<div>{words}{below}{command}</div></li>'


def _button(words: str, icon: str, act: Any) -> Button:
    button = Button(description=text(words), icon=icon, layout=Layout(width="auto"))
    button.on_click(lambda _: act())
    return button
