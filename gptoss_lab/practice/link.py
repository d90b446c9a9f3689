"""`ollama` clients for the practice server that survive its death.

They are the ordinary clients over an HTTP transport of our own. When the server is gone, the transport starts it
again, says so, and sends the request there. When the server dies in the middle of an answer, the answer ends
with an error line in plain words instead of a torn connection.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from gptoss_lab.practice import process
from gptoss_lab.text import text

if TYPE_CHECKING:
    import ollama

_TORN = (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)


def clients() -> "tuple[ollama.Client, ollama.AsyncClient, process.Found]":
    """Return a client, an async client, and the server they talk to, started if need be."""
    import ollama

    found = process.ensure()
    host, waits = found.server.host, httpx.Timeout(None, connect=10.0)
    client = ollama.Client(host, timeout=waits, transport=_Transport())
    async_client = ollama.AsyncClient(host, timeout=waits, transport=_AsyncTransport())
    return client, async_client, found


def http_client(host: str) -> httpx.Client:
    """Return an HTTP client for the practice server that survives its death, too."""
    return httpx.Client(base_url=host, timeout=httpx.Timeout(None, connect=10.0), transport=_Transport())


class _Transport(httpx.HTTPTransport):
    def __init__(self) -> None:
        super().__init__(trust_env=False, verify=False)  # loopback only: no certificates to read

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not _at_living(request):
            _send_to_living(request)
        try:
            reply = super().handle_request(request)
        except _TORN:
            return _torn_reply()
        if isinstance(reply.stream, httpx.SyncByteStream):
            reply.stream = _Stream(reply.stream)
        return reply


class _AsyncTransport(httpx.AsyncHTTPTransport):
    def __init__(self) -> None:
        super().__init__(trust_env=False, verify=False)  # loopback only: no certificates to read

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not _at_living(request):
            await asyncio.to_thread(_send_to_living, request)
        try:
            reply = await super().handle_async_request(request)
        except _TORN:
            return _torn_reply()
        if isinstance(reply.stream, httpx.AsyncByteStream):
            reply.stream = _AsyncStream(reply.stream)
        return reply


class _Lines:
    """Passes on whole lines only, so that a torn one never reaches the client."""

    def __init__(self) -> None:
        self.rest = b""

    def whole(self, part: bytes) -> bytes:
        head, newline, self.rest = (self.rest + part).rpartition(b"\n")
        return head + newline


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        lines = _Lines()
        try:
            for part in self._inner:
                yield lines.whole(part)
            yield lines.rest
        except _TORN:
            yield _last_line()

    def close(self) -> None:
        self._inner.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lines = _Lines()
        try:
            async for part in self._inner:
                yield lines.whole(part)
            yield lines.rest
        except _TORN:
            yield _last_line()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _at_living(request: httpx.Request) -> bool:
    return process.lives_at(f"http://{request.url.host}:{request.url.port}")


def _send_to_living(request: httpx.Request) -> None:
    """Start the server again, on its old port if that is free, and point the request to it."""
    found = process.ensure(request.url.port or 0)
    if found.accident:
        print(found.accident)
    address = urlsplit(found.server.host)
    request.url = request.url.copy_with(port=address.port)
    request.headers["Host"] = address.netloc


def _torn_reply() -> httpx.Response:
    return httpx.Response(502, json={"error": text("practice.broken_off")})


def _last_line() -> bytes:
    return json.dumps({"error": text("practice.broken_off")}).encode() + b"\n"
