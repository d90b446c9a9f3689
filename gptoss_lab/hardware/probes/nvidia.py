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
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], {"nvidia": Reading(None, "NVML", _why(nvml, error, host))}
    try:
        driver = _text(_quiet(nvml.nvmlSystemGetDriverVersion) or "")
        pool = ram_total_gib, ram_free_gib
        gpus = [gpu for handle in _handles(nvml) for gpu in _gpus(nvml, handle, driver, pool, host)]
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


def _quiet(call: Any, *arguments: Any) -> Any:
    """Return what NVML answers, or None where it cannot."""
    try:
        return call(*arguments)
    except Exception:
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _handles(nvml: Any) -> Iterator[Any]:
    for index in range(_quiet(nvml.nvmlDeviceGetCount) or 0):
        handle = _quiet(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is not None:
            yield handle


def _gpus(nvml: Any, handle: Any, driver: str, ram: tuple[float | None, float | None], host: Host) -> Iterator[Gpu]:
    name = _text(_quiet(nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU")
    compute = _quiet(nvml.nvmlDeviceGetCudaComputeCapability, handle)
    card = Gpu(
        name, "nvidia", 0.0, 0.0, _bandwidth(nvml, handle) or bandwidth_gb_s(name),
        tuple(compute) if compute else None, unused=_unused(compute, driver),
    )  # fmt: skip
    mode = _quiet(nvml.nvmlDeviceGetMigMode, handle)
    if mode and mode[0]:
        yield from _instance(nvml, handle, card, host)
        return
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        yield replace(card, total_gib=memory.total / GIB, free_gib=memory.free / GIB)
    except nvml.NVMLError_NotSupported:  # GB10, Jetson, Thor
        yield replace(card, total_gib=ram[0] or 0.0, free_gib=ram[1] or 0.0, unified=True)
    except nvml.NVMLError:
        if host.exists("etc/nv_tegra_release"):
            yield replace(card, total_gib=ram[0] or 0.0, free_gib=ram[1] or 0.0, unified=True)


def _instance(nvml: Any, handle: Any, card: Gpu, host: Host) -> Iterator[Gpu]:
    """Yield the one MIG instance a CUDA program gets: the one CUDA_VISIBLE_DEVICES names, else the first."""
    count = _quiet(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    instances = [_quiet(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index) for index in range(count)]
    wanted = host.env.get("CUDA_VISIBLE_DEVICES", "")
    named = [one for one in instances if one and _text(_quiet(nvml.nvmlDeviceGetUUID, one) or "-") in wanted.split(",")]
    for instance in (named or [one for one in instances if one])[:1]:
        memory = _quiet(nvml.nvmlDeviceGetMemoryInfo, instance)
        if memory is not None:
            label = _text(_quiet(nvml.nvmlDeviceGetName, instance) or card.name)
            shown = label if "MIG" in label else f"{label} MIG {memory.total / GIB:.0f} GiB"
            part = card.bandwidth_gb_s * _share(label) if card.bandwidth_gb_s else None
            yield replace(
                card, name=shown, total_gib=memory.total / GIB, free_gib=memory.free / GIB, bandwidth_gb_s=part
            )


def _share(label: str) -> float:
    """Return the share of a card's memory slices that a profile such as 1g.10gb has, the smallest when unknown."""
    profile = re.search(r"(\d)g\.\d+gb", label)
    return _SLICES.get(profile.group(1) if profile else "1", 1) / 8


def _bandwidth(nvml: Any, handle: Any) -> float | None:
    """Return GB/s from the width of the memory bus and its clock; memory moves twice per clock."""
    bits = _quiet(nvml.nvmlDeviceGetMemoryBusWidth, handle)
    mhz = _quiet(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM)
    return bits * mhz * 2 / 8 / 1000 if bits and mhz else None


def _unused(compute: Any, driver: str) -> str:
    """Say why Ollama would leave a card alone; "" when it uses it."""
    number = int(driver.split(".")[0]) if driver.split(".")[0].isdigit() else None
    if compute and tuple(compute) < _OLDEST_COMPUTE:
        return text("hardware.card_too_old")
    needed = _OLDEST_DRIVER_FOR_OLD if compute and tuple(compute) <= _OLD_COMPUTE else _OLDEST_DRIVER
    return text("hardware.driver_too_old", driver=driver, needed=needed) if number and number < needed else ""
