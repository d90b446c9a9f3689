"""Where the parts of a model go: all on the GPU, split, processor only, or nowhere.

From 0.30 on, Ollama leaves this to llama.cpp: everything on the GPU if it fits with a margin; else the dense parts on
the GPU and as many experts as fit, block by block, the rest in memory. Older versions move whole layers. The rules were
read in Ollama's server/sched.go and llama.cpp's common/fit.cpp. Nothing here knows about speed or words.
"""

from dataclasses import dataclass, replace

from gptoss_lab.facts.files import ModelFile
from gptoss_lab.facts.fit import constant
from gptoss_lab.hardware import memory
from gptoss_lab.hardware.machine import Gpu, Machine
from gptoss_lab.hardware.verdict import Parts


@dataclass(frozen=True)
class Ask:
    """What is to be loaded, and by which Ollama."""

    file: ModelFile
    context: int
    kv_type: str
    parallel: int
    engine: str


@dataclass(frozen=True)
class Room:
    """What there is to load it into, in GiB."""

    gpus: tuple[float, ...]  # free memory per GPU, most first
    host: float
    unified: bool  # the GPU's memory is the host's

    @property
    def gpu(self) -> float:
        return sum(self.gpus)


@dataclass(frozen=True)
class Placement:
    """Where everything goes."""

    kind: str  # "gpu", "split", "cpu" or "no"
    blocks_on_gpu: int
    devices: int
    on_gpu: Parts  # for everything on the GPU
    used_on_gpu: Parts
    on_host: Parts


def room(machine: Machine) -> Room:
    """Return the memory that is free now; what is unknown counts as none."""
    return _room(machine, {id(gpu): gpu.free_gib for gpu in machine.gpus}, machine.ram_free_gib or 0.0)


def room_when_closed(machine: Machine) -> Room:
    """Return the memory that would be free with all other programs closed."""
    share = {id(gpu): gpu.total_gib * (1 if gpu.unified else constant("closed_gpu")) for gpu in machine.gpus}
    total, now = machine.ram_total_gib or 0.0, room(machine)
    kept = kept_by_system(machine.system, total, now.unified)
    closed = _room(machine, share, max(total - kept, now.host))
    return replace(closed, gpus=tuple(map(max, closed.gpus, now.gpus)))


def kept_by_system(system: str, total_gib: float, unified: bool) -> float:
    """Return the GiB that the system itself keeps with all programs closed."""
    least = constant(f"system_{system.lower() if system in ('Darwin', 'Windows') else 'linux'}")
    return least if unified else max(least, total_gib * constant("system_share"))


def _room(machine: Machine, free: dict[int, float], host: float) -> Room:
    """Take the GPUs Ollama would take together: those of one maker, dedicated ones first."""
    groups: dict[tuple[str, bool], list[Gpu]] = {}
    for gpu in machine.used_gpus:
        groups.setdefault((gpu.maker, gpu.unified), []).append(gpu)

    def rank(group: list[Gpu]) -> tuple[bool, float]:
        return not group[0].unified, sum(free[id(gpu)] for gpu in group)

    best = max(groups.values(), key=rank, default=[])
    return Room(tuple(sorted((free[id(gpu)] for gpu in best), reverse=True)), host, any(gpu.unified for gpu in best))


def place(ask: Ask, room: Room) -> Placement:
    """Return where everything goes in this room."""
    pool = _pool(ask, room)
    batch = memory.batch_size(ask.file, ask.context, ask.parallel, sum(pool) or room.host, ask.engine)
    devices = max(len(pool), 1)
    everything = memory.need(ask.file, ask.context, ask.kv_type, ask.parallel, ask.engine, batch, devices)
    if pool and everything.total_gib <= sum(pool):
        return _checked(ask, room, ask.file.layers, everything, devices)
    blocks = _blocks(ask, everything, sum(pool)) if pool else -1
    if blocks > 0:
        return _checked(ask, room, blocks, everything, devices)
    return _on_cpu(ask, room, everything)


def largest_context_on_gpu(ask: Ask, room: Room) -> int:
    """Return the largest context, in steps of 1,024, with which everything stays on the GPU; 0 when none does."""
    for context in range(ask.file.context, 0, -1_024):
        tried = replace(ask, context=context)
        if room.gpus and place(tried, room).kind == "gpu":
            return context
    return 0


def _pool(ask: Ask, room: Room) -> tuple[float, ...]:
    """Return the free memory of the GPUs taken: one, if Ollama guesses that it fits there with room to spare."""
    guess = memory.guessed(ask.file, ask.context * ask.parallel)
    one = room.gpus[:1]
    return one if one and guess <= one[0] * 1024 * constant("room") else room.gpus


def _blocks(ask: Ask, everything: Parts, pool_gib: float) -> int:
    """Return how many blocks fit on the GPU beside what must be there; negative when not even that fits."""
    file = ask.file
    left = (pool_gib - everything.total_gib) * 1024 * memory.MIB + file.layers * _block(ask)
    return min(int(left // _block(ask)), file.layers - 1)


def _block(ask: Ask) -> int:
    """Return the bytes that move as one piece: a layer's experts; whole layers in Ollama before 0.30."""
    if ask.engine == memory.OLD:
        return (ask.file.dense_bytes + ask.file.layers * ask.file.expert_bytes) // ask.file.layers
    return ask.file.block_bytes


def _checked(ask: Ask, room: Room, blocks: int, everything: Parts, devices: int) -> Placement:
    """Return the placement, or "no" when the machine's own memory cannot hold the rest."""
    away = (ask.file.layers - blocks) * _block(ask) / memory.MIB
    kind = "split" if away else "gpu"
    spare = 0.0 if room.unified or not away else constant("split_margin") + away * constant("split_spare")
    on_host = Parts(weights=away + memory.weights(ask.file, on_gpu=False), margin=spare)
    used = replace(everything, weights=everything.weights - away)
    taken = on_host.total_gib + (used.total_gib - used.margin / 1024 if room.unified else 0.0)
    unknown = not room.host and kind == "gpu"
    return Placement(kind if taken <= room.host or unknown else "no", blocks, devices, everything, used, on_host)


def _on_cpu(ask: Ask, room: Room, everything: Parts) -> Placement:
    on_host = replace(everything, weights=everything.weights + memory.weights(ask.file, on_gpu=False), margin=0.0)
    return Placement("cpu" if on_host.total_gib <= room.host else "no", 0, 0, everything, Parts(), on_host)
