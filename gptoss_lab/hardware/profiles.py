"""Thirteen machines that stand for those learners have, each with the verdict an expert gives.

Data: `gptoss_lab/facts/measured/profiles.csv`. They serve as tests, and as examples to play with.
"""

from collections.abc import Mapping

from gptoss_lab.hardware.evidence import rows
from gptoss_lab.hardware.machine import Gpu, Machine


def profiles() -> tuple[dict[str, str], ...]:
    """Return the rows: raw columns of the machine, and what is expected of each model there."""
    return rows("profiles")


def machine_of(row: Mapping[str, str]) -> Machine:
    """Return the machine a row describes."""
    return Machine(
        name=row["machine"],
        system=row["system"],
        ram_total_gib=float(row["ram_total_gib"]),
        ram_free_gib=float(row["ram_free_gib"]),
        ram_bandwidth_gb_s=float(row["ram_bandwidth_gb_s"]),
        gpus=(_gpu(row),) * int(row["gpus"]),
        traits=tuple(row["traits"].split()),
    )


def _gpu(row: Mapping[str, str]) -> Gpu:
    major, _, minor = row["compute"].partition(".")
    return Gpu(
        name=row["machine"],
        maker=row["maker"],
        total_gib=float(row["gpu_total_gib"]),
        free_gib=float(row["gpu_free_gib"]),
        bandwidth_gb_s=float(row["gpu_bandwidth_gb_s"]),
        compute=(int(major), int(minor)) if major else None,
        unified=row["unified"] == "1",
    )
