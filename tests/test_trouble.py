"""Every error a real server, a client or a network gives is named rightly, in both languages, and nothing is raised."""

import builtins
import json
import random
import string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import ollama
import pytest

from gptoss_lab.setup.trouble import CODES, SILENT, as_error, explain, innermost, of_reply, trouble
from gptoss_lab.text import LANGUAGES, area_texts

RECORDED = json.loads((Path(__file__).parent / "trouble_recorded.json").read_text(encoding="utf-8"))
REQUEST = httpx.Request("POST", "http://127.0.0.1:11434/api/chat")


def said(body: str) -> str:
    """Return what the ollama client takes out of a body."""
    try:
        found = json.loads(body)
    except ValueError:
        return body
    inner = found.get("error") if isinstance(found, dict) else None
    return inner if isinstance(inner, str) else body


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: row["name"])
def test_what_a_real_server_answers(row: dict[str, Any]) -> None:
    raised = ollama.ResponseError(said(row["body"]), row["status"])
    assert explain(raised).code == row["code"]
    response = httpx.Response(max(row["status"], 200), text=row["body"], request=REQUEST)
    assert explain(httpx.HTTPStatusError("bad", request=REQUEST, response=response)).code == row["code"]


def test_the_recordings_cover_most_troubles() -> None:
    assert len({row["code"] for row in RECORDED}) >= 25


CUDA = (
    "llama-server process has terminated: exit status 2: ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed"
)
METAL = "ggml_metal_synchronize: error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
OLD = "model requires more system memory (13.2 GiB) than is available (6.0 GiB)"
TEMPLATE = (
    'template: :108:130: executing "" at <index $prop.Type 0>: error calling index: reflect: slice index out of range'
)
WORDS = [
    (CUDA, 500, "out_of_memory"),
    (METAL, 500, "out_of_memory"),
    (OLD, 500, "out_of_memory"),
    ("llama-server process has terminated: exit status 127", 500, "load_died"),
    ("error loading model: tensor not found", 500, "load_died"),
    ("unknown model architecture: 'gptoss'", 500, "too_old"),
    ("this model requires a newer version of Ollama", 412, "too_old"),
    ("llama runner process no longer running: 2", 500, "runner_killed"),
    ("timed out waiting for llama runner to start - progress 0.00", 500, "load_timeout"),
    ("client connection closed before server finished loading, aborting load", 499, "load_aborted"),
    (TEMPLATE, 500, "tool_template"),
    ("write /models/blobs/sha256-1-partial: no space left on device", -1, "disk_full"),
    ("max retries exceeded: unexpected EOF", -1, "pull_stalls"),
    ('pull model manifest: Get "https://x": tls: failed to verify certificate: x509: unknown authority', -1, "tls"),
    ("open /usr/share/ollama/.ollama/models: permission denied", 500, "permission"),
    ("listen tcp 127.0.0.1:11434: bind: address already in use", 0, "port_in_use"),
    ("unauthorized", 401, "sign_in"),
    ("", 401, "sign_in"),
    ("", 402, "no_credit"),
    ("you have reached your weekly usage limit", 429, "no_credit"),
    ("slow down", 429, "rate_limited"),
    ("", 403, "refused_origin"),
    ("<html>Bad Gateway</html>", 502, "proxy"),
    ("<html>404 Not Found nginx</html>", 404, "not_ollama"),
    ("The model `gpt-4-0314` has been deprecated", 404, "retired_model"),
    ("The model 'o4-mini' does not exist or you do not have access to it.", 404, "retired_model"),
    ("something new", 500, "server_error"),
    ("something new", 0, "unknown"),
]


@pytest.mark.parametrize(("words", "status", "code"), WORDS)
def test_words_that_were_not_recorded(words: str, status: int, code: str) -> None:
    assert explain(ollama.ResponseError(words, status)).code == code


