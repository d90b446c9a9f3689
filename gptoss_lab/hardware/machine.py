"""What a machine has, as far as running a language model goes: plain data, no probing and no judging.

Memory is in GiB (2^30 bytes), disk in GB (10^9 bytes, as the makers of disks and Ollama count), bandwidth in GB/s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One thing that was looked up: its value, where it was read, and why it is unknown if it is."""

    value: Any = None
    source: str = ""
    reason: str = ""  # words for a learner; "" when the value is known and says what it seems to say


@dataclass(frozen=True)
class Gpu:
    """One graphics processor, or the slice of one that this machine may use."""

    name: str
    maker: str  # "nvidia", "amd", "apple" or "intel"
    total_gib: float  # of a unified pool: what the system lets the GPU have
    free_gib: float
    bandwidth_gb_s: float | None = None
    compute: tuple[int, int] | None = None  # CUDA compute capability
    unified: bool = False  # its memory is the machine's memory
    unused: str = ""  # words: why Ollama leaves it alone; "" when it uses it


@dataclass(frozen=True)
class Machine:
    """Everything about a machine that decides whether and how fast a model runs there."""

    name: str
    system: str  # "Linux", "Darwin" or "Windows", as platform.system() says
    ram_total_gib: float | None  # the machine's or, when lower, the limit of the container
    ram_free_gib: float | None  # what a new program may take now; swap does not count
    ram_bandwidth_gb_s: float | None = None
    gpus: tuple[Gpu, ...] = ()
    cores: int | None = None  # physical
    laptop: bool = False
    traits: tuple[str, ...] = ()  # of "container", "wsl", "vm", "mig", "strix-halo"
    disk_free_gb: float | None = None  # where Ollama keeps its models
    models_folder: str = ""
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def used_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that Ollama would use."""
        return tuple(gpu for gpu in self.gpus if not gpu.unused)
