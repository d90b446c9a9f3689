"""Which models are in memory, who waits, and when a model leaves: Ollama's scheduling, on one event loop.

Each name on the shelf has its own engine (a real server lets two names of one file share a runner, and confuses them).
It knows nothing about requests beyond the settings they need.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from gptoss_lab.practice.engine import Engine, EngineSettings
from gptoss_lab.practice.models import Model, ModelError

BUSY = "server busy, please try again.  maximum pending requests exceeded"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LONGEST_TIMER_S = 30 * 86400.0


@dataclass
class Loaded:
    """A model in memory: its engine, the clients that use it or wait for a slot, and when it leaves."""

    model: Model
    engine: Engine
    slots: asyncio.Semaphore
    users: int = 0
    expires_at_s: float = 0.0
    free: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    @property
    def expires_at(self) -> str:
        """When the model leaves if nobody asks again: UTC, RFC 3339."""
        return (_EPOCH + timedelta(seconds=self.expires_at_s)).isoformat().replace("+00:00", "Z")

    @property
    def size_bytes(self) -> int:
        """Weights and KV cache: every layer counted in full, f16."""
        header = self.engine.header
        per_token = 4 * header.get("block_count", 0) * header.get("attention.head_count_kv", 0)
        cells = self.engine.num_ctx * self.engine.settings.parallel
        return int(self.model.size_bytes + per_token * header.get("attention.key_length", 0) * cells)


class Scheduler:
    """Loads models when asked, gives out their slots in turn, and unloads them when nobody came back."""

    def __init__(self, parallel: int, max_queue: int, max_loaded: int) -> None:
        self._parallel, self._max_queue, self._max_loaded = parallel, max_queue, max_loaded
        self._loaded: dict[str, Loaded] = {}
        self._loading = asyncio.Lock()
        self._pending = 0
        self._leaving: set[asyncio.Task[None]] = set()

    def loaded(self) -> list[Loaded]:
        """Return what is in memory now."""
        return list(self._loaded.values())

    @asynccontextmanager
    async def slot(
        self, model: Model, wanted: EngineSettings, keep_alive_s: float
    ) -> AsyncIterator[tuple[Engine, float]]:
        """Give one slot of the model's engine and the seconds its loading took; wait for both if needed.

        Raises ModelError 503 when too many wait while a model loads, EngineError or LabError when it cannot load.
        """
        started_s = time.monotonic()
        loaded = await self._ready(model, wanted)
        load_s = time.monotonic() - started_s
        loaded.expires_at_s = time.time() + keep_alive_s
        try:
            async with loaded.slots:
                yield loaded.engine, load_s
        finally:
            self._leave(loaded, keep_alive_s)

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Let a model be loading and the queue be full as long as this lasts: whoever asks meanwhile is turned away."""
        async with self._loading:
            self._pending += self._max_queue + 1
            try:
                yield
            finally:
                self._pending -= self._max_queue + 1

    async def unload(self, name: str) -> None:
        """Free a model as soon as its running answers have ended."""
        if loaded := self._loaded.pop(name, None):
            await self._free(loaded)

    async def close(self) -> None:
        """Free every model."""
        for name in list(self._loaded):
            await self.unload(name)

    async def _ready(self, model: Model, wanted: EngineSettings) -> Loaded:
        """Return the loaded model with this caller counted among its users."""
        if self._loading.locked() and self._pending > self._max_queue:
            raise ModelError(503, BUSY)
        self._pending += 1
        try:
            async with self._loading:
                return await self._enter(model, wanted)
        finally:
            self._pending -= 1

    async def _enter(self, model: Model, wanted: EngineSettings) -> Loaded:
        loaded = self._loaded.get(model.name)
        if loaded is None or (loaded.engine.settings, loaded.model.digest) != (wanted, model.digest):
            await self.unload(model.name)
            await self._make_room()
            engine = await asyncio.to_thread(Engine, model.path, wanted)
            loaded = self._loaded[model.name] = Loaded(model, engine, asyncio.Semaphore(wanted.parallel))
        if loaded.timer:
            loaded.timer.cancel()
        loaded.users += 1
        loaded.free.clear()
        return loaded

    async def _make_room(self) -> None:
        while len(self._loaded) >= self._max_loaded:
            idle_first = sorted(self._loaded.values(), key=lambda loaded: (loaded.users > 0, loaded.expires_at_s))
            await self.unload(idle_first[0].model.name)

    def _leave(self, loaded: Loaded, keep_alive_s: float) -> None:
        loaded.users -= 1
        if loaded.users:
            return
        loaded.free.set()
        loaded.expires_at_s = time.time() + keep_alive_s
        if self._loaded.get(loaded.model.name) is loaded:
            loop = asyncio.get_running_loop()
            loaded.timer = loop.call_later(min(keep_alive_s, _LONGEST_TIMER_S), self._expire, loaded)

    def _expire(self, loaded: Loaded) -> None:
        if self._loaded.get(loaded.model.name) is loaded and not loaded.users:
            del self._loaded[loaded.model.name]
            task = asyncio.get_running_loop().create_task(self._free(loaded))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _free(self, loaded: Loaded) -> None:
        if loaded.timer:
            loaded.timer.cancel()
        if loaded.users:
            await loaded.free.wait()
        await asyncio.to_thread(loaded.engine.close)
