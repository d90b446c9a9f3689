"""Take the README's picture, the first notebook with its first answer: `python tools/picture.py`."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.lab import browser_page, course, run_all  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "first_answer.png"
SCROLL = "(panel, top) => panel.scrollBy(0, top - panel.getBoundingClientRect().top - 16)"


def main() -> None:
    """Open the course, run all cells, and keep what a learner sees first."""
    with (
        tempfile.TemporaryDirectory() as folder,
        course(Path(folder) / "gpt-oss-lab", "en") as lab,
        browser_page(lab.url) as page,
    ):
        run_all(page, lab, "en")
        page.keyboard.press("Control+b")  # without the file browser
        page.locator(".jp-CodeCell").first.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        heading = page.locator(".jp-Notebook h2").nth(1).bounding_box()
        assert heading
        page.locator(".jp-WindowedPanel-outer").evaluate(SCROLL, heading["y"])
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
