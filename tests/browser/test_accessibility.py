"""The panel for everyone: axe-core finds nothing serious, and every function can be used with the keyboard alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs playwright: uv sync, or pip install playwright")

from playwright.sync_api import Page

from tests.browser.bundle import message, panel_page
from tests.browser.lab import ROOT, find_browser

AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not find_browser(), reason="needs chromium, for instance: apt install chromium"),
]
ANSWER = """# A title

Text with `code`, a [link](https://example.org) and a list:

- one
- two

| a | b |
|---|---|
| 1 | 2 |

```python
for token in answer:  # a comment
    print('x', 1)
```

![a cat](https://example.org/cat.png)
"""
CALL = {"name": "calculate", "arguments": {"a": 17, "b": 25}}
TALK = [
    message("user", "What is 17 + 25?", versions=2, node=1),
    message("assistant", "", thinking="A tool helps.", thought="1.2 s, 5 tokens", calls=[CALL], node=2),
    message("tool", "42", tool="calculate", node=3),
    message("assistant", ANSWER, line="gpt-oss:20b · low · 40 tokens", notes=["It is full."], last=True, node=4),
]  # fmt: skip
BEGIN = f"change({json.dumps({'messages': TALK[:1], 'running': True, 'number': 1})});" + (
    "tell({k: 'd', n: 0, c: 'thinking', s: 'I wonder', t: 2});"
)
STATES = {
    "empty": "",
    "finished": f"change({json.dumps({'messages': TALK, 'used': 3900, 'window': 4096})})",
    "thinking": BEGIN,
    "approval": BEGIN
    + f"tell({{k: 'call', call: {json.dumps(CALL)}}}); tell({{k: 'approve', id: 1, call: {json.dumps(CALL)}}})",
    "settings": "document.querySelector('.gol-drawer').open = true",
    "raw": f"change({json.dumps({'messages': TALK})}); tell({{k: 'raw', s: '{{}}'}})",
    "trouble": "change({problem: 'The server has no such model.', acts: ['pull', 'again']})",
}
SERIOUS = ("serious", "critical")


def theme(name: str) -> str:
    """Return the style sheet of a theme of the installed JupyterLab."""
    from jupyterlab.commands import get_app_dir

    path = Path(get_app_dir()) / "themes" / "@jupyterlab" / f"theme-{name}-extension" / "index.css"
    return path.read_text(encoding="utf-8") + "body {background: var(--jp-layout-color0)}"


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: cd frontend && npm ci")
@pytest.mark.parametrize("width", [320, 900])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious(look: str, width: int) -> None:
    found = []
    with panel_page(width=width) as page:
        for name, script in STATES.items():
            page.reload()
            page.wait_for_function("window.ready")
            page.add_style_tag(content=theme(look))
            page.add_script_tag(path=AXE)
            page.evaluate(script or "null")
            page.wait_for_timeout(100)
            found += [f"{name}: {violation}" for violation in serious(page)]
    assert not found, "\n".join(found)


def serious(page: Page) -> Iterator[str]:
    """Yield what axe finds serious, with the element and what would help."""
    for violation in page.evaluate("axe.run('#here', {resultTypes: ['violations']})")["violations"]:
        if violation["impact"] in SERIOUS:
            yield from (
                f"{violation['id']} {node['html'][:120]} {node['failureSummary']}" for node in violation["nodes"]
            )


# --- the keyboard alone -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with panel_page(messages=TALK, used=10, window=4096) as page:
        yield page


@pytest.fixture(autouse=True)
def at_the_start(request: pytest.FixtureRequest) -> None:
    if "page" in request.fixturenames:
        page: Page = request.getfixturevalue("page")
        page.reload()
        page.wait_for_function("window.ready")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something with this name or text has the focus."""
    script = f"[document.activeElement.ariaLabel, document.activeElement.textContent].includes({json.dumps(name)})"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(script):
            return
    raise AssertionError(f"{name} cannot be reached")


def wish(page: Page, kind: str) -> dict[str, Any]:
    """Return the last wish of a kind that was sent to Python."""
    sent: list[dict[str, Any]] = page.evaluate(f"window.sent.filter((wish) => wish.k === '{kind}')")
    return sent[-1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Undo", "undo"), ("Save as Markdown", "save"), ("Save as Python", "save"), ("Free the memory", "unload"),
     ("Again", "again"), ("Raw", "raw"), ("Newer version", "go")],
)  # fmt: skip
def test_every_button_works_with_the_keyboard(page: Page, name: str, kind: str) -> None:
    tab_to(page, name)
    page.keyboard.press("Enter")
    assert wish(page, kind)


def test_a_question_is_edited_with_the_keyboard(page: Page) -> None:
    tab_to(page, "Edit")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert focused(page) == "Edit", "Escape gives the question back"
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type("What is 1 + 1?")
    page.keyboard.press("Enter")
    assert wish(page, "edit") == {"k": "edit", "turn": 0, "text": "What is 1 + 1?"}


def test_settings_and_raw_are_left_with_escape(page: Page) -> None:
    tab_to(page, "Settings")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("Be brief.")
    page.keyboard.press("Escape")
    assert wish(page, "set") == {"k": "set", "system": "Be brief."}
    assert focused(page) == "Settings" and not page.locator(".gol-drawer[open]").count()
    tab_to(page, "Raw")
    page.evaluate("tell({k: 'raw', s: '{}'})")
    assert focused(page) == "Close"
    page.keyboard.press("Escape")
    assert focused(page) == "Raw" and not page.locator(".gol-raw").count()


def test_a_talk_with_a_tool_needs_no_mouse(page: Page) -> None:
    page.locator(".gol-composer textarea").focus()
    page.keyboard.type("17 + 25?")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Please.")
    page.keyboard.press("Enter")
    assert wish(page, "ask")["text"] == "17 + 25?\nPlease." and page.locator(".gol-composer textarea:focus").count()
    page.evaluate(
        f"tell({{k: 'call', call: {json.dumps(CALL)}}}); tell({{k: 'approve', id: 5, call: {json.dumps(CALL)}}})"
    )
    tab_to(page, "Allow")
    page.keyboard.press("Enter")
    assert wish(page, "approve") == {"k": "approve", "id": 5, "allow": True}
    assert page.locator(".gol-composer textarea:focus").count(), "the focus does not fall off the page"
    page.keyboard.press("Escape")
    assert wish(page, "stop")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent"))


def test_a_finished_answer_is_announced_once(page: Page) -> None:
    page.evaluate("""window.said = [];
      const note = (seen) => said.push(...seen.map((one) => one.target.textContent));
      new MutationObserver(note).observe(document.querySelector('[aria-live=polite]'), {childList: true})""")
    page.evaluate(BEGIN + "for (let n = 0; n < 5; n++) tell({k: 'd', n: n * 2, c: 'content', s: 'a ', t: n})")
    log = page.locator(".gol-log")
    assert log.get_attribute("aria-busy") == "true" and log.get_attribute("aria-live") == "off"
    page.evaluate("tell({k: 'end', content: 'a a a a a', problem: ''}); change({running: false})")
    assert page.evaluate("said") == ["Answer: a a a a a"] and log.get_attribute("aria-busy") == "false"
