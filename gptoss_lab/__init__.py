"""gpt-oss Lab: a course from GPT-5 to a private gpt-oss chat on your own computer.

Importing the package is light: each name below loads its module when it is first used. `connect` is there at once,
because a submodule of that name would hide it.

>>> from gptoss_lab import connect
>>> lab = connect()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gptoss_lab.connect import connect
from gptoss_lab.version import __version__

if TYPE_CHECKING:
    from gptoss_lab.chat import Chat
    from gptoss_lab.chat.compare import compare
    from gptoss_lab.chat.openai_lab import openai_lab
    from gptoss_lab.errors import LabError
    from gptoss_lab.learn import check, hint, progress, quiz
    from gptoss_lab.setup.start import start_server
    from gptoss_lab.setup.trouble import explain
    from gptoss_lab.ui.compare_panel import compare_panel
    from gptoss_lab.ui.doctor_panel import doctor
    from gptoss_lab.ui.hardware_card import hardware_card
    from gptoss_lab.ui.install_guide import install_guide
    from gptoss_lab.ui.pull_panel import pull
    from gptoss_lab.ui.what_if import what_if

_HOMES = {
    "Chat": "gptoss_lab.chat",
    "compare": "gptoss_lab.chat.compare",
    "compare_panel": "gptoss_lab.ui.compare_panel",
    "openai_lab": "gptoss_lab.chat.openai_lab",
    "LabError": "gptoss_lab.errors",
    "doctor": "gptoss_lab.ui.doctor_panel",
    "explain": "gptoss_lab.setup.trouble",
    "install_guide": "gptoss_lab.ui.install_guide",
    "pull": "gptoss_lab.ui.pull_panel",
    "start_server": "gptoss_lab.setup.start",
    "hardware_card": "gptoss_lab.ui.hardware_card",
    "what_if": "gptoss_lab.ui.what_if",
    "check": "gptoss_lab.learn",
    "hint": "gptoss_lab.learn",
    "quiz": "gptoss_lab.learn",
    "progress": "gptoss_lab.learn",
}

__all__ = [
    "Chat",
    "LabError",
    "__version__",
    "check",
    "compare",
    "compare_panel",
    "connect",
    "doctor",
    "explain",
    "hardware_card",
    "hint",
    "install_guide",
    "openai_lab",
    "progress",
    "pull",
    "quiz",
    "start_server",
    "what_if",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptoss_lab' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """Give a notebook the magic %%ask; called by %load_ext gptoss_lab."""
    from gptoss_lab.magic import load

    load(shell)


def __dir__() -> list[str]:
    return sorted(__all__)
