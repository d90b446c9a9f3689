"""What makes an answer right: one function per exercise, named like it.

A rule returns "" for a right value, else the name of the reason in `text/<language>/check.json`. It may raise on a
value it did not expect; `gptoss_lab.learn.checks` turns that into a sentence. It looks at shapes, never at wording.
"""

import re
from collections.abc import Callable, Mapping
from inspect import isgenerator
from pathlib import PurePath
from typing import Any

from gptoss_lab.facts.files import FILES

HISTORY = ["user", "assistant", "user"]
_ONE_TURN = ["user", "assistant"]


def first_question(value: Any) -> str:
    """The text of an answer."""
    if isgenerator(value):
        return "stream"
    if _is_reply(value):
        return "whole_reply"
    if not isinstance(value, str):
        return "not_text"
    return "" if value.strip() else "empty"


def two_texts(value: Any) -> str:
    """The thinking and the answer, as a pair of texts."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return "not_a_pair"
    thinking, content = value
    if not thinking:
        return "no_thinking"
    if not isinstance(thinking, str) or not isinstance(content, str):
        return "not_text"
    return "same" if thinking == content else ""


def raw_answer(value: Any) -> str:
    """The JSON of one whole answer of /api/chat, as a dictionary."""
    if hasattr(value, "status_code"):
        return "response"
    if isinstance(value, (str, bytes)):
        return "text"
    if "error" in value:
        return "error"
    if "message" not in value:
        return "no_message"
    return "" if value.get("done") else "streamed"


def whole_history(value: Any) -> str:
    """A list of messages that lets the model understand the follow-up."""
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        return "not_a_list"
    roles = [message.get("role") for message in value if message.get("role") != "system"]
    if roles == ["user"] or roles == ["user", "user"]:
        return "no_answer"
    if roles != HISTORY:
        return "order"
    return "" if all(str(message.get("content") or "").strip() for message in value) else "empty"


def speed(value: Any) -> str:
    """120 tokens in 4,000,000,000 nanoseconds, in tokens per second."""
    known = {30: "", 30e-9: "nanoseconds", 4e9 / 120: "upside_down", 4 / 120: "upside_down", 24: "total"}
    for number, reason in known.items():
        if abs(value - number) <= abs(number) / 1000:
            return reason
    return "other"


def cut_off(value: Any) -> str:
    """A reply that a limit has ended."""
    if isgenerator(value):
        return "stream"
    if not _is_reply(value):
        return "not_a_reply"
    return {"length": "", "stop": "stopped"}.get(value["done_reason"], "other")


def free_memory(value: Any) -> str:
    """The free memory of this computer in GiB, as psutil says it; it moves while one looks."""
    import psutil

    seen = psutil.virtual_memory()
    free, total = seen.available, seen.total
    return _closest(value, {free / 2**30: "", total / 2**30: "total", free / 1e9: "decimal", free: "bytes"}, 0.05)


def kv_cache(value: Any) -> str:
    """The KV cache of gpt-oss:20b for 32,768 tokens, in GiB."""
    file, right = FILES["gpt-oss:20b", "bf16"], _cache_gib()
    one = right / file.full_layers
    known = {right: "", one * file.layers: "all_layers", right / 2: "half", right * 2**30: "bytes", one: "one"}
    return _closest(value, known)


def memory_need(value: Any) -> str:
    """The weights of gpt-oss:20b on the GPU and its KV cache for 32,768 tokens, in GiB."""
    file, cache = FILES["gpt-oss:20b", "bf16"], _cache_gib()
    weights = file.gpu_bytes / 2**30
    known = {weights + cache: "", weights: "no_cache", cache: "no_weights", (weights + cache) * 2**30: "bytes"}
    return _closest(
        value, known | {file.gpu_bytes / 1e9 + cache: "decimal", file.total_bytes / 2**30 + cache: "embedding"}
    )


def top_speed(value: Any) -> str:
    """How many tokens per second a memory of 504 GB/s can read the weights of gpt-oss:20b for, at most."""
    file = FILES["gpt-oss:20b", "bf16"]
    right, dense = 504e9 / file.read_bytes, 504e9 / file.total_bytes
    return _closest(value, {right: "", dense: "whole_file", 1 / right: "upside_down"})


def server_version(value: Any) -> str:
    """The version of the server, as a text."""
    from importlib.metadata import version

    if hasattr(value, "status_code"):
        return "response"
    if isinstance(value, Mapping):
        return "dictionary"
    if not isinstance(value, str):
        return "not_text"
    if value == version("ollama"):
        return "client"
    return "" if re.match(r"\d+\.\d+", value) else "other"


def size_in_gib(value: Any) -> str:
    """The size of gpt-oss:20b's download in GiB."""
    size = 13_793_441_244
    if value in (12, 13, 14):
        return "rounded"
    return _closest(value, {size / 2**30: "", size / 1e9: "decimal", size: "bytes"}, 0.005)


