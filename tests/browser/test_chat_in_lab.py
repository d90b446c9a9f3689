"""The chat panel in a real JupyterLab with the practice server: ask, stop, a busy cell, and reading it again later."""

import json
import re
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs playwright: uv sync, or pip install playwright")

from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, browser_page, course, find_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not find_browser(), reason="needs chromium, for instance: apt install chromium"),
]
SETUP = """from gptoss_lab import Chat
import time
chat = Chat(effort="medium", num_predict=30_000, num_ctx=4096)
chat.panel()"""
BUSY = "time.sleep(6)\nprint('the cell went on')"
SLOW = """import gptoss_lab.chat.generation as generation
taken = generation.Generation._taken
def slow(self, message, line):
    time.sleep(0.02)
    return taken(self, message, line)
generation.Generation._taken = slow"""  # a model so small is done before anybody can press a button


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with course(tmp_path_factory.mktemp("chat in lab"), "en") as lab:
        yield lab


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    with browser_page(lab.write("chat", SETUP, SLOW, BUSY, "print(chat.messages[-1].stopped)")) as page:
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".jp-Cell").first.click()
        page.keyboard.press("Shift+Enter")
        page.locator(".gol-panel").wait_for()
        yield page


def ask(page: Page, question: str) -> None:
    box = page.locator(".gol-composer textarea")
    box.fill(question)
    box.press("Enter")


def run_cell(page: Page, number: int) -> None:
    page.locator(".jp-Cell .jp-InputArea-editor").nth(number).click()
    page.keyboard.press("Shift+Enter")


def test_a_chip_asks_and_the_answer_comes(page: Page) -> None:
    page.get_by_role("button", name="What is a token?").click()
    expect(page.locator(".gol-assistant .gol-text").last).to_contain_text("token")
    expect(page.locator(".gol-under", has_text="per second").last).to_be_visible()
    expect(page.locator(".gol-foot")).to_contain_text("/ 4,096")
    expect(page.locator(".gol-log")).to_have_attribute("aria-busy", "false")


def test_the_plain_transcript_hides_while_the_panel_lives(page: Page) -> None:
    twin = page.locator("[class^='gol-twin-']").first
    expect(twin).to_be_hidden()
    assert "A token is" in (twin.text_content() or "")


def test_stop_ends_an_answer(page: Page) -> None:
    run_cell(page, 1)
    ask(page, "Tell me a long story.")
    expect(page.locator(".gol-assistant .gol-text").last).to_contain_text("Once")
    page.locator(".gol-send").click()
    expect(page.locator(".gol-under", has_text="stopped").last).to_be_visible()
    expect(page.locator(".gol-log")).to_have_attribute("aria-busy", "false")


def test_stop_is_heard_while_a_cell_runs(page: Page) -> None:
    ask(page, "Tell me a long story.")
    expect(page.locator(".gol-assistant .gol-text").last).to_contain_text("Once")
    run_cell(page, 2)
    page.wait_for_timeout(500)
    pressed_s = time.monotonic()
    page.locator(".gol-send").click()
    expect(page.locator(".gol-under", has_text="stopped")).to_have_count(2)
    assert time.monotonic() - pressed_s < 4  # the cell runs for six seconds
    expect(page.locator(".jp-OutputArea-output", has_text="the cell went on")).to_be_visible(timeout=15_000)


def test_it_can_be_read_again_without_a_kernel(page: Page, lab: Lab) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    saved = json.dumps(lab.notebook("en", "chat"), ensure_ascii=False)
    assert "A token is" in saved and "<script" not in saved
    page.goto(re.sub("en/chat", "en/06_first_chat", lab.url.replace("00_start_here", "06_first_chat")))
    path = lab.folder / "notebooks" / "en" / "later.ipynb"
    path.write_text((lab.folder / "notebooks" / "en" / "chat.ipynb").read_text(encoding="utf-8"), encoding="utf-8")
    page.goto(lab.url.replace("00_start_here", "later"))
    expect(page.get_by_text("A token is a piece of text").first).to_be_visible()


def test_nbconvert_keeps_the_transcript(lab: Lab) -> None:
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter().from_filename(str(lab.folder / "notebooks" / "en" / "chat.ipynb"))
    assert "A token is a piece of text" in html
