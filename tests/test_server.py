"""The practice server beyond the recordings: leaving clients, queues, windows, pulls, files that are no model."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from gptoss_lab.errors import LabError
from gptoss_lab.practice.api.base import host_is_local, origin_is_local
from gptoss_lab.practice.api.describe import human_count
from gptoss_lab.practice.engine import Engine, EngineSettings, round_context
from gptoss_lab.practice.gguf_header import CutGguf, NotGguf, read_header
from gptoss_lab.practice.models import ModelError, Shelf, full_name, own_name
from gptoss_lab.practice.requests import BadRequest, decode, parse_duration
from gptoss_lab.practice.server import PracticeServer, Settings
from gptoss_lab.tiny import MODEL_NAME, MODEL_PATH
from tests.conftest import running_server

QUESTION = [{"role": "user", "content": "What is a token?"}]
LONG = {"model": MODEL_NAME, "messages": QUESTION, "think": "low", "options": {"num_predict": 20_000, "num_ctx": 512}}
ROW = {"type": "array", "minItems": 50, "items": {"type": "integer", "minimum": 0, "maximum": 9}}
ENDLESS = {**LONG, "format": {"type": "array", "minItems": 900, "items": ROW}}  # a schema that takes long to fill


def post(url: str, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(url + path, json=body, timeout=60, trust_env=False)


def chat(url: str, **more: Any) -> dict[str, Any]:
    reply = post(url, "/api/chat", {"model": MODEL_NAME, "messages": QUESTION, "stream": False, **more})
    assert reply.status_code == 200, reply.text
    content: dict[str, Any] = reply.json()
    return content


@contextmanager
def endless_answer(url: str) -> Iterator[None]:
    """Hold an answer that would take very long open, from its first line on; leave it at the end."""
    with httpx.stream("POST", f"{url}/api/chat", json=ENDLESS, timeout=60, trust_env=False) as response:
        lines = response.iter_lines()
        next(lines)
        yield
        lines.close()  # type: ignore[attr-defined]


def test_streams_thinking_apart_from_content(practice_url: str) -> None:
    parts = list(ollama.Client(practice_url).chat(MODEL_NAME, QUESTION, stream=True, think="high"))
    thinking = "".join(part.message.thinking or "" for part in parts)
    content = "".join(part.message.content or "" for part in parts)
    assert thinking and content and parts[-1].done
    assert parts[-1].eval_count > len(parts) / 2


def test_temperature_zero_repeats_and_a_seed_repeats(practice_url: str) -> None:
    for options in ({"temperature": 0}, {"temperature": 1.5, "seed": 7}):
        first, second = (chat(practice_url, options=options)["message"] for _ in range(2))
        assert first == second


def test_a_stop_text_ends_the_answer(practice_url: str) -> None:
    whole = chat(practice_url, think="low", options={"temperature": 0})["message"]["content"]
    word = whole.split()[4]
    cut = chat(practice_url, think="low", options={"temperature": 0, "stop": [f" {word}"]})
    assert whole.startswith(cut["message"]["content"].rstrip()) and len(cut["message"]["content"]) < len(whole)
    assert cut["done_reason"] == "stop"


def test_logprobs_come_with_every_token(practice_url: str) -> None:
    reply = chat(practice_url, logprobs=True, top_logprobs=3, think="low", options={"temperature": 0})
    assert len(reply["logprobs"]) >= reply["eval_count"] // 2  # tokens of the frame are held back
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in reply["logprobs"])


def test_the_schema_holds_with_and_without_thinking(practice_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    for think in (None, False, "low"):
        content = chat(practice_url, format=schema, **({} if think is None else {"think": think}))["message"]["content"]
        assert set(json.loads(content)) == {"ok"}


def test_a_tool_parameter_without_a_type_is_no_error(practice_url: str) -> None:
    optional = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    tool = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {"where": optional}}}
    chat(practice_url, tools=[{"type": "function", "function": tool}])


def test_a_client_that_leaves_frees_the_slot(tmp_path: Path) -> None:
    with running_server(tmp_path) as url:
        with endless_answer(url):
            waiting = ThreadPoolExecutor(1).submit(chat, url, options={"num_predict": 3, "num_ctx": 512})
            with pytest.raises(FutureTimeoutError):
                waiting.result(0.3)
        assert waiting.result(20)["done"]


def test_a_client_that_leaves_the_queue_is_forgotten(tmp_path: Path) -> None:
    with running_server(tmp_path) as url:
        with endless_answer(url), pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/api/chat", json=LONG, timeout=0.3)
        assert chat(url, options={"num_predict": 3, "num_ctx": 512})["done"]


def test_two_slots_answer_side_by_side(tmp_path: Path) -> None:
    with running_server(tmp_path, parallel=2) as url, endless_answer(url):
        assert chat(url, options={"num_predict": 3, "num_ctx": 512})["done"]


def test_eight_at_once_are_all_answered(practice_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: chat(practice_url, options={"temperature": 0}), range(8)))
    assert len({reply["message"]["content"] for reply in replies}) == 1


def test_too_many_while_a_model_loads_are_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slow_load(path: Path, settings: EngineSettings) -> Engine:
        go.wait(20)
        return Engine(path, settings)

    monkeypatch.setattr("gptoss_lab.practice.scheduler.Engine", slow_load)
    with running_server(tmp_path, max_queue=1) as url, ThreadPoolExecutor(8) as pool:
        body = {"model": MODEL_NAME, "messages": QUESTION, "stream": False}
        asked = [pool.submit(post, url, "/api/chat", body) for _ in range(8)]
        while sum(reply.done() for reply in asked) < 6:
            pass
        go.set()
        statuses = sorted(reply.result(20).status_code for reply in asked)
    assert statuses == [200, 200, *[503] * 6]


def test_keep_alive_zero_unloads_and_a_short_one_expires(practice_url: str) -> None:
    chat(practice_url, keep_alive=0)
    assert httpx.get(f"{practice_url}/api/ps").json() == {"models": []}
    chat(practice_url, keep_alive="50ms")
    for _ in range(200):
        if httpx.get(f"{practice_url}/api/ps").json() == {"models": []}:
            return
    pytest.fail("the model is still loaded")


def test_a_prompt_that_does_not_fit_is_cut_or_refused(practice_url: str) -> None:
    options = {"num_ctx": 512, "num_predict": 4}
    one_long = [{"role": "user", "content": "word " * 3000}]
    assert chat(practice_url, messages=one_long, options=options)["prompt_eval_count"] < 512
    history = [
        {"role": "user", "content": "word " * 100},
        {"role": "assistant", "content": "word " * 100},
    ] * 9 + QUESTION
    assert chat(practice_url, messages=history, options=options)["prompt_eval_count"] < 512
    body = {"model": MODEL_NAME, "messages": history, "truncate": False, "options": options}
    refused = post(practice_url, "/api/chat", body)
    assert refused.status_code == 400
    assert json.loads(refused.json()["error"])["error"]["type"] == "exceed_context_size_error"


def test_without_shift_the_answer_ends_at_the_window(practice_url: str) -> None:
    full = post(practice_url, "/api/chat", {**ENDLESS, "stream": False, "shift": False}).json()
    assert full["done_reason"] == "length"
    assert full["prompt_eval_count"] + full["eval_count"] == pytest.approx(512, abs=2)


def test_raw_text_is_neither_rendered_nor_parsed(practice_url: str) -> None:
    body = {
        "model": MODEL_NAME,
        "prompt": "<|start|>user<|message|>What is a token?<|end|><|start|>assistant",
        "raw": True,
    }
    reply = post(practice_url, "/api/generate", {**body, "stream": False, "options": {"temperature": 0}}).json()
    assert reply["response"].startswith("<|channel|>analysis<|message|>") and "thinking" not in reply


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example.org"}, 403),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "http://localhost:8888"}, 200),
    ],
)
def test_only_this_machine_may_ask(practice_url: str, headers: dict[str, str], status: int) -> None:
    for path in ("/api/version", "/", "/v1/models", "/nothing"):
        reply = httpx.get(practice_url + path, headers=headers)
        assert reply.status_code == (404 if path == "/nothing" and status == 200 else status)
        assert status == 200 or not reply.content


def test_names_that_are_local() -> None:
    assert all(map(host_is_local, ("localhost:1", "127.0.0.1", "[::1]:80", "10.0.0.7", "host.docker.internal", "")))
    assert not any(map(host_is_local, ("example.org", "localhost.example.org", "8.8.8.8")))
    assert origin_is_local("vscode-webview://x") and not origin_is_local("null")


def test_a_body_that_is_too_large_is_refused(practice_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptoss_lab.practice.api.base.BODY_LIMIT_BYTES", 1 << 20)
    reply = httpx.post(f"{practice_url}/api/chat", content=b" " * (2 << 20))
    assert reply.status_code == 413 and "1 MiB" in reply.json()["error"]


def test_a_taken_port_is_said(practice_url: str, tmp_path: Path) -> None:
    port = int(practice_url.rsplit(":", 1)[1])
    with pytest.raises(LabError, match=str(port)):
        asyncio.run(PracticeServer(Settings(models_dir=tmp_path)).start(port))


def test_settings_come_from_ollamas_variables(tmp_path: Path) -> None:
    env = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_CONTEXT_LENGTH": "'8192'"}
    settings = Settings.from_env(tmp_path, env=env)
    assert (settings.parallel, settings.keep_alive_s, settings.num_ctx) == (4, -1.0, 8192)
    for bad in ({"OLLAMA_NUM_PARALLEL": "many"}, {"OLLAMA_KEEP_ALIVE": "soon"}):
        with pytest.raises(LabError, match=next(iter(bad))):
            Settings.from_env(tmp_path, env=bad)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    junk, cut, short = tmp_path / "junk.gguf", tmp_path / "模型 cut.gguf", tmp_path / "short.gguf"
    junk.write_bytes(b"not a model")
    cut.write_bytes(MODEL_PATH.read_bytes()[:-50_000])
    short.write_bytes(MODEL_PATH.read_bytes()[:2_000])
    with pytest.raises(NotGguf, match="GGUF"):
        read_header(junk)
    with pytest.raises(CutGguf, match="exceeds file size"):
        read_header(cut)
    with pytest.raises(CutGguf, match="header"):
        read_header(short)
    with running_server(tmp_path, model=cut) as url:
        reply = post(url, "/api/chat", {"model": own_name(cut), "messages": QUESTION})
        assert reply.status_code == 500 and "exceeds file size" in reply.json()["error"]
        assert chat(url)["done"]  # the server lives on


def test_a_learners_own_file_is_served_under_its_name(tmp_path: Path) -> None:
    own = tmp_path / "Mein Modell 我的 Q8.gguf"
    own.write_bytes(MODEL_PATH.read_bytes())
    with running_server(tmp_path / "shelf", model=own) as url:
        names = [model["name"] for model in httpx.get(f"{url}/api/tags").json()["models"]]
        assert set(names) == {"mein-modell-q8.gguf".removesuffix(".gguf") + ":latest", MODEL_NAME}
        assert chat(url, model="mein-modell-q8")["done"]


def test_the_shipped_model_cannot_be_deleted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="part of the practice server"):
        Shelf(tmp_path).delete(MODEL_NAME)


def test_two_names_of_one_file_are_two_models(tmp_path: Path) -> None:
    with running_server(tmp_path) as url:
        assert post(url, "/api/copy", {"source": MODEL_NAME, "destination": "twin"}).status_code == 200
        chat(url), chat(url, model="twin")
        assert {m["name"] for m in httpx.get(f"{url}/api/ps").json()["models"]} == {MODEL_NAME, "twin:latest"}
        post(url, "/api/generate", {"model": "twin", "keep_alive": 0})
        assert {m["name"] for m in httpx.get(f"{url}/api/ps").json()["models"]} == {MODEL_NAME}


def test_small_readers() -> None:
    assert parse_duration("1h30m") == 5400 and parse_duration("-1") == -1
    assert full_name("gpt-oss") == "gpt-oss:latest" and full_name("host:5000/a/b:c") == "host:5000/a/b:c"
    assert (human_count(2_310_000), human_count(20_900_000_000)) == ("2.31M", "20.9B")
    with pytest.raises(BadRequest, match="cannot unmarshal array into Go value"):
        decode("ChatRequest", b"[]")
    header = read_header(MODEL_PATH)
    assert (round_context(1, header), round_context(300, header), round_context(10**9, header)) == (256, 512, 131072)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"model": 3}', b"\xff\xfe", b"[" * 50_000, b"null", b'{"messages": [1]}'])
def test_a_bad_body_is_a_400_in_words(practice_url: str, raw: bytes) -> None:
    for path in ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/responses", "/api/pull", "/api/create"):
        reply = httpx.post(practice_url + path, content=raw)
        assert reply.status_code == 400 and reply.json()["error"]


@pytest.fixture(scope="module")
def registry() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A registry on loopback with one model; `broken` in a name gives other bytes than the digest says."""
    blobs = {digest(content): content for content in (MODEL_PATH.read_bytes(), b"Answer briefly.")}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _registry_handler(blobs))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", blobs
    server.shutdown()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _registry_handler(blobs: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    kinds = ("model", "system")
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": name, "size": len(content)}
        for kind, (name, content) in zip(kinds, blobs.items(), strict=True)
    ]

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if "/manifests/" in self.path and "/missing/" not in self.path:
                content, status = json.dumps({"layers": layers}).encode(), 200
            elif name in blobs:
                status = 206 if start else 200
                content = (blobs[name] if "/broken/" not in self.path else b"x" * len(blobs[name]))[start:]
            else:
                content, status = b"{}", 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Registry


