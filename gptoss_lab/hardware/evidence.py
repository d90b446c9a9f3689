"""The published measurements that the formulas answer to: reading them, and predicting each from its raw columns.

The rows are data of `gptoss_lab.facts`; a row says in its own words what was run and what was reported, and this module
turns those words into a question for `memory` and `speed`. It knows nothing about the learner's machine.
"""

import csv
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from gptoss_lab.facts.files import FILES, ModelFile
from gptoss_lab.facts.fit import constant
from gptoss_lab.hardware import memory, speed
from gptoss_lab.hardware.verdict import Measured

Row = Mapping[str, str]
_UNITS = {"MiB": 1.0, "GiB": 1024.0, "GB": 1e9 / 2**20}
_FILE_OF = {"udq8xl": "bf16"}  # a q8 file that keeps most of its dense weights in 16 bits
BEFORE_ADA = re.compile(r"RTX [23]0\d\d|RTX A\d|GTX|\bA100|\bV100|Tesla", re.IGNORECASE)


@lru_cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of `gptoss_lab/facts/measured/<name>.csv`."""
    content = (files("gptoss_lab.facts") / "measured" / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(content.splitlines()))


def reported_mib(row: Row) -> tuple[float, float]:
    """Return the least and the most MiB that a memory row's report may stand for; Ollama cuts off decimals."""
    value, unit = float(row["reported"]), _UNITS[row["unit"]]
    return value * unit, (value + (1 if row["comparison"] == "trunc" else 0)) * unit


def memory_error(row: Row) -> float | None:
    """Return by what share the prediction misses a memory row; None when the row lacks what a prediction needs."""
    predicted = predict_memory(row)
    if predicted is None:
        return None
    least, most = reported_mib(row)
    nearest = min(max(predicted, least), most)
    return predicted / nearest - 1


def predict_memory(row: Row) -> float | None:
    """Return the MiB that a memory row should report, or None when the row does not say enough."""
    quantity = row["reported_quantity"].lower()
    if not _known(row, quantity):
        return None
    file, engine = _file(row), _engine(row)
    context, parallel, kv_type = _cells(row, quantity), int(row["num_parallel"] or 1), row["kv_type"] or "f16"
    batch = int(row["ubatch"] or memory.batch_for(context * parallel))
    full = memory.kv_full(file, context, kv_type, parallel)
    sliding = memory.kv_sliding(file, context, kv_type, parallel, engine, batch)
    buffer = _compute(row, file, engine, batch, context, parallel)
    gpu, host = memory.weights(file), memory.weights(file, on_gpu=False)
    answers = {
        r"host model|cpu model": host,
        r"model buffer": gpu,
        r"per full layer": full / file.full_layers,
        r"kv \(full\+swa\)|kv cache$": full + sliding,
        r"kv swa": sliding,
        r"kv (full|non-swa)": full,
        r"compute": buffer,
        r"self total": gpu + full + sliding + buffer,
        r"bug": memory.shown_by_ps(file, context, kv_type, parallel, engine, batch),
        r"gtt delta": gpu + full + sliding + buffer + constant("hip_context"),
        r"nvidia-smi delta": gpu + full + sliding + buffer + constant("cuda_context"),
        r"ollama ps size|total memory|requires system memory|total gpu\+cpu": gpu + host + full + sliding + buffer,
    }
    return next((answer for words, answer in answers.items() if re.search(words, quantity)), None)


def _known(row: Row, quantity: str) -> bool:
    """Tell whether the row states its context, and an engine whose layout is known."""
    by_weights = "model buffer" in quantity and "ctx" not in quantity
    no_formula = "old estimator" in quantity or "required.full" in quantity or "MLX" in row["engine"]
    part_of_it = re.search(r"\+ ctx|both gpus|host copies|cpu-moe|-cmoe", quantity)
    return not no_formula and not part_of_it and (by_weights or bool(_context(row)))


def _context(row: Row) -> int:
    """Return the context a row states, else the one Ollama takes on a card of that size, else 0."""
    digits = re.match(r"\d+", row["ctx"])
    if digits:
        return int(digits.group())
    card = re.search(r"(\d+) GB", row["hardware"]) if row["ctx"] else None
    return memory.tier(float(card.group(1))) if card else 0


def _cells(row: Row, quantity: str) -> int:
    """Return the context, or the cells of the cache where the log names them (the engine rounds a context up)."""
    stated = re.search(r"non-swa \((\d+) cells", quantity)
    return int(stated.group(1)) if stated else _context(row)


