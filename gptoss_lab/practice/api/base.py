"""What every path shares: who may ask, how large a body may be, errors in Ollama's form, a client that leaves."""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from gptoss_lab.errors import LabError
from gptoss_lab.practice import generation
from gptoss_lab.practice.asks import Defaults
from gptoss_lab.practice.engine import EngineError
from gptoss_lab.practice.generation import Ask, Delta, Done, Event
from gptoss_lab.practice.models import ModelError, Shelf
from gptoss_lab.practice.requests import BadRequest, decode
from gptoss_lab.practice.scheduler import Scheduler
from gptoss_lab.practice.wire import Wire, dump

BODY_LIMIT_BYTES = 64 << 20
_ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,"
    "X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,"
    "X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_LOCAL_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


@dataclass
class Room:
    """What the paths work with: the models, who is served next, and how busy it is."""

    shelf: Shelf
    scheduler: Scheduler
    defaults: Defaults
    origins: tuple[str, ...] = ()
    busy: int = 0
    last_s: float = field(default_factory=time.monotonic)

    @property
    def idle_s(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return 0.0 if self.busy else time.monotonic() - self.last_s

    def allows(self, origin: str) -> bool:
        """Say whether a page or app of that origin may ask."""
        return origin_is_local(origin) or origin in self.origins or "*" in self.origins


@stream_request_body
class Handler(RequestHandler):
    """What every path shares: who may ask, the size of a body, errors as Ollama writes them, a client that leaves."""

    room: Room
    methods = "GET"

    def initialize(self, room: Room) -> None:
        self.room = room
        self.body = bytearray()
        self._task: asyncio.Task[Any] | None = None
        self._refused = False

    def prepare(self) -> None:
        self.room.busy += 1
        self.clear_header("Server")
        origin = self.request.headers.get("Origin")
        if not host_is_local(self.request.host) or (origin and not self.room.allows(origin)):
            self._refuse(403, b"")
            return
        if origin:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Vary", "Origin")
        if int(self.request.headers.get("Content-Length") or 0) > self.limit_bytes:
            self._too_large()
        else:
            self.request.connection.set_max_body_size(self.limit_bytes)  # type: ignore[union-attr]

    @property
    def limit_bytes(self) -> int:
        """The largest body this path takes."""
        return BODY_LIMIT_BYTES

    def data_received(self, chunk: bytes) -> None:
        if not self._refused:
            self.body += chunk

    def options(self, *_: str) -> None:
        self.set_status(204)
        self.set_header("Allow", self.methods)
        self.set_header("Access-Control-Allow-Headers", _ALLOWED_HEADERS)
        self.set_header("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS")
        self.set_header("Access-Control-Max-Age", "43200")

    def on_connection_close(self) -> None:
        if self._task:
            self._task.cancel()

    def on_finish(self) -> None:
        self.room.busy -= 1
        self.room.last_s = time.monotonic()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", self.methods)
        words = {404: "404 page not found", 405: "405 method not allowed"}.get(status_code)
        if words:
            self.set_header("Content-Type", "text/plain")
            self.finish(words)
        else:
            self.send_json({"error": str(kwargs.get("exc_info", ("", self._reason))[1])})

    def send_json(self, content: Any, status: int = 200) -> None:
        """Finish with one JSON object."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(dump(content))

    def send_error_words(self, status: int, message: str) -> None:
        """Finish with an error in Ollama's form."""
        self.send_json({"error": message}, status)

    def _too_large(self) -> None:
        self._refuse(413, dump({"error": f"request body larger than {self.limit_bytes >> 20} MiB"}))

    def _refuse(self, status: int, body: bytes) -> None:
        self._refused = True
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        if not body:
            self.clear_header("Content-Type")
        self.set_header("Connection", "close")
        self.finish(body)


class JsonHandler(Handler):
    """A path that takes a JSON body."""

    kind = ""
    methods = "POST"

    async def post(self, *_: str) -> None:
        await self.guarded()

    async def guarded(self) -> None:
        """Run `answer`; what goes wrong becomes an error body, and nothing is said to a client that has left."""
        self._task = asyncio.current_task()
        try:
            await self.answer(decode(self.kind, bytes(self.body)))
        except (asyncio.CancelledError, StreamClosedError):
            return
        except Exception as error:
            status, message = explain(error)
            self.send_error_words(status, message)
        finally:
            self._task = None

    async def answer(self, body: dict[str, Any]) -> None:
        raise AssertionError(f"{type(self).__name__} answers nothing")

    async def send_events(self, ask: Ask, wire: Wire, stream: bool) -> None:
        """Generate, and send each batch as it comes, or all of it at the end."""
        async with aclosing(generation.generate(self.room.scheduler, ask)) as events:
            if stream:
                await self.send_stream(wire.content_type, _lines(events, wire), wire.error)
                return
            collected = [event async for batch in events for event in batch]
        deltas = [event for event in collected if isinstance(event, Delta)]
        done = next(event for event in collected if isinstance(event, Done))
        self.send_json(wire.whole(deltas, done))

    async def send_stream(
        self, content_type: str, lines: AsyncIterator[bytes], as_error: Callable[[str], bytes]
    ) -> None:
        """Send lines as they come. An error before the first keeps its status; later it is the last line."""
        first = await anext(lines, b"")
        self.set_header("Content-Type", content_type)
        self.write(first)
        await self.flush()
        try:
            async for line in lines:
                self.write(line)
                await self.flush()
        except (asyncio.CancelledError, StreamClosedError):
            raise
        except Exception as error:
            self.write(as_error(explain(error)[1]))
        self.finish()


async def _lines(events: AsyncIterator[list[Event]], wire: Wire) -> AsyncIterator[bytes]:
    async for batch in events:
        yield b"".join(wire.delta(event) if isinstance(event, Delta) else wire.done(event) for event in batch)


def explain(error: Exception) -> tuple[int, str]:
    """Return status and message for what went wrong."""
    if isinstance(error, (EngineError, ModelError, BadRequest)):
        return error.status, str(error)
    if isinstance(error, LabError):
        return 500, error.what
    if isinstance(error, FileNotFoundError):
        return 500, f"the model file is gone: {error.filename}"
    return 500, f"{type(error).__name__}: {error}"


def host_is_local(host: str) -> bool:
    """Say whether a Host header may be answered: this machine or a private address, never a public name."""
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    if name in ("", "localhost") or name.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def origin_is_local(origin: str) -> bool:
    """Say whether a web page or app of that origin may ask."""
    parts = urlsplit(origin)
    if parts.scheme in _LOCAL_SCHEMES:
        return True
    return parts.scheme in ("http", "https") and parts.hostname in ("localhost", "127.0.0.1", "0.0.0.0", "::1")


class NotFound(Handler):
    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            self.send_error(404)
