"""The places where an Ollama may be waiting: every one is tried and named, so that "not found" can be believed.

It knows where to look, not what is wrong with what it finds; `gptoss_lab.setup.doctor` judges.
"""

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_lab.connect import LOCAL_OLLAMA, Probe, probe
from gptoss_lab.errors import LabError
from gptoss_lab.ollama_host import parse_host
from gptoss_lab.text import text

PORT = 11434


@dataclass(frozen=True)
class Candidate:
    """A place that was tried: why it was thought of, its address, and what was found there."""

    why: str
    host: str
    found: Probe

    @property
    def answers(self) -> bool:
        return self.found.models is not None


def candidates(
    asked: str | None = None,
    env: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    look: Callable[[str], Probe] = probe,
) -> list[Candidate]:
    """Try every place an Ollama may be at, best first; with `asked`, that place alone.

    Raises LabError when the address asked for, or the one in OLLAMA_HOST, cannot be understood.
    """
    tried: dict[str, str] = {}
    for why, written in _places(asked, env, root):
        tried.setdefault(parse_host(written), why)
    return [Candidate(why, host, look(host)) for host, why in tried.items()]


def _places(asked: str | None, env: Mapping[str, str], root: Path) -> list[tuple[str, str]]:
    if asked:
        return [(text("doctor.place_asked"), asked)]
    named = env.get("OLLAMA_HOST", "").strip().strip("\"'").strip()
    places = [("OLLAMA_HOST", named)] if named else []
    places.append((text("doctor.place_here"), LOCAL_OLLAMA))
    if in_container(root):
        places.append((text("doctor.place_docker"), f"http://host.docker.internal:{PORT}"))
    gateway = wsl_gateway(env, root)
    if gateway:
        places.append((text("doctor.place_wsl"), f"http://{gateway}:{PORT}"))
    return places


def in_container(root: Path = Path("/")) -> bool:
    """Tell whether this process runs in a container."""
    return any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))


def in_wsl(env: Mapping[str, str] = os.environ, root: Path = Path("/")) -> bool:
    """Tell whether this process runs in the Windows Subsystem for Linux."""
    return bool(env.get("WSL_DISTRO_NAME")) or "microsoft" in _read(root / "proc/version").lower()


def wsl_gateway(env: Mapping[str, str], root: Path) -> str:
    """Return the address of Windows as its Linux subsystem sees it; "" elsewhere."""
    if not in_wsl(env, root):
        return ""
    for line in _read(root / "proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and fields[1] == "00000000" and fields[2] != "00000000":
            return ".".join(map(str, struct.pack("<L", int(fields[2], 16))))
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def wrong_address(error: LabError) -> Candidate:
    """Return the candidate that stands for an address nobody can understand."""
    return Candidate("OLLAMA_HOST", "", Probe(trouble="nonsense", detail=error.what))
