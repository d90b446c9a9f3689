"""Which server answers: the rule as a table, then the real thing with real processes."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ollama
import psutil
import pytest

from gptoss_lab import connect
from gptoss_lab.connect import Probe, choose, pick_model, probe
from gptoss_lab.errors import LabError
from gptoss_lab.practice import process
from gptoss_lab.text import text
from gptoss_lab.tiny import MODEL_NAME
from tests.conftest import running_server

QUESTION = [{"role": "user", "content": "What is a token?"}]
SILENT = Probe(trouble="silent")
GPT_OSS = Probe({"gpt-oss:20b": "gptoss"})


@pytest.mark.parametrize(
    ("asked", "env", "found", "kind", "why"),
    [
        ("auto", {}, SILENT, "practice", "No Ollama answers"),
        ("auto", {}, Probe({}), "practice", "ollama pull gpt-oss:20b"),
        ("auto", {}, Probe({"llama3:8b": "llama"}), "practice", "ollama pull gpt-oss:20b"),
        ("auto", {}, Probe(trouble="other"), "practice", "does not answer as Ollama"),
        ("auto", {}, GPT_OSS, "ollama", "runs on this computer"),
        ("auto", {}, Probe({"mine:latest": "gpt-oss"}), "ollama", "runs on this computer"),
        ("auto", {"OLLAMA_HOST": " "}, SILENT, "practice", "No Ollama answers"),
        ("auto", {"OLLAMA_HOST": "room:1234"}, GPT_OSS, "ollama", "OLLAMA_HOST is set to room:1234"),
        ("auto", {"OLLAMA_HOST": "https://ollama.com"}, GPT_OSS, "cloud", "OLLAMA_HOST"),
        ("practice", {"OLLAMA_HOST": "room"}, GPT_OSS, "practice", "You asked for the practice server"),
        ("other:1", {"OLLAMA_HOST": "room"}, Probe({}), "ollama", "You asked for this server"),
    ],
)
def test_the_rule(lab_home: Path, asked: str, env: dict[str, str], found: Probe, kind: str, why: str) -> None:
    choice = choose(asked, env, lambda host: found)
    assert choice.kind == kind and why in choice.why


@pytest.mark.parametrize("trouble", ["silent", "other", "refused"])
@pytest.mark.parametrize(("asked", "env"), [("room", {}), ("auto", {"OLLAMA_HOST": "room"})])
def test_what_was_asked_for_must_answer(lab_home: Path, trouble: str, asked: str, env: dict[str, str]) -> None:
    with pytest.raises(LabError, match="http://room:11434") as error:
        choose(asked, env, lambda host: Probe(trouble=trouble, detail="404"))
    assert 'connect("practice")' in error.value.next_step


def test_the_model_that_is_picked(lab_home: Path) -> None:
    def pick(*names: str, wanted: str | None = None, family: str = "llama") -> str:
        return pick_model(dict.fromkeys(names, family), wanted, "host")

    assert pick("llama3", "gpt-oss:120b", "gpt-oss:20b") == "gpt-oss:20b"
    assert pick("gpt-oss:120b", "gpt-oss:latest") == "gpt-oss:latest"
    assert pick("llama3", "gpt-oss-safeguard:20b") == "gpt-oss-safeguard:20b"
    assert pick("a", "b", family="gptoss") == "a"
    assert pick("llama3") == "llama3"
    assert pick("llama3", wanted="anything") == "anything"
    with pytest.raises(LabError, match="no model") as error:
        pick()
    assert error.value.next_step.endswith("ollama pull gpt-oss:20b")


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is not Ollama."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403 if "locked" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_probing_real_addresses(lab_home: Path, stranger: str, tmp_path: Path) -> None:
    assert probe(stranger).trouble == "other"
    assert probe(f"{stranger}/locked").trouble == "refused"
    assert probe("http://127.0.0.1:9").trouble == "silent"
    assert probe("http://no-such-host.invalid:11434").trouble == "silent"
    with running_server(tmp_path) as url:
        assert probe(url).models == {MODEL_NAME: "gpt-oss"}


def test_a_program_that_hangs_up_is_not_called_silent(lab_home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        assert probe(f"http://127.0.0.1:{other.getsockname()[1]}").trouble == "other"


def test_https_where_there_is_only_http_is_said(lab_home: Path, stranger: str) -> None:
    found = probe(stranger.replace("http:", "https:"))
    assert found.trouble == "other" and "SSL" in found.detail


def test_nonsense_in_ollama_host_names_the_variable(lab_home: Path) -> None:
    with pytest.raises(LabError, match=r"OLLAMA_HOST is set to ftp://room.*is not the address of a server"):
        choose("auto", {"OLLAMA_HOST": "ftp://room"}, lambda host: SILENT)


@pytest.mark.parametrize("key", ["你的密钥", "abc\n", " abc"])
def test_a_key_that_is_none(lab_home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with pytest.raises(LabError, match="OLLAMA_API_KEY"):
        connect("practice")


def test_a_key_travels_once_and_as_bearer(lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "abc")
    with running_server(tmp_path) as url:
        headers = connect(url).client._client.headers
    assert headers.get_list("authorization") == ["Bearer abc"]


def test_a_proxy_has_no_business_on_this_computer(
    lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with running_server(tmp_path) as url:
        lab = connect(url)
        assert lab.kind == "ollama" and lab.client.chat(lab.model, QUESTION).message.content


def test_a_server_named_by_ollama_host(
    lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_server(tmp_path) as url:
        monkeypatch.setenv("OLLAMA_HOST", url.removeprefix("http://") + "/")
        lab = connect()
        assert (lab.host, lab.model) == (url, MODEL_NAME)
        assert asyncio.run(lab.async_client.chat(lab.model, QUESTION)).message.content
    assert "OLLAMA_HOST is set to" in capsys.readouterr().out


def test_the_practice_server_starts_answers_and_is_labelled(lab_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = connect("practice")
    assert lab.client.chat(lab.model, QUESTION).message.content
    assert "practice model: knows this course only" in capsys.readouterr().out
    assert lab.label in str(lab) and lab.why in str(lab)


def test_many_connect_at_once_and_one_server_runs(lab_home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        hosts = {lab.host for lab in pool.map(lambda _: connect("practice"), range(8))}
    assert len(hosts) == 1


def test_a_killed_server_is_explained_and_started_again(lab_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = connect("practice")
    kill_server()
    assert lab.client.chat(lab.model, QUESTION).message.content
    assert "it was started again" in capsys.readouterr().out
    kill_server()
    assert asyncio.run(lab.async_client.chat(lab.model, QUESTION)).message.content
    assert lab.host in {running.host for running in [process.find()] if running}  # on its old port


def test_an_answer_that_is_torn_ends_in_plain_words(lab_home: Path) -> None:
    lab = connect("practice")
    rows = {"type": "array", "minItems": 50, "items": {"type": "integer"}}
    endless = {"type": "array", "minItems": 900, "items": rows}
    parts = lab.client.chat(lab.model, QUESTION, stream=True, format=endless, options={"num_predict": 20_000})
    next(parts)
    kill_server()
    with pytest.raises(ollama.ResponseError, match="in the middle of this answer"):
        list(parts)
    assert lab.client.chat(lab.model, QUESTION).message.content  # and the next cell works


def test_another_programs_port_is_left_alone(lab_home: Path) -> None:
    lab = connect("practice")
    port = int(lab.host.rsplit(":", 1)[1])
    kill_server()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert lab.client.chat(lab.model, QUESTION).message.content
    running = process.find()
    assert running and running.host != lab.host


def kill_server() -> None:
    running = process.find()
    assert running
    victim = psutil.Process(running.pid)
    victim.kill()
    victim.wait(10)


def test_errors_show_no_traceback() -> None:
    error = LabError("What happened.", "What to do.")
    assert error._render_traceback_() == ["What happened.", "What to do."]


def test_the_practice_model_is_labelled_wherever_it_answers(practice_url: str) -> None:
    assert connect(practice_url).label == text("connect.label_practice")
