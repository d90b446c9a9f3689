"""How much memory a model takes: weights, KV cache and compute buffer, as Ollama lays them out.

Three engines have been inside Ollama, and each counts in its own way: its own engine up to 0.24, llama.cpp's server
since 0.30 with large compute buffers, and since 0.31 with small ones. Formulas are checked against published logs in
`gptoss_lab/facts/measured/memory.csv`. This module knows nothing about any machine.
"""

import re

from gptoss_lab.errors import LabError
from gptoss_lab.facts.files import ModelFile
from gptoss_lab.facts.fit import CONSTANTS, constant
from gptoss_lab.hardware.verdict import Parts
from gptoss_lab.text import text

MIB = 2**20
KV_TYPES = ("f16", "q8_0", "q4_0")
OLD, EARLY, NEW = "before 0.30", "0.30.0 to 0.30.2", "0.30.3 or newer"


def engine_of(version: str | None) -> str:
    """Return which of the three layouts an Ollama version has; the newest when it is not known.

    Raises LabError when the text is no version.
    """
    if not version:
        return NEW
    number = version_number(version)
    if number < version_number(str(CONSTANTS["new_engine"].value)):
        return OLD
    return EARLY if number < version_number(str(CONSTANTS["small_compute"].value)) else NEW


def version_number(version: str) -> tuple[int, int, int]:
    """Return the three numbers of a version such as "0.30.4" or "v0.33.0-rc2"; raises LabError when it has none."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not found:
        raise LabError(text("fit.bad_version", version=version), text("fit.bad_version_next"))
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major, minor, patch


def tier(vram_gib: float) -> int:
    """Return the context Ollama takes by itself with so much GPU memory, before the model's own limit."""
    if vram_gib >= constant("vram_large"):
        return int(constant("context_large"))
    return int(constant("context_middle" if vram_gib >= constant("vram_middle") else "context_small"))


def weights(file: ModelFile, on_gpu: bool = True) -> float:
    """Return MiB of weights that go to the GPU, or with `on_gpu=False` those that never do."""
    return (file.gpu_bytes if on_gpu else file.embedding_bytes) / MIB


def kv_full(file: ModelFile, context: int, kv_type: str = "f16", parallel: int = 1) -> float:
    """Return MiB of KV cache of the layers that see the whole context."""
    return file.full_layers * _per_cell(file, kv_type) * context * parallel / MIB


def kv_sliding(file: ModelFile, context: int, kv_type: str, parallel: int, engine: str, batch: int) -> float:
    """Return MiB of KV cache of the layers with a sliding window."""
    if not file.sliding_layers:
        return 0.0
    cells = _old_cells(context, parallel) if engine == OLD else _cells(file.window, context, batch) * parallel
    return file.sliding_layers * _per_cell(file, kv_type) * cells / MIB


def _per_cell(file: ModelFile, kv_type: str) -> float:
    return file.kv_width * constant(f"kv_{kv_type}")


def _cells(window: int, context: int, batch: int) -> int:
    step = int(constant("window_step"))
    return min(-(-(window + batch) // step) * step, context)


def _old_cells(context: int, parallel: int) -> float:
    return min(context * parallel, constant("old_window") * parallel + constant("old_window_batch"))


def compute(file: ModelFile, context: int, parallel: int, engine: str, batch: int) -> float:
    """Return MiB of compute buffer per device."""
    if engine == OLD:
        per_request = constant("old_compute_parallel") * parallel
        return per_request + context * constant("old_compute_context") + constant("old_compute")
    if engine == EARLY:
        return constant("compute_early") * batch / constant("batch_small")
    per_batch = constant("compute_per_batch") * file.width / 2880 + constant("compute_mask") * context
    return per_batch * batch + constant("compute_parallel") * (parallel - 1)


def compute_without_flash_attention(context: int, parallel: int, batch: int) -> float:
    """Return MiB of compute buffer where flash attention is off: the attention scores of 64 heads in float32, twice."""
    return 2 * 64 * context * parallel * batch * 4 / MIB


def need(
    file: ModelFile, context: int, kv_type: str, parallel: int, engine: str, batch: int, devices: int = 1
) -> Parts:
    """Return what everything on `devices` GPUs takes, with the margin the engine keeps on each."""
    margin = constant("old_gpu_minimum" if engine == OLD else "margin")
    return Parts(
        weights=weights(file),
        kv_full=kv_full(file, context, kv_type, parallel),
        kv_sliding=kv_sliding(file, context, kv_type, parallel, engine, batch),
        compute=compute(file, context, parallel, engine, batch) * devices,
        margin=margin * devices,
    )


def batch_size(file: ModelFile, context: int, parallel: int, free_gib: float, engine: str) -> int:
    """Return how many prompt tokens Ollama reads at once: more with a long context, fewer when memory is scarce."""
    small, middle, large = (int(constant(f"batch_{size}")) for size in ("small", "middle", "large"))
    wanted = small if engine == OLD else batch_for(context * parallel)
    guess, free = guessed(file, context * parallel), free_gib * 1024
    if wanted == large and _has_room(guess, free, "large"):
        return large
    return middle if wanted > small and _has_room(guess, free, "middle") else small


def batch_for(tokens: int) -> int:
    """Return how many prompt tokens Ollama reads at once with plenty of memory, by context times requests."""
    size = "large" if tokens > constant("context_middle") else "middle"
    return int(constant(f"batch_{'small' if tokens <= constant('context_small') else size}"))


def _has_room(guess: float, free: float, size: str) -> bool:
    return guess <= free * constant(f"room_{size}") and guess + constant(f"surcharge_{size}") <= free * constant("room")


def guessed(file: ModelFile, tokens: int) -> float:
    """Return Ollama's own guess of the need in MiB: the file, and a cache of every layer in f16."""
    return (file.total_bytes + file.layers * file.kv_width_by_head * tokens * 2) / MIB


def shown_by_ps(file: ModelFile, context: int, kv_type: str, parallel: int, engine: str, batch: int) -> float:
    """Return MiB that `ollama ps` shows for a model that lies on one GPU.

    From 0.30 on it loses the cache of the full layers (ollama/ollama pull request 17037), so compare it with this and
    never with the need.
    """
    parts = need(file, context, kv_type, parallel, engine, batch)
    shown = parts.weights + parts.kv_sliding + parts.compute
    return shown + parts.kv_full + weights(file, on_gpu=False) if engine == OLD else shown
