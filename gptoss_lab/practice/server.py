"""The practice server: Ollama's HTTP API over llama.cpp, on 127.0.0.1 only.

It wires settings, shelf, scheduler and paths together. How it becomes a process of its own, is found again and ends
is the business of `gptoss_lab.practice.process`.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from gptoss_lab.errors import LabError
from gptoss_lab.practice.api import answers, library, openai, responses
from gptoss_lab.practice.api.base import NotFound, Room
from gptoss_lab.practice.asks import Defaults
from gptoss_lab.practice.models import Shelf
from gptoss_lab.practice.requests import BadRequest, parse_duration
from gptoss_lab.practice.scheduler import Scheduler
from gptoss_lab.text import text

HOST = "127.0.0.1"
DEFAULT_NUM_CTX = 4096  # what Ollama takes with less than 24 GiB of GPU memory (docs/context-length)


@dataclass(frozen=True)
class Settings:
    """How the server works; the names of Ollama's own variables are kept."""

    models_dir: Path
    model: Path | None = None
    parallel: int = 1
    threads: int = 1
    num_ctx: int = DEFAULT_NUM_CTX
    keep_alive_s: float = 300.0
    max_queue: int = 512
    max_loaded: int = 3
    origins: tuple[str, ...] = ()

    @classmethod
    def from_env(
        cls, models_dir: Path, model: Path | None = None, threads: int = 1, env: Mapping[str, str] = os.environ
    ) -> "Settings":
        """Return the settings that Ollama's variables ask for.

        Raises LabError when a variable cannot be read.
        """
        return cls(
            models_dir=models_dir,
            model=model,
            threads=threads,
            parallel=_whole(env, "OLLAMA_NUM_PARALLEL", 1),
            num_ctx=_whole(env, "OLLAMA_CONTEXT_LENGTH", DEFAULT_NUM_CTX),
            keep_alive_s=_duration(env, "OLLAMA_KEEP_ALIVE", 300.0),
            max_queue=_whole(env, "OLLAMA_MAX_QUEUE", 512),
            max_loaded=_whole(env, "OLLAMA_MAX_LOADED_MODELS", 3),
            origins=tuple(filter(None, env.get("OLLAMA_ORIGINS", "").split(","))),
        )


class PracticeServer:
    """The server; `start` listens, `close` frees everything."""

    def __init__(self, settings: Settings) -> None:
        self._room = Room(
            Shelf(settings.models_dir, settings.model),
            Scheduler(settings.parallel, settings.max_queue, settings.max_loaded),
            Defaults(settings.num_ctx, settings.parallel, settings.threads, settings.keep_alive_s),
            settings.origins,
        )
        shared = {"room": self._room}
        paths = (*library.ROUTES, *answers.ROUTES, *openai.ROUTES, *responses.ROUTES)
        self._application = Application(
            [(path, handler, shared) for path, handler in paths],
            default_handler_class=NotFound,
            default_handler_args=shared,
            log_function=lambda _: None,
        )
        self._http: HTTPServer | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1 and return the port; raises LabError when the port is taken."""
        try:
            sockets = bind_sockets(port, HOST)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES) or getattr(error, "winerror", 0) in (10048, 10013):
                raise LabError(text("server.port_taken", port=port), text("server.port_taken_next")) from error
            raise
        self._http = HTTPServer(self._application, max_body_size=1 << 40)
        self._http.add_sockets(sockets)
        return int(sockets[0].getsockname()[1])

    @property
    def idle_s(self) -> float:
        """Seconds since the last request ended; 0 while one runs."""
        return self._room.idle_s

    def full(self) -> AbstractAsyncContextManager[None]:
        """Turn away whoever asks for a model, as a server with a full queue does, as long as this lasts."""
        return self._room.scheduler.full()

    async def close(self) -> None:
        """Stop listening, end what runs, free the models."""
        if self._http:
            self._http.stop()
            await self._http.close_all_connections()
        await self._room.scheduler.close()


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    written = env.get(name, "").strip().strip("\"'")
    if not written or written == "0":
        return default
    if not written.isdecimal():
        raise LabError(text("server.bad_number", name=name, value=written), text("server.bad_number_next"))
    return int(written)


def _duration(env: Mapping[str, str], name: str, default_s: float) -> float:
    written = env.get(name, "").strip().strip("\"'")
    if not written:
        return default_s
    try:
        return parse_duration(written)
    except BadRequest as error:
        raise LabError(
            text("server.bad_duration", name=name, value=written), text("server.bad_duration_next")
        ) from error
