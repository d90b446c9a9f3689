"""Find an Ollama that is installed but does not run, and start it when the learner says so.

It starts `ollama serve` as a process of its own, waits until it answers, and says where its log is. It never installs
anything, and it does not stop what it has started: Ollama's own ways do that.
"""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_lab.connect import LOCAL_OLLAMA, probe
from gptoss_lab.errors import LabError
from gptoss_lab.home import home
from gptoss_lab.ollama_host import is_loopback, parse_host
from gptoss_lab.text import text

START_LIMIT_S = 30.0
_LAST_LINES = 3


@dataclass(frozen=True)
class Started:
    """An Ollama that answers, and how it came to run."""

    host: str
    pid: int | None  # None when it was running already
    log: Path | None

    def __str__(self) -> str:
        if self.pid is None:
            return text("start.running", host=self.host)
        return text("start.started", host=self.host, pid=self.pid, log=self.log)


def find_program(env: Mapping[str, str] = os.environ, system: str | None = None) -> Path | None:
    """Return where the program `ollama` is; None when it is neither on the path nor where its installers put it."""
    on_path = shutil.which("ollama", path=env.get("PATH"))
    if on_path:
        return Path(on_path)
    return next((path for path in _usual_places(env, system or platform.system()) if path.is_file()), None)


def _usual_places(env: Mapping[str, str], system: str) -> list[Path]:
    user = Path(env.get("USERPROFILE") or env.get("HOME") or "~").expanduser()
    if system == "Windows":
        local = Path(env.get("LOCALAPPDATA") or user / "AppData" / "Local")
        return [local / "Programs" / "Ollama" / "ollama.exe", Path(r"C:\Program Files\Ollama\ollama.exe")]
    if system == "Darwin":
        apps = (Path("/Applications"), user / "Applications")
        inside = [folder / "Ollama.app" / "Contents" / "Resources" / "ollama" for folder in apps]
        return [*inside, Path("/opt/homebrew/bin/ollama"), Path("/usr/local/bin/ollama")]
    named = ("/usr/local/bin/ollama", "/usr/bin/ollama", "/snap/bin/ollama")
    return [*map(Path, named), user / ".local" / "bin" / "ollama"]


def start_server(yes: bool = False, env: Mapping[str, str] = os.environ, limit_s: float = START_LIMIT_S) -> Started:
    """Start the Ollama that is installed here and wait until it answers; `yes` is the learner's consent.

    Raises LabError when there is none, without consent, when OLLAMA_HOST names another machine, or when it ends or does
    not answer within `limit_s` seconds.
    """
    host = _local_host(env)
    if probe(host).models is not None:
        return Started(host, None, None)
    program = find_program(env)
    if program is None:
        raise LabError(text("start.not_installed"), text("start.not_installed_next"))
    if not yes:
        raise LabError(text("start.consent", program=program), text("start.consent_next"))
    log = home() / "ollama-serve.log"
    return _wait(_launch(program, log, env), host, log, limit_s)


def _local_host(env: Mapping[str, str]) -> str:
    named = env.get("OLLAMA_HOST", "").strip()
    host = parse_host(named) if named else LOCAL_OLLAMA
    if not is_loopback(host):
        raise LabError(text("start.elsewhere", host=host), text("start.elsewhere_next"))
    return host


def _launch(program: Path, log: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    detached: dict[str, Any] = (
        {"creationflags": 0x08000208} if platform.system() == "Windows" else {"start_new_session": True}
    )
    try:
        with log.open("wb") as out:
            return subprocess.Popen(
                [str(program), "serve"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env), **detached,
            )  # fmt: skip
    except OSError as error:
        raise LabError(text("start.failed", program=program, error=error), text("start.failed_next")) from error


def _wait(process: "subprocess.Popen[bytes]", host: str, log: Path, limit_s: float) -> Started:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if probe(host).models is not None:
            return Started(host, process.pid, log)
        if process.poll() is not None:
            break
        time.sleep(0.2)
    last = " ".join(log.read_text(encoding="utf-8", errors="replace").split("\n")[-_LAST_LINES - 1 :]).strip()
    kind = "ended" if process.poll() is not None else "silent"
    raise LabError(text(f"start.{kind}", host=host, last=last or "-"), text("start.log_next", log=log))
