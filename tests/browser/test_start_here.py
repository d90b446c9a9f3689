"""A person opens the first notebook in JupyterLab, runs all cells and reads the answer, in both languages."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("playwright", reason="needs playwright: uv sync, or pip install playwright")

from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, browser_page, course, find_browser, run_all

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not find_browser(), reason="needs chromium, for instance: apt install chromium"),
]
LABELS = {"en": "practice model: knows this course only", "zh": "练习模型"}


@pytest.fixture(scope="module", params=["en", "zh"])
def lang(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lab(lang: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with course(tmp_path_factory.mktemp(f"clone {lang} 课程"), lang) as lab:
        yield lab


@pytest.fixture
def page(lab: Lab, tmp_path: Path) -> Iterator[Page]:
    with browser_page(lab.url) as page:
        try:
            yield page
        finally:
            page.screenshot(path=tmp_path / "last_look.png")  # pytest keeps it with the run's other files


def test_all_cells_run_and_the_answer_appears(page: Page, lab: Lab, lang: str) -> None:
    notebook = run_all(page, lab, lang)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert errors(code) == []
    assert LABELS[lang] in printed(code[0])

    answer = printed(code[1])
    assert len(answer) > 20
    page.keyboard.press("Control+Home")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text=LABELS[lang]).first).to_be_visible()
    expect(outputs.filter(has_text=answer.splitlines()[-1][:12]).first).to_be_visible()
    expect(page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to another window")
def test_ctrl_c_leaves_nothing_running(lab: Lab) -> None:
    ours = processes_of(lab.folder)
    assert len(ours) > 1
    assert lab.interrupt() == 0
    _, alive = psutil.wait_procs(ours, timeout=30)
    assert [process.cmdline() for process in alive] == []


def printed(cell: dict[str, Any]) -> str:
    """Return what a cell wrote."""
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def errors(cells: list[dict[str, Any]]) -> list[str]:
    """Return the errors that cells show."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    return [output["evalue"] for output in outputs if output["output_type"] == "error"]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that were started for a copy of the course: JupyterLab, kernels, practice server."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PYTHONPATH") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found
