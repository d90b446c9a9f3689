"""How much memory there is and how much is free: the machine's, the container's limits, and swap.

psutil tells the machine's memory even in a container, so every limit on the way from this process's control group to
the root is read, too. Swap and JupyterHub's MEM_LIMIT are told and never counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptoss_lab.hardware.machine import Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

GIB = 2**30
_NONE_FROM = 2**62  # control groups of version 1 write a huge number for "no limit"


@dataclass(frozen=True)
class Limit:
    """What a control group allows, and what its processes hold already, in bytes."""

    path: str
    limit_bytes: int
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        return max(self.limit_bytes - self.used_bytes, 0)


def memory(host: Host) -> dict[str, Reading]:
    """Return `ram_total`, `ram_free`, `ram_limit`, `jupyter_limit` and `swap`, in GiB."""
    total, free = _machine(host)
    limits = list(_limits(host))
    tight = min(limits, key=lambda limit: limit.limit_bytes, default=None)
    least = min(limits, key=lambda limit: limit.left_bytes, default=None)
    found = {"ram_total": total, "ram_free": free, "jupyter_limit": _jupyter(host), "swap": _swap()}
    if tight and (total.value is None or tight.limit_bytes / GIB < total.value):
        why = text("hardware.limited", path=tight.path)
        found["ram_limit"] = found["ram_total"] = Reading(tight.limit_bytes / GIB, tight.path, why)
    if least and (free.value is None or least.left_bytes / GIB < free.value):
        found["ram_free"] = Reading(least.left_bytes / GIB, least.path, text("hardware.limited", path=least.path))
    return found


def _machine(host: Host) -> tuple[Reading, Reading]:
    try:
        import psutil

        seen = psutil.virtual_memory()
        return Reading(seen.total / GIB, "psutil"), Reading(seen.available / GIB, "psutil")
    except Exception as error:  # psutil has raised half a dozen kinds on new systems
        return _without_psutil(host, error)


def _without_psutil(host: Host, error: Exception) -> tuple[Reading, Reading]:
    reason = text("hardware.psutil_failed", error=error)
    kb = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", host.read("proc/meminfo"), re.MULTILINE)}
    if "MemTotal" in kb:
        free = kb.get("MemAvailable", kb.get("MemFree", 0))
        return _gib(kb["MemTotal"], reason), _gib(free, reason)
    size = host.sysctl("hw.memsize") if host.system == "Darwin" else ""
    if size.isdigit():
        return Reading(int(size) / GIB, "sysctl", reason), Reading(None, "", reason)
    if host.system == "Windows":
        all_gib, free_gib = _windows_memory()
        return Reading(all_gib, "GlobalMemoryStatusEx", reason), Reading(free_gib, "GlobalMemoryStatusEx", reason)
    return Reading(None, "", reason), Reading(None, "", reason)


def _windows_memory() -> tuple[float | None, float | None]:
    """Ask Windows itself for total and available GiB."""
    try:
        import ctypes

        state = (ctypes.c_ulonglong * 8)(64)  # MEMORYSTATUSEX: its length and a percentage, then sizes in bytes
        known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(state))  # type: ignore[attr-defined, unused-ignore]
        return (state[1] / GIB, state[2] / GIB) if known else (None, None)
    except (AttributeError, OSError):
        return None, None


def _gib(kb: int, reason: str) -> Reading:
    return Reading(kb * 1024 / GIB, "/proc/meminfo", reason)


def _limits(host: Host) -> Iterator[Limit]:
    """Yield every memory limit above this process: its own control group and all ancestors, version 1 and 2."""
    for line in host.read("proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _walk(host, "sys/fs/cgroup", path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            yield from _walk(host, "sys/fs/cgroup/memory", path, *files)


def _walk(host: Host, mount: str, path: str, limit_file: str, used_file: str) -> Iterator[Limit]:
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        folder = "/".join([mount, *parts[:depth]])
        limit = host.number(f"{folder}/{limit_file}")  # "max" is no number
        if limit is not None and limit < _NONE_FROM:
            used = (host.number(f"{folder}/{used_file}") or 0) - _cache(host, folder)
            yield Limit(f"/{folder}/{limit_file}", limit, max(used, 0))


def _cache(host: Host, folder: str) -> int:
    """Return bytes of file cache that the kernel gives back when a program wants them."""
    found = re.findall(r"^(?:total_)?inactive_file (\d+)", host.read(f"{folder}/memory.stat"), re.MULTILINE)
    return max(map(int, found), default=0)


def _jupyter(host: Host) -> Reading:
    said = host.env.get("MEM_LIMIT", "")
    return Reading(int(said) / GIB, "MEM_LIMIT") if said.isdigit() and int(said) else Reading()


def _swap() -> Reading:
    try:
        import warnings

        import psutil

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Reading(psutil.swap_memory().total / GIB, "psutil", text("hardware.swap"))
    except Exception as error:
        return Reading(None, "psutil", str(error))
