"""One streaming request to a server, read in a thread of its own: silence is noticed, and it can be ended at any time.

`ollama.Client` keeps its connection to itself, and a server sends no header before the first token; only who holds the
socket can leave while a model loads. Each stream has a connection of its own. It knows nothing about what lines mean.
"""

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from gptoss_lab.connect import Connection, http_client

if TYPE_CHECKING:
    import httpx


class Lines:
    """The lines that a thread puts into a queue, and what ended them."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[Mapping[str, Any] | Exception] = SimpleQueue()

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


class LineStream(Lines):
    """The lines of one streaming answer of Ollama's API."""

    def __init__(self, lab: Connection, path: str, body: Mapping[str, Any]) -> None:
        super().__init__()
        self._lab, self._path, self._body = lab, path, body
        self._socket: socket.socket | None = None
        self._closed = False
        threading.Thread(target=self._read, name=f"stream {path}", daemon=True).start()

    def close(self) -> None:
        """Leave the server, which notices at once."""
        self._closed = True
        if self._socket:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)  # closing alone does not wake the thread that reads

    def _read(self) -> None:
        import httpx

        try:
            with _client(self._lab) as http:
                request = http.build_request("POST", self._path, json=self._body, extensions={"trace": self._trace})
                reply = http.send(request, stream=True)
                self._pass_on(reply)
            self._lines.put(httpx.RemoteProtocolError("unexpected EOF"))
        except Exception as error:
            self._lines.put(error)

    def _trace(self, event: str, told: Mapping[str, Any]) -> None:
        """Take hold of the socket as soon as there is one."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = told["return_value"].get_extra_info("socket")
            if self._closed:
                self.close()

    def _pass_on(self, reply: "httpx.Response") -> None:
        from ollama import ResponseError

        if reply.status_code >= 400:
            raise ResponseError(_error(reply.read().decode(errors="replace")), reply.status_code)
        for words in reply.iter_lines():
            line = json.loads(words)
            if "error" in line:
                raise ResponseError(_error(words))
            self._lines.put(line)


def _error(body: str) -> str:
    """Return what an error body says, in the form in which the client keeps it."""
    try:
        told = json.loads(body)
    except ValueError:
        return body
    inner = told.get("error") if isinstance(told, dict) else None
    return inner if isinstance(inner, str) else json.dumps(told)


def _client(lab: Connection) -> "httpx.Client":
    if lab.kind != "practice":
        return http_client(lab.host, None)
    from gptoss_lab.practice import link

    return link.http_client(lab.host)
