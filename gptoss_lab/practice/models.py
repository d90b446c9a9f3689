"""The practice server's shelf of models: names, GGUF blobs, and what a Modelfile adds to them.

Same ideas as Ollama's store (content-addressed blobs, a small manifest per name), kept apart from Ollama's own folder.
The shipped practice model is always on the shelf and cannot be lost. It knows nothing about loading or HTTP.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gptoss_lab.practice.gguf_header import Header, read_header
from gptoss_lab.tiny import MODEL_NAME, MODEL_PATH

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(rf"(?:{_PART}(?::\d+)?/)?(?:{_PART}/)?{_PART}(?::{_PART})?")
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
PRACTICE_PARAMETERS = {"temperature": 0.5}


class ModelError(Exception):
    """A request about models that cannot be done: the HTTP status and Ollama's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Model:
    """One name on the shelf."""

    name: str
    path: Path
    digest: str
    modified_at: str
    parent: str = ""
    system: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    license: str = ""

    @property
    def header(self) -> Header:
        return read_header(self.path)

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    @property
    def capabilities(self) -> list[str]:
        """What the chat template can do, in Ollama's words."""
        template = self.header.chat_template
        thinks = "reasoning_effort" in template or "<think>" in template or "enable_thinking" in template
        return ["completion", *(["tools"] if "tools" in template else []), *(["thinking"] if thinks else [])]


def full_name(name: str) -> str:
    """Return a model name with its tag; raises ModelError for a name Ollama refuses."""
    if not _NAME.fullmatch(name):
        raise ModelError(400, "invalid model name")
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def now() -> str:
    """Return the time as the wire has it: UTC, RFC 3339."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


class Shelf:
    """All models of the practice server, and the blobs they are made from."""

    def __init__(self, folder: Path, own_file: Path | None = None) -> None:
        self.blobs, self._manifests = folder / "blobs", folder / "manifests"
        shipped = {MODEL_NAME: (MODEL_PATH, PRACTICE_PARAMETERS)}
        own: dict[str, tuple[Path, dict[str, float]]] = {own_name(own_file): (own_file, {})} if own_file else {}
        self._fixed = {name: _fixed(name, path, params) for name, (path, params) in (own | shipped).items()}

    def __iter__(self) -> Iterator[Model]:
        """Yield every model, the newest first."""
        stored = [self._read(path) for path in self._manifests.glob("*.json")] if self._manifests.is_dir() else []
        names = {model.name for model in stored}
        kept = [model for name, model in self._fixed.items() if name not in names]
        yield from sorted(stored + kept, key=lambda model: model.modified_at, reverse=True)

    def get(self, name: str) -> Model:
        """Return the model of that name; raises ModelError 404 in the words of chat, generate, show and delete."""
        full = full_name(name)
        path = self._manifest(full)
        if path.is_file():
            return self._read(path)
        if full in self._fixed:
            return self._fixed[full]
        raise ModelError(404, f"model '{name}' not found")

    def put(self, model: Model) -> Model:
        """Store a model under its name and return it with its new digest and date."""
        content = {**asdict(model), "path": str(model.path), "modified_at": now()}
        del content["digest"], content["modified_at"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        stored = replace(model, digest=digest, modified_at=now())
        text = json.dumps({**asdict(stored), "path": str(stored.path)}, ensure_ascii=False, indent=1)
        self._manifests.mkdir(parents=True, exist_ok=True)
        _write_whole(self._manifest(stored.name), text.encode())
        return stored

    def delete(self, name: str) -> None:
        """Forget a name and the blob that no other name uses; raises ModelError for a missing or built-in model."""
        model = self.get(name)
        manifest = self._manifest(model.name)
        if not manifest.is_file():
            raise ModelError(400, f"model '{name}' is part of the practice server and cannot be deleted")
        manifest.unlink()
        if model.path.parent == self.blobs and all(other.path != model.path for other in self):
            model.path.unlink(missing_ok=True)

    def blob(self, digest: str) -> Path:
        """Return where a blob of that digest lies or would lie; raises ModelError 400 for a malformed digest."""
        if not _DIGEST.fullmatch(digest):
            raise ModelError(400, "invalid digest format")
        return self.blobs / digest.replace(":", "-")

    def part_file(self, digest: str) -> Path:
        """Return a path beside a blob to write it to before it is whole."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        return self.blob(digest).with_name(self.blob(digest).name + "-partial")

    def _manifest(self, full: str) -> Path:
        return self._manifests / f"{quote(full, safe='')}.json"

    def _read(self, path: Path) -> Model:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Model(**{**content, "path": Path(content["path"])})


def own_name(path: Path) -> str:
    """Return the model name under which a learner's own GGUF file is served."""
    stem = re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-.")
    return full_name(stem[:80] or "model")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        sha = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def _fixed(name: str, path: Path, parameters: dict[str, Any]) -> Model:
    stat = path.stat()
    seed = f"{path.name} {stat.st_size} {stat.st_mtime_ns}"  # a 13 GB file is not read twice just to name it
    digest = file_digest(path) if name == MODEL_NAME else hashlib.sha256(seed.encode()).hexdigest()
    modified = datetime.fromtimestamp(stat.st_mtime, timezone.utc).isoformat().replace("+00:00", "Z")
    return Model(name, path, digest, modified, parameters=dict(parameters))


def _write_whole(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
