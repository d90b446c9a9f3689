"""Pins are equal everywhere, environment.yml can be read on three systems, and importing the package stays light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tools import environment

ROOT = Path(__file__).parents[1]
SYSTEMS = {
    "linux-64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "osx-arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "win-64": {"sys_platform": "win32", "platform_machine": "AMD64"},
}
CONDA_SPEC = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(?P<pins>[<>=!~].*)?")
HEAVY = {"httpx", "ipywidgets", "matplotlib", "numpy", "ollama", "psutil", "torch", "tornado", "xllamacpp"}


def parse_environment(marker_values: dict[str, str]) -> dict[str, SpecifierSet]:
    """Return what environment.yml installs on a system: package name on PyPI to pins."""
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pypi_names = {conda_name: name for name, conda_name in environment.CONDA_NAMES.items()}
    found = {}
    for line in conda:
        match = CONDA_SPEC.fullmatch(line)
        assert match, line
        found[pypi_names.get(match["name"], match["name"])] = SpecifierSet(match["pins"] or "")
    for line in last["pip"]:
        if line != "-e .":
            add_if_needed(found, Requirement(line), marker_values)
    return found


def add_if_needed(found: dict[str, SpecifierSet], wanted: Requirement, marker_values: dict[str, str]) -> None:
    if wanted.marker is None or wanted.marker.evaluate({**marker_values, "python_version": "3.10"}):
        found[wanted.name] = wanted.specifier


@pytest.mark.parametrize("system", SYSTEMS)
def test_conda_gets_the_pins_of_pyproject(system: str) -> None:
    project = environment.read_project()
    wanted = {"python": SpecifierSet(project["project"]["requires-python"]), "pip": SpecifierSet()}
    for line in environment.requirements(project):
        add_if_needed(wanted, Requirement(line), SYSTEMS[system])
    assert parse_environment(SYSTEMS[system]) == wanted


def test_environment_is_what_the_tool_writes() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == environment.render(environment.read_project()), "python tools/environment.py --write"


def test_windows_on_arm_installs_without_the_engine() -> None:
    lines = environment.read_project()["project"]["dependencies"]
    marker = Marker(next(line for line in lines if line.startswith("xllamacpp")).split(";")[1])
    assert not marker.evaluate({"sys_platform": "win32", "platform_machine": "ARM64"})
    assert all(marker.evaluate(values) for values in SYSTEMS.values())


def test_the_packages_a_user_asked_for_are_there() -> None:
    asked = {"jupyterlab", "ipywidgets", "ollama", "psutil", "nvidia-ml-py", "nbval"}
    assert asked <= {environment.name_of(line) for line in environment.requirements(environment.read_project())}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode("utf-8").split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_download_address() -> None:
    dot = r"\."
    index = re.compile("|".join(["py" + "pi" + dot + "org", "python" + "hosted" + dot, "npm" + "js" + dot]), re.I)
    named = [path.name for path in tracked_files() if index.search(path.read_bytes().decode("utf-8", "ignore"))]
    assert named == []
    assert not [path for path in tracked_files() if path.name == "uv.lock"]
    locks = [path for path in tracked_files() if path.name == "package-lock.json"]
    assert not [path for path in locks if '"resolved"' in path.read_text(encoding="utf-8")]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, gptoss_lab; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY & set(loaded.stdout.split()) == set()


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (ROOT / target).exists()] == []
