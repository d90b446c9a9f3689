"""The shipped panel in an empty page; a stand-in plays the kernel, so every message is in our hand."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from playwright.sync_api import Page, sync_playwright

from gptoss_lab.text import area_texts
from tests.browser.lab import QUIET, find_browser

STATIC = files("gptoss_lab.ui") / "static"
PAGE = """<!doctype html><meta charset="utf-8"><title>panel</title><style>%s</style><div id="here"></div>
<script type="module">
import panel from "/panel.js";
const state = %s, words = %s, heard = {};
window.sent = [];
window.model = {
  get: (name) => ({ state, words, twin: "t1" })[name],
  on: (name, act) => { heard[name] = act; }, off: () => {},
  send: (wish) => { window.sent.push(wish); window.answer?.(wish); },
};
window.tell = (message) => heard["msg:custom"](message);
window.change = (more) => { Object.assign(state, more); heard["change:state"](); };
panel.render({ model: window.model, el: document.getElementById("here") });
window.ready = true;
</script>"""


def state(**more: Any) -> dict[str, Any]:
    """Return the state of an empty conversation."""
    settings = {"model": "gpt-oss:20b", "effort": "low", "system": "", "options": {}}
    empty: dict[str, Any] = {
        "messages": [], "running": False, "problem": "", "label": "Ollama", "models": ["gpt-oss:20b", "other:1b"],
        "settings": settings, "chips": ["What is a token?"], "used": 0, "window": 0,
    }  # fmt: skip
    return {**empty, **more}


def message(role: str, content: str, **more: Any) -> dict[str, Any]:
    """Return a message as Python sends it."""
    plain: dict[str, Any] = {
        "node": 0, "role": role, "content": content, "thinking": "", "calls": [], "tool": "", "stopped": False,
        "turn": 0 if role == "user" else -1, "last": False, "versions": 1, "version": 0, "line": "", "notes": [],
    }  # fmt: skip
    return {**plain, **more}


@contextmanager
def panel_page(lang: str = "en", width: int = 900, **more: Any) -> Iterator[Page]:
    """Open the panel; every request of the page but those for its own two files is refused and noted."""
    words = area_texts(lang, "panel")["words"]
    css = (STATIC / "panel.css").read_text(encoding="utf-8")
    html = PAGE % (css, json.dumps(state(**more)), json.dumps(words))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(QUIET))
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.asked = []  # type: ignore[attr-defined]

        def answer(route: Any) -> None:
            path = route.request.url.split("http://panel.test")[-1]
            if path == "/":
                route.fulfill(body=html, content_type="text/html")
            elif path == "/panel.js":
                script = (STATIC / "panel.js").read_text(encoding="utf-8")
                route.fulfill(body=script, content_type="text/javascript")
            else:
                page.asked.append(route.request.url)  # type: ignore[attr-defined]
                route.abort()

        page.route("**/*", answer)
        page.goto("http://panel.test/")
        page.wait_for_function("window.ready")
        yield page
        browser.close()
