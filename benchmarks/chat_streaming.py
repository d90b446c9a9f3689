"""Print what it takes to show an answer while it comes, in this panel and in others, in a real JupyterLab.

    uv run --with panel python benchmarks/chat_streaming.py

The same pieces come at 200 tokens per second. Messages and bytes are what the browser receives over the kernel's web
socket; milliseconds are processor time in the kernel and of the page's main thread, less what the same loop costs that
shows nothing. The longest task is how long the page could not answer to a key. Then, beside the bare `ollama` client:
what `Chat` and its panel add to one long answer, at 200 tokens per second and as fast as the practice model writes.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import CDPSession, Page

from benchmarks.streaming_contenders import CONTENDERS, RATE_TOK_S, paced
from gptoss_lab.chat import Chat
from gptoss_lab.connect import Connection, connect
from tests.browser.lab import Lab, browser_page, course

QUESTION = "Tell me a long story."
LENGTHS = (1000, 4000)
LONGEST = 8000  # only for the panel of this package: does the cost of a token stay the same?
LONG_TASKS = """window.longest = 0; new PerformanceObserver((seen) => {
  for (const task of seen.getEntries()) longest = Math.max(longest, task.duration); }).observe({type: "longtask"});"""


@dataclass(frozen=True)
class Cost:
    """What one answer took."""

    count: int
    shown_bytes: int  # once, to show the widget
    messages: int
    sent_bytes: int
    wall_s: float
    kernel_s: float
    browser_s: float
    longest_ms: float

    def row(self, name: str, idle: "Cost") -> str:
        """Return a line of the table, less what showing nothing takes."""
        messages = self.messages - idle.messages
        columns = [
            (self.shown_bytes - idle.shown_bytes) / 1000,
            messages / self.wall_s,
            messages / self.count,
            (self.sent_bytes - idle.sent_bytes) / self.count,
            1000 * (self.kernel_s - idle.kernel_s) / self.count,
            1000 * (self.browser_s - idle.browser_s) / self.count,
            self.longest_ms,
            self.count / self.wall_s,
        ]
        shapes = ("8.0f", "7.1f", "9.3f", "11.0f", "10.3f", "11.3f", "10.0f", "7.0f")
        figures = " ".join(f"{column:{shape}}" for column, shape in zip(columns, shapes, strict=True))
        return f"{name:20} {self.count:6} {figures}"


def main() -> None:
    """Measure all contenders that are installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("browser", "client"), help="one half of it")
    parser.add_argument("--rounds", type=int, default=9, help="rounds beside the bare client")
    options = parser.parse_args()
    if options.only != "client":
        in_the_browser()
    if options.only != "browser":
        beside_the_client(options.rounds)


def in_the_browser() -> None:
    """Show answers of several lengths in every way, and print a table."""
    names = [name for name in CONTENDERS if name != "Panel ChatInterface" or find_spec("panel")]
    print(f"{RATE_TOK_S} tokens per second come in; the last column is what the page shows")
    print(f"{'':20} tokens  kB once   msg/s msg/token bytes/token  kernel ms  browser ms longest ms   tok/s")
    with tempfile.TemporaryDirectory(prefix="benchmark ") as folder, course(Path(folder), "en") as lab:
        for count in (*LENGTHS, LONGEST):
            idle = cost(lab, "nothing", count)
            for name in names[1:] if count != LONGEST else names[1:2]:
                print(cost(lab, name, count).row(name, idle), flush=True)


