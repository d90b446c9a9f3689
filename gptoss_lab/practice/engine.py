"""One loaded model: llama.cpp inside this process, through `xllamacpp`.

It takes OpenAI-shaped request bodies and gives llama.cpp's own chunks back as they are made. It knows nothing about
HTTP, Ollama or queues; a body that does not fit raises `EngineError` with the status and text a server should send.

Traps met and closed here (measured by the project's research):
* one engine thread by default: spinning threads on busy cores are about 100 times slower;
* llama.cpp opens a port of its own with open CORS: it gets a random API key and no origin;
* an exception in a callback is swallowed, so the callback never raises: it returns True to cancel;
* `n_ctx` is divided by the slots, so it is multiplied here; the prompt cache is limited (its default is 8 GiB);
* a file that does not load gives no reason, so the header is read first.
"""

import asyncio
import json
import secrets
import threading
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_lab.practice.gguf_header import Header, read_header

Chunk = dict[str, Any]
CONTEXT_STEP = 256  # llama.cpp rounds the context length up to a multiple of this
PROMPT_CACHE_MIB = 64


class EngineError(Exception):
    """llama.cpp refused a request: an HTTP status, and its error object as Ollama passes it on."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")))
        self.error = error
        self.status = int(error.get("code", 500))


@dataclass(frozen=True)
class EngineSettings:
    """How a model is loaded; a change of any of these loads it anew."""

    num_ctx: int = 4096
    parallel: int = 1
    threads: int = 1


class Engine:
    """A GGUF model in memory, answering up to `settings.parallel` requests at once."""

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        self.header: Header = read_header(path)
        self.num_ctx = round_context(settings.num_ctx, self.header)
        self.settings = settings
        self._key = secrets.token_hex(16)
        self._server = _load(path, settings, self.num_ctx, self._key)
        self._threads = ThreadPoolExecutor(settings.parallel + 1, thread_name_prefix="engine")

    async def chat(self, body: dict[str, Any]) -> AsyncGenerator[list[Chunk], None]:
        """Yield the chunks of a chat completion as they arrive, several at a time when they come fast."""
        async for chunks in self._stream(self._server.handle_chat_completions, body):
            yield chunks

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[list[Chunk], None]:
        """Yield the chunks of a raw text completion: no template, no parsing."""
        async for chunks in self._stream(self._server.handle_completions, body):
            yield chunks

    async def render(self, body: dict[str, Any]) -> str:
        """Return the prompt that the model's own chat template makes of these messages."""
        return str((await self._post("/apply-template", body))["prompt"])

    async def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of a text, special tokens read as such."""
        body = {"content": prompt, "add_special": False, "parse_special": True}
        return [int(token) for token in (await self._post("/tokenize", body))["tokens"]]

    def close(self) -> None:
        """Free the model. Running requests must have ended."""
        self._threads.shutdown(wait=True)
        del self._server

    async def _stream(self, handle: Any, body: dict[str, Any]) -> AsyncGenerator[list[Chunk], None]:
        loop, ready, left = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        arrived: deque[Chunk] = deque()

        def on_chunk(chunk: Chunk) -> bool:
            arrived.append(chunk)
            if not ready.is_set() and not left.is_set():
                loop.call_soon_threadsafe(ready.set)
            return left.is_set()

        request = {**body, "stream": True, "stream_options": {"include_usage": True}}
        running = loop.run_in_executor(self._threads, _run, handle, request, on_chunk)
        running.add_done_callback(lambda _: ready.set())
        try:
            while not (running.done() and not arrived):
                await ready.wait()
                ready.clear()
                if chunks := [arrived.popleft() for _ in range(len(arrived))]:
                    yield chunks
                if running.done() and not arrived:
                    break
                if running.done():
                    ready.set()
            running.result()
        finally:
            left.set()
            await asyncio.shield(asyncio.wait([running]))  # the slot is free only when llama.cpp has let go

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=60) as client:
            reply = await client.post(self._server.listening_address + path, json=body)
        content: dict[str, Any] = reply.json()
        if "error" in content:
            raise EngineError(content["error"])
        return content


def round_context(num_ctx: int, header: Header) -> int:
    """Return the context length llama.cpp will use: at least one step, at most what the model was trained for."""
    wanted = max(CONTEXT_STEP, -(-num_ctx // CONTEXT_STEP) * CONTEXT_STEP)
    return min(wanted, int(header.get("context_length", wanted)))


def _load(path: Path, settings: EngineSettings, num_ctx: int, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = num_ctx * settings.parallel
    params.n_parallel = settings.parallel
    params.n_batch = params.n_ubatch = 512  # a client that leaves during prefill is noticed between two batches
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.n_gpu_layers = 0
    params.ctx_shift = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.api_keys = [key]
    params.cors_origins = "null"
    params.warmup = params.fit_params = False
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        message = f"llama.cpp cannot load {path.name}: architecture {read_header(path).architecture}, {error}"
        raise EngineError({"code": 500, "message": message, "type": "server_error"}) from error


def _run(handle: Any, request: dict[str, Any], on_chunk: Any) -> None:
    """Call llama.cpp; what it raises for a bad body becomes the 400 that its own HTTP server would send."""
    try:
        handle(request, on_chunk)
    except (RuntimeError, ValueError) as error:
        raise EngineError({"code": 400, "message": str(error), "type": "invalid_request_error"}) from error
