"""A model registry on loopback: a manifest, and blobs with Range. It can be slow, go silent, break off, send junk."""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE_BYTES = 32 << 10
_KINDS = ("model", "system")


@dataclass
class Registry:
    """What it holds, what it is to do wrong, and what it has sent."""

    blobs: dict[str, bytes]
    host: str = ""
    pause_s: float = 0.0  # between two pieces of the first blob
    faults: deque[tuple[str, int]] = field(default_factory=deque)  # ("cut", "reset" or "stall", after so many bytes)
    wrong: int = 0  # so often the first blob's bytes are others than its digest says
    manifest_status: deque[int] = field(default_factory=deque)  # answers instead of the manifest
    sent: Counter[str] = field(default_factory=Counter)
    starts: list[int] = field(default_factory=list)  # where each request for the first blob began
    released: threading.Event = field(default_factory=threading.Event)  # ends the stalls

    @property
    def model(self) -> str:
        return f"{self.host}/test/ok"

    @property
    def first(self) -> str:
        return next(iter(self.blobs))

    @property
    def manifest(self) -> bytes:
        layers = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": name, "size": len(content)}
            for kind, (name, content) in zip(_KINDS, self.blobs.items(), strict=True)
        ]
        return json.dumps({"layers": layers}).encode()

    def resent_share(self) -> float:
        """Return which part of the first blob went over the line more than once."""
        size = len(self.blobs[self.first])
        return (self.sent[self.first] - size) / size


@contextmanager
def running_registry(*contents: bytes) -> Iterator[Registry]:
    """Run a registry that holds one model, made of a model file and a system message."""
    registry = Registry({f"sha256:{hashlib.sha256(content).hexdigest()}": content for content in contents})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry))
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield registry
    finally:
        registry.released.set()
        server.shutdown()
        server.server_close()


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            if "/manifests/" in self.path:
                status = registry.manifest_status.popleft() if registry.manifest_status else 200
                status = 404 if "/missing/" in self.path else status
                self._head(status, len(registry.manifest))
                self.wfile.write(registry.manifest)
            elif name in registry.blobs:
                with suppress(OSError):  # the server has left
                    self._blob(name)
            else:
                self._head(404, 0)

        def _blob(self, name: str) -> None:
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            content, first = registry.blobs[name], name == registry.first
            fault, after = registry.faults.popleft() if first and registry.faults else ("", len(content))
            if first:
                registry.starts.append(start)
                content = self._maybe_wrong(content)
            self._head(206 if start else 200, len(content) - start)
            self._send(name, content[start : start + after], registry.pause_s if first else 0.0)
            if fault:
                self._break(fault)

        def _maybe_wrong(self, content: bytes) -> bytes:
            registry.wrong -= 1
            return content if registry.wrong < 0 else bytes(len(content))

        def _send(self, name: str, content: bytes, pause_s: float) -> None:
            for at in range(0, len(content), _PIECE_BYTES):
                piece = content[at : at + _PIECE_BYTES]
                self.wfile.write(piece)
                registry.sent[name] += len(piece)
                time.sleep(pause_s)

        def _break(self, fault: str) -> None:
            self.close_connection = True
            if fault == "stall":
                registry.released.wait(60)
            if fault == "reset":  # closing now sends RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR) if fault != "reset" else self.connection.close()

        def _head(self, status: int, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    return Handler
