"""NVIDIA's GPUs through NVML (`pynvml`, from the package nvidia-ml-py): names, memory, bandwidth, and what is wrong.

A card in MIG mode is cut into instances; a program gets one of them, so the instances are listed in place of the card.
GB10 and Jetson have no memory of their own: NVML says "not supported", and the machine's memory is the pool.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import ModuleType
from typing import Any

from gptoss_lab.facts.chips import bandwidth_gb_s
from gptoss_lab.hardware.machine import Gpu, Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

GIB = 2**30
_OLDEST_COMPUTE, _OLD_COMPUTE = (5, 0), (6, 2)
_OLDEST_DRIVER, _OLDEST_DRIVER_FOR_OLD = 550, 570  # docs.ollama.com/gpu
_SLICES = {"1": 1, "2": 2, "3": 4, "4": 4, "7": 8}  # memory slices, of 8, by the compute slices of a MIG profile


def nvidia(host: Host, ram_total_gib: float | None, ram_free_gib: float | None) -> tuple[list[Gpu], dict[str, Reading]]:
    """Return the NVIDIA GPUs this process may use, and the readings `nvidia` and `driver`."""
    try:
        nvml, warned = _import()
    except ImportError as error:
        return [], {"nvidia": Reading(None, "pynvml", text("hardware.nvml_missing", error=error))}
    pool = Gpu("NVIDIA", "nvidia", ram_total_gib or 0.0, ram_free_gib or 0.0, unified=True)
    try:
        nvml.nvmlInit()
    except Exception as error:  # an NVMLError, or whatever an old or a broken library raises
        return list(_jetson(host, pool)), {"nvidia": Reading(None, "NVML", _why(nvml, error, host))}
    try:
        driver = _text(_quiet(nvml, "SystemGetDriverVersion") or "")
        gpus = [gpu for index, card in _handles(nvml) for gpu in _gpus(nvml, index, card, driver, pool, host)]
    finally:
        with suppress(Exception):
            nvml.nvmlShutdown()
    said = Reading(len(gpus), "NVML", text("hardware.nvml_shim") if warned else "")
    return gpus, {"nvidia": said, "driver": Reading(driver or None, "NVML")}


def _import() -> tuple[ModuleType, bool]:
    """Import pynvml without its deprecation warning; tell whether the deprecated shell was there."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import pynvml
    return pynvml, any(issubclass(one.category, FutureWarning) for one in caught)


def _why(nvml: Any, error: Exception, host: Host) -> str:
    """Say in words why NVML does not work here."""
    kinds = {
        "NVMLError_LibraryNotFound": "no_driver",
        "NVMLError_DriverNotLoaded": "driver_not_loaded",
        "NVMLError_LibRmVersionMismatch": "driver_mismatch",
        "NVMLError_NoPermission": "no_permission",
    }
    kind = next((words for name, words in kinds.items() if isinstance(error, getattr(nvml, name, ()))), "nvml_failed")
    if kind == "no_driver" and host.exists("proc/driver/nvidia"):
        kind = "no_driver_in_container"
    return text(f"hardware.{kind}", error=error)


def _quiet(nvml: Any, function: str, *arguments: Any) -> Any:
    """Return what NVML answers, or None where it cannot, or where an old pynvml lacks the function."""
    try:
        return getattr(nvml, f"nvml{function}")(*arguments)
    except Exception:
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _jetson(host: Host, pool: Gpu) -> Iterator[Gpu]:
    """Yield the GPU of a Jetson by the name of its board, where NVML is missing."""
    if _is_jetson(host):
        name = _board(host)
        yield replace(pool, name=name, bandwidth_gb_s=bandwidth_gb_s(name), compute=(8, 7) if "Orin" in name else None)


def _is_jetson(host: Host) -> bool:
    return host.exists("etc/nv_tegra_release") or "Jetson" in _board(host)


def _board(host: Host) -> str:
    return host.read("proc/device-tree/model").strip("\x00\n ")


def _handles(nvml: Any) -> Iterator[tuple[int, Any]]:
    for index in range(_quiet(nvml, "DeviceGetCount") or 0):
        handle = _quiet(nvml, "DeviceGetHandleByIndex", index)
        if handle is not None:
            yield index, handle


