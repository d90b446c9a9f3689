"""The panel's front end alone: keyboard, batches, lost messages, hostile text, names for screen readers."""

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs playwright: uv sync, or pip install playwright")

from playwright.sync_api import Page

from tests.browser.bundle import message, panel_page
from tests.browser.lab import find_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not find_browser(), reason="needs chromium, for instance: apt install chromium"),
]
ATTACKS = json.loads((files("tests.browser") / "attacks.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with panel_page() as page:
        yield page


@pytest.fixture(autouse=True)
def empty(page: Page) -> None:
    page.evaluate("window.sent.length = 0; window.answer = null; change({messages: [], running: false, problem: ''})")
    page.locator(".gol-composer textarea").fill("")


def begin(page: Page) -> None:
    box = page.locator(".gol-composer textarea")
    box.fill("Hello")
    box.press("Enter")


def stream(page: Page, text: str, dice: random.Random, lost: float = 0.0) -> None:
    """Send a text in random pieces, as Python does; some are lost, and a wish to hear all of it again is answered."""
    page.evaluate("(text) => { window.whole = text; window.upto = 0;"
                  " window.answer = (wish) => { if (wish.k === 'resync') setTimeout(() => tell({k: 'full', thinking: '', content: whole.slice(0, upto)})); } }", text)  # fmt: skip
    cuts = sorted({0, len(text), *(dice.randrange(len(text) + 1) for _ in range(len(text) // 6 + 1))})
    units = [len(text[:cut].encode("utf-16-le")) // 2 for cut in cuts]
    pieces = [
        {
            "k": "d",
            "c": "content",
            "n": units[at],
            "s": text[cuts[at] : cuts[at + 1]],
            "lost": dice.random() < lost,
            "end": units[at + 1],
        }
        for at in range(len(cuts) - 1)
    ]
    page.evaluate(
        "(pieces) => pieces.forEach(({lost, end, ...piece}) => { upto = end; if (!lost) tell(piece); })", pieces
    )


def finish(page: Page, text: str) -> None:
    page.evaluate("(text) => tell({k: 'end', content: text, problem: ''})", text)
    answered = [message("user", "Hello"), message("assistant", text, node=1, last=True)]
    page.evaluate("(messages) => change({messages, running: false})", answered)


def wishes(page: Page, kind: str) -> list[Any]:
    return [wish for wish in page.evaluate("window.sent") if wish["k"] == kind]


# --- the keyboard -----------------------------------------------------------------------------------------------------


def test_enter_sends_and_shift_enter_does_not(page: Page) -> None:
    box = page.locator(".gol-composer textarea")
    box.fill("one")
    box.press("Shift+Enter")
    assert box.input_value() == "one\n" and wishes(page, "ask") == []
    box.press("Enter")
    assert wishes(page, "ask") == [{"k": "ask", "text": "one\n"}] and box.input_value() == ""


def test_no_key_reaches_the_notebook(page: Page) -> None:
    page.evaluate("window.keys = []; for (const kind of ['keydown', 'keypress', 'keyup'])"
                  " document.body.addEventListener(kind, (event) => keys.push(event.key))")  # fmt: skip
    box = page.locator(".gol-composer textarea")
    for key in ("a", "d", "Shift+Enter", "Control+Enter", "Enter", "Escape"):
        box.press(key)
    page.locator(".gol-top summary").press("Enter")
    assert page.evaluate("window.keys") == []
    page.locator(".gol-top summary").press("Enter")


def test_a_sign_that_is_being_composed_is_not_sent(page: Page) -> None:
    page.locator(".gol-composer textarea").fill("ni")
    page.evaluate("document.querySelector('.gol-composer textarea').dispatchEvent("
                  "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))")  # fmt: skip
    assert wishes(page, "ask") == []


def test_stop_is_there_from_the_first_moment(page: Page) -> None:
    begin(page)
    button = page.locator(".gol-send")
    assert button.inner_text() == "Stop"
    button.click()
    assert wishes(page, "stop") and page.locator(".gol-status").inner_text() == "stopping …"
    page.locator(".gol-composer textarea").press("Escape")
    assert len(wishes(page, "stop")) == 2


# --- what is drawn ----------------------------------------------------------------------------------------------------

LONG = """# Title

A **bold** word, `code`, and a [link](https://example.org/a?b=1).

```python
def f(x):
    return "x" * 3  # three
```

| a | b |
|---|---|
| 1 | 2 |

1. one
2. two

> quoted 显卡 🙂
"""


def shown(page: Page) -> str:
    return str(page.locator(".gol-assistant .gol-text").last.inner_html())


def test_a_stream_ends_as_if_it_had_come_at_once(page: Page) -> None:
    begin(page)
    stream(page, LONG, random.Random(1))
    page.wait_for_function("document.querySelector('.gol-assistant .gol-text table td')")
    finish(page, LONG)
    streamed = shown(page)
    assert all(tag in streamed for tag in ("<h1>", "<strong>", "hljs-keyword", "<td>2</td>", "<ol>", "<blockquote>"))
    link = page.locator(".gol-assistant .gol-text a")
    assert link.get_attribute("rel") == "noopener noreferrer nofollow" and link.get_attribute("title") == "example.org"


def test_lost_messages_are_noticed_a_hundred_times(page: Page) -> None:
    dice = random.Random(2)
    for _ in range(100):
        text = "".join(dice.choices("abc 显卡🙂\n*`#", k=dice.randrange(50, 400)))
        page.evaluate("change({messages: [], running: false})")
        begin(page)
        stream(page, text, dice, lost=0.05)
        page.evaluate("new Promise((done) => setTimeout(done, 3))")
        held = page.evaluate(
            "() => { tell({k: 'd', c: 'content', n: upto, s: ''}); return new Promise((done) => setTimeout(() => { tell({k: 'full', thinking: '', content: whole}); done(whole); }, 3)); }"
        )
        assert held == text
        finish(page, text)


def test_thinking_folds_when_the_answer_begins(page: Page) -> None:
    begin(page)
    page.evaluate("tell({k: 'd', c: 'thinking', n: 0, s: 'Let me see.'})")
    block = page.locator(".gol-thinking").last
    page.wait_for_function("document.querySelector('.gol-thought').textContent === 'Let me see.'")
    assert block.evaluate("(one) => one.open")
    page.evaluate("tell({k: 'd', c: 'content', n: 0, s: 'Yes.'})")
    page.wait_for_function("!document.querySelector('.gol-thinking').open")


def test_a_tool_call_is_approved_here(page: Page) -> None:
    begin(page)
    page.evaluate("tell({k: 'call', call: {name: 'launch', arguments: {at: '<b>now</b>'}}})")
    page.evaluate("tell({k: 'approve', id: 7, call: {name: 'launch'}})")
    assert 'launch(at="<b>now</b>")' in page.locator(".gol-call").inner_text()
    page.get_by_role("button", name="Allow").click()
    assert wishes(page, "approve") == [{"k": "approve", "id": 7, "allow": True}]
    page.evaluate("tell({k: 'result', name: 'launch', s: '<i>done</i>', ok: true})")
    assert "<i>done</i>" in page.locator(".gol-result pre").text_content()


def test_edit_again_branches_and_settings_become_wishes(page: Page) -> None:
    answered = [
        message("user", "Hello", versions=2, version=1),
        message("assistant", "Hi", node=1, last=True, versions=2),
    ]
    page.evaluate("(messages) => change({messages, running: false})", answered)
    page.get_by_role("button", name="Older version").first.click()
    page.get_by_role("button", name="Again").click()
    page.evaluate("(messages) => change({messages, running: false})", answered)
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit").fill("Bye")
    page.get_by_label("Edit").press("Enter")
    page.evaluate("(messages) => change({messages, running: false})", answered)
    page.get_by_label("Effort").select_option("high")
    page.locator(".gol-top summary").click()
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Seed").blur()
    page.locator(".gol-top summary").click()
    assert wishes(page, "go") == [{"k": "go", "node": 0, "version": 0}] and wishes(page, "again")
    assert wishes(page, "edit") == [{"k": "edit", "turn": 0, "text": "Bye"}]
    assert wishes(page, "set") == [{"k": "set", "effort": "high"}, {"k": "set", "options": {"seed": 7}}]


def test_the_meter_warns_before_the_context_is_full(page: Page) -> None:
    page.evaluate("change({used: 3900, window: 4096})")
    foot = page.locator(".gol-foot").inner_text()
    assert "3,900 / 4,096" in foot and "nearly full" in foot
    page.evaluate("change({used: 0, window: 0})")


# --- hostile text -----------------------------------------------------------------------------------------------------


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize("cuts", range(3))
def test_nothing_a_model_writes_runs_or_calls_home(page: Page, cuts: int) -> None:
    dice = random.Random(cuts)
    page.evaluate("window.pwned = 0; window.alert = () => { window.pwned += 1; }; null")
    for attack in ATTACKS:
        page.evaluate("change({messages: [], running: false})")
        begin(page)
        stream(page, f"Look: {attack}\n\nEnd.", dice)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        finish(page, f"Look: {attack}\n\nEnd.")
        bad = page.evaluate("""() => {
          const log = document.querySelector('.gol-log');
          const links = [...log.querySelectorAll('[href],[src],[action],[formaction]')];
          return [...log.querySelectorAll('script,iframe,object,embed,form,img,style,link,meta,base,svg,math,input,video,audio')].map((one) => one.outerHTML)
            .concat(links.filter((one) => !/^(https?:|mailto:)/i.test(one.getAttribute('href') ?? '')).map((one) => one.outerHTML))
            .concat([...log.querySelectorAll('*')].filter((one) => [...one.attributes].some((a) => /^on|^style$/i.test(a.name))).map((one) => one.outerHTML));
        }""")
        assert bad == [], attack
    assert page.evaluate("window.pwned") == 0
    assert page.asked == []  # type: ignore[attr-defined]


def test_a_picture_is_loaded_by_a_click_alone(page: Page) -> None:
    finish(page, "![a cat](https://evil.example/cat.png?secret=1)")
    button = page.locator(".gol-picture")
    assert button.inner_text() == "[image: a cat – evil.example]" and page.asked == []  # type: ignore[attr-defined]
    button.click()
    page.wait_for_timeout(100)
    assert page.asked == ["https://evil.example/cat.png?secret=1"]  # type: ignore[attr-defined]
    page.asked.clear()  # type: ignore[attr-defined]


# --- for everyone -----------------------------------------------------------------------------------------------------


def test_every_control_has_a_name_and_an_answer_is_announced_once(page: Page) -> None:
    nameless = page.evaluate("""() => [...document.querySelectorAll('.gol-panel button, .gol-panel select, .gol-panel textarea, .gol-panel input, .gol-panel meter')]
      .filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label') || one.closest('label')?.textContent.trim())).map((one) => one.outerHTML)""")
    assert nameless == []
    page.evaluate("window.said = []; new MutationObserver(() => said.push(document.querySelector('.gol-hidden').textContent))"
                  ".observe(document.querySelector('.gol-hidden'), {childList: true})")  # fmt: skip
    begin(page)
    assert page.locator(".gol-log").get_attribute("aria-busy") == "true"
    stream(page, "A word. " * 30, random.Random(1))
    finish(page, "A word. " * 30)
    assert page.evaluate("said.length") == 1 and page.locator(".gol-log").get_attribute("aria-busy") == "false"


def test_it_fits_a_narrow_window(page: Page) -> None:
    long_word = "x" * 300
    page.set_viewport_size({"width": 320, "height": 900})
    finish(page, f"{long_word}\n\n```python\n{long_word}\n```")
    assert page.evaluate("document.documentElement.scrollWidth") <= 330
    page.set_viewport_size({"width": 900, "height": 900})


# --- the place in a long talk -----------------------------------------------------------------------------------------


def at_the_end(page: Page) -> bool:
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    script = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40"
    return bool(page.locator(".gol-log").evaluate(script))


def test_the_newest_answer_is_in_view_also_after_a_time_off_the_page(page: Page) -> None:
    finish(page, "long\n\n" * 60)
    assert at_the_end(page)
    page.evaluate("window.panelAway = document.querySelector('.gol-panel'); panelAway.remove()")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    finish(page, "longer\n\n" * 90)
    page.evaluate("document.getElementById('here').append(panelAway)")
    assert at_the_end(page)


def test_text_that_comes_before_the_scroll_event_does_not_count_as_scrolling_up(page: Page) -> None:
    finish(page, "long\n\n" * 60)
    begin(page)
    assert at_the_end(page)
    grow = "(log) => { log.append(...['p', 'p'].map((name) => document.createElement(name)));"
    page.locator(".gol-log").evaluate(
        grow + " log.lastChild.style.height = '900px'; log.dispatchEvent(new Event('scroll')); }"
    )
    page.evaluate("tell({k: 'd', n: 0, c: 'content', s: 'new', t: 1})")
    assert at_the_end(page)


def test_whoever_scrolls_up_is_left_where_they_read(page: Page) -> None:
    finish(page, "long\n\n" * 60)
    assert at_the_end(page)
    page.locator(".gol-log").evaluate("(log) => { log.scrollTop = 0; }")
    assert not at_the_end(page)
    begin(page)
    assert at_the_end(page), "an own question brings one back"
    page.locator(".gol-log").evaluate("(log) => { log.scrollTop = 0; }")
    assert not at_the_end(page)
    page.evaluate("(text) => tell({k: 'd', n: 0, c: 'content', s: text})", "new\n\n" * 40)
    assert not at_the_end(page)