def pull_lines(url: str, name: str) -> list[dict[str, Any]]:
    reply = post(url, "/api/pull", {"model": name, "insecure": True})
    assert reply.status_code == 200
    return [json.loads(line) for line in reply.text.splitlines()]


def test_pull_loads_resumes_and_answers(tmp_path: Path, registry: tuple[str, dict[str, bytes]]) -> None:
    host, blobs = registry
    name, content = next(iter(blobs.items()))
    part = tmp_path / "blobs" / f"{name.replace(':', '-')}-partial"
    part.parent.mkdir()
    part.write_bytes(content[:1000])  # an earlier pull that was stopped
    with running_server(tmp_path) as url:
        lines = pull_lines(url, f"{host}/test/ok")
        assert [line["status"] for line in (lines[0], *lines[-3:])] == [
            "pulling manifest",
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        progress = [line for line in lines if line.get("digest") == name]
        assert progress[-1] == {
            "status": f"pulling {name[7:19]}",
            "digest": name,
            "total": len(content),
            "completed": len(content),
        }
        assert chat(url, model=f"{host}/test/ok")["done"]
        assert post(url, "/api/show", {"model": f"{host}/test/ok"}).json()["system"] == "Answer briefly."
        again = pull_lines(url, f"{host}/test/ok")
        assert len(again) == 6 and again[1]["completed"] == again[1]["total"]


def test_pull_errors_are_a_real_servers(tmp_path: Path, registry: tuple[str, dict[str, bytes]]) -> None:
    host, _ = registry
    with running_server(tmp_path) as url:
        assert pull_lines(url, f"{host}/missing/x")[-1] == {"error": "pull model manifest: file does not exist"}
        assert (
            "digest mismatch, file must be downloaded again: want sha256:"
            in pull_lines(url, f"{host}/broken/x")[-1]["error"]
        )
        assert not list((tmp_path / "manifests").glob("*"))
        nobody = pull_lines(url, "127.0.0.1:9/test/x")[-1]["error"]
        assert nobody.startswith('pull model manifest: Get "http://127.0.0.1:9/v2/test/x/manifests/latest"')
        body = {"model": f"{host}/missing/x", "insecure": True, "stream": False}
        assert post(url, "/api/pull", body).status_code == 500
        assert post(url, "/api/pull", {"model": "///bad name"}).json() == {"error": "invalid model name"}


def test_pull_of_the_shipped_model_needs_no_network(practice_url: str) -> None:
    statuses = [line["status"] for line in pull_lines(practice_url, MODEL_NAME)]
    assert statuses[0] == "pulling manifest" and statuses[-1] == "success"