def _gpus(nvml: Any, index: int, handle: Any, driver: str, pool: Gpu, host: Host) -> Iterator[Gpu]:
    name = _text(_quiet(nvml, "DeviceGetName", handle) or "NVIDIA GPU")
    compute = _quiet(nvml, "DeviceGetCudaComputeCapability", handle)
    jetson = _is_jetson(host)  # whose driver is numbered in its own way
    card = Gpu(
        name, "nvidia", 0.0, 0.0, _bandwidth(nvml, handle) or bandwidth_gb_s(name),
        tuple(compute) if compute else None, unused=_unused(compute, "" if jetson else driver),
    )  # fmt: skip
    mode = _quiet(nvml, "DeviceGetMigMode", handle)
    instances = [] if mode and not mode[0] else list(_instances(nvml, handle, card, host))
    if instances or (mode and mode[0]):
        yield from instances
        return
    hidden = "" if card.unused or _is_visible(nvml, handle, index, host) else text("hardware.hidden")
    card = replace(card, unused=card.unused or hidden)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        yield replace(card, total_gib=memory.total / GIB, free_gib=memory.free / GIB)
    except Exception as error:
        if jetson or isinstance(error, nvml.NVMLError_NotSupported):  # GB10, Jetson, Thor
            speed = card.bandwidth_gb_s or bandwidth_gb_s(_board(host))
            yield replace(card, total_gib=pool.total_gib, free_gib=pool.free_gib, unified=True, bandwidth_gb_s=speed)


def _is_visible(nvml: Any, handle: Any, index: int, host: Host) -> bool:
    """Tell whether CUDA_VISIBLE_DEVICES, when it is set, names this card by its number or its identifier."""
    if "CUDA_VISIBLE_DEVICES" not in host.env:
        return True
    identifier = _text(_quiet(nvml, "DeviceGetUUID", handle) or "")
    names = [name.strip() for name in host.env["CUDA_VISIBLE_DEVICES"].split(",")]
    return any(name == str(index) or (bool(name) and identifier.startswith(name)) for name in names)


def _instances(nvml: Any, handle: Any, card: Gpu, host: Host) -> Iterator[Gpu]:
    """Yield the one MIG instance a CUDA program gets: the one CUDA_VISIBLE_DEVICES names, else the first."""
    count = _quiet(nvml, "DeviceGetMaxMigDeviceCount", handle) or 0
    found = [_quiet(nvml, "DeviceGetMigDeviceHandleByIndex", handle, index) for index in range(count)]
    wanted = host.env.get("CUDA_VISIBLE_DEVICES", "").split(",")
    named = [one for one in found if one and _text(_quiet(nvml, "DeviceGetUUID", one) or "-") in wanted]
    for instance in (named or [one for one in found if one])[:1]:
        memory = _quiet(nvml, "DeviceGetMemoryInfo", instance)
        if memory is not None:
            label = _text(_quiet(nvml, "DeviceGetName", instance) or card.name)
            shown = label if "MIG" in label else f"{label} MIG {memory.total / GIB:.0f} GiB"
            part = card.bandwidth_gb_s * _share(nvml, handle, label, memory.total) if card.bandwidth_gb_s else None
            yield replace(
                card, name=shown, total_gib=memory.total / GIB, free_gib=memory.free / GIB, bandwidth_gb_s=part
            )


def _share(nvml: Any, handle: Any, label: str, own_bytes: int) -> float:
    """Return the share of a card's memory that an instance has, in eighths, as the hardware cuts it."""
    whole = _quiet(nvml, "DeviceGetMemoryInfo", handle)
    profile = re.search(r"(\d)g\.\d+gb", label)
    slices = _SLICES.get(profile.group(1) if profile else "1", 1)
    return (max(round(own_bytes / whole.total * 8), 1) if whole else slices) / 8


def _bandwidth(nvml: Any, handle: Any) -> float | None:
    """Return GB/s from the width of the memory bus and its clock; memory moves twice per clock."""
    bits = _quiet(nvml, "DeviceGetMemoryBusWidth", handle)
    mhz = _quiet(nvml, "DeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_MEM)
    return bits * mhz * 2 / 8 / 1000 if bits and mhz else None


def _unused(compute: Any, driver: str) -> str:
    """Say why Ollama would leave a card alone; "" when it uses it."""
    number = int(driver.split(".")[0]) if driver.split(".")[0].isdigit() else None
    if compute and tuple(compute) < _OLDEST_COMPUTE:
        return text("hardware.card_too_old")
    needed = _OLDEST_DRIVER_FOR_OLD if compute and tuple(compute) <= _OLD_COMPUTE else _OLDEST_DRIVER
    return text("hardware.driver_too_old", driver=driver, needed=needed) if number and number < needed else ""
