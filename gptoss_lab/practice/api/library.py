"""The paths that show and change what is on the shelf, and the few that only greet."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from gptoss_lab.practice import pull
from gptoss_lab.practice.api.base import Handler, JsonHandler
from gptoss_lab.practice.api.describe import in_memory, listed, shown
from gptoss_lab.practice.asks import find
from gptoss_lab.practice.gguf_header import NotGguf
from gptoss_lab.practice.models import Model, ModelError, file_digest, full_name, now
from gptoss_lab.practice.requests import BadRequest, check_options
from gptoss_lab.practice.wire import dump

VERSION = "0.33.0-practice"  # the Ollama version whose behaviour is followed


class Root(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Ollama is running")

    head = get


class Version(Handler):
    def get(self) -> None:
        self.send_json({"version": VERSION})

    head = get


class Status(Handler):
    def get(self) -> None:
        self.send_json({"cloud": {"disabled": True, "source": "practice"}})


class Tags(Handler):
    def get(self) -> None:
        self.send_json({"models": [listed(model) for model in self.room.shelf]})

    head = get


class Ps(Handler):
    def get(self) -> None:
        self.send_json({"models": [in_memory(entry) for entry in self.room.scheduler.loaded()]})


class Show(JsonHandler):
    kind = "ShowRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = body.get("model") or body.get("name") or ""
        self.send_json(shown(find(name, self.room.shelf), bool(body.get("verbose"))))


class Copy(JsonHandler):
    kind = "CopyRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        source, destination = body.get("source") or "", full_name(body.get("destination") or "")
        try:
            model = self.room.shelf.get(source)
        except ModelError as error:
            raise ModelError(error.status, str(error).replace("'", '"')) from error
        self.room.shelf.put(replace(model, name=destination))
        self.finish()


class Delete(JsonHandler):
    kind = "DeleteRequest"
    methods = "DELETE"
    post = None  # type: ignore[assignment]

    async def delete(self) -> None:
        await self.guarded()

    async def answer(self, body: dict[str, Any]) -> None:
        model = find(body.get("model") or body.get("name"), self.room.shelf)
        await self.room.scheduler.unload(model.name)
        self.room.shelf.delete(body.get("model") or body["name"])
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
        steps = pull.pull(name, self.room.shelf, bool(body.get("insecure")))
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
        self.room.shelf.put(
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
            base = self.room.shelf.get(body["from"])
            return replace(base, parent=base.name)
        digest = next(iter(body["files"].values()))
        path = self.room.shelf.blob(digest)
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
            self._file = self.room.shelf.part_file(self.path_args[0]).open("wb")
        except (ModelError, OSError) as error:
            self._refuse(getattr(error, "status", 500), dump({"error": str(error)}))

    def data_received(self, chunk: bytes) -> None:
        if self.request.method == "POST" and not self._refused:
            self._file.write(chunk)

    def head(self, digest: str) -> None:
        found = self.room.shelf.blob(digest).is_file()
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_status(200 if found else 404)

    async def post(self, digest: str) -> None:
        self._file.close()
        part = self.room.shelf.part_file(digest)
        found = "sha256:" + await asyncio.to_thread(file_digest, part)
        if found != digest.replace("-", ":"):
            part.unlink()
            self.send_error_words(400, f'digest mismatch, expected "{digest}", got "{found}"')
            return
        part.replace(self.room.shelf.blob(digest))
        self.set_status(201)
        self.clear_header("Content-Type")


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/", Root),
    (r"/api/version", Version),
    (r"/api/status", Status),
    (r"/api/tags", Tags),
    (r"/api/ps", Ps),
    (r"/api/show", Show),
    (r"/api/copy", Copy),
    (r"/api/delete", Delete),
    (r"/api/pull", Pull),
    (r"/api/create", Create),
    (r"/api/blobs/([^/]+)", Blob),
]
