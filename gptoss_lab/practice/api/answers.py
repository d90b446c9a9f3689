"""The paths that speak: chat, generate and embed."""

from typing import Any

from gptoss_lab.practice import generation
from gptoss_lab.practice.api.base import Handler, JsonHandler
from gptoss_lab.practice.asks import chat_ask, find, generate_ask
from gptoss_lab.practice.generation import Ask
from gptoss_lab.practice.models import ModelError
from gptoss_lab.practice.wire import OllamaWire


class Chat(JsonHandler):
    kind = "ChatRequest"
    read_ask = staticmethod(chat_ask)
    given = "messages"  # the field without which a request only loads or unloads

    async def answer(self, body: dict[str, Any]) -> None:
        ask = self.read_ask(body, self.room.shelf, self.room.defaults)
        wire = OllamaWire(body["model"], chat=self.given == "messages")
        if not body.get(self.given):
            await self._load(ask, wire)
        elif body.get("_debug_render_only"):
            await self._render(ask, wire)
        else:
            await self.send_events(ask, wire, body.get("stream") is not False)

    async def _load(self, ask: Ask, wire: OllamaWire) -> None:
        if ask.keep_alive_s == 0:
            await self.room.scheduler.unload(ask.model.name)
        else:
            await generation.load(self.room.scheduler, ask)
        self.send_json(wire.loaded("unload" if ask.keep_alive_s == 0 else "load"))

    async def _render(self, ask: Ask, wire: OllamaWire) -> None:
        prompt = await generation.render(self.room.scheduler, ask)
        self.send_json({**wire.rendered(), "_debug_info": {"rendered_template": prompt}})


class Generate(Chat):
    kind = "GenerateRequest"
    read_ask = staticmethod(generate_ask)
    given = "prompt"


class Embed(JsonHandler):
    kind = "EmbedRequest"

    async def answer(self, body: dict[str, Any]) -> None:
        name = body.get("model")
        try:
            find(name, self.room.shelf)
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


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/api/chat", Chat),
    (r"/api/generate", Generate),
    (r"/api/embed", Embed),
    (r"/api/embeddings", LegacyEmbeddings),
]
