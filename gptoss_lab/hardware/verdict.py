"""The answer to "does this model run there?": plain data that `gptoss_lab.hardware.fit` fills in."""

from dataclasses import asdict, dataclass
from typing import Any

MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Parts:
    """Memory by what it is for, in MiB."""

    weights: float = 0.0
    kv_full: float = 0.0  # KV cache of the layers that see the whole context
    kv_sliding: float = 0.0  # KV cache of the layers with a sliding window
    compute: float = 0.0
    margin: float = 0.0  # what the engine leaves free, or loses to the driver

    @property
    def total_gib(self) -> float:
        return (self.weights + self.kv_full + self.kv_sliding + self.compute + self.margin) / MIB_PER_GIB


@dataclass(frozen=True)
class Measured:
    """One published measurement of generation speed."""

    hardware: str
    engine: str
    model: str
    weights: str  # of "bf16", "q8", "q4km", "udq8xl": the kind of file
    tok_s: float
    source: str
    bandwidth_gb_s: float | None = None  # of the memory that holds the model


@dataclass(frozen=True)
class Speed:
    """Generation speed to expect, in tokens per second, as a range."""

    low_tok_s: float
    middle_tok_s: float
    high_tok_s: float
    confidence: str  # "measured" (by yourself), "calibrated" (checked on published runs) or "estimate"
    nearest: Measured | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a model runs on a machine, how, with what memory, and how fast."""

    model: str
    machine: str
    placement: str  # "gpu", "split", "cpu" or "no"
    tight: bool  # runs only with other programs closed
    context: int
    kv_type: str
    parallel: int
    ollama: str  # the version the verdict holds for
    on_gpu: Parts  # needed for everything on the GPU, whatever the placement
    on_host: Parts  # needed in the machine's memory with this placement
    used_on_gpu: Parts  # taken on the GPUs with this placement
    gpu_free_gib: float
    host_free_gib: float
    unified: bool  # GPU and machine share one memory
    blocks: int  # expert blocks (layers, for a model without experts)
    blocks_on_gpu: int
    default_context: int  # what Ollama takes when nobody says
    largest_context_on_gpu: int  # 0 when not even the smallest fits
    disk_needed_gb: float
    disk_free_gb: float | None
    speed: Speed | None
    sentence: str  # what a learner reads
    advice: tuple[str, ...] = ()
    error: float | None = None  # of the estimate, once measured: 0.1 means the estimate was 10 % too high

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return asdict(self)
