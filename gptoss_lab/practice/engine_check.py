"""Can the engine run on this machine? If not: one sentence on what is missing, and what to install.

llama.cpp comes as a ready-made wheel (`xllamacpp`). It needs a 64-bit Intel or AMD processor with AVX2 or an Arm one,
libgomp on Linux, the VC++ runtime on Windows; there is no wheel for Windows on Arm or for musl (Alpine) systems.
"""

import platform
import sys

from gptoss_lab.errors import LabError
from gptoss_lab.text import text

# How a process ends that met an instruction its processor does not know: Unix signal, shell's code, Windows status.
_ILLEGAL_INSTRUCTION = {-4, 132, 0xC000001D, 0xC000001D - (1 << 32)}


def check_engine() -> None:
    """Load the engine's library; raises LabError with the sentence for this machine when it does not load."""
    try:
        import xllamacpp  # noqa: F401
    except (ImportError, OSError) as error:
        raise LabError(*why_not(str(error), sys.platform, platform.machine())) from error


def why_not(message: str, system: str, machine: str) -> tuple[str, str]:
    """Return what is missing and what to do, for what the import said on that system."""
    cause = _cause(message, system, machine)
    return text(f"practice.{cause}", message=message), text(f"practice.{cause}_next")


def why_it_ended(code: int, words: list[str]) -> tuple[str, str]:
    """Return why a server process ended while it started, from its exit code and the last lines of its log."""
    if code in _ILLEGAL_INSTRUCTION:
        return text("practice.no_avx2"), text("practice.no_avx2_next")
    if words and code == 1:
        what, *rest = words[-2:] if len(words) > 1 else words
        return what, "\n".join(rest)
    return text("practice.ended", code=code, words=" ".join(words)), text("practice.ended_next")


def _cause(message: str, system: str, machine: str) -> str:
    if system == "win32" and machine.lower() in ("arm64", "aarch64"):
        return "windows_arm"
    if "libgomp" in message or "libstdc++" in message:
        return "no_libgomp"
    if "musl" in message or "No module named 'xllamacpp'" in message:
        return "no_wheel"
    return "no_vcruntime" if system == "win32" else "no_engine"