def _file(row: Row) -> ModelFile:
    q8 = "ggml-org" in row["reported_quantity"] or "guide" in row["hardware"]
    return FILES[f"gpt-oss:{row['model']}", "q8" if q8 else "bf16"]


def _engine(row: Row) -> str:
    """Return the memory layout of a row's engine, from its version or its date."""
    name = row["engine"]
    if "llama.cpp" in name:
        return memory.EARLY
    version = re.search(r"\d+\.\d+(\.\d+)?", name)
    if version and ">=" not in name:
        return memory.engine_of(version.group())
    recent = re.search(r"(May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) 2026|20(2[7-9]|[3-9])", name)
    return memory.NEW if recent or version else memory.OLD


def _compute(row: Row, file: ModelFile, engine: str, batch: int, context: int, parallel: int) -> float:
    stated = re.search(r"([\d.]+) GB compute", row["source"])
    if stated:
        return float(stated.group(1)) * _UNITS["GB"]
    if row["flash_attention"] == "off" and engine == memory.OLD:
        return memory.compute_without_flash_attention(context, parallel, batch)
    return memory.compute(file, context, parallel, engine, batch) * _devices(row, engine)


def _devices(row: Row, engine: str) -> int:
    """Return how many compute buffers the report adds up: with a split, the processor's comes on top."""
    if engine != memory.OLD:
        return 1
    count = re.match(r"(\d+)(?:x |.* GPUs)", row["hardware"])
    return (int(count.group(1)) if count else 1) + bool(re.search(r"\d%/\d", row["reported_quantity"]))


def predict_speed(row: Row) -> float | None:
    """Return the tokens per second that a speed row should report, or None when the row does not say enough."""
    file = FILES.get((f"gpt-oss:{row['model']}", _FILE_OF.get(row["weights"], row["weights"])))
    if file is None or not row["mem_bw_gb_s"]:
        return None
    bandwidth, old = float(row["mem_bw_gb_s"]), _engine(row) == memory.OLD and "Ollama" in row["engine"]
    if row["mode"] == "cpu":
        return speed.on_cpu(file, bandwidth, _cpu_kind(row["hardware"]))
    if row["mode"] == "split":
        blocks = _blocks_on_gpu(row, file)
        ram = float(row["ram_bw_gb_s"] or 0)
        return speed.split(file, _chip(row), bandwidth, blocks, ram, old) if blocks is not None and ram else None
    depth = int(re.sub(r"\D.*", "", row["ctx_or_depth"]) or 0)
    return speed.on_gpu(file, _chip(row), bandwidth, depth) * (constant("old_engine") if old else 1)


def _cpu_kind(hardware: str) -> str:
    return "cpu_strix" if "AI Max" in hardware else "cpu_laptop" if "laptop" in hardware else "cpu"


def _chip(row: Row) -> str:
    name = row["class"].removesuffix("_mlx")
    return "nvidia_old" if name == "nvidia" and BEFORE_ADA.search(row["hardware"]) else name


def _blocks_on_gpu(row: Row, file: ModelFile) -> float | None:
    said = row["n_cpu_moe"]
    if said.isdigit():
        return file.layers - int(said)
    percent = re.search(r"(\d+)%/\d+%", said)
    return file.layers * (1 - int(percent.group(1)) / 100) if percent else None


def nearest(model: str, chip: str, mode: str, bandwidth_gb_s: float) -> Measured | None:
    """Return the published run most like this one: same model and way of running, then kind of chip, then bandwidth."""
    alike = [row for row in rows("speed") if f"gpt-oss:{row['model']}" == model and row["mem_bw_gb_s"]]
    modes = {"gpu": ("full_gpu", "unified"), "split": ("split",), "cpu": ("cpu",)}[mode]
    alike = [row for row in alike if row["mode"] in modes and "old engine" not in row["n_cpu_moe"]]
    if not alike:
        return None

    def distance(row: Row) -> tuple[bool, bool, float, bool]:
        ratio = float(row["mem_bw_gb_s"]) / bandwidth_gb_s
        return _chip(row) != chip, row["ctx_or_depth"] not in ("0", "512"), abs(ratio - 1), row["weights"] != "bf16"

    best = min(alike, key=distance)
    return Measured(
        best["hardware"],
        best["engine"],
        model,
        best["weights"],
        float(best["tg_tok_s"]),
        best["source"],
        float(best["mem_bw_gb_s"]),
    )
