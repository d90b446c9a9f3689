"""gpt-oss Lab: a course from GPT-5 to a private gpt-oss chat on your own computer.

Importing the package is light: each name below loads its module when it is first used.

>>> from gptoss_lab import connect
>>> lab = connect()
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptoss_lab.connect import connect
    from gptoss_lab.errors import LabError
    from gptoss_lab.learn import check, hint, progress, quiz

try:
    __version__ = version("gptoss-lab")
except PackageNotFoundError:  # a copy of the folder without an installation
    __version__ = "0+unknown"

_HOMES = {
    "LabError": "gptoss_lab.errors",
    "connect": "gptoss_lab.connect",
    "check": "gptoss_lab.learn",
    "hint": "gptoss_lab.learn",
    "quiz": "gptoss_lab.learn",
    "progress": "gptoss_lab.learn",
}

__all__ = ["LabError", "__version__", "check", "connect", "hint", "progress", "quiz"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptoss_lab' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # also replaces the submodule `connect` by its function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
