"""An Ollama on loopback that says what a test wants, where a fault must be staged; all else is an ordinary answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MODEL = "gpt-oss:20b"
GIB = 2**30


@dataclass
class Staged:
    """The answers, by path: (status, body). A body that is no text is sent as JSON."""

    port: int = 0
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def loaded(self, size_gib: float, vram_gib: float, context: int = 8192) -> None:
        """Let the model lie in memory like this."""
        entry = {
            "name": MODEL,
            "size": int(size_gib * GIB),
            "size_vram": int(vram_gib * GIB),
            "context_length": context,
        }
        self.answers["/api/ps"] = (200, {"models": [entry]})


def ordinary() -> dict[str, tuple[int, Any]]:
    """Return the answers of an Ollama with which nothing is wrong."""
    listed = {"name": MODEL, "model": MODEL, "size": 13_793_441_244, "details": {"family": "gptoss"}}
    reply = {"message": {"role": "assistant", "content": "Hello"}, "done": True, "done_reason": "stop"}
    counted = {"eval_count": 40, "eval_duration": 1_000_000_000, "prompt_eval_count": 70}
    return {
        "/api/version": (200, {"version": "0.33.0"}),
        "/api/tags": (200, {"models": [listed]}),
        "/api/ps": (200, {"models": []}),
        "/api/generate": (200, {"done": True, "done_reason": "load", "load_duration": 2_000_000_000}),
        "/api/chat": (200, reply | counted),
    }


@contextmanager
def staged() -> Iterator[Staged]:
    """Run a staged Ollama."""
    stage = Staged(answers=ordinary())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            stage.asked.append((self.path, json.loads(body) if body else None))
            status, answer = stage.answers.get(self.path, (404, "404 page not found"))
            if callable(answer):
                status, answer = answer(stage.asked[-1][1])
            sent = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stage.port = server.server_port
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stage
    finally:
        server.shutdown()
        server.server_close()
