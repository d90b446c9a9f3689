"""Constants of the memory and speed formulas in `gptoss_lab.hardware`, each with where it comes from.

"Read in the source" constants come from Ollama and llama.cpp; "fitted" ones from the published measurements in
`gptoss_lab/facts/measured`, whose rows name their own sources. `benchmarks/fit_accuracy.py` prints how well they do.
"""

from dataclasses import dataclass

from gptoss_lab.facts.fact import Fact

_SCHED = "https://github.com/ollama/ollama/blob/main/server/sched.go"
_ROUTES = "https://github.com/ollama/ollama/blob/main/server/routes.go"
_FIT = "https://github.com/ggml-org/llama.cpp/blob/master/common/fit.cpp"
_CACHE = "https://github.com/ggml-org/llama.cpp/blob/master/src/llama-kv-cache-iswa.cpp"
_OLD_CACHE = "https://github.com/ollama/ollama/blob/v0.24.0/kvcache/causal.go"
_OLD_LOGS = "https://github.com/ollama/ollama/issues/11790"
_LOGS = "https://github.com/ollama/ollama/issues/16416"
_GPU_MIN = "https://github.com/ollama/ollama/blob/v0.24.0/ml/device.go"
_BITS = "https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h"
_HIP = "https://github.com/lhl/strix-halo-testing"
_ROWS = "gptoss_lab/facts/measured/memory.csv"
_SPEED = "gptoss_lab/facts/measured/speed.csv"
_OURS = "gptoss_lab/facts/measured/profiles.csv"
_READ = "2026-11-23"


def _maker(value: float | str, unit: str, source: str, note: str = "") -> Fact:
    return Fact(value, unit, source, _READ, "maker", note)


def _fitted(value: float, unit: str, source: str, note: str = "") -> Fact:
    return Fact(value, unit, source, _READ, "computed", note)


