"""Where the package keeps what it must remember on this computer: server state, models, progress.

One folder per user. `GPTOSS_LAB_HOME` names another one. A home that cannot be written to gives way to a folder in the
system's temporary directory, which is the user's alone; this is said once.
"""

import getpass
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from gptoss_lab.text import text

APP = "gptoss-lab"


def home() -> Path:
    """Return a writable folder of this user's; raises OSError when not even a temporary one can be made."""
    return _writable(os.environ.get("GPTOSS_LAB_HOME", ""))


@lru_cache
def _writable(named: str) -> Path:
    wanted = Path(named).expanduser() if named else _user_folder()
    try:
        return _made(wanted)
    except OSError:
        folder = _made(Path(tempfile.gettempdir()) / f"{APP}-{_user()}")
        print(text("practice.home_blocked", wanted=wanted, folder=folder), file=sys.stderr)
        return folder


def _user_folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path(APP, appauthor=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "user"


def _made(folder: Path) -> Path:
    """Make the folder, prove that it can be written to and is not somebody else's, and return it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    with tempfile.TemporaryFile(dir=folder):
        return folder.resolve()
