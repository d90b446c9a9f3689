"""The doctor names every staged fault rightly, in the order in which people fail, and changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gptoss_lab import cli
from gptoss_lab.connect import Probe
from gptoss_lab.hardware import Gpu, Machine
from gptoss_lab.setup import doctor, pull
from gptoss_lab.setup.candidates import candidates, wsl_gateway
from gptoss_lab.setup.doctor import diagnose, examine
from gptoss_lab.setup.finding import CODES, STEPS, Diagnosis, Finding
from gptoss_lab.setup.pull import Progress
from gptoss_lab.setup.trouble import trouble
from gptoss_lab.text import LANGUAGES, area_texts
from tests.staged import MODEL, Staged, staged

CARD = Gpu("RTX 4090", "nvidia", 24, 23, 1008, (8, 9))
RICH = Machine("desk", "Linux", 64, 56, 83, (CARD,), disk_free_gb=200.0, models_folder="/m")
NOBODY = Probe(trouble="silent", detail="refused")


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")


@pytest.fixture
def stage() -> Iterator[Staged]:
    with staged() as stage:
        stage.loaded(14, 14)
        yield stage


def seen(stage: Staged, machine: Machine = RICH, **more: Any) -> Diagnosis:
    return diagnose(stage.host, more.pop("model", MODEL), detect=lambda: machine, **more)


def without_server(**boundary: Any) -> Diagnosis:
    options = {"env": {"PATH": ""}, "root": Path("/nowhere"), "look": lambda host: NOBODY}
    return diagnose(**{**options, **boundary})


def last(diagnosis: Diagnosis) -> tuple[str, str]:
    return diagnosis.findings[-1].state, diagnosis.findings[-1].name


# --- all is well ------------------------------------------------------------------------------------------------------


def test_a_healthy_ollama_passes_every_step(stage: Staged) -> None:
    found = seen(stage)
    assert found.ok and found.code == "OK"
    assert [finding.step for finding in found.findings] == list(STEPS)
    assert {path for path, body in stage.asked if body} == {"/api/generate", "/api/chat"}


def test_the_practice_server_passes_too(practice_url: str) -> None:
    found = diagnose(practice_url)
    assert found.ok and found.findings[-1].step == "context"


# --- staged faults ----------------------------------------------------------------------------------------------------


def test_no_server() -> None:
    found = without_server()
    assert last(found) == ("fault", "no_server") and found.code == "B1"
    assert "127.0.0.1:11434" in found.findings[-1].found


def test_an_installed_server_that_does_not_run(tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    found = without_server(env={"PATH": str(tmp_path)})
    assert found.code == "B2" and str(program) in found.findings[-1].found
    assert found.findings[-1].command == "ollama serve"


def test_something_else_on_the_port(stage: Staged) -> None:
    stage.answers.clear()
    assert seen(stage).code == "B3"
    other = without_server(look=lambda host: Probe(trouble="other", detail="HTTP 404"))
    assert other.code == "B3" and "HTTP 404" in other.findings[-1].found


def test_a_wrong_host(stage: Staged) -> None:
    here = Probe({MODEL: "gptoss"})
    found = without_server(
        env={"OLLAMA_HOST": "http://10.9.9.9:11434"}, look=lambda host: here if "127.0.0.1" in host else NOBODY
    )
    assert found.code == "B4" and "10.9.9.9" in found.findings[-1].found and "127.0.0.1" in found.findings[-1].found


def test_a_proxy_that_catches_this_computer(stage: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    found = seen(stage)
    warning = next(finding for finding in found.findings if finding.step == "server")
    assert (warning.state, warning.name) == ("warning", "proxy") and "proxy.example" in warning.found
    assert found.ok and found.code == "OK-B5"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert seen(stage).code == "OK"


def test_a_proxy_between_here_and_a_server_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert without_server(env={"OLLAMA_HOST": "http://10.9.9.9:11434"}).code == "B5"
    monkeypatch.delenv("HTTP_PROXY")
    assert without_server(env={"OLLAMA_HOST": "http://10.9.9.9:11434"}).code == "B8"


@pytest.mark.parametrize("host", ["http://[", "ftp://x", "http://a:port"])
def test_an_address_that_is_none(host: str) -> None:
    assert without_server(env={"OLLAMA_HOST": host}).code == "B6"


def test_a_key_that_is_missing(stage: Staged) -> None:
    stage.answers["/api/tags"] = (401, "unauthorized")
    assert seen(stage).code == "B7"


@pytest.mark.parametrize(("version", "code"), [("0.10.1", "C1"), ("0.24.0", "OK-C2"), ("banana", "OK-C3")])
def test_versions(stage: Staged, version: str, code: str) -> None:
    stage.answers["/api/version"] = (200, {"version": version})
    assert seen(stage).code == code


def test_a_missing_model_and_a_disk_that_is_too_small(stage: Staged) -> None:
    other = {"name": "qwen3:4b", "model": "qwen3:4b", "details": {"family": "qwen3"}}
    stage.answers["/api/tags"] = (200, {"models": [other]})
    found = seen(stage)
    assert found.code == "E1" and found.findings[-1].command == "ollama pull gpt-oss:20b"
    assert "qwen3:4b" in found.findings[-1].found
    small = seen(stage, replace(RICH, disk_free_gb=5.0))
    assert small.code == "D1" and "5.0" in small.findings[-1].found
    assert [finding.code for finding in seen(stage, replace(RICH, disk_free_gb=14.5)).findings[-2:]] == ["D2", "E1"]
    assert [finding.code for finding in seen(stage, replace(RICH, disk_free_gb=None)).findings[-2:]] == ["D3", "E1"]


def test_no_model_at_all_and_one_that_is_no_gpt_oss(stage: Staged) -> None:
    stage.answers["/api/tags"] = (200, {"models": []})
    assert seen(stage).code == "E2"
    other = {"name": "qwen3:4b", "model": "qwen3:4b", "details": {"family": "qwen3"}}
    stage.answers["/api/tags"] = (200, {"models": [other]})
    assert "E3" in seen(stage, model=None).code


@pytest.mark.parametrize(
    ("state", "code"), [("pulling", "E4"), ("stalled", "E5"), ("retrying", "E5"), ("failed", "E6"), ("cancelled", "E1")]
)
def test_a_pull_under_way_is_named(stage: Staged, monkeypatch: pytest.MonkeyPatch, state: str, code: str) -> None:
    other = {"name": "a:b", "model": "a:b", "details": {}}
    stage.answers["/api/tags"] = (200, {"models": [other]})
    progress = Progress(state=state, trouble=trouble("pull_stalls") if state in ("stalled", "failed") else None)
    monkeypatch.setitem(pull._running, (stage.host, MODEL), SimpleNamespace(progress=progress))
    assert seen(stage).code == code


def test_too_little_memory(stage: Staged) -> None:
    stage.answers["/api/ps"] = (200, {"models": []})
    poor = Machine("laptop", "Linux", 8, 5, 40)
    found = seen(stage, poor)
    assert found.code == "F1" and "does not run" in found.findings[-1].found and found.findings[-1].do
    tight = Machine("laptop", "Linux", 16, 11, 40)
    assert "F2" in seen(stage, tight).code


def test_a_model_that_is_loaded_fits(stage: Staged) -> None:
    assert seen(stage, Machine("laptop", "Linux", 16, 1, 40)).ok


DEAD = '{"error":"llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory"}'


def test_a_load_that_dies(stage: Staged) -> None:
    stage.answers["/api/generate"] = (500, DEAD)
    found = seen(stage)
    assert found.code == "G1" and "memory" in found.findings[-1].found and found.findings[-1].do


def test_an_answer_that_fails_or_is_empty(stage: Staged) -> None:
    stage.answers["/api/chat"] = (500, '{"error":"an error was encountered while running the model: unexpected EOF"}')
    assert seen(stage).code == "H1"
    stage.answers["/api/chat"] = (200, {"message": {"content": ""}, "eval_count": 0})
    assert seen(stage).code == "H2"
    stage.answers["/api/chat"] = (200, "<html>")
    assert seen(stage).code == "H1"


def test_a_model_half_on_the_processor(stage: Staged) -> None:
    stage.loaded(14, 7)
    found = seen(stage)
    assert found.ok and found.code == "OK-I1" and "50" in found.findings[-2].found
    stage.loaded(14, 0)
    assert seen(stage).code == "OK-I2"
    assert seen(stage, replace(RICH, gpus=())).code == "OK"


def test_a_context_that_is_small_and_a_prompt_that_does_not_fit(stage: Staged) -> None:
    stage.loaded(14, 14, context=4096)
    assert seen(stage).code == "OK-J1"

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if body.get("truncate") is False:
            nested = {
                "error": {"code": 400, "message": "request (9000 tokens) exceeds the available context size (4096)"}
            }
            return 400, {"error": json.dumps(nested)}
        return 200, {"message": {"content": "a"}, "eval_count": 2, "eval_duration": 1000}

    stage.answers["/api/chat"] = (200, answer)
    found = seen(stage, prompt="word " * 9000)
    assert found.code == "J2" and "9,000" in found.findings[-1].found and "16384" in found.findings[-1].do


def test_the_real_count_of_a_prompt(practice_url: str) -> None:
    found = diagnose(practice_url, prompt="What is a token? " * 4_000)
    assert found.code == "J2"
    assert diagnose(practice_url, prompt="What is a token?").ok


# --- where it looks ---------------------------------------------------------------------------------------------------


def test_every_candidate_is_tried_and_named(tmp_path: Path) -> None:
    route = "Iface\tDestination\tGateway\neth0\t00000000\t0110A8C0\t0003\n"
    for name, content in {
        "proc/version": "x-microsoft-standard-WSL2",
        "proc/net/route": route,
        ".dockerenv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    tried = candidates(None, {"OLLAMA_HOST": "box:11434"}, tmp_path, lambda host: NOBODY)
    assert [one.host for one in tried] == [
        "http://box:11434", "http://127.0.0.1:11434", "http://host.docker.internal:11434", "http://192.168.16.1:11434",
    ]  # fmt: skip
    assert wsl_gateway({}, tmp_path / "plain") == ""
    found = without_server(root=tmp_path, env={"PATH": ""}).findings[-1].found
    assert all(one.host in found for one in tried[1:])


# --- Python -----------------------------------------------------------------------------------------------------------


def test_python_and_its_packages(stage: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (4, 0))
    assert seen(stage).code == "A1"
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (3, 10))
    monkeypatch.setattr(doctor, "PACKAGES", ("no_such_package",))
    assert seen(stage).code == "A2" and "no_such_package" in seen(stage).findings[-1].command
    monkeypatch.setattr(doctor, "PACKAGES", ())
    monkeypatch.setattr(doctor, "_installed", lambda package: "0.3.0" if package == "ollama" else "")
    assert seen(stage).code == "A3"
    monkeypatch.setattr(doctor, "_installed", lambda package: "13.0.1")
    assert seen(stage).code == "OK-A4"


# --- in words, as JSON, in a terminal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_everything_that_can_be_found_has_words(lang: str) -> None:
    words = area_texts(lang, "doctor")
    for step, names in CODES.items():
        assert words[f"step_{step}"]
        for name in names:
            assert words[name] and words[f"{name}_means"] and words[f"{name}_do"]


def test_a_fault_ends_the_walk_and_says_one_thing_to_do(stage: Staged) -> None:
    stage.answers["/api/version"] = (200, {"version": "0.9.0"})
    found = list(examine(stage.host))
    assert [finding.step for finding in found] == ["python", "server", "version"]
    assert found[-1].means and found[-1].do


def test_in_a_terminal(stage: Staged, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--server", stage.host]) == 0
    assert "Code: OK" in capsys.readouterr().out
    stage.answers["/api/version"] = (200, {"version": "0.9.0"})
    assert cli.main(["doctor", "--server", stage.host, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["code"] == "C1" and found["findings"][-1]["do"]


def test_every_code_stands_in_the_teachers_table() -> None:
    page = (Path(__file__).parent.parent / "docs" / "doctor_codes.md").read_text(encoding="utf-8")
    codes = [Finding(step, "fault", name, "").code for step, names in CODES.items() for name in names]
    assert all(f"| {code} |" in page for code in codes) and page.count("\n| ") == len(codes) + 1