CONSTANTS = {
    "new_engine": _maker("0.30.0", "", "https://github.com/ollama/ollama/pull/16031", "llama-server runs every GGUF"),
    "small_compute": _maker("0.30.3", "", "https://github.com/ggml-org/llama.cpp/pull/23861", "smaller compute buffer"),
    "tiered_context": _maker("0.15.5", "", "https://github.com/ollama/ollama/releases/tag/v0.15.5", "before: 8,192"),
    "old_context": _maker(8_192, "tokens", "https://github.com/ollama/ollama/releases/tag/v0.15.5", "gpt-oss only"),
    "context_small": _maker(4_096, "tokens", _ROUTES),
    "context_middle": _maker(32_768, "tokens", _ROUTES),
    "context_large": _maker(262_144, "tokens", _ROUTES, "capped by the model"),
    "vram_middle": _maker(23, "GiB", _ROUTES, "all GPUs together"),
    "vram_large": _maker(47, "GiB", _ROUTES, "all GPUs together"),
    "kv_f16": _maker(2.0, "bytes", _BITS),
    "kv_q8_0": _maker(34 / 32, "bytes", _BITS),
    "kv_q4_0": _maker(18 / 32, "bytes", _BITS),
    "margin": _maker(1_024, "MiB", _FIT, "left free on each GPU"),
    "window_step": _maker(256, "cells", _CACHE, "the window's cache is rounded up to this"),
    "old_window": _maker(4_096, "cells", _OLD_CACHE, "per request"),
    "old_window_batch": _maker(512, "cells", _OLD_CACHE),
    "batch_small": _maker(512, "tokens", _SCHED, "context up to 4,096, or little room"),
    "batch_middle": _maker(1_024, "tokens", _SCHED, "context up to 32,768"),
    "batch_large": _maker(2_048, "tokens", _SCHED),
    "room_middle": _maker(0.75, "", _SCHED, "largest share of the free memory at batch_middle"),
    "room_large": _maker(0.60, "", _SCHED, "largest share of the free memory at batch_large"),
    "room": _maker(0.80, "", _SCHED, "largest share of one GPU before Ollama takes several"),
    "surcharge_middle": _maker(768, "MiB", _SCHED, "kept free for batch_middle"),
    "surcharge_large": _maker(2_048, "MiB", _SCHED, "kept free for batch_large"),
    "compute_per_batch": _fitted(0.155, "MiB", _ROWS, "per token of the batch, at an embedding length of 2,880"),
    "compute_mask": _fitted(2 / 2**20, "MiB", _ROWS, "per token of the batch and of the context"),
    "compute_parallel": _fitted(5.5, "MiB", _ROWS, "per further request"),
    "compute_early": _maker(398.375, "MiB", _LOGS, "per 512 tokens of the batch, Ollama 0.30 and llama.cpp of 2025"),
    "old_compute": _fitted(110, "MiB", _OLD_LOGS, "per device, flash attention on"),
    "old_compute_context": _fitted(1 / 1_024, "MiB", _OLD_LOGS, "per token of context"),
    "old_compute_parallel": _fitted(4, "MiB", _OLD_LOGS, "per request"),
    "old_gpu_minimum": _maker(457, "MiB", _GPU_MIN, "kept free on each GPU"),
    "hip_context": _maker(150, "MiB", _HIP, "what ROCm itself takes"),
    "cuda_context": _maker(450, "MiB", _GPU_MIN, "what CUDA itself takes"),
    "split_margin": _fitted(1_024, "MiB", _FIT, "in memory beside experts: staging buffers and the server"),
    "split_spare": _fitted(0.10, "", _OURS, "of the experts in memory; none when memory is unified"),
    "closed_gpu": _fitted(0.95, "", _OURS, "of a card's memory, with other programs closed"),
    "system_linux": _fitted(2.0, "GiB", _OURS, "what the system itself keeps"),
    "system_darwin": _fitted(2.0, "GiB", _OURS, "what the system itself keeps"),
    "system_windows": _fitted(3.0, "GiB", _OURS, "what the system itself keeps"),
    "system_share": _fitted(0.10, "", _OURS, "of all memory, at least; not where memory is unified"),
    "disk_spare": _fitted(2.0, "GB", _OURS, "beside the download"),
    "ram_bandwidth": _fitted(50, "GB/s", _SPEED, "two channels of DDR4-3200, taken when nothing is known"),
    "experts_in_ram": _fitted(0.43, "", _SPEED, "share of the memory's bandwidth reached"),
    "old_experts_in_ram": _fitted(0.28, "", _SPEED, "whole layers in memory, Ollama before 0.30"),
    "cpu": _fitted(0.58, "", _SPEED, "share of the memory's bandwidth reached, desktop"),
    "cpu_laptop": _fitted(0.36, "", _SPEED, "the same, thin laptop"),
    "cpu_strix": _fitted(0.33, "", _SPEED, "the same, Ryzen AI Max"),
    "old_engine": _fitted(0.85, "", _SPEED, "speed of Ollama before 0.30 against llama.cpp"),
    "range_gpu": _fitted(1.35, "", _SPEED, "91 % of the runs lie within × and ÷ this"),
    "beyond_low": _fitted(1.8, "", _OURS, "a card faster than any published run: rather less than the formula says"),
    "beyond_high": _fitted(1.05, "", _OURS, "the same, upwards"),
    "range_other": _fitted(1.6, "", _SPEED, "the same for split and CPU"),
}


@dataclass(frozen=True)
class ChipClass:
    """How well a kind of GPU uses its memory: fitted on measured/speed.csv."""

    bandwidth_share: float
    layer_us: float  # fixed time per layer and token, in microseconds
    cache_share: float  # of the bandwidth, when the KV cache is read
    calibrated: bool = True


CHIPS = {
    "nvidia": ChipClass(0.92, 65, 0.6),  # compute capability 8.9 and newer
    "nvidia_old": ChipClass(0.92, 165, 0.7),
    "gb10": ChipClass(0.95, 95, 0.6),
    "strix_rocm": ChipClass(0.72, 10, 0.6),
    "strix_vulkan": ChipClass(0.72, 10, 0.8),
    "amd": ChipClass(0.75, 145, 0.5),
    "apple": ChipClass(0.92, 230, 0.5),
    "intel": ChipClass(0.75, 1_500, 0.5, calibrated=False),  # two owners' runs only
}


def constant(name: str) -> float:
    """Return the value of a numeric constant."""
    return float(CONSTANTS[name].value)