def cost(lab: Lab, name: str, count: int, pictures: Path | None = None) -> Cost:
    """Stream one answer in a fresh notebook and return what it took."""
    root = str(Path(__file__).parents[1])
    show = f"import sys; sys.path.append({root!r})\nfrom benchmarks.streaming_contenders import CONTENDERS, stream\n"
    cells = (f"{show}way = CONTENDERS[{name!r}]()", f"stream({count}, *way)")
    received: list[int] = []
    with browser_page("about:blank") as page:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda payload: received.append(len(payload))))
        page.goto(lab.write("stream", *cells))
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.locator(".jp-Cell").first.click()
        received.clear()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(5000)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        page.evaluate(LONG_TASKS)
        shown_bytes = sum(received)
        received.clear()
        busy_s = busy(devtools)
        page.keyboard.press("Shift+Enter")
        taken = result(page, count)
        page.wait_for_timeout(2000)  # what is still being drawn
        browser_s, longest_ms = busy(devtools) - busy_s, float(page.evaluate("longest"))
        if pictures:
            page.screenshot(path=pictures / f"{name} {count}.png")
    sent = (count, shown_bytes, len(received), sum(received))
    return Cost(*sent, taken["wall_s"], taken["kernel_s"], browser_s, longest_ms)


def busy(devtools: CDPSession) -> float:
    """Return the seconds the page's main thread has worked so far."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def result(page: Page, count: int) -> dict[str, Any]:
    """Wait for the line the cell prints at its end."""
    line = page.locator(".jp-OutputArea-output", has_text="TAKEN")
    line.wait_for(state="attached", timeout=(60 + count / 5) * 1000)
    found: dict[str, Any] = json.loads((line.text_content() or "").split("TAKEN ")[1])
    return found


def beside_the_client(rounds: int) -> None:
    """Print what the chat adds to the bare client: at a graphics card's pace, and at the practice model's."""
    with paced_server(1000) as host:
        print(f"\n1000 tokens at {RATE_TOK_S} per second")
        in_turn(connect(host), 3)
    print("\nthe practice model, as fast as it can")
    in_turn(connect("practice"), rounds)


def in_turn(lab: Connection, rounds: int) -> None:
    """Ask for one long answer in turn with the bare client, with `Chat`, and with a chat that has a panel."""
    plain, shown = (Chat(lab=lab, num_predict=1000, temperature=0, num_ctx=4096) for _ in range(2))
    shown.panel()
    ways = {
        "bare client": lambda: bare(lab, plain.settings.options),
        "Chat": lambda: asked(plain),
        "Chat with a panel": lambda: asked(shown),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun, cpu = time.perf_counter(), time.process_time()
            way()
            times[name].append((time.perf_counter() - begun, time.process_time() - cpu))
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in times.items()
    }
    for name, (wall_s, cpu_s) in medians.items():
        ratio = wall_s / medians["bare client"][0]
        print(f"{name:20} {wall_s:6.3f} s {ratio:6.3f} x   processor {cpu_s:6.3f} s")


def bare(lab: Connection, options: Mapping[str, Any]) -> None:
    """Ask with the client alone."""
    messages = [{"role": "user", "content": QUESTION}]
    for _ in lab.client.chat(lab.model, messages, think="low", options=options, stream=True):
        pass


def asked(chat: Chat) -> None:
    """Ask in a new conversation."""
    chat.undo()
    chat.ask(QUESTION)


@contextmanager
def paced_server(count: int) -> Iterator[str]:
    """Run an Ollama that writes so many tokens at the pace of a fast graphics card, and return its address."""
    counted = {"eval_count": count, "eval_duration": int(count / RATE_TOK_S * 1e9), "prompt_eval_count": 70}
    answers = {
        "/api/version": {"version": "0.33.0"},
        "/api/tags": {"models": [{"name": "gpt-oss:20b", "model": "gpt-oss:20b"}]},
        "/api/ps": {"models": []},
        "/api/show": {"capabilities": ["completion", "thinking"]},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.end_headers()
            if self.path in answers:
                self.write(answers[self.path])
                return
            for piece in paced(count):
                self.write({"message": {"role": "assistant", "content": piece}, "done": False})
            self.write({"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"} | counted)

        do_POST = do_GET

        def write(self, line: dict[str, Any]) -> None:
            self.wfile.write(json.dumps(line).encode() + b"\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


if __name__ == "__main__":
    main()
