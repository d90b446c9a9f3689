"""How fast the machine's memory is: what its modules say (SMBIOS), else a short copy.

SMBIOS is open on Windows and needs an administrator on most Linux systems. The copy takes a tenth of a second, in a few
threads; it finds less than the modules promise on some machines, which the reading says.
"""

import re
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gptoss_lab.facts.chips import bandwidth_gb_s
from gptoss_lab.hardware.machine import Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

_MODULE = 17  # SMBIOS type "memory device"
_COPY_BYTES, _COPY_LIMIT_S, _MOST_THREADS = 40 * 2**20, 0.12, 3
_BITS_AT_HOME = 128  # width of the memory bus of a laptop or desktop


@dataclass(frozen=True)
class Module:
    """One memory module that is plugged in."""

    bits: int
    mega_transfers_s: int
    place: str


def ram_bandwidth(host: Host, processor: str, cores: int | None) -> Reading:
    """Return the memory's bandwidth in GB/s."""
    listed = bandwidth_gb_s(processor)
    if listed:
        return Reading(listed, processor)
    modules = list(_modules(_smbios(host)))
    if modules:
        return Reading(_of_modules(modules), "SMBIOS")
    if host.root.as_posix() != "/":
        return Reading(None, "", text("hardware.bandwidth_unknown"))
    copied = _by_copy(min(cores or 1, _MOST_THREADS))
    return Reading(copied, text("hardware.copy"), text("hardware.copy_reason")) if copied else Reading()


def _of_modules(modules: list[Module]) -> float:
    """Return GB/s of all channels; where modules name none, more of them than the bus is wide share it."""
    named = {channel: module.bits for module in modules if (channel := _channel(module.place))}
    bits = sum(named.values()) or min(sum(module.bits for module in modules), _BITS_AT_HOME)
    return bits / 8 * min(module.mega_transfers_s for module in modules) / 1000


def _channel(place: str) -> str:
    """Return the processor and channel in a text such as "P0 CHANNEL A" or "ChannelA-DIMM0"; "" when it names none."""
    found = re.search(r"^(\S*).*?CHANNEL[ _-]?(\w)", place.upper())
    return "".join(found.groups()) if found else ""


def _smbios(host: Host) -> bytes:
    if host.system == "Windows":
        return _windows_smbios()
    try:
        return (host.root / "sys/firmware/dmi/tables/DMI").read_bytes()
    except OSError:  # only an administrator may read it
        return b""


def _windows_smbios() -> bytes:
    try:
        import ctypes

        ask = ctypes.windll.kernel32.GetSystemFirmwareTable  # type: ignore[attr-defined, unused-ignore]
        table = int.from_bytes(b"RSMB", "big")
        size = ask(table, 0, None, 0)
        buffer = ctypes.create_string_buffer(size)
        return buffer.raw[8:] if ask(table, 0, buffer, size) == size else b""
    except (ImportError, AttributeError, OSError):
        return b""


def _modules(table: bytes) -> Iterator[Module]:
    """Yield the modules of an SMBIOS table (DMTF DSP0134: structures with a formatted part and strings)."""
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        end = table.find(b"\0\0", at + length)
        if length < 4 or end < 0:
            return
        module = _module(table[at : at + length], table[at + length : end].split(b"\0")) if kind == _MODULE else None
        if module:
            yield module
        at = end + 2


def _module(fields: bytes, strings: list[bytes]) -> Module | None:
    if len(fields) < 0x17:
        return None
    bits, size = struct.unpack_from("<H", fields, 0x0A)[0], struct.unpack_from("<H", fields, 0x0C)[0]
    rated = struct.unpack_from("<H", fields, 0x15)[0]
    configured = struct.unpack_from("<H", fields, 0x20)[0] if len(fields) >= 0x22 else 0
    speed = configured or rated
    names = [strings[fields[at] - 1] for at in (0x10, 0x11) if 0 < fields[at] <= len(strings)]
    place = " ".join(name.decode("utf-8", "replace") for name in names)
    return Module(bits, speed, place) if size and bits not in (0, 0xFFFF) and 0 < speed < 0xFFFF else None


def _by_copy(threads: int) -> float | None:
    """Return GB/s moved by copying: what is copied is read and written."""
    try:
        import numpy

        pairs = [(numpy.ones(_COPY_BYTES, numpy.uint8), numpy.empty(_COPY_BYTES, numpy.uint8)) for _ in range(threads)]
        end = time.perf_counter() + _COPY_LIMIT_S

        def copy(pair: tuple[object, object]) -> float:
            start, rounds = time.perf_counter(), 0
            while time.perf_counter() < end or not rounds:
                numpy.copyto(*pair)  # type: ignore[arg-type]
                rounds += 1
            return 2 * _COPY_BYTES * rounds / (time.perf_counter() - start) / 1e9

        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(copy, pairs))
    except (ImportError, MemoryError, RuntimeError):
        return None
