"""Stage failures on purpose, calmly: a server and a registry of one's own, on loopback, made of the real parts.

The server is a practice server with a queue of one; the registry offers the practice model over a slow line, so that a
pull can be watched, stopped and gone on with. Nothing of the learner's own server or models is touched.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from gptoss_lab.practice.in_thread import ServerInThread
from gptoss_lab.practice.server import Settings
from gptoss_lab.tiny import MODEL_PATH

NOBODY = "http://127.0.0.1:9"  # the port "discard": nothing answers there
_PIECE_BYTES = 64 * 1024
_SECONDS = 6.0  # that a whole pull takes


class ErrorLab:
    """A server at `host` and a model name on a slow registry at `model`; both end with `close()` or with the kernel."""

    nobody = NOBODY

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gptoss-lab-errors-", ignore_cleanup_errors=True)
        self._server = ServerInThread(Settings(models_dir=Path(self._folder.name), max_queue=1))
        self._registry = _Registry(seconds)
        self.host = self._server.host
        self.model = f"127.0.0.1:{self._registry.port}/error-lab/slow:latest"

    def full_queue(self) -> AbstractContextManager[None]:
        """Let the server be busy with a load and its queue be full, as long as this lasts."""
        return self._server.full()

    def close(self) -> None:
        """End server and registry, and forget what was pulled."""
        self._server.close()
        self._registry.close()
        self._folder.cleanup()


class _Registry:
    """A model registry with one model, sent in small pieces with pauses; it knows Range."""

    def __init__(self, seconds: float) -> None:
        self.pause_s = seconds * _PIECE_BYTES / MODEL_PATH.stat().st_size
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        Thread(target=self._http.serve_forever, args=(0.05,), name="slow registry", daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @cached_property
    def content(self) -> bytes:
        return MODEL_PATH.read_bytes()

    @cached_property
    def manifest(self) -> bytes:
        digest = f"sha256:{hashlib.sha256(self.content).hexdigest()}"
        kind = "application/vnd.ollama.image.model"
        return json.dumps({"layers": [{"mediaType": kind, "digest": digest, "size": len(self.content)}]}).encode()

    def pieces(self, start: int) -> Iterator[bytes]:
        """Yield the model's bytes from a place on, slowly."""
        for at in range(start, len(self.content), _PIECE_BYTES):
            time.sleep(self.pause_s)
            yield self.content[at : at + _PIECE_BYTES]


def _handler(registry: _Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/manifests/" in self.path:
                self._head(200, len(registry.manifest))
                self.wfile.write(registry.manifest)
                return
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            self._head(206 if start else 200, len(registry.content) - start, start)
            for piece in registry.pieces(start):
                self.wfile.write(piece)

        def _head(self, status: int, length: int, start: int = 0) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            if start:
                total = len(registry.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.end_headers()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the pull was stopped
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
