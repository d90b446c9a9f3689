"""What the probes may touch of this computer: files under a root, the environment, and `sysctl` on a Mac.

Tests hand in another root. Nothing here raises: what cannot be read is "".
"""

import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SYSCTL_LIMIT_S = 0.2


def sysctl(name: str) -> str:
    """Return a value of macOS's sysctl, or ""."""
    try:
        shown = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, encoding="utf-8", errors="replace",
            timeout=_SYSCTL_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout.strip()


@dataclass(frozen=True)
class Host:
    """This computer, or a staged one."""

    system: str = field(default_factory=platform.system)
    machine: str = field(default_factory=platform.machine)
    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    sysctl: Callable[[str], str] = sysctl

    def read(self, path: str) -> str:
        """Return a file's text, or "" when it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            return ""

    def number(self, path: str) -> int | None:
        """Return the whole number a file holds, or None."""
        words = self.read(path).strip()
        return int(words) if words.isdigit() else None

    def exists(self, path: str) -> bool:
        try:
            return (self.root / path).exists()
        except OSError:
            return False

    def home(self) -> Path:
        """Return the user's home folder."""
        named = self.env.get("USERPROFILE" if self.system == "Windows" else "HOME")
        return Path(named) if named else Path(os.path.expanduser("~"))
