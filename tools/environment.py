"""Write environment.yml from pyproject.toml, so that conda users get the same pins.

It asks no package index: the names that differ on conda-forge, and what conda-forge lacks, are listed here.

    python tools/environment.py --write
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"ollama": "ollama-python"}
PIP_ONLY = {"xllamacpp", "playwright"}
COMMENTS = {
    "ollama": "the client; conda-forge's `ollama` is the server itself, worth adding: conda install ollama",
    "nvidia-ml-py": "its module is called pynvml",
    "xllamacpp": "llama.cpp, prebuilt; conda-forge has none",
}
HEAD = """\
# Written from pyproject.toml, where the pins live: python tools/environment.py --write
name: gptoss-lab
channels:
  - conda-forge
dependencies:
"""


def read_project() -> dict[str, Any]:
    """Return pyproject.toml as tables."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(project: dict[str, Any]) -> list[str]:
    """Return what an environment needs to open the course and to run its tests, without duplicates."""
    return list(dict.fromkeys([*project["project"]["dependencies"], *project["dependency-groups"]["test"]]))


def name_of(requirement: str) -> str:
    """Return the package name at the start of a requirement."""
    return re.match(r"[\w.-]+", requirement)[0]  # type: ignore[index]


def conda_line(requirement: str) -> str:
    """Return a requirement as conda writes it; a marker falls away, for conda installs the same on every system."""
    name, pins = name_of(requirement), requirement.split(";")[0].strip()
    return CONDA_NAMES.get(name, name) + pins[len(name) :]


def render(project: dict[str, Any]) -> str:
    """Return the text of environment.yml."""
    wanted = requirements(project)
    lines = [(conda_line(entry), name_of(entry)) for entry in wanted if name_of(entry) not in PIP_ONLY]
    conda = [("python" + project["project"]["requires-python"], "python"), *lines, ("pip", "pip")]
    pip = [(entry, name_of(entry)) for entry in wanted if name_of(entry) in PIP_ONLY] + [("-e .", "")]
    text = HEAD + "".join(_item(line, name, 2) for line, name in conda) + "  - pip:\n"
    return text + "".join(_item(line, name, 6) for line, name in pip)


def _item(line: str, name: str, indent: int) -> str:
    comment = f"  # {COMMENTS[name]}" if name in COMMENTS else ""
    return f"{' ' * indent}- {line}{comment}\n"


def main() -> int:
    """Write the file, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write environment.yml")
    action.add_argument("--check", action="store_true", help="fail when environment.yml differs")
    text, path = render(read_project()), ROOT / "environment.yml"
    if parser.parse_args().write:
        path.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if path.read_text(encoding="utf-8") == text:
        return 0
    print("environment.yml differs from pyproject.toml: python tools/environment.py --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
