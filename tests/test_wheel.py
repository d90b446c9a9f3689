"""The wheel builds, installs in an empty environment, answers, and hands out the notebooks."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv")

pytestmark = pytest.mark.skipif(UV is None, reason="needs uv: pip install uv")


def run(*command: object, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONUTF8": "1", **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """The command of a wheel installed far away from this checkout, and a home of its own."""

    command: Path
    home: Path

    def __call__(self, *arguments: object) -> str:
        return run(self.command, *arguments, GPTOSS_LAB_HOME=str(self.home), GPTOSS_LAB_SERVER="practice")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--out-dir", folder, ROOT)
    run(UV, "venv", "--python", sys.executable, folder / "venv")
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(UV, "pip", "install", "--python", scripts / "python", *folder.glob("*.whl"))
    return Installed(scripts / "gptoss-lab", folder / "home 主目录")


def test_version(installed: Installed) -> None:
    assert installed("--version").startswith("gptoss-lab ")


def test_one_answer_from_the_practice_server(installed: Installed) -> None:
    try:
        answer = installed("ask", "What is gpt-oss?")
    finally:
        installed("stop")
    assert "practice model" in answer
    assert "OpenAI" in answer


def test_copy_hands_out_the_notebooks_and_never_overwrites(installed: Installed, tmp_path: Path) -> None:
    course = tmp_path / "my course 课程"
    installed("copy", course)
    names = {path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").glob("??/[0-9]*.ipynb")}
    assert names
    assert all((course / name).is_file() for name in names)

    mine = course / "en" / "00_start_here.ipynb"
    mine.write_text("my work", encoding="utf-8")
    assert "00_start_here.ipynb" in installed("copy", course)
    assert mine.read_text(encoding="utf-8") == "my work"
