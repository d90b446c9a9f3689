"""Plain words for every error: from what a client raises or a stream carries to what, why and what to do.

A table of patterns names the trouble; its sentences are in `gptoss_lab/text/<language>/trouble.json`. Troubles that
raise nothing (an empty answer, a slow model) have names, too: `trouble("empty_at_high")`. It asks no server anything.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_lab.errors import LabError
from gptoss_lab.text import area_texts, language

_DEPTH, _LENGTH = 8, 2_000
_NESTED = re.compile(r"map\[(?:\w+:\S+ )*message:(.*?)(?: type:\w+)?\]$", re.DOTALL)


@dataclass(frozen=True)
class Trouble:
    """What happened, the likely reason, and what to do next."""

    code: str
    what: str
    why: str
    do: str
    command: str = ""  # to copy into a terminal
    detail: str = ""  # the server's own words, or the client's

    def __str__(self) -> str:
        return "\n".join(words for words in (self.what, self.why, self.do, self.command) if words)


@dataclass(frozen=True)
class Heard:
    """An error taken apart: the kinds of exception it is, an HTTP status (0 for none), and its innermost words."""

    kinds: frozenset[str]
    status: int
    words: str


# The first row that fits decides. A row: name of the trouble, pattern of the words, statuses ("" or () for any).
_BY_WORDS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("pull_offline", r"(manifest|blobs|pull).*(no such host|name resolution|server misbehaving|is unreachable)", ()),
    ("pull_refused", r"(manifest|blobs|pull).*connection refused", ()),
    ("pull_no_model", r"manifest: file does not exist|manifest unknown", ()),
    ("pull_denied", r"manifest: 40[13]\b", ()),
    ("pull_registry", r"manifest: (429|5\d\d)\b", ()),
    ("tls", r"x509|certificate|\btls:|\bssl", ()),
    ("pull_corrupt", r"digest mismatch", ()),
    ("disk_full", r"no space left|not enough space|disk (is )?full|ENOSPC", ()),
    ("pull_stalls", r"max retries exceeded|i/o timeout|deadline exceeded|connection reset|download stalled", ()),
    ("permission", r"permission denied|access is denied|operation not permitted", ()),
    ("port_in_use", r"address already in use|only one usage of each socket", ()),
    ("model_missing", r"model [`'\"](?P<model>[^`'\"]+)[`'\"] not found", ()),
    ("retired_model", r"model [`'\"](?P<model>[^`'\"]+)[`'\"] (does not exist|has been)|model_not_found", ()),
    ("cloud_off", r"cloud is disabled|remote model is unavailable", ()),
    ("no_tools", r"does not support tools", ()),
    ("no_thinking", r"does not support thinking", ()),
    ("no_embeddings", r"does not support embeddings", ()),
    ("wrong_use", r"does not support (?P<name>chat|generate|insert|completion)", ()),
    ("no_images", r"multimodal|does not support (image|vision)", ()),
    ("bad_think", r"invalid think value|think must be", ()),
    ("bad_option", r"option \"(?P<name>\w+)\" must be of type (?P<needed>\w+)", ()),
    ("bad_keep_alive", r"invalid duration", ()),
    ("context_exceeded", r"\((?P<tokens>\d+) tokens\) exceeds the available context size \((?P<window>\d+)", ()),
    ("input_too_long", r"exceed(s|_)(the )?(available )?context|input length exceeds", ()),
    ("bad_schema", r"schema conversion failed|unrecognized schema|json_schema|invalid json schema", ()),
    ("bad_format", r"invalid format", ()),
    ("tool_json", r"error parsing tool call|invalid tool call", ()),
    ("tool_template", r"template: .*(index|executing|out of range)", ()),
    ("output_mismatch", r"does not match the expected|chat error", ()),
    ("out_of_memory", r"insufficient memory|out ?of ?(device ?)?memory|cudamalloc|(failed|unable|cannot) (to )?allocate"
     r"|requires more system memory", ()),
    ("blob_cut", r"exceeds file size|offset\+size|tensor .* out of bounds|unexpectedly reached end of file", ()),
    ("not_gguf", r"not in gguf format|invalid file magic|unsupported model format|not a gguf", ()),
    ("load_aborted", r"aborting load|closed before .*loading|load.* cancel+ed|context cancel+ed", ()),
    ("load_timeout", r"timed out waiting for (the )?(llama|server|runner)", ()),
    ("too_old", r"unknown model architecture.*gpt-?oss|newer version of ollama", ()),
    ("load_died", r"process has terminated|failed to load model|error loading model|unable to load model", ()),
    ("runner_killed", r"while running the model|no longer running|runner .*(terminated|stopped)|signal: killed", ()),
    ("queue_full", r"server busy|maximum pending requests", ()),
    ("bad_name", r"invalid model name", ()),
    ("bad_request", r"missing request body|model is required|cannot unmarshal|neither 'from'|invalid character", ()),
    ("bad_request", r"", (400,)),
    ("sign_in", r"", (401,)),
    ("no_credit", r"payment required|insufficient.*(credit|balance|quota)|usage limit", ()),
    ("no_credit", r"", (402,)),
    ("refused_origin", r"^\s*$", (403,)),
    ("sign_in", r"", (403,)),
    ("not_ollama", r"", (404, 405)),
    ("proxy", r"", (407, 502, 504)),
    ("rate_limited", r"too many requests|rate limit", ()),
    ("rate_limited", r"", (429,)),
    ("no_embeddings", r"", (501,)),
    ("queue_full", r"", (503,)),
    ("runner_killed", r"unexpected eof", ()),
    ("server_error", r"", (500,)),
)  # fmt: skip

# Kinds of exception, of httpx, ollama, openai and Python, by name: none of these packages need be loaded.
_BY_KIND: tuple[tuple[str, frozenset[str], str], ...] = (
    ("host_unknown", frozenset({"ConnectError", "ConnectionError", "APIConnectionError"}),
     r"name or service|getaddrinfo|nodename|name resolution|no address associated"),
    ("tls", frozenset({"ConnectError", "SSLError"}), r"ssl|certificate"),
    ("proxy", frozenset({"ProxyError"}), r""),
    ("host_silent", frozenset({"ConnectTimeout", "PoolTimeout"}), r""),
    ("read_timeout", frozenset({"ReadTimeout", "WriteTimeout", "APITimeoutError", "TimeoutError"}), r""),
    ("bad_address", frozenset({"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"}), r""),
    ("server_died", frozenset({"RemoteProtocolError", "ReadError", "WriteError", "CloseError", "StreamError"}), r""),
    ("no_server", frozenset({"ConnectError", "ConnectionError", "ConnectionRefusedError", "APIConnectionError"}), r""),
    ("disk_full", frozenset({"OSError"}), r"no space left|errno 28"),
    ("permission", frozenset({"PermissionError"}), r""),
    ("not_json", frozenset({"JSONDecodeError"}), r""),
    ("interrupted", frozenset({"KeyboardInterrupt"}), r""),
)  # fmt: skip

# What happens to learners without any error: research among their questions, 22 of them; some have an exception above.
SILENT = (
    "slow_split", "forgets", "empty_at_high", "think_false", "json_empty", "slow_after_update", "garbage", "id_differs",
    "gb_or_gib", "elsewhere", "notebook_hangs", "env_no_effect", "asks_itself", "raw_prompt", "comparing_speeds",
    "small_mac", "exposed", "harmony_leak",
)  # fmt: skip
_COMMANDS = {
    "pull_denied": "ollama signin",
    "sign_in": "ollama signin",
    "disk_full": "ollama list",
    "model_missing": "ollama pull {model}",
    "no_embeddings": "ollama pull nomic-embed-text",
    "blob_cut": "ollama rm {model}",
    "proxy": "NO_PROXY=localhost,127.0.0.1",
    "slow_split": "ollama ps",
    "slow_after_update": "ollama ps",
}
CODES = tuple(dict.fromkeys([code for code, *_ in (*_BY_WORDS, *_BY_KIND)] + [*SILENT, "unknown"]))


def explain(error: BaseException | Mapping[str, Any] | str, host: str = "", model: str = "") -> Trouble:
    """Return an error in plain words: an exception, a line of a stream, or the text of an answer; never raises.

    `host` and `model` go into the sentences where the error itself does not name them.
    """
    heard = _heard(error)
    given = {"host": host or "the server", "model": model or "gpt-oss:20b"}
    for code, kinds, pattern in _BY_KIND:
        if kinds & heard.kinds and re.search(pattern, heard.words, re.IGNORECASE):
            return trouble(code, detail=heard.words, **given)
    for code, pattern, statuses in _BY_WORDS:
        found = re.search(pattern, heard.words, re.IGNORECASE | re.DOTALL)
        if found and (not statuses or heard.status in statuses):
            named = {name: value for name, value in found.groupdict().items() if value}
            return trouble(code, detail=heard.words, **{**given, **named})
    return trouble("unknown", detail=heard.words or str(type(error).__name__), **given)


def as_error(error: BaseException | Mapping[str, Any] | str, host: str = "", model: str = "") -> LabError:
    """Return an error in plain words as one that a notebook shows without a traceback."""
    found = explain(error, host, model)
    return LabError(f"{found.what} {found.why}".strip(), "\n".join(filter(None, (found.do, found.command))))


def trouble(code: str, detail: str = "", **values: object) -> Trouble:
    """Return the trouble of a name in the learner's language; raises KeyError for an unknown one."""
    words = area_texts(language(), "trouble")[code]
    known = {"host": "the server", "model": "gpt-oss:20b", "tokens": "?", "window": "?", "name": "?", "needed": "?"}
    fields = {**known, **values, "detail": _short(detail)}
    what, why, do = (words[part].format(**fields) for part in ("what", "why", "do"))
    return Trouble(code, what, why, do, _COMMANDS.get(code, "").format(**fields), detail)


