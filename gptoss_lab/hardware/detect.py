"""Look at this computer: every probe once, in an order in which each can use what the ones before it found.

Nothing raises, and only a Mac is asked through a subprocess (`sysctl`). What is unknown is None, with the reason in
`Machine.readings`. Whether a model runs on what was found is not said here.
"""

import platform
from collections.abc import Mapping

from gptoss_lab.hardware.machine import Gpu, Machine, Reading
from gptoss_lab.hardware.probes import surroundings
from gptoss_lab.hardware.probes.apple import apple
from gptoss_lab.hardware.probes.bandwidth import ram_bandwidth
from gptoss_lab.hardware.probes.cards import cards
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.hardware.probes.memory import memory
from gptoss_lab.hardware.probes.nvidia import nvidia
from gptoss_lab.text import text


def detect(host: Host | None = None) -> Machine:
    """Return what this computer has; `host` is a staged one for tests."""
    host = host or Host()
    processor, cores, ram = surroundings.cpu(host), surroundings.cores(host), memory(host)
    total, free = ram["ram_total"].value, ram["ram_free"].value
    gpus, said = _gpus(host, processor, total, free)
    bandwidth = ram_bandwidth(host, processor, cores.value)
    folder = surroundings.models_folder(host)
    disk = surroundings.disk_free_gb(folder)
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


def _gpus(
    host: Host, processor: str, total_gib: float | None, free_gib: float | None
) -> tuple[list[Gpu], dict[str, Reading]]:
    if host.system == "Darwin":
        found, said = apple(host, total_gib, free_gib)
    else:
        found, said = nvidia(host, total_gib, free_gib)
        others, more = cards(host, processor, free_gib)
        found, said = [*found, *others], {**said, **more}
    used = [gpu for gpu in found if not gpu.unused]
    reasons = " ".join([*(reading.reason for reading in said.values()), *(gpu.unused for gpu in found)]).strip()
    reason = "" if used else reasons or text("hardware.no_gpu")
    return found, {**said, "gpus": Reading(len(used), platform.system(), reason)}


def _name(processor: str, gpus: list[Gpu]) -> str:
    names = [gpu.name for gpu in gpus if gpu.name != processor]
    return " + ".join([processor or platform.machine(), *dict.fromkeys(names)])