def diagnosis_code(value: Any) -> str:
    """The doctor's code for an address that nobody answers at."""
    if hasattr(value, "wait"):
        return "panel"
    if hasattr(value, "findings"):
        return "diagnosis"
    if str(value).startswith("OK"):
        return "well"
    return "" if value == "B8" else "other"


def trouble_code(value: Any) -> str:
    """The name of the trouble that a missing model is."""
    if hasattr(value, "code"):
        return "trouble"
    if isinstance(value, BaseException):
        return "error"
    return "" if value == "model_missing" else "other"


def pressed_twice(value: Any) -> str:
    """The messages of two questions and two answers."""
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        return "not_a_list"
    if len(value) != 2 * len(_ONE_TURN):
        return "one_question" if len(value) == len(_ONE_TURN) else "more"
    if [message.get("role") for message in value] != 2 * _ONE_TURN:
        return "order"
    return "" if all(str(message.get("content") or "").strip() for message in value) else "empty"


def joined_events(value: Any) -> str:
    """The text of an answer, joined from the events of its stream."""
    if isinstance(value, str):
        return "" if value.strip() else "empty"
    if isinstance(value, (list, tuple)) and value:
        return "events"
    return _of_a_chat(value) or "not_text"


def three_versions(value: Any) -> str:
    """At least three versions of a question."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return _of_a_chat(value) or "not_a_list"
    return "" if len(value) >= 3 else "too_few"


def loaded_chat(value: Any) -> str:
    """A conversation that was read from a file and asked one more question."""
    if isinstance(value, PurePath):
        return "path"
    if not hasattr(value, "loaded_messages"):
        return "reply" if _of_a_chat(value) == "reply" else "not_a_chat"
    if value.loaded_messages is None:
        return "original"
    return "" if len(value.history.nodes) > value.loaded_messages else "not_asked"


def _of_a_chat(value: Any) -> str:
    """Return what a value of `gptoss_lab.chat` is that is no text: "generation", "reply", or ""."""
    from gptoss_lab.chat import Reply
    from gptoss_lab.chat.generation import Generation

    kinds = {Generation: "generation", Reply: "reply"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "")


def _cache_gib() -> float:
    file = FILES["gpt-oss:20b", "bf16"]
    return file.full_layers * file.kv_width * 2 * 32_768 / 2**30


def _closest(value: float, known: Mapping[float, str], tolerance: float = 0.02) -> str:
    """Return the reason of the known number that a value is closest to; "other" when it is close to none."""
    number = min(known, key=lambda one: abs(value / one - 1))
    return known[number] if abs(value / number - 1) <= tolerance else "other"


def _is_reply(value: Any) -> bool:
    return hasattr(value, "message") or (isinstance(value, Mapping) and "message" in value)


_ALL = (
    first_question, two_texts, raw_answer, whole_history, speed, cut_off,
    free_memory, kv_cache, memory_need, top_speed,
    server_version, size_in_gib, diagnosis_code, trouble_code,
    pressed_twice, joined_events, three_versions, loaded_chat,
)  # fmt: skip
RULES: dict[str, Callable[[Any], str]] = {rule.__name__: rule for rule in _ALL}
