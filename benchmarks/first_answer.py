"""Print how long the road from clone to first answer takes, and where it goes: `python benchmarks/first_answer.py`.

Everything is new: a clone in a temporary folder, an environment of its own, an empty uv cache (unless --warm), an empty
home. It needs git, uv and a package index, as a learner does.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASK = """
import time
begun = time.perf_counter()
def step(name):
    global begun
    now = time.perf_counter()
    print("step", round(now - begun, 2), name, flush=True)
    begun = now
from gptoss_lab import connect
step("import connect")
lab = connect("practice")
step("connect(): start the practice server")
parts = lab.client.chat(lab.model, [{"role": "user", "content": "What is gpt-oss?"}], stream=True)
next(parts)
step("load the model, first token")
answer = "".join(part.message.content or "" for part in parts)
step("rest of the answer")
print("answer", answer)
"""


def main() -> None:
    """Walk the road step by step and print seconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT), help="what to clone")
    parser.add_argument("--warm", action="store_true", help="use uv's usual cache, as for a second environment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-answer-", ignore_cleanup_errors=True) as folder:
        steps, answer = walk(Path(folder), options.source, options.warm)
    total_s = sum(steps.values())
    for name, step_s in steps.items():
        print(f"{step_s:8.2f} s {step_s / total_s:5.0%}  {name}")
    print(f"{total_s:8.2f} s        from clone to first answer: {answer[:60]}…")


def walk(folder: Path, source: str, warm: bool) -> tuple[dict[str, float], str]:
    """Return the seconds of every step in order, and the answer."""
    clone, steps = folder / "clone", {}
    env = environment(folder, warm)
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    for name, command, cwd in (
        ("git clone", ["git", "clone", "--quiet", source, str(clone)], folder),
        ("uv sync (what `uv run` does first)", [uv, "sync", "--quiet"], clone),
        ("gptoss-lab --version", [uv, "run", "gptoss-lab", "--version"], clone),
    ):
        begun_s = time.perf_counter()
        subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL)
        steps[name] = time.perf_counter() - begun_s
    begun_s = time.perf_counter()
    asked = subprocess.run(
        [uv, "run", "python", "-c", ASK], cwd=clone, env=env, check=True, capture_output=True, text=True
    )
    whole_s, parts, answer = time.perf_counter() - begun_s, {}, ""
    for line in asked.stdout.splitlines():
        if line.startswith("step "):
            _, step_s, name = line.split(" ", 2)
            parts[name] = float(step_s)
        elif line.startswith("answer "):
            answer = line.removeprefix("answer ")
    subprocess.run([uv, "run", "gptoss-lab", "stop"], cwd=clone, env=env, check=True, stdout=subprocess.DEVNULL)
    return {**steps, "start and end of Python": whole_s - sum(parts.values()), **parts}, answer


def environment(folder: Path, warm: bool) -> dict[str, str]:
    """Return this process's environment with a home, and unless warm a cache, of its own."""
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "OLLAMA_HOST")}
    env |= {"GPTOSS_LAB_HOME": str(folder / "home"), "PYTHONUTF8": "1", "GPTOSS_LAB_LANG": "en"}
    return env if warm else {**env, "UV_CACHE_DIR": str(folder / "cache")}


if __name__ == "__main__":
    main()
