"""A real JupyterLab, started as a learner starts it, and a chromium that looks at it.

It runs in a copy of this checkout, because running a notebook writes to it.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
SIZE = {"width": 1280, "height": 900}
START_LIMIT_S = 90
RUN_LIMIT_S = 120


@dataclass(frozen=True)
class Lab:
    """A running course: its process, its folder, and the address that opens the first notebook."""

    process: "subprocess.Popen[str]"
    folder: Path
    home: Path
    url: str

    def notebook(self, lang: str, name: str = "00_start_here") -> dict[str, Any]:
        """Return a notebook as it is on disk now."""
        path = self.folder / "notebooks" / lang / f"{name}.ipynb"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def write(self, name: str, *cells: str, kernel: str = "python3") -> str:
        """Write an English notebook of such code cells and return the address that opens it."""
        spec = {"name": kernel, "display_name": kernel, "language": "python"}
        plain = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
        made = [{**plain, "id": f"c{at}", "source": source} for at, source in enumerate(cells)]
        notebook = {"cells": made, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
        path = self.folder / "notebooks" / "en" / f"{name}.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return self.url.replace("00_start_here", name)

    def interrupt(self) -> int:
        """Press Ctrl-C in the terminal and return the exit code."""
        if os.name == "nt":
            self.process.terminate()
        else:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


def find_browser() -> str:
    """Return the path of an installed browser, or an empty string."""
    return next(filter(None, map(shutil.which, BROWSERS)), "")


@contextmanager
def course(folder: Path, lang: str) -> Iterator[Lab]:
    """Run `gptoss-lab --no-browser` in a copy of this checkout."""
    for part in ("gptoss_lab", "notebooks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    port, token, home = _free_port(), secrets.token_hex(8), folder / "home"
    command = [sys.executable, "-m", "gptoss_lab.cli", "--lang", lang, "--no-browser", "--port", str(port)]
    variables = {
        "PYTHONPATH": str(folder),
        "PYTHONUTF8": "1",
        "GPTOSS_LAB_HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),  # the user's own settings and open tabs stay out of it
        "JUPYTER_TOKEN": token,
    }
    with (folder / "lab.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--server", "practice"],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    lab = Lab(process, folder, home, f"http://127.0.0.1:{port}/lab/tree/{lang}/00_start_here.ipynb?token={token}")
    try:
        _wait_until_it_answers(lab, f"http://127.0.0.1:{port}/api")
        yield lab
    finally:
        if process.poll() is None:
            lab.interrupt()


@contextmanager
def browser_page(url: str) -> Iterator[Page]:
    """Open an address in a headless chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(QUIET))
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.set_default_timeout(START_LIMIT_S * 1000)
        page.goto(url)
        yield page
        browser.close()


def run_all(page: Page, lab: Lab, lang: str) -> dict[str, Any]:
    """Choose Run > Run All Cells, wait for the last cell, save, and return the notebook with its outputs."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    limit = time.monotonic() + RUN_LIMIT_S
    while time.monotonic() < limit:
        page.wait_for_timeout(1000)
        page.keyboard.press("Control+s")
        notebook = lab.notebook(lang)
        if all(cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"):
            return notebook
    raise TimeoutError(f"the cells did not end within {RUN_LIMIT_S} seconds")


def _wait_until_it_answers(lab: Lab, url: str) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit and lab.process.poll() is None:
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError((lab.folder / "lab.log").read_text(encoding="utf-8"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
