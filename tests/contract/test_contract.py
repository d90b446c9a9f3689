"""The contract: what a real Ollama answered, asked again of the practice server.

`recordings/` holds requests to a real server (Ollama 0.33.0-rc2) and its answers. Compared are status, content type,
the shape of every line and object (keys and types, in any order), error texts, `done_reason` and the counters.
Wording is not: another model speaks.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gptoss_lab.tiny import MODEL_NAME
from tests.conftest import running_server, write_plain_model

RECORDINGS = Path(__file__).parent / "recordings"
THINKING = ("gpt-oss-scripted", "gpt-oss-tiny", "gpt-oss-tiny-native", "scripted-native", "scripted-nativetool")
PLAIN = "scripted-llama"  # a model without thinking and tools

# Recordings that are not compared as they are, and why. Each has a test of its own here or in test_server.py.
OTHER_MODEL = {"chat_tool_result", "native_tools_stream", "native_tools_nostream", "v1_chat_tools"}
OWN_TEST = {"pull_404", "pull_403", "pull_corrupt", "pull_progress_stream", "pull_uptodate_stream", "pull_bad_name"}
LISTS = {"list", "native_list", "v1_models", "ps_empty", "ps_loaded", "keep_alive_minus1_ps", "keep_alive_0_ps_later"}
MODELS = {"create_from", "create_from_show", "create_junk_file", "copy", "delete", "native_show"}
REST = sorted({path.stem for path in RECORDINGS.glob("*.json")} - OTHER_MODEL - OWN_TEST - LISTS - MODELS)

# Fields that depend on the answer's model, and counters that only exist for some answers.
OPTIONAL = {"tool_calls", "context", "system_fingerprint", "logprobs"}


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    status: int
    content_type: str | None
    lines: list[str] | None
    text: str | None


def exchanges(name: str) -> list[Exchange]:
    """Return the exchanges of a recording, with the practice model in place of the recorded ones."""
    content = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))["exchanges"]
    return [Exchange(**_flat(pair["request"], pair["response"])) for pair in content]


def _flat(request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    body = request["body"]
    for model in (*THINKING, "scripted-embed"):
        body = body and body.replace(f'"{model}"', f'"{MODEL_NAME}"')
    asked = {name: request[name] for name in ("method", "path", "headers")}
    answered = {name: response[name] for name in ("status", "content_type", "lines")}
    return {**asked, "body": body, **answered, "text": response["body"]}


def send(url: str, exchange: Exchange) -> httpx.Response:
    """Send a recorded request to the practice server."""
    headers = {"Content-Type": "application/json", **exchange.headers}
    return httpx.request(
        exchange.method, url + exchange.path, content=exchange.body, headers=headers, timeout=60, trust_env=False
    )


def shape(value: Any) -> Any:
    """Return what stays of a value when another model speaks: keys and types."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in OPTIONAL}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def objects(lines: list[str]) -> list[Any]:
    """Return the JSON objects of NDJSON lines or server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.strip() and "[DONE]" not in line]


def kinds(lines: list[str]) -> list[Any]:
    """Return the different shapes of the lines, in the order in which they first come."""
    found: list[Any] = []
    for line in objects(lines):
        if shape(line) not in found:
            found.append(shape(line))
    return found


def error_text(text: str) -> str:
    """Return an error's words, free of model names and of counts that depend on the tokenizer."""
    for model in (*THINKING, MODEL_NAME):
        text = text.replace(f"{model}:latest", "MODEL").replace(model, "MODEL")
    return re.sub(r"\d{3,}", "N", text)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that also has a model without thinking and tools."""
    folder = tmp_path_factory.mktemp("shelf")
    with running_server(folder, model=write_plain_model(folder / f"{PLAIN}.gguf")) as address:
        yield address


@pytest.mark.parametrize("name", REST)
def test_answers_as_a_real_server_does(name: str, url: str) -> None:
    for exchange in exchanges(name):
        compare(exchange, send(url, exchange))


def compare(recorded: Exchange, reply: httpx.Response) -> None:
    assert reply.status_code == recorded.status
    if recorded.content_type and recorded.content_type != "application/json":  # some errors lack the charset
        assert reply.headers.get("content-type") == recorded.content_type
    if recorded.lines:
        compare_lines(recorded.lines, reply.text.splitlines())
    elif recorded.text and recorded.text.lstrip().startswith("{"):
        compare_objects(json.loads(recorded.text), reply.json())
    elif recorded.text:
        assert reply.text == recorded.text


def compare_lines(recorded: list[str], sent: list[str]) -> None:
    last_recorded, last = objects(recorded)[-1], objects(sent)[-1]
    assert last.get("done_reason") == last_recorded.get("done_reason")
    unexpected = [kind for kind in kinds(sent) if kind not in kinds(recorded)]
    assert not unexpected, f"lines a real server does not send: {unexpected}"
    assert kinds(sent)[-1] == kinds(recorded)[-1]
    if "choices" not in last and "error" not in last:
        assert_counters(last)


def compare_objects(recorded: Any, sent: Any) -> None:
    if recorded.get("error"):
        assert error_text(json.dumps(sent["error"])) == error_text(json.dumps(recorded["error"]))
        return
    assert shape(sent) == shape(recorded)
    assert sent.get("done_reason") == recorded.get("done_reason")


def assert_counters(last: dict[str, Any]) -> None:
    if last.get("done_reason") in ("load", "unload"):
        return
    parts = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert 0 < parts <= last["total_duration"] * 1.05
    assert last["prompt_eval_count"] > 0 and last["eval_count"] > 0


def only(name: str) -> Exchange:
    """Return the single exchange of a recording."""
    (exchange,) = exchanges(name)
    return exchange


@pytest.mark.parametrize("name", ["list", "native_list", "v1_models"])
def test_lists_have_the_fields_of_a_real_server(name: str, url: str) -> None:
    recorded, reply = only(name), send(url, only(name))
    key = "data" if name == "v1_models" else "models"
    assert shape(reply.json()[key][-1]) == shape(json.loads(recorded.text or "")[key][0])


def test_ps_lists_what_is_loaded(url: str) -> None:
    unload = {"model": MODEL_NAME, "keep_alive": 0}
    httpx.post(f"{url}/api/generate", json=unload)
    assert MODEL_NAME not in [loaded["name"] for loaded in send(url, only("ps_empty")).json()["models"]]
    httpx.post(f"{url}/api/generate", json={"model": MODEL_NAME, "keep_alive": -1})
    (loaded,) = (m for m in httpx.get(f"{url}/api/ps").json()["models"] if m["name"] == MODEL_NAME)
    assert shape(loaded) == shape(json.loads(only("ps_loaded").text or "")["models"][0])
    assert loaded["expires_at"] > "2300"  # for ever, as recorded in keep_alive_minus1_ps
    httpx.post(f"{url}/api/generate", json=unload)
    assert MODEL_NAME not in [loaded["name"] for loaded in httpx.get(f"{url}/api/ps").json()["models"]]


def test_create_copy_show_delete(url: str) -> None:
    created = send(url, only("create_from"))
    recorded = [re.sub(r"sha256:\w+", "", line["status"]) for line in objects(only("create_from").lines or [])]
    statuses = [re.sub(r"sha256:\w+", "", line["status"]) for line in objects(created.text.splitlines())]
    assert list(dict.fromkeys(statuses)) == recorded
    shown, real = send(url, only("create_from_show")).json(), json.loads(only("create_from_show").text or "")
    assert set(real) - set(shown) <= {"tensors"} and shown["system"] == real["system"]
    assert set(shown["details"]) == set(real["details"])
    assert shown["parameters"].split() == ["num_ctx", "2048", "temperature", "0.2"]
    assert send(url, only("copy")).status_code == only("copy").status
    assert send(url, only("delete")).status_code == only("delete").status
    assert "kid-copy" not in httpx.get(f"{url}/api/tags").text


def test_show_has_the_fields_of_a_real_server(url: str) -> None:
    shown, real = send(url, only("native_show")).json(), json.loads(only("native_show").text or "")
    assert set(real) <= set(shown) | {"license"}
    assert shape(shown["details"]) == shape(real["details"])
    assert shape(shown["tensors"]) == shape(real["tensors"])
    assert sorted(shown["capabilities"]) == sorted(real["capabilities"])
    info = {key for key in real["model_info"] if key.startswith("gpt-oss.") and "vocab" not in key}
    assert info <= set(shown["model_info"])


def test_a_file_that_is_no_gguf(url: str) -> None:
    import hashlib

    junk = b"not a gguf at all" * 10
    digest = f"sha256:{hashlib.sha256(junk).hexdigest()}"
    assert httpx.head(f"{url}/api/blobs/{digest}").status_code == 404
    assert httpx.post(f"{url}/api/blobs/{digest}", content=junk).status_code == 201
    assert httpx.head(f"{url}/api/blobs/{digest}").status_code == 200
    reply = httpx.post(f"{url}/api/create", json={"model": "junk", "files": {"junk.gguf": digest}})
    assert objects(reply.text.splitlines()) == objects(only("create_junk_file").lines or [])


@pytest.mark.parametrize("name", ["native_tools_stream", "native_tools_nostream", "v1_chat_tools"])
def test_a_tool_call_comes_whole(name: str, url: str) -> None:
    recorded = only(name)
    body = json.loads(recorded.body or "")
    parameters = {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "op": {"type": "string", "enum": ["+", "-", "*"]},
            "b": {"type": "number"},
        },
        "required": ["a", "op", "b"],
    }
    tool = {"name": "calculate", "description": "Calculate with two numbers.", "parameters": parameters}
    body |= {
        "messages": [{"role": "user", "content": "What is 17 + 25?"}],
        "tools": [{"type": "function", "function": tool}],
        "temperature": 0,
        "options": {"temperature": 0},
    }
    reply = httpx.post(url + recorded.path, json=body, timeout=60)
    assert reply.status_code == recorded.status
    calls, recorded_calls = tool_calls(reply.text), tool_calls("\n".join(recorded.lines or [recorded.text or ""]))
    assert [shape(call) | {"function": {}} for call in calls] == [
        shape(call) | {"function": {}} for call in recorded_calls
    ]
    assert calls[0]["function"]["name"] == "calculate"
    assert calls[0]["function"].keys() == recorded_calls[0]["function"].keys()


def tool_calls(text: str) -> list[Any]:
    """Return the tool calls of an answer, streamed or whole; they must come in one line."""
    found = []
    for line in objects(text.splitlines()):
        message = line.get("message") or line["choices"][0].get("delta") or {}
        if "tool_calls" in message:
            found.append(message["tool_calls"])
    (calls,) = found
    return list(calls)
