"""Ollama's HTTP API: one tornado handler per path. What an answer is made of lives in `generation` and `models`.

Differences from a real server, chosen because a learner would expect them (numbers are those of the project's record
of Ollama 0.33): tool parameters without a `type` work (10); `format` with `think: false` gives the JSON (11); two
names of one file are two loaded models with their own unload and their own line in /api/ps (30); /api/tags and
/api/show list the same capabilities (31). A bad `format` is refused before any thinking is sent (12). `num_ctx` of 0
or less gives the smallest window instead of an empty answer (24). /api/generate does not continue from `context`.
"""

import asyncio
import hashlib
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from gptoss_lab.errors import LabError
from gptoss_lab.practice import generation, pull
from gptoss_lab.practice.asks import chat_ask, find, generate_ask
from gptoss_lab.practice.engine import EngineError
from gptoss_lab.practice.generation import Ask, Delta, Done, Event
from gptoss_lab.practice.gguf_header import NotGguf
from gptoss_lab.practice.models import Model, ModelError, file_digest, full_name, now
from gptoss_lab.practice.requests import BadRequest, check_options, decode
from gptoss_lab.practice.wire import OllamaWire, Wire, dump

if TYPE_CHECKING:
    from gptoss_lab.practice.server import PracticeServer

VERSION = "0.33.0-practice"  # the Ollama version whose behaviour is followed
BODY_LIMIT_BYTES = 64 << 20
_ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,"
    "X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,"
    "X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_LOCAL_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


@stream_request_body
class Handler(RequestHandler):
    """What every path shares: who may ask, the size of a body, errors as Ollama writes them, a client that leaves."""

    server: "PracticeServer"
    methods = "GET"

    def initialize(self, server: "PracticeServer") -> None:
        self.server = server
        self.body = bytearray()
        self._task: asyncio.Task[Any] | None = None
        self._refused = False

    def prepare(self) -> None:
        self.server.request_began()
        self.clear_header("Server")
        origin = self.request.headers.get("Origin")
        if not host_is_local(self.request.host) or (origin and not self.server.allows(origin)):
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
        self.server.request_ended()

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
        async with aclosing(generation.generate(self.server.scheduler, ask)) as events:
            if stream:
                await self.send_stream(wire.content_type, _lines(events, wire), wire.error)
                return
            collected = [event async for batch in events for event in batch]
        deltas = [event for event in collected if isinstance(event, Delta)]
        done = next(event for event in collected if isinstance(event, Done))
        self.send_json(wire.whole(deltas, done))

    async def send_stream(self, content_type: str, lines: AsyncIterator[bytes], as_error: Any) -> None:
        """Send lines as they come. An error before the first keeps its status; a later one becomes the last line."""
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