_CODE = re.compile(r"```.*?(```|$)|`[^`\n]*`", re.DOTALL)  # who quotes the format does not leak it
_LEAKED = re.compile(
    r"<\|(start|end|message|channel|constrain|call|return|startoftext|endoftext)\|>"
    r"|^(analysis|commentary)(?=[A-Z])|assistant(analysis|commentary|final)|\bto=functions\.\w"
)


def of_reply(reply: Any, context: int = 0) -> Trouble | None:
    """Return what is wrong with a whole reply that raised nothing; None when nothing is.

    `context` is the window in tokens, where it is known (/api/ps tells it).
    """
    told = reply if isinstance(reply, Mapping) else getattr(reply, "__dict__", {})
    message = told.get("message") or told
    content, thinking = (_of(message, name) or "" for name in ("content", "thinking"))
    content = content or told.get("response") or ""
    if _LEAKED.search(_CODE.sub("", content)):
        return trouble("harmony_leak", detail=content)
    if context and (told.get("prompt_eval_count") or 0) >= context - 1:
        return trouble("forgets", window=f"{context:,}")
    if content.strip() or _of(message, "tool_calls"):
        return None
    if told.get("done_reason") == "length":
        return trouble("empty_at_high")
    return trouble("json_empty") if not thinking and (told.get("eval_count") or 0) > 1 else None


