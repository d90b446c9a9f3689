"""How to install Ollama on each system, step by step, each with the way to know that it worked.

The commands are here, because they are the same in every language; the words are in install.json. Read in Ollama's own
documentation (docs.ollama.com/windows, /macos, /linux, /docker, /faq) on the date below. Nothing here runs a command.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_lab.setup.candidates import in_container, in_wsl
from gptoss_lab.text import area_texts, language

AS_OF = "2026-11-23"
SOURCE = "https://docs.ollama.com"
DOWNLOAD = "https://ollama.com/download"


@dataclass(frozen=True)
class Step:
    """One thing to do: in words, as a command for each shell ("" for none), and how to know that it worked."""

    do: str
    know: str
    sh: str = ""
    powershell: str = ""


_CHECK = ("check", "ollama --version", "ollama --version")
_PULL = ("pull", "ollama pull gpt-oss:20b", "ollama pull gpt-oss:20b")
_RUN = ("run", "ollama run gpt-oss:20b", "ollama run gpt-oss:20b")
_PROXY_SH = """sudo systemctl edit ollama
# add these two lines, then save:
# [Service]
# Environment="HTTPS_PROXY=http://proxy:8080"
sudo systemctl restart ollama"""
_UNPACK = """mkdir -p ~/.local
curl -fsSL https://ollama.com/download/ollama-linux-amd64.tar.zst | tar x --zstd -C ~/.local
~/.local/bin/ollama serve"""
_COPY = "Copy-Item -Recurse E:\\models $env:USERPROFILE\\.ollama\\"
_DOCKER = "docker run -d --gpus=all -v ollama:/root/.ollama -p 127.0.0.1:11434:11434 --name ollama ollama/ollama"
_DOCKER_PULL = "docker exec -it ollama ollama pull gpt-oss:20b"

# Per system: (key of the words, command for sh, command for PowerShell).
_STEPS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "windows": (("windows_setup", "", ""), _CHECK, _PULL, _RUN),
    "macos": (("macos_app", "", ""), _CHECK, _PULL, _RUN),
    "linux": (
        ("linux_script", "curl -fsSL https://ollama.com/install.sh | sh", ""),
        ("linux_service", "systemctl status ollama", ""), _CHECK, _PULL, _RUN,
    ),
    "wsl": (
        ("wsl_windows", "", "ollama --version"),
        ("wsl_reach", "curl http://localhost:11434/api/version", ""),
        ("wsl_mirrored", "", "notepad $env:USERPROFILE\\.wslconfig"), _PULL,
    ),
    "docker": (
        ("docker_run", _DOCKER, _DOCKER),
        ("docker_pull", _DOCKER_PULL, _DOCKER_PULL),
        ("docker_reach", "curl http://127.0.0.1:11434/api/version", "curl.exe http://127.0.0.1:11434/api/version"),
    ),
    "no_admin": (
        ("no_admin_windows", "", ""),
        ("no_admin_mac", "", ""),
        ("no_admin_linux", _UNPACK, ""),
        _CHECK,
    ),
    "proxy": (
        ("proxy_linux", _PROXY_SH, ""),
        ("proxy_windows", "", '[Environment]::SetEnvironmentVariable("HTTPS_PROXY", "http://proxy:8080", "User")'),
        ("proxy_loopback", "export NO_PROXY=localhost,127.0.0.1", '$env:NO_PROXY = "localhost,127.0.0.1"'), _PULL,
    ),
    "slow": (
        ("slow_resume", "ollama pull gpt-oss:20b", "ollama pull gpt-oss:20b"),
        ("slow_copy", "cp -r /media/stick/models ~/.ollama/", _COPY),
        ("slow_see", "ollama list", "ollama list"),
    ),
}  # fmt: skip
SYSTEMS = tuple(_STEPS)


def this_system(env: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """Return which of the systems this computer is."""
    system = platform.system()
    if system == "Linux" and in_wsl(env, root):
        return "wsl"
    if system == "Linux" and in_container(root):
        return "docker"
    return {"Windows": "windows", "Darwin": "macos"}.get(system, "linux")


def steps(system: str) -> tuple[Step, ...]:
    """Return the steps for a system in the learner's language; raises KeyError for an unknown one."""
    words = area_texts(language(), "install")["steps"]
    return tuple(Step(words[key]["do"], words[key]["know"], sh, power) for key, sh, power in _STEPS[system])


def title(system: str) -> str:
    """Return what a system is called."""
    name: str = area_texts(language(), "install")["systems"][system]
    return name
