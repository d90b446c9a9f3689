"""`install_guide`: the steps to install Ollama, the learner's own system first, the others on tabs."""

from html import escape
from typing import Any

from ipywidgets import HTML, Tab

from gptoss_lab.setup.install import AS_OF, SOURCE, SYSTEMS, Step, steps, this_system, title
from gptoss_lab.text import text

_STYLE = """<style>
.gol-steps {font-family: var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222);
  font-size: var(--jp-content-font-size1, 14px); line-height: 1.5; max-width: 60em; overflow-wrap: anywhere}
.gol-steps li {margin: .6em 0}
.gol-steps pre {background: var(--jp-layout-color2, #eee); padding: .4em .7em; margin: .3em 0; white-space: pre-wrap;
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px)}
.gol-steps small {color: var(--jp-ui-font-color2, #555)}
</style>"""


class InstallGuide(Tab):
    """A tab per system; where no widget can be shown, the steps of the learner's own."""

    def __init__(self, system: str) -> None:
        self.systems = (system, *(other for other in SYSTEMS if other != system))
        yours = HTML(f"<b>{escape(text('install.yours', system=title(system)))}</b>{steps_html(system)}")
        others = [HTML(steps_html(other)) for other in self.systems[1:]]
        super().__init__([yours, *others], titles=[title(one) for one in self.systems])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data |= {"text/plain": steps_text(self.systems[0]), "text/html": steps_html(self.systems[0])}
        return bundle


def install_guide(system: str | None = None) -> InstallGuide:
    """Return the steps to install Ollama; `system` is one of `setup.install.SYSTEMS`, None for this one's."""
    return InstallGuide(system or this_system())


def steps_html(system: str) -> str:
    """Return the steps for a system as HTML."""
    items = "".join(f"<li>{_step_html(step)}</li>" for step in steps(system))
    return f'{_STYLE}<div class="gol-steps"><ol>{items}</ol><small>{escape(_source())}</small></div>'


def _step_html(step: Step) -> str:
    both = step.sh and step.powershell and step.sh != step.powershell
    shown = {"sh": step.sh, "PowerShell": step.powershell} if both else {"": step.sh or step.powershell}
    commands = "".join(
        f"{f'<br><small>{name}</small>' if name else ''}<pre>{escape(command)}</pre>"
        for name, command in shown.items()
        if command
    )
    return f"{escape(step.do)}{commands}<small>✓ {escape(text('install.done'))} {escape(step.know)}</small>"


def steps_text(system: str) -> str:
    """Return the steps for a system in plain text."""
    lines = [title(system)]
    for number, step in enumerate(steps(system), 1):
        lines += [f"{number}. {step.do}"]
        lines += [f"   > {command}" for command in dict.fromkeys((step.sh, step.powershell)) if command]
        lines += [f"   {text('install.done')} {step.know}"]
    return "\n".join([*lines, _source()])


def _source() -> str:
    return text("install.source", source=SOURCE, as_of=AS_OF)
