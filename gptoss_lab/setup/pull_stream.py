"""One request to a server's /api/pull, read in a thread of its own, so that silence is noticed and can be ended.

It is the request that `client.pull(model, stream=True)` sends. That method keeps its connection to itself, and only
who holds the connection can end it while nothing comes; therefore the client's own HTTP client is used here.
"""

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx
    import ollama


class Stream:
    """The lines of one pull."""

    def __init__(self, client: "ollama.Client", model: str, insecure: bool) -> None:
        self._http: httpx.Client = client._client
        self._body = {"model": model, "stream": True, "insecure": insecure}
        self._lines: SimpleQueue[Mapping[str, Any] | Exception] = SimpleQueue()
        self._reply: httpx.Response | None = None
        self._closed = False
        threading.Thread(target=self._read, name="pull-lines", daemon=True).start()

    def next(self, wait_s: float) -> Mapping[str, Any] | None:
        """Return the next line, or None when none comes in time.

        Raises what ended the stream: httpx.TransportError when it broke off, ollama.ResponseError for an error line.
        """
        try:
            line = self._lines.get(timeout=wait_s)
        except Empty:
            return None
        if isinstance(line, Exception):
            raise line
        return line

    def close(self) -> None:
        """Leave the server, which keeps what it has."""
        self._closed = True
        if reply := self._reply:
            connection = reply.extensions["network_stream"].get_extra_info("socket")
            with suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the thread that reads

    def _read(self) -> None:
        import httpx

        try:
            with self._http.stream("POST", "/api/pull", json=self._body) as reply:
                self._pass_on(reply)
            self._lines.put(httpx.RemoteProtocolError("unexpected EOF"))
        except Exception as error:
            self._lines.put(error)

    def _pass_on(self, reply: "httpx.Response") -> None:
        from ollama import ResponseError

        self._reply = reply
        try:
            if self._closed:
                return
            if reply.status_code >= 400:
                raise ResponseError(reply.read().decode(errors="replace"), reply.status_code)
            for text in reply.iter_lines():
                line = json.loads(text)
                if "error" in line:
                    raise ResponseError(line["error"])
                self._lines.put(line)
        finally:
            self._reply = None
