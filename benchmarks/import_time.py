"""Print what `import gptoss_lab` costs beside a bare Python: `python benchmarks/import_time.py [--rounds 15]`.

Both are started in turn, so that a busy machine slows both. Then: which heavy modules the import has loaded.
"""

import argparse
import statistics
import subprocess
import sys
import time

HEAVY = "numpy tornado xllamacpp ollama httpx ipywidgets matplotlib torch gguf psutil regex IPython".split()  # noqa: SIM905
CASES = {
    "python -c pass": "pass",
    "import gptoss_lab": "import gptoss_lab",
    "from gptoss_lab import connect": "from gptoss_lab import connect",
    "from gptoss_lab import check": "from gptoss_lab import check",
}


def main() -> None:
    """Time each case in turn and print medians, differences and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times_s = {name: [] for name in CASES}
    for _ in range(rounds + 1):
        for name, code in CASES.items():
            times_s[name].append(seconds(code))
    medians_s = {
        name: statistics.median(values[1:]) for name, values in times_s.items()
    }  # the first round fills caches
    bare_s = medians_s["python -c pass"]
    print(f"{'':32}{'seconds':>9}{'more':>9}{'ratio':>8}")
    for name, median_s in medians_s.items():
        print(f"{name:32}{median_s:9.3f}{median_s - bare_s:9.3f}{median_s / bare_s:8.2f}")
    print("heavy modules loaded by `import gptoss_lab`:", loaded() or "none")


def seconds(code: str) -> float:
    """Return how long a new Python takes to run the code and end."""
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun_s


def loaded() -> str:
    """Return the heavy modules that a new Python holds after the import."""
    code = f"import gptoss_lab, sys; print(*(m for m in {HEAVY} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
