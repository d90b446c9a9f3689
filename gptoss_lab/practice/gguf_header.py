"""Read a GGUF file's header: metadata and the list of tensors, checked against the size of the file.

The `gguf` package reads headers too, but it builds an array per token (seconds for a real vocabulary) and does not
say which tensor a cut file misses. This reader knows nothing about weights; `gptoss_lab.tiny.forward` reads those.
Format: the GGUF specification of the ggml project, version 3 (2 differs in nothing read here).
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from gptoss_lab.errors import LabError
from gptoss_lab.text import text

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file: its name, ggml type, shape with the fastest dimension first, and size."""

    name: str
    type: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself."""

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the architecture's own value, for instance `context_length` of `gpt-oss.context_length`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(_product(tensor.shape) for tensor in self.tensors)

    @property
    def chat_template(self) -> str:
        return str(self.metadata.get("tokenizer.chat_template", ""))

    @property
    def quantization(self) -> str:
        """The name Ollama shows, such as `MXFP4_MOE`, `Q8_0` or `F16`."""
        from gguf.constants import LlamaFileType

        try:
            name = LlamaFileType(self.metadata["general.file_type"]).name
        except (KeyError, ValueError):
            return "unknown"
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")


class NotGguf(LabError):
    """The file is not a GGUF model."""


class CutGguf(LabError):
    """The file ends before its last tensor does."""


def read_header(path: Path) -> Header:
    """Return the header of a GGUF file.

    Raises NotGguf for another kind of file, CutGguf when tensors reach past the end, FileNotFoundError, OSError.
    """
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _read(path: Path, size_bytes: int, _changed_ns: int) -> Header:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotGguf(text("server.not_gguf", path=path), text("server.not_gguf_next"))
        try:
            return _parse(file, path, size_bytes)
        except (struct.error, UnicodeDecodeError, KeyError, MemoryError, OverflowError) as error:
            raise CutGguf(text("server.cut_header", path=path), text("server.cut_next")) from error


def _parse(file: BinaryIO, path: Path, size_bytes: int) -> Header:
    _take(file, "I")  # version
    tensor_count, metadata_count = _take(file, "Q"), _take(file, "Q")
    metadata = dict(_entry(file) for _ in range(metadata_count))
    infos = [_tensor_info(file) for _ in range(tensor_count)]
    alignment = int(metadata.get("general.alignment", 32))
    data_start = -(-file.tell() // alignment) * alignment
    for tensor, offset_bytes in infos:
        end_bytes = data_start + offset_bytes + tensor.size_bytes
        if end_bytes > size_bytes:
            what = f'tensor "{tensor.name}" offset+size ({end_bytes}) exceeds file size ({size_bytes})'
            raise CutGguf(what, text("server.cut_next"))
    return Header(metadata, tuple(tensor for tensor, _ in infos))


def _entry(file: BinaryIO) -> tuple[str, Any]:
    return _string(file), _value(file, _take(file, "I"))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item_kind, count = _take(file, "I"), _take(file, "Q")
        return [_value(file, item_kind) for _ in range(count)]
    return _take(file, _SCALARS[kind])


def _tensor_info(file: BinaryIO) -> tuple[Tensor, int]:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name, dimensions = _string(file), _take(file, "I")
    shape = tuple(_take(file, "Q") for _ in range(dimensions))
    try:
        kind = GGMLQuantizationType(_take(file, "I"))
    except ValueError as error:
        raise KeyError(name) from error
    block, block_bytes = GGML_QUANT_SIZES[kind]
    offset_bytes = _take(file, "Q")
    return Tensor(name, kind.name, shape, _product(shape) // block * block_bytes), offset_bytes


def _take(file: BinaryIO, code: str) -> Any:
    size = struct.calcsize("<" + code)
    return struct.unpack("<" + code, file.read(size))[0]


def _string(file: BinaryIO) -> str:
    length = _take(file, "Q")
    raw = file.read(length) if length < 1 << 30 else b""
    if len(raw) != length:
        raise struct.error("the header ends inside a string")
    return raw.decode("utf-8")


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
