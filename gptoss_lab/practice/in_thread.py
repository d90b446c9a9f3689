"""A practice server of one's own in this process, on an event loop in a thread: for tests and for the error lab."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gptoss_lab.practice.server import PracticeServer, Settings

Result = TypeVar("Result")
_LIMIT_S = 20.0


class ServerInThread:
    """A practice server that runs until `close()`."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="practice server", daemon=True)
        self._thread.start()
        self.server, port = self.run(self._start(settings))
        self.host = f"http://127.0.0.1:{port}"

    @staticmethod
    async def _start(settings: Settings) -> tuple[PracticeServer, int]:
        server = PracticeServer(settings)  # on the loop it will run on
        return server, await server.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_LIMIT_S)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Turn away whoever asks for a model, as a server with a full queue does, as long as this lasts."""
        queue = self.server.full()
        self.run(_enter(queue))
        try:
            yield
        finally:
            self.run(_leave(queue))

    def close(self) -> None:
        """End the server, and its thread."""
        self.run(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


async def _enter(context: Any) -> None:
    await context.__aenter__()


async def _leave(context: Any) -> None:
    await context.__aexit__(None, None, None)
