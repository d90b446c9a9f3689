"""The speed to expect from a placement on a machine: a range, how sure it is, and the nearest published run."""

import re

from gptoss_lab.facts.fit import CHIPS, constant
from gptoss_lab.hardware import evidence, memory, speed
from gptoss_lab.hardware.machine import Gpu, Machine
from gptoss_lab.hardware.placement import Ask, Placement
from gptoss_lab.hardware.verdict import Measured, Speed

_LIKE = 1.6  # a published run vouches for chips of its kind whose bandwidth is within × and ÷ this


def chip(gpu: Gpu) -> str:
    """Return the kind of GPU, as `gptoss_lab.facts.fit.CHIPS` names it."""
    if gpu.maker == "nvidia":
        if re.search(r"GB10|Thor", gpu.name):
            return "gb10"
        old = gpu.compute < (8, 9) if gpu.compute else bool(evidence.BEFORE_ADA.search(gpu.name))
        return "nvidia_old" if old else "nvidia"
    if gpu.maker == "amd":
        return "strix_rocm" if gpu.unified or "8060S" in gpu.name else "amd"
    return gpu.maker


def expected(machine: Machine, ask: Ask, placed: Placement, tight: bool) -> Speed | None:
    """Return the expected speed; None when the model does not run or the memory's bandwidth is unknown."""
    if placed.kind == "no":
        return None
    ram = machine.ram_bandwidth_gb_s or constant("ram_bandwidth")
    if placed.kind == "cpu":
        middle = speed.on_cpu(ask.file, ram, _cpu_kind(machine))
        run = evidence.nearest(ask.file.name, "cpu", "cpu", ram)
        return _range(middle, constant("range_other"), _sure(machine, ram, run, _knows_ram(machine)), run)
    return _with_gpu(machine, ask, placed, ram, tight)


def _with_gpu(machine: Machine, ask: Ask, placed: Placement, ram: float, tight: bool) -> Speed | None:
    gpus = sorted(machine.used_gpus, key=lambda gpu: gpu.free_gib, reverse=True)[: placed.devices]
    bandwidths = [gpu.bandwidth_gb_s for gpu in gpus if gpu.bandwidth_gb_s]
    if not gpus or len(bandwidths) < len(gpus):
        return None
    kind, bandwidth = chip(gpus[0]), len(bandwidths) / sum(1 / one for one in bandwidths)
    old, run = ask.engine == memory.OLD, evidence.nearest(ask.file.name, kind, placed.kind, bandwidth)
    if placed.kind == "gpu":
        middle = speed.on_gpu(ask.file, kind, bandwidth) * (constant("old_engine") if old else 1)
    else:
        middle = speed.split(ask.file, kind, bandwidth, placed.blocks_on_gpu, ram, old)
    sure = _sure(machine, bandwidth, run, CHIPS[kind].calibrated and (placed.kind == "gpu" or _knows_ram(machine)))
    if sure == "estimate" and run and bandwidth > _LIKE * (run.bandwidth_gb_s or bandwidth):
        return Speed(middle / constant("beyond_low"), middle, middle * constant("beyond_high"), sure, run)
    narrow = placed.kind == "gpu" and sure == "calibrated" and not tight
    return _range(middle, constant("range_gpu" if narrow else "range_other"), sure, run)


def _knows_ram(machine: Machine) -> bool:
    return machine.ram_bandwidth_gb_s is not None


def _cpu_kind(machine: Machine) -> str:
    if "strix-halo" in machine.traits:
        return "cpu_strix"
    return "cpu_laptop" if machine.laptop else "cpu"


def _sure(machine: Machine, bandwidth: float, run: Measured | None, known_ram: bool) -> str:
    """Return "calibrated" when a published run on like hardware vouches for the estimate."""
    plain = not {"vm", "mig"} & set(machine.traits)
    near = run is not None and 1 / _LIKE <= (run.bandwidth_gb_s or 0) / bandwidth <= _LIKE
    return "calibrated" if plain and near and known_ram else "estimate"


def _range(middle: float, factor: float, confidence: str, nearest: Measured | None) -> Speed:
    """Return a range of × and ÷ `factor` around the middle."""
    return Speed(middle / factor, middle, middle * factor, confidence, nearest)
