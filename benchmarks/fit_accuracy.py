"""Print how far the hardware check misses published measurements, beside the rules of thumb that others use.

    python benchmarks/fit_accuracy.py

Memory: rows that report a whole model. Speed: runs with everything on the GPU. The naive rules are those found in
popular guides and tools, applied with the true bandwidth and the true file size, which favours them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median

from gptoss_lab.facts import fact
from gptoss_lab.facts.files import FILES
from gptoss_lab.hardware import evidence
from gptoss_lab.hardware.fit import fit
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.profiles import machine_of, profiles

Row = Mapping[str, str]
MIB = 2**20
WHOLE = ("ps SIZE", "self total", "total memory", "GTT delta", "total GPU+CPU", "system memory", "nvidia-smi delta")


def parameters(row: Row) -> float:
    return float(fact(f"gpt_oss.weights_{row['model']}").value) * 1e9


def active(row: Row) -> float:
    return float(fact(f"gpt_oss.active_{row['model']}").value) * 1e9


def file_size(row: Row) -> float:
    """A model needs its file's size."""
    return FILES[f"gpt-oss:{row['model']}", "bf16"].total_bytes / MIB


def half_a_byte(row: Row) -> float:
    """0.55 bytes per parameter, a cache of every layer for the stated context, and half a GiB."""
    file, context = FILES[f"gpt-oss:{row['model']}", "bf16"], int("".join(filter(str.isdigit, row["ctx"])) or 4_096)
    cache = file.layers * file.kv_width * 2 * context * int(row["num_parallel"] or 1)
    return (parameters(row) * 0.55 + cache) / MIB + 512


def four_bits_and_a_fifth(row: Row) -> float:
    """Half a byte per parameter, plus a fifth."""
    return parameters(row) * 0.5 * 1.2 / MIB


def active_half_byte(row: Row) -> float:
    """Bandwidth over half a byte per active parameter."""
    return float(row["mem_bw_gb_s"]) * 1e9 / (active(row) * 0.53)


def active_with_efficiency(row: Row) -> float:
    """The same, at 55 % of the bandwidth."""
    return active_half_byte(row) * 0.55


def whole_file(row: Row) -> float:
    """Bandwidth over the whole file, as for a dense model."""
    return float(row["mem_bw_gb_s"]) * 1e9 / FILES[f"gpt-oss:{row['model']}", "bf16"].total_bytes


def memory_miss(rule: Callable[[Row], float], row: Row) -> float:
    least, most = evidence.reported_mib(row)
    predicted = rule(row)
    return abs(predicted / min(max(predicted, least), most) - 1)


def show_memory() -> None:
    rows = [
        row
        for row in evidence.rows("memory")
        if evidence.memory_error(row) is not None and any(word in row["reported_quantity"] for word in WHOLE)
    ]
    rules = {
        "this package": lambda row: evidence.predict_memory(row) or 0.0,
        "file size": file_size,
        "0.55 byte + full cache": half_a_byte,
        "half a byte + 20 %": four_bits_and_a_fifth,
    }
    print(f"Memory, {len(rows)} whole-model rows        median   largest   within 2 %")
    for name, rule in rules.items():
        misses = [memory_miss(rule, row) for row in rows]
        close = sum(miss <= 0.02 for miss in misses) / len(misses)
        print(f"  {name:34} {median(misses):7.1%} {max(misses):9.1%} {close:10.0%}")
    parts = [abs(error) for row in evidence.rows("memory") if (error := evidence.memory_error(row)) is not None]
    print(f"  all {len(parts)} predictable rows, parts too      {median(parts):7.1%} {max(parts):9.1%}")


def show_speed() -> None:
    rows = [
        row
        for row in evidence.rows("speed")
        if row["mode"] in ("full_gpu", "unified") and evidence.predict_speed(row) and row["class"] != "cpu"
    ]
    rules = {
        "this package": lambda row: evidence.predict_speed(row) or 0.0,
        "active half byte": active_half_byte,
        "the same at 55 %": active_with_efficiency,
        "whole file": whole_file,
    }
    print(f"\nSpeed, {len(rows)} GPU runs                 by row  by machine  within x1.35")
    for name, rule in rules.items():
        by_machine = defaultdict(list)
        for row in rows:
            by_machine[row["hardware"]].append(rule(row) / float(row["tg_tok_s"]))
        ratios = [ratio for found in by_machine.values() for ratio in found]
        machine = median(median(abs(ratio - 1) for ratio in found) for found in by_machine.values())
        inside = sum(1 / 1.35 <= ratio <= 1.35 for ratio in ratios) / len(ratios)
        print(f"  {name:34} {median(abs(r - 1) for r in ratios):7.1%} {machine:10.1%} {inside:12.0%}")


def card_holds_file(machine: Machine, model: str) -> str:
    """Return the popular verdict: the file fits the card, or card and memory together, or not."""
    size = FILES[model, "bf16"].total_bytes / 2**30
    card = sum(gpu.total_gib for gpu in machine.gpus)
    if size <= card:
        return "gpu"
    together = size <= card + (machine.ram_total_gib or 0)
    return ("split" if card else "cpu") if together else "no"


def show_placement() -> None:
    print("\nPlacement on the profiles, both models")
    judges: dict[str, Callable[[Machine, str], str]] = {
        "this package": lambda machine, model: fit(machine, model).placement,
        "file against card and memory": card_holds_file,
    }
    for name, judge in judges.items():
        right = [
            judge(machine_of(row), f"gpt-oss:{size}") == row[f"placement_{size}"]
            for row in profiles()
            for size in ("20b", "120b")
        ]
        print(f"  {name:34} {sum(right)} of {len(right)}")


if __name__ == "__main__":
    show_memory()
    show_speed()
    show_placement()
