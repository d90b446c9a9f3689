"""How fast a model writes: the time to read its weights once per token, plus a fixed time per layer.

`seconds per token = bytes read / (bandwidth × share) + layers × fixed time + depth × KV bytes / (bandwidth × share)`.
The shares and times are fitted on published runs (`gptoss_lab/facts/measured/speed.csv`). Reading the prompt is limited
by arithmetic instead, and is not estimated here.
"""

from gptoss_lab.facts.files import ModelFile
from gptoss_lab.facts.fit import CHIPS, constant


def on_gpu(file: ModelFile, chip: str, bandwidth_gb_s: float, depth: int = 0, kv_bytes: float = 2.0) -> float:
    """Return tokens per second with everything on the GPU, `depth` tokens into the context."""
    return 1 / _gpu_s(file, file.read_bytes, chip, bandwidth_gb_s, depth, kv_bytes)


def split(
    file: ModelFile, chip: str, bandwidth_gb_s: float, blocks_on_gpu: float, ram_gb_s: float, old: bool = False
) -> float:
    """Return tokens per second with `blocks_on_gpu` blocks on the GPU and the rest in memory."""
    away = 1 - blocks_on_gpu / file.layers
    block_read = file.expert_read_bytes if file.expert_bytes and not old else file.read_bytes
    share = constant("old_experts_in_ram" if old else "experts_in_ram")
    host_s = away * block_read / (ram_gb_s * 1e9 * share)
    return 1 / (_gpu_s(file, file.read_bytes - away * block_read, chip, bandwidth_gb_s) + host_s)


def on_cpu(file: ModelFile, ram_gb_s: float, kind: str = "cpu") -> float:
    """Return tokens per second without a GPU; `kind` is "cpu", "cpu_laptop" or "cpu_strix"."""
    return ram_gb_s * 1e9 * constant(kind) / file.read_bytes


def _gpu_s(
    file: ModelFile, read_bytes: float, chip: str, bandwidth_gb_s: float, depth: int = 0, kv_bytes: float = 2.0
) -> float:
    kind, bytes_per_s = CHIPS[chip], bandwidth_gb_s * 1e9
    cache = file.full_layers * file.kv_width * kv_bytes * depth
    reading = read_bytes / (bytes_per_s * kind.bandwidth_share) + cache / (bytes_per_s * kind.cache_share)
    return reading + file.layers * kind.layer_us / 1e6
