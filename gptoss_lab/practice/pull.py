"""Pull a model from a registry that speaks Ollama's protocol (a manifest, and blobs by digest), with resume.

It yields the lines a real server streams. What is already here is not loaded again; a part that came stays for the
next try. Two who pull the same blob share one download. It knows nothing about what is in a blob.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import httpx

from gptoss_lab.practice.models import Model, ModelError, Shelf, file_digest, now

DEFAULT_REGISTRY = "registry.ollama.ai"
_LINE_EVERY_S = 0.06  # a real server sends a progress line about as often
_CONNECT_S = 10.0
_MODEL, _SYSTEM, _PARAMS, _LICENSE = (
    f"application/vnd.ollama.image.{kind}" for kind in ("model", "system", "params", "license")
)
_loading: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()


async def pull(name: str, shelf: Shelf, insecure: bool) -> AsyncIterator[dict[str, Any]]:
    """Yield the progress lines of a pull.

    Raises ModelError with a real server's words when the registry is out of reach, refuses, or sends wrong bytes.
    """
    yield {"status": "pulling manifest"}
    if name in {model.name for model in shelf if model.path.parent != shelf.blobs}:
        async for line in _already_here(shelf.get(name)):
            yield line
        return
    base, repository, tag = _address(name, insecure)
    async with httpx.AsyncClient(timeout=httpx.Timeout(60, connect=_CONNECT_S), follow_redirects=True) as client:
        manifest = await _manifest(client, f"{base}/v2/{repository}/manifests/{tag}")
        layers = [*manifest.get("layers", []), *([manifest["config"]] if "config" in manifest else [])]
        for layer in layers:
            async for line in _layer(client, f"{base}/v2/{repository}/blobs/", layer, shelf):
                yield line
    yield {"status": "verifying sha256 digest"}
    for layer in layers:
        await _verify(layer, shelf)
    yield {"status": "writing manifest"}
    shelf.put(_model(name, manifest, shelf))
    yield {"status": "success"}


async def _already_here(model: Model) -> AsyncIterator[dict[str, Any]]:
    size = model.size_bytes
    digest = f"sha256:{model.digest}"
    yield {"status": f"pulling {model.digest[:12]}", "digest": digest, "total": size, "completed": size}
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield {"status": status}


def _address(name: str, insecure: bool) -> tuple[str, str, str]:
    """Return the registry's base URL, the repository and the tag of a full model name."""
    path, tag = name.rsplit(":", 1)
    parts = path.split("/")
    host = (
        parts.pop(0)
        if len(parts) == 3 or (len(parts) == 2 and ("." in parts[0] or ":" in parts[0]))
        else DEFAULT_REGISTRY
    )
    repository = "/".join(parts if len(parts) == 2 else ["library", *parts])
    return f"{'http' if insecure else 'https'}://{host}", repository, tag


async def _manifest(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    try:
        reply = await client.get(url, headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"})
    except httpx.HTTPError as error:
        raise ModelError(500, f'pull model manifest: Get "{url}": {error}') from error
    if reply.status_code == 404:
        raise ModelError(500, "pull model manifest: file does not exist")
    if reply.status_code >= 400:
        raise ModelError(500, f"pull model manifest: {reply.status_code}: {reply.text}")
    content: dict[str, Any] = reply.json()
    return content


async def _layer(
    client: httpx.AsyncClient, base: str, layer: dict[str, Any], shelf: Shelf
) -> AsyncIterator[dict[str, Any]]:
    digest, total = layer["digest"], layer["size"]
    line = {"status": f"pulling {digest.removeprefix('sha256:')[:12]}", "digest": digest, "total": total}
    path, part = shelf.blob(digest), shelf.part_file(digest)
    lock = _loading.setdefault(part, asyncio.Lock())
    while lock.locked():  # somebody else loads it: look on, and take over should they leave
        yield {**line, "completed": _size(part)} if _size(part) else line
        await asyncio.sleep(_LINE_EVERY_S)
    async with lock:
        if not path.is_file():
            async for completed in _load(client, base + digest, part):
                yield {**line, "completed": completed} if completed else line
            part.replace(path)
    yield {**line, "completed": total}


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


async def _load(client: httpx.AsyncClient, url: str, part: Path) -> AsyncIterator[int]:
    """Append to the part file from where it ends; yield its size now and then."""
    done = _size(part)
    said_s = 0.0
    try:
        async with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as reply:
            if reply.status_code == 416:  # nothing is missing
                return
            reply.raise_for_status()
            resumes = reply.status_code == 206
            done = done if resumes else 0
            with part.open("ab" if resumes else "wb") as file:
                async for block in reply.aiter_bytes():
                    file.write(block)
                    done += len(block)
                    if time.monotonic() - said_s > _LINE_EVERY_S:
                        said_s = time.monotonic()
                        yield done
    except httpx.HTTPError as error:
        raise ModelError(500, f"max retries exceeded: {_words(error)}") from error


def _words(error: httpx.HTTPError) -> str:
    """Return what a real server says of a download that broke off."""
    if isinstance(error, httpx.TimeoutException):
        return "i/o timeout"
    return "unexpected EOF" if isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError)) else str(error)


async def _verify(layer: dict[str, Any], shelf: Shelf) -> None:
    path = shelf.blob(layer["digest"])
    found = f"sha256:{await asyncio.to_thread(file_digest, path)}"
    if found != layer["digest"]:
        path.unlink()
        raise ModelError(500, f"digest mismatch, file must be downloaded again: want {layer['digest']}, got {found}")


def _model(name: str, manifest: dict[str, Any], shelf: Shelf) -> Model:
    parts = {layer["mediaType"]: shelf.blob(layer["digest"]) for layer in manifest.get("layers", [])}
    if _MODEL not in parts:
        raise ModelError(500, "the manifest names no model file")

    def words(kind: str) -> str:
        return parts[kind].read_text(encoding="utf-8") if kind in parts else ""

    return Model(
        name,
        parts[_MODEL],
        "",
        now(),
        system=words(_SYSTEM),
        parameters=json.loads(words(_PARAMS) or "{}"),
        license=words(_LICENSE),
    )
