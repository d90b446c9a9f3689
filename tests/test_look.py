"""Which machine counts: this one, or the one whose server answers."""

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from gptoss_lab.connect import Connection, connect
from gptoss_lab.hardware import Gpu, Machine, fit, look

GIB = 2**30


def lab(host: str, kind: str = "ollama") -> Any:
    return SimpleNamespace(host=host, kind=kind, model="gpt-oss:20b", client=None)


@pytest.fixture
def server() -> Iterator[Any]:
    """Yield a server that says of itself what a test puts into `said`."""
    said: dict[str, str] = {"/api/version": '{"version":"0.33.0"}', "/api/tags": '{"models":[]}', "/api/ps": "{}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said.get(self.path, "").encode()
            self.send_response(200 if body else 500)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=running.serve_forever, daemon=True).start()
    yield SimpleNamespace(host=f"http://127.0.0.1:{running.server_port}", said=said)
    running.shutdown()


def test_without_a_server_this_computer_counts() -> None:
    report = look()
    assert report.machine and report.server is None
    assert [verdict.model for verdict in report.verdicts] == ["gpt-oss:20b", "gpt-oss:120b"]


def test_the_practice_server_runs_here() -> None:
    assert look(lab("http://127.0.0.1:1", "practice")).machine


def test_ollama_here_gives_its_version_to_the_verdict(server: Any) -> None:
    server.said["/api/version"] = '{"version":"0.12.3"}'
    report = look(lab(server.host))
    assert report.machine and {verdict.ollama for verdict in report.verdicts} == {"0.12.3"}


@pytest.mark.parametrize("unified", [False, True])
def test_what_the_loaded_model_holds_is_room_for_the_model(
    server: Any, monkeypatch: pytest.MonkeyPatch, unified: bool
) -> None:
    gpu = Gpu("RTX 4090", "nvidia", 24.0, 9.5, 1008.0, (8, 9), unified=unified)
    machine = Machine("one", "Linux", 32.0, 9.5 if unified else 28.0, 50.0, (gpu,))
    monkeypatch.setattr(sys.modules["gptoss_lab.hardware.look"], "detect", lambda: machine)
    entry = f'{{"name":"gpt-oss:20b","size":{13 * GIB},"size_vram":{13 * GIB},"context_length":4096}}'
    server.said["/api/ps"] = f'{{"models":[{entry}]}}'
    report = look(lab(server.host))
    before, after = fit(machine), report.verdicts[0]
    assert (before.placement, before.tight) != ("gpu", False) and (after.placement, after.tight) == ("gpu", False)
    assert report.machine and report.machine.gpus[0].free_gib == 22.5
    assert report.machine.ram_free_gib == (22.5 if unified else 28.0)
    assert "gpt-oss:20b" in report.machine.readings["loaded"].reason


def test_more_gpu_memory_than_this_computer_has_means_another_machine(server: Any) -> None:
    entry = f'{{"name":"gpt-oss:120b","size":{66 * GIB},"size_vram":{2000 * GIB},"context_length":8192}}'
    server.said["/api/ps"] = f'{{"models":[{entry}]}}'
    report = look(lab(server.host))
    assert report.machine is None and report.verdicts == () and report.reason
    assert report.server and report.server.loaded[0].vram_gib == 2000 and report.server.loaded[0].context == 8192


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"models": [{}]}', '{"version": "unknown"}'])
def test_nonsense_from_a_server_is_words(server: Any, body: str) -> None:
    server.said.update({"/api/version": body, "/api/tags": body, "/api/ps": ""})
    report = look(lab(server.host))
    assert report.machine and all(verdict.sentence for verdict in report.verdicts)


def test_a_cloud_is_never_this_computer(server: Any) -> None:
    server.said["/api/tags"] = '{"models":[{"name":"gpt-oss:120b","size":65000000000}]}'
    server.said["/api/ps"] = ""
    report = look(lab(server.host, "cloud"))
    assert report.machine is None and report.server and report.server.models == (("gpt-oss:120b", 65.0),)
    assert "/api/ps" in report.server.reason and report.server.tok_s is None
    assert report.as_dict()["schema"] == 1


def test_one_timed_reply_of_a_server_elsewhere(practice_url: str) -> None:
    real: Connection = connect(practice_url)
    elsewhere = SimpleNamespace(host=real.host, kind="cloud", model=real.model, client=real.client)
    report = look(elsewhere, timed=True)  # type: ignore[arg-type]
    assert report.server and report.server.tok_s and report.server.tok_s > 1
    assert report.server.version and report.server.models
