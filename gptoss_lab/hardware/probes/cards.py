"""AMD's and Intel's GPUs: from sysfs on Linux, from the registry on Windows.

Windows' own `AdapterRAM` has 32 bits and says 4 GB for everything larger, so it is never asked. Ollama leaves
integrated GPUs alone, except the one in Ryzen AI Max ("Strix Halo"), whose pool is the memory the driver may map (GTT).
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gptoss_lab.facts.chips import AMD_CARDS, INTEL_CARDS, bandwidth_gb_s
from gptoss_lab.hardware.machine import Gpu, Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

GIB = 2**30
_AMD, _INTEL, _STRIX_HALO = "0x1002", "0x8086", "0x1586"
_FREE = 0.95  # of a card's memory, where the system does not tell what programs have taken
_CARVED_OUT_GIB = 4.5  # an integrated GPU is given this much or less of its own, and maps the rest
_DISPLAYS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


def cards(host: Host, cpu: str, ram_free_gib: float | None) -> tuple[list[Gpu], dict[str, Reading]]:
    """Return AMD's and Intel's GPUs and the reading `cards`."""
    if host.system == "Windows":
        gpus, source = list(_registry(cpu)), "registry"
    elif host.system == "Linux":
        gpus, source = list(_sysfs(host, cpu, ram_free_gib)), "/sys/class/drm"
    else:
        return [], {}
    return gpus, {"cards": Reading(len(gpus), source)} if gpus else {}


def is_strix_halo(cpu: str) -> bool:
    return "Ryzen AI Max" in cpu or "RYZEN AI MAX" in cpu


def _sysfs(host: Host, cpu: str, ram_free_gib: float | None) -> Iterator[Gpu]:
    folder = host.root / "sys/class/drm"
    with suppress(OSError):
        for card in sorted(folder.glob("card[0-9]*")):
            if "-" in card.name:  # a connector, not a card
                continue
            base = f"sys/class/drm/{card.name}/device"
            vendor = host.read(f"{base}/vendor").strip()
            if vendor == _AMD:
                yield from _amd(host, base, cpu, ram_free_gib)
            elif vendor == _INTEL:
                yield _intel(host, base)


def _amd(host: Host, base: str, cpu: str, ram_free_gib: float | None) -> Iterator[Gpu]:
    vram, used = (host.number(f"{base}/mem_info_vram_{part}") for part in ("total", "used"))
    mapped, mapped_used = (host.number(f"{base}/mem_info_gtt_{part}") for part in ("total", "used"))
    number = host.read(f"{base}/device").strip().lower()
    if vram is None:
        return
    name = host.read(f"{base}/product_name").strip() or AMD_CARDS.get((number, round(vram / GIB)), "AMD GPU")
    if number == _STRIX_HALO or (not number and is_strix_halo(cpu)):
        pool, taken = max((vram, used or 0), (mapped or 0, mapped_used or 0))
        free = (pool - taken) / GIB
        if pool == mapped and ram_free_gib is not None:
            free = min(free, ram_free_gib)
        shared = pool == mapped  # what is set aside in the BIOS is no longer the machine's
        yield Gpu("AMD Radeon 8060S", "amd", pool / GIB, free, bandwidth_gb_s("Ryzen AI Max"), unified=shared)
        return
    carved_out = vram / GIB <= _CARVED_OUT_GIB and "Radeon" in cpu
    unused = text("hardware.integrated") if (_is_integrated(number) if number else carved_out) else ""
    yield Gpu(name, "amd", vram / GIB, (vram - (used or 0)) / GIB, bandwidth_gb_s(name), unused=unused)


def _is_integrated(number: str) -> bool:
    """Tell whether an AMD GPU is part of a processor, by the ranges its PCI numbers come from."""
    with suppress(ValueError):
        return int(number, 16) < 0x2000 or 0x9600 <= int(number, 16) < 0x9A00
    return False


def _intel(host: Host, base: str) -> Gpu:
    own = (host.number(f"{base}/lmem_total_bytes") or _largest_window(host, base)) / GIB
    name, known = INTEL_CARDS.get(host.read(f"{base}/device").strip().lower(), ("Intel GPU", own))
    own = min(own or known, known)
    unused = "" if own >= 3.5 else text("hardware.integrated")
    return Gpu(name, "intel", own, own * _FREE, bandwidth_gb_s(name), unused=unused)


def _largest_window(host: Host, base: str) -> int:
    """Return the largest address window of a PCI device: with a dedicated card, its memory."""
    sizes = [0]
    for line in host.read(f"{base}/resource").splitlines():
        with suppress(ValueError):
            start, end = (int(part, 16) for part in line.split()[:2])
            sizes.append(end - start + 1 if end > start else 0)
    largest = max(sizes)
    return largest if largest / GIB >= 3.5 else 0


def _registry(cpu: str) -> Iterator[Gpu]:
    try:
        import winreg
    except ImportError:
        return
    seen = set()
    for name, size in _adapters(winreg):
        maker = "amd" if "AMD" in name or "Radeon" in name else "intel" if "Intel" in name else ""
        if maker and (name, size) not in seen:
            seen.add((name, size))
            yield _windows_gpu(name, maker, size / GIB, cpu)


def _windows_gpu(name: str, maker: str, total_gib: float, cpu: str) -> Gpu:
    strix = is_strix_halo(cpu) and maker == "amd" and name.rstrip().endswith("Graphics")
    numbered = re.search(r"\bArc\b.* [AB]\d\d", name)  # A770 or B580 is a card; a plain "Arc" is in the processor
    integrated = not strix and (not numbered if maker == "intel" else name.rstrip().endswith("Graphics"))
    bandwidth = bandwidth_gb_s("Ryzen AI Max" if strix else name)
    unused = text("hardware.integrated") if integrated else ""
    return Gpu(name, maker, total_gib, total_gib * _FREE, bandwidth, unused=unused)


def _adapters(winreg: Any) -> Iterator[tuple[str, int]]:
    """Yield name and memory in bytes of every display adapter."""
    with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _DISPLAYS) as displays:
        for index in range(winreg.QueryInfoKey(displays)[0]):
            with (
                suppress(OSError, ValueError, TypeError),
                winreg.OpenKey(displays, winreg.EnumKey(displays, index)) as adapter,
            ):
                size = winreg.QueryValueEx(adapter, "HardwareInformation.qwMemorySize")[0]
                name = winreg.QueryValueEx(adapter, "DriverDesc")[0]
                yield _words(name), int.from_bytes(size, "little") if isinstance(size, bytes) else int(size)


def _words(value: Any) -> str:
    """Return a registry text that a driver may have stored as bytes of any encoding."""
    return value.decode("utf-8", "replace").strip("\x00") if isinstance(value, bytes) else str(value)