class Root(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Ollama is running")

    head = get


class NotFound(Handler):
    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            self.send_error(404)


class Version(Handler):
    def get(self) -> None:
        self.send_json({"version": VERSION})

    head = get


class Status(Handler):
    def get(self) -> None:
        self.send_json({"cloud": {"disabled": True, "source": "practice"}})


class Tags(Handler):
    def get(self) -> None:
        self.send_json({"models": [_listed(model) for model in self.server.shelf]})

    head = get


class Ps(Handler):
    def get(self) -> None:
        self.send_json({"models": [self._loaded(entry) for entry in self.server.scheduler.loaded()]})

    def _loaded(self, entry: Any) -> dict[str, Any]:
        listed = _listed(entry.model)
        details = {k: v for k, v in listed["details"].items() if k not in ("context_length", "embedding_length")}
        return {
            **{name: listed[name] for name in ("name", "model", "digest")},
            "size": entry.size_bytes,
            "details": details,
            "expires_at": entry.expires_at,
            "size_vram": 0,
            "context_length": entry.engine.num_ctx,
        }


class Chat(JsonHandler):
    kind = "ChatRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        ask = chat_ask(body, self.server.shelf, self.server.defaults)
        wire = OllamaWire(body["model"], chat=True)
        if not body.get("messages"):
            await self._load(ask, wire)
        elif body.get("_debug_render_only"):
            await self._render(ask, wire)
        else:
            await self.send_events(ask, wire, body.get("stream") is not False)

    async def _load(self, ask: Ask, wire: OllamaWire) -> None:
        if ask.keep_alive_s == 0:
            await self.server.scheduler.unload(ask.model.name)
        else:
            await generation.load(self.server.scheduler, ask)
        self.send_json(wire.loaded("unload" if ask.keep_alive_s == 0 else "load"))

    async def _render(self, ask: Ask, wire: OllamaWire) -> None:
        prompt = await generation.render(self.server.scheduler, ask)
        self.send_json({**wire.rendered(), "_debug_info": {"rendered_template": prompt}})


class Generate(Chat):
    kind = "GenerateRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        ask = generate_ask(body, self.server.shelf, self.server.defaults)
        wire = OllamaWire(body["model"], chat=False)
        if not body.get("prompt"):
            await self._load(ask, wire)
        elif body.get("_debug_render_only"):
            await self._render(ask, wire)
        else:
            await self.send_events(ask, wire, body.get("stream") is not False)


class Embed(JsonHandler):
    kind = "EmbedRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = body.get("model")
        try:
            find(name, self.server.shelf)
        except ModelError as error:
            if error.status == 404:
                raise ModelError(404, f'model "{name}" not found, try pulling it first') from error
            raise
        if body.get("input", body.get("prompt")) in (None, "", []):
            self.send_json({"model": name, "embeddings": []} if self.kind == "EmbedRequest" else {"embedding": []})
            return
        raise ModelError(501, "This server does not support embeddings. Start it with `--embeddings`")


class LegacyEmbeddings(Embed):
    kind = "EmbeddingRequest"


class Show(JsonHandler):
    kind = "ShowRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = body.get("model") or body.get("name") or ""
        self.send_json(_shown(find(name, self.server.shelf), bool(body.get("verbose"))))


class Copy(JsonHandler):
    kind = "CopyRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        source, destination = body.get("source") or "", full_name(body.get("destination") or "")
        try:
            model = self.server.shelf.get(source)
        except ModelError as error:
            raise ModelError(error.status, str(error).replace("'", '"')) from error
        self.server.shelf.put(replace(model, name=destination))
        self.finish()


class Delete(JsonHandler):
    kind = "DeleteRequest"
    methods = "DELETE"
    post = None  # type: ignore[assignment]

    async def delete(self) -> None:
        await self.guarded()

    async def answer(self, body: dict[str, Any]) -> None:
        model = find(body.get("model") or body.get("name"), self.server.shelf)
        await self.server.scheduler.unload(model.name)
        self.server.shelf.delete(body.get("model") or body["name"])
        self.finish()


class StatusHandler(JsonHandler):
    """A path that reports its progress in lines, or only the last of them."""

    async def report(self, steps: AsyncIterator[dict[str, Any]], stream: bool) -> None:
        """Send each step as a line; without a stream only the last, and an error with its own status."""
        if stream:
            lines = (dump(step) + b"\n" async for step in steps)
            await self.send_stream("application/x-ndjson", lines, lambda words: dump({"error": words}) + b"\n")
            return
        said = [step async for step in steps]
        self.send_json(said[-1])


class Pull(StatusHandler):
    kind = "PullRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = full_name(body.get("model") or body.get("name") or "")
        steps = pull.pull(name, self.server.shelf, bool(body.get("insecure")))
        await self.report(steps, body.get("stream") is not False)


class Create(StatusHandler):
    kind = "CreateRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = full_name(body.get("model") or body.get("name") or "")
        if not body.get("from") and not body.get("files"):
            raise BadRequest("neither 'from' or 'files' was specified")
        if body.get("quantize"):
            raise BadRequest("this server does not quantize: give it a file that already is")
        if body.get("template"):
            raise BadRequest("this server uses the chat template inside the GGUF file and takes no other")
        await self.report(self._steps(name, body), body.get("stream") is not False)

    async def _steps(self, name: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if body.get("files"):
            yield {"status": "parsing GGUF"}
        base = self._base(name, body)
        digest = base.path.name.replace("sha256-", "") if base.path.name.startswith("sha256-") else base.digest
        yield {"status": f"using existing layer sha256:{digest}"}
        for key in ("system", "parameters", "messages"):
            if body.get(key):
                content = hashlib.sha256(dump(body[key])).hexdigest()
                yield {"status": f"creating new layer sha256:{content}"}
        self.server.shelf.put(
            replace(
                base,
                name=name,
                system=body.get("system") or base.system,
                parameters={**base.parameters, **check_options(body.get("parameters") or {})},
                messages=body.get("messages") or base.messages,
            )
        )
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    def _base(self, name: str, body: dict[str, Any]) -> Model:
        if body.get("from"):
            base = self.server.shelf.get(body["from"])
            return replace(base, parent=base.name)
        digest = next(iter(body["files"].values()))
        path = self.server.shelf.blob(digest)
        if not path.is_file():
            raise ModelError(400, f"blob {digest} not found")
        model = Model(name, path, digest.removeprefix("sha256:"), now())
        try:
            model.header  # noqa: B018  (reading it is the check)
        except NotGguf as error:
            raise ModelError(400, "supplied file was not in GGUF format") from error
        return model


class Blob(Handler):
    """Upload a file by its digest, straight to disk."""

    methods = "POST"

    @property
    def limit_bytes(self) -> int:
        return 1 << 40

    def prepare(self) -> None:
        super().prepare()
        if self._finished or self.request.method != "POST":
            return
        try:
            self._file = self.server.shelf.part_file(self.path_args[0]).open("wb")
        except (ModelError, OSError) as error:
            self._refuse(getattr(error, "status", 500), dump({"error": str(error)}))

    def data_received(self, chunk: bytes) -> None:
        if self.request.method == "POST" and not self._refused:
            self._file.write(chunk)

    def head(self, digest: str) -> None:
        found = self.server.shelf.blob(digest).is_file()
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_status(200 if found else 404)

    async def post(self, digest: str) -> None:
        self._file.close()
        part = self.server.shelf.part_file(digest)
        found = "sha256:" + await asyncio.to_thread(file_digest, part)
        if found != digest.replace("-", ":"):
            part.unlink()
            self.send_error_words(400, f'digest mismatch, expected "{digest}", got "{found}"')
            return
        part.replace(self.server.shelf.blob(digest))
        self.set_status(201)
        self.clear_header("Content-Type")


def _listed(model: Model) -> dict[str, Any]:
    header = model.header
    more = {"context_length": header.get("context_length", 0), "embedding_length": header.get("embedding_length", 0)}
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified_at,
        "size": model.size_bytes,
        "digest": model.digest,
        "details": {**_details(model), **more},
        "capabilities": model.capabilities,
    }


def _details(model: Model) -> dict[str, Any]:
    header = model.header
    return {
        "parent_model": model.parent,
        "format": "gguf",
        "family": header.architecture,
        "families": [header.architecture],
        "parameter_size": human_count(header.parameters),
        "quantization_level": header.quantization,
    }


def human_count(count: int) -> str:
    """Return a number of weights as Ollama writes it: 2.31M, 20.9B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if unit == "B" else f"{count / size:.2f}{unit}"
    return str(count)


def _shown(model: Model, verbose: bool) -> dict[str, Any]:
    header = model.header
    info = {key: value if verbose or not isinstance(value, list) else None for key, value in header.metadata.items()}
    info["general.parameter_count"] = header.parameters
    info.pop("tokenizer.chat_template", None)
    parameters = "\n".join(f"{key:<30} {json.dumps(value)}" for key, value in sorted(model.parameters.items()))
    shown = {
        "license": model.license,
        "modelfile": _modelfile(model),
        "parameters": parameters,
        "template": header.chat_template,
        "system": model.system,
        "details": _details(model),
        "messages": model.messages,
        "model_info": info,
        "tensors": [{"name": t.name, "type": t.type, "shape": list(t.shape)} for t in header.tensors],
        "capabilities": model.capabilities,
        "modified_at": model.modified_at,
    }
    return {key: value for key, value in shown.items() if value}


def _modelfile(model: Model) -> str:
    head = '# Modelfile generated by "ollama show"\n# To build a new Modelfile based on this, replace FROM with:\n'
    lines = [f"# FROM {model.name}", "", f"FROM {model.path}", "TEMPLATE {{ .Prompt }}"]
    if model.system:
        lines.append(f'SYSTEM """{model.system}"""')
    lines += [f"PARAMETER {key} {json.dumps(value)}" for key, value in model.parameters.items()]
    return head + "\n".join(lines) + "\n"


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/", Root),
    (r"/api/version", Version),
    (r"/api/status", Status),
    (r"/api/tags", Tags),
    (r"/api/ps", Ps),
    (r"/api/chat", Chat),
    (r"/api/generate", Generate),
    (r"/api/embed", Embed),
    (r"/api/embeddings", LegacyEmbeddings),
    (r"/api/show", Show),
    (r"/api/copy", Copy),
    (r"/api/delete", Delete),
    (r"/api/pull", Pull),
    (r"/api/create", Create),
    (r"/api/blobs/([^/]+)", Blob),
]
