"""Print what the hardware check costs: looking, judging, drawing, and one change of a slider.

    python benchmarks/hardware_card.py

Milliseconds, the median of several rounds, side by side in one run; "x" is the time over that of one verdict.
"""

import time
from collections.abc import Callable
from statistics import median

from gptoss_lab.hardware import detect, fit, look
from gptoss_lab.ui.hardware_html import report_html
from gptoss_lab.ui.what_if import what_if

ROUNDS = 15


def milliseconds(call: Callable[[], object]) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    """Print the table."""
    machine, panel = detect(), what_if()
    report = look()
    sizes = iter(range(4, 4 + 8 * ROUNDS, 4))

    def turn() -> None:
        panel.controls["vram"].value = next(sizes)

    calls = {
        "one verdict": lambda: fit(machine),
        "drawing the card": lambda: report_html(report),
        "one change of what_if": turn,
        "looking at the machine": detect,
        "looking, judging twice": look,
    }
    times = {name: milliseconds(call) for name, call in calls.items()}
    for name, time_ms in times.items():
        print(f"{name:26} {time_ms:8.1f} ms {time_ms / times['one verdict']:8.1f} x")


if __name__ == "__main__":
    main()