RAISED: list[tuple[BaseException, str]] = [
    (builtins.ConnectionError("Failed to connect to Ollama. Please check that Ollama is downloaded"), "no_server"),
    (httpx.ConnectError("[Errno 111] Connection refused"), "no_server"),
    (httpx.ConnectError("[Errno -2] Name or service not known"), "host_unknown"),
    (httpx.ConnectError("[Errno 11001] getaddrinfo failed"), "host_unknown"),
    (httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls"),
    (httpx.ConnectTimeout("timed out"), "host_silent"),
    (httpx.ReadTimeout("timed out"), "read_timeout"),
    (httpx.RemoteProtocolError("peer closed connection without sending complete message body"), "server_died"),
    (httpx.ReadError("[Errno 104] Connection reset by peer"), "server_died"),
    (httpx.ProxyError("407 Proxy Authentication Required"), "proxy"),
    (httpx.InvalidURL("Invalid port"), "bad_address"),
    (httpx.UnsupportedProtocol("Request URL is missing an 'http://'"), "bad_address"),
    (json.JSONDecodeError("Expecting value", "<html>", 0), "not_json"),
    (OSError(28, "No space left on device"), "disk_full"),
    (PermissionError(13, "Permission denied"), "permission"),
    (KeyboardInterrupt(), "interrupted"),
]


@pytest.mark.parametrize(("error", "code"), RAISED, ids=lambda one: one if isinstance(one, str) else type(one).__name__)
def test_what_clients_raise(error: BaseException, code: str) -> None:
    found = explain(error, host="http://box:11434")
    assert found.code == code
    assert "http://box:11434" in str(found) or code not in ("no_server", "host_unknown", "host_silent", "server_died")


def test_what_the_openai_client_raises() -> None:
    openai = pytest.importorskip("openai")
    refused = openai.APIConnectionError(request=REQUEST)
    refused.__cause__ = httpx.ConnectError("[Errno 111] Connection refused")
    assert explain(refused).code == "no_server"
    assert explain(openai.APITimeoutError(request=REQUEST)).code == "read_timeout"
    body = {"error": {"message": "The model `gpt-4` does not exist", "code": "model_not_found"}}
    gone = openai.NotFoundError("x", response=httpx.Response(404, json=body, request=REQUEST), body=body)
    assert explain(gone).code == "retired_model" and explain(gone).what.count("gpt-4")


def test_a_line_of_a_stream() -> None:
    assert explain({"error": "model 'a:b' not found"}).code == "model_missing"
    assert explain('{"error":"server busy, please try again"}').code == "queue_full"


def test_the_innermost_words() -> None:
    nested = json.dumps({"error": json.dumps({"error": {"message": json.dumps({"error": "deep"})}})})
    assert innermost(nested) == "deep"
    assert innermost("llama-server chat error: map[code:500 message:it broke type:server_error]") == "it broke"
    assert innermost({}) == "" and innermost([{"message": "first"}]) == "first" and innermost("{half") == "{half"


def test_figures_and_names_reach_the_sentence() -> None:
    words = "request (7846 tokens) exceeds the available context size (512 tokens), try increasing it"
    assert all(number in explain(words).what for number in ("7846", "512"))
    missing = explain(ollama.ResponseError("model 'qwen:4b' not found", 404))
    assert "qwen:4b" in missing.what and missing.command == "ollama pull qwen:4b"
    assert "num_ctx" in explain(ollama.ResponseError('option "num_ctx" must be of type integer', 500)).what


def test_a_broken_answer_of_the_server_is_no_sentence_of_ours() -> None:
    for row in RECORDED:
        found = explain(ollama.ResponseError(said(row["body"]), row["status"]))
        assert not set('{}"\\') & set(found.what)


# --- troubles without an error ----------------------------------------------------------------------------------------

SILENT_REPLIES = [
    ({"done_reason": "length", "eval_count": 50, "message": {"content": "", "thinking": "hm"}}, 0, "empty_at_high"),
    ({"done_reason": "stop", "eval_count": 30, "message": {"content": ""}}, 0, "json_empty"),
    ({"done_reason": "stop", "eval_count": 3, "prompt_eval_count": 4096, "message": {"content": "a"}}, 4096, "forgets"),
    ({"eval_count": 9, "message": {"content": "<|channel|>analysis<|message|>hm"}}, 0, "harmony_leak"),
    ({"done_reason": "length", "eval_count": 50, "response": ""}, 0, "empty_at_high"),
]


@pytest.mark.parametrize(("reply", "context", "code"), SILENT_REPLIES)
def test_a_reply_that_raised_nothing(reply: dict[str, Any], context: int, code: str) -> None:
    found = of_reply(reply, context)
    assert found and found.code == code
    assert found == of_reply(SimpleNamespace(**reply), context)


@pytest.mark.parametrize(
    "reply",
    [
        {"done_reason": "stop", "eval_count": 9, "prompt_eval_count": 80, "message": {"content": "fine"}},
        {"done_reason": "stop", "eval_count": 9, "message": {"content": "", "tool_calls": [{"function": {}}]}},
        {"done_reason": "load", "message": {"content": ""}},
        {},
    ],
)
def test_a_reply_that_is_well(reply: dict[str, Any]) -> None:
    assert of_reply(reply, 4096) is None


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("code", CODES)
def test_every_trouble_has_words(code: str, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    found = trouble(code, detail="{weird} detail", model="m:1", host="h")
    assert found.what and found.why and found.do
    assert found.what in str(found) and found.do in str(found)


def test_every_word_has_a_trouble_and_the_silent_ones_are_all_there() -> None:
    assert set(area_texts("en", "trouble")) == set(CODES)
    assert len(SILENT) >= 15 and set(SILENT) < set(CODES)


def test_it_becomes_an_error_for_a_notebook() -> None:
    error = as_error(ollama.ResponseError("model 'x' not found", 404), host="http://h")
    assert "x" in error.what and error.next_step.endswith("ollama pull x")


class Hostile(Exception):
    error = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise RuntimeError


JUNK: list[Any] = [
    None,
    0,
    3.5,
    b"\xff",
    [],
    {},
    {"error": None},
    {"error": {"error": {"error": []}}},
    object(),
    Hostile(),
    "",
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda one: type(one).__name__)
def test_junk_is_explained_too(junk: Any) -> None:
    assert explain(junk).code in CODES


def test_anything_is_explained() -> None:
    dice = random.Random(7)
    for _ in range(300):
        words = "".join(dice.choices(string.printable + "{}[]\"'错误", k=dice.randrange(120)))
        found = explain({"error": words, "status_code": dice.choice((-1, 0, 400, 404, 418, 500, 503))})
        assert found.code in CODES and found.what
    assert explain("[" * 50_000).code in CODES
    assert explain('{"error":' * 5_000).code in CODES