def _of(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _heard(error: Any) -> Heard:
    kinds = (
        frozenset(kind.__name__ for kind in type(error).__mro__) if isinstance(error, BaseException) else frozenset()
    )
    try:
        status = next((code for code in _statuses(error) if isinstance(code, int) and code > 0), 0)
        return Heard(kinds, status, innermost(_words(error)))
    except Exception:  # an exception whose own words fail
        return Heard(kinds, 0, "")


def _statuses(error: Any) -> Iterator[Any]:
    yield getattr(error, "status_code", 0)
    yield getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, Mapping):
        yield error.get("status_code", 0)


def _words(error: Any) -> Any:
    """Return what an error says; of one that only stands for another, what that one says."""
    said = getattr(error, "error", None)
    said = getattr(getattr(error, "response", None), "text", None) if said is None else said
    if isinstance(said, (str, Mapping)):
        return said
    cause = getattr(error, "__cause__", None) if "APIConnectionError" in type(error).__name__ else None
    return _words(cause) if cause else error if isinstance(error, Mapping) else str(error)


def innermost(words: Any, depth: int = _DEPTH) -> str:
    """Return the message inside errors that are JSON texts inside JSON texts, or Go's `map[…]`."""
    if isinstance(words, Mapping):
        inner = words.get("error", words.get("message", words.get("errors")))
        return innermost(inner, depth - 1) if inner is not None and depth else _plain(words)
    if isinstance(words, list) and words and depth:
        return innermost(words[0], depth - 1)
    said = str(words).strip()
    mapped = _NESTED.search(said)
    if mapped and depth:
        return innermost(mapped.group(1), depth - 1)
    if depth and said[:1] in "{[" and len(said) < 1_000_000:
        try:
            return innermost(json.loads(said), depth - 1)
        except (ValueError, RecursionError):
            return said
    return said


def _plain(words: Mapping[Any, Any]) -> str:
    return json.dumps(words, ensure_ascii=False, default=str) if words else ""


def _short(words: str) -> str:
    """Return the first line of a long text, cut where nobody would read on."""
    first = words.strip().split("\n")[0]
    return first if len(first) <= 200 else first[:199] + "…"
