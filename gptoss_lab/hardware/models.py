"""Turn the name of a model, or the path of a GGUF file, into what its memory and speed follow from.

Only the header of a file is read. A model whose header lacks something is described as well as it allows.
"""

import os
from pathlib import Path
from typing import Any

from gptoss_lab.errors import LabError
from gptoss_lab.facts.files import FILES, SMALL, ModelFile
from gptoss_lab.text import text

ALIASES = {"gpt-oss": "gpt-oss:20b", "gpt-oss:latest": "gpt-oss:20b"}
KNOWN = {name: file for (name, kind), file in FILES.items() if kind == "bf16"} | SMALL
# One layer in so many sees the whole context: llama.cpp's patterns, by architecture.
_PATTERN = {"gpt-oss": 2, "gemma2": 2, "gemma3": 6, "cohere2": 4, "exaone4": 4}


def model_file(model: str | os.PathLike[str] | ModelFile) -> ModelFile:
    """Return the file of a known model or the description of a GGUF file.

    Raises LabError for a name that is not known, a file that is missing, is no GGUF, or is cut off.
    """
    if isinstance(model, ModelFile):
        return model
    name = os.fspath(model)
    known = KNOWN.get(ALIASES.get(name, name))
    return known or _from_path(Path(name).expanduser())


def _from_path(path: Path) -> ModelFile:
    if not path.is_file():
        if path.suffix.lower() == ".gguf" or path.exists():
            raise LabError(text("fit.no_file", path=path), text("fit.no_file_next"))
        raise LabError(text("fit.unknown_model", model=path), text("fit.unknown_model_next", names=", ".join(KNOWN)))
    from gptoss_lab.practice.gguf_header import read_header

    try:
        return described(path.name, read_header(path))
    except OSError as error:
        raise LabError(text("fit.unreadable", path=path, error=error), text("fit.no_file_next")) from error


def described(name: str, header: Any) -> ModelFile:
    """Return what a GGUF header says, in the shape the formulas take; raises LabError when it says too little."""
    sizes = {tensor.name: tensor.size_bytes for tensor in header.tensors}
    layers, width = _number(header, "block_count"), _number(header, "embedding_length")
    if not layers or not width or "token_embd.weight" not in sizes:
        raise LabError(text("fit.no_language_model", path=name), text("fit.no_file_next"))
    heads = _number(header, "attention.head_count") or 1
    embedding = sizes["token_embd.weight"]
    window = _number(header, "attention.sliding_window")
    return ModelFile(
        name=name,
        layers=layers,
        kv_width=_kv_width(header, width, heads),
        context=_number(header, "context_length") or 4_096,
        total_bytes=sum(sizes.values()) + (0 if "output.weight" in sizes else embedding),
        embedding_bytes=embedding,
        output_bytes=sizes.get("output.weight", embedding),
        expert_bytes=sum(size for tensor, size in sizes.items() if "_exps." in tensor) // layers,
        experts=_number(header, "expert_count") or 1,
        experts_used=_number(header, "expert_used_count") or 1,
        sliding_layers=_sliding(header.architecture, layers) if window else 0,
        window=window,
        width=width,
        kv_width_by_head=2 * _kv_heads(header, heads) * (width // heads),
        source=name,
    )


def _number(header: Any, key: str) -> int:
    """Return a value of the header that may be one number or one per layer."""
    value = header.get(key, 0)
    return int(max(value, default=0) if isinstance(value, list) else value)


def _kv_heads(header: Any, heads: int) -> int:
    return _number(header, "attention.head_count_kv") or heads


def _kv_width(header: Any, width: int, heads: int) -> int:
    """Return KV heads times key and value length, averaged where layers differ."""
    per_layer = header.get("attention.head_count_kv", 0)
    kv_heads = (
        sum(per_layer) / len(per_layer) if isinstance(per_layer, list) and per_layer else _kv_heads(header, heads)
    )
    key = _number(header, "attention.key_length") or width // heads
    value = _number(header, "attention.value_length") or key
    return round(kv_heads * (key + value))


def _sliding(architecture: str, layers: int) -> int:
    pattern = _PATTERN.get(architecture, 0)
    return layers - layers // pattern if pattern else 0
