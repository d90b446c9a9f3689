"""Look at this computer: every probe once, in an order in which each can use what the ones before it found.

Nothing raises, and only a Mac is asked through a subprocess (`sysctl`). What is unknown is None, with the reason in
`Machine.readings`. Whether a model runs on what was found is not said here.
"""

import platform
from collections.abc import Callable, Mapping
from typing import TypeVar

from gptoss_lab.hardware.machine import Gpu, Machine, Reading
from gptoss_lab.hardware.probes import surroundings
from gptoss_lab.hardware.probes.apple import apple
from gptoss_lab.hardware.probes.bandwidth import ram_bandwidth
from gptoss_lab.hardware.probes.cards import cards
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.hardware.probes.memory import memory
from gptoss_lab.hardware.probes.nvidia import nvidia
from gptoss_lab.text import text

Found = TypeVar("Found")
Gpus = tuple[list[Gpu], dict[str, Reading]]


def detect(host: Host | None = None) -> Machine:
    """Return what this computer has; `host` is a staged one for tests."""
    host = host or Host()
    processor = _asked(lambda: surroundings.cpu(host), lambda reason: "")
    cores = _asked(lambda: surroundings.cores(host), _unknown)
    ram = _asked(lambda: memory(host), lambda reason: {"ram_total": _unknown(reason), "ram_free": _unknown(reason)})
    total, free = ram["ram_total"].value, ram["ram_free"].value
    gpus, said = _gpus(host, processor, total, free)
    bandwidth = _asked(lambda: ram_bandwidth(host, processor, cores.value), _unknown)
    folder = surroundings.models_folder(host)
    disk = _asked(lambda: surroundings.disk_free_gb(folder), _unknown)
    traits = (*surroundings.traits(host, processor), *(["mig"] if any(" MIG" in gpu.name for gpu in gpus) else []))
    readings: Mapping[str, Reading] = {
        **ram, **said, "cpu": Reading(processor or None, "processor"), "cores": cores, "ram_bandwidth": bandwidth,
        "models_folder": Reading(str(folder), "OLLAMA_MODELS" if "OLLAMA_MODELS" in host.env else host.system),
        "disk": disk, "surroundings": Reading(", ".join(traits) or None, host.system),
    }  # fmt: skip
    return Machine(
        name=_name(processor, gpus), system=host.system, ram_total_gib=total, ram_free_gib=free,
        ram_bandwidth_gb_s=bandwidth.value, gpus=tuple(gpus), cores=cores.value, laptop=surroundings.is_laptop(host),
        traits=traits, disk_free_gb=disk.value, models_folder=str(folder), readings=readings,
    )  # fmt: skip


def _asked(probe: Callable[[], Found], otherwise: Callable[[str], Found]) -> Found:
    """Return what a probe says, or what stands for it when it breaks on something that nobody foresaw."""
    try:
        return probe()
    except Exception as error:
        return otherwise(text("hardware.probe_failed", error=error))


def _unknown(reason: str) -> Reading:
    return Reading(None, "", reason)


def _gpus(host: Host, processor: str, total_gib: float | None, free_gib: float | None) -> Gpus:
    probes: dict[str, Callable[[], Gpus]] = {
        "nvidia": lambda: nvidia(host, total_gib, free_gib),
        "cards": lambda: cards(host, processor, free_gib),
    }
    if host.system == "Darwin":
        probes = {"apple": lambda: apple(host, total_gib, free_gib)}
    found: list[Gpu] = []
    said: dict[str, Reading] = {}
    for name, probe in probes.items():
        gpus, readings = _asked(probe, lambda reason, name=name: ([], {name: _unknown(reason)}))  # type: ignore[misc]
        found, said = [*found, *gpus], {**said, **readings}
    used = [gpu for gpu in found if not gpu.unused]
    reasons = " ".join([*(reading.reason for reading in said.values()), *(gpu.unused for gpu in found)]).strip()
    reason = "" if used else reasons or text("hardware.no_gpu")
    return found, {**said, "gpus": Reading(len(used), platform.system(), reason)}


def _name(processor: str, gpus: list[Gpu]) -> str:
    names = [gpu.name for gpu in gpus if gpu.name != processor]
    return " + ".join([processor or platform.machine(), *dict.fromkeys(names)])
