"""The practice server as a process: found again, held, gone when nobody needs it, and clear when it cannot start."""

import json
import platform
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from gptoss_lab import home as home_module
from gptoss_lab.errors import LabError
from gptoss_lab.practice import process
from gptoss_lab.practice.engine_check import why_it_ended, why_not

CONNECT = "from gptoss_lab.practice import process; print(process.ensure().server.pid)"


def test_one_server_for_processes_that_start_at_once(lab_home: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", CONNECT], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    pids = {child.communicate(timeout=60)[0].strip() for child in started}
    assert len(pids) == 1 and pids != {""}


def test_it_is_found_again(lab_home: Path) -> None:
    first = process.ensure()
    assert process.ensure() == first and process.find() == first.server
    assert process.stop() and process.find() is None and not process.stop()


def test_it_ends_with_its_last_holder(lab_home: Path) -> None:
    child = subprocess.run([sys.executable, "-c", CONNECT], capture_output=True, text=True, timeout=60, check=True)
    psutil.Process(int(child.stdout)).wait(20)
    assert process.find() is None


def test_it_ends_when_idle(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_IDLE_S", "0.5")
    server = psutil.Process(process.ensure().server.pid)
    server.wait(20)
    assert process.find() is None
    assert process.ensure().accident == ""  # an end of its own will is no accident


def test_the_state_of_a_dead_process_is_no_server(lab_home: Path) -> None:
    running = process.ensure().server
    process.stop()
    stale = replace(running, pid=2**22 - 3)
    process._state().write_text(json.dumps(asdict(stale)), encoding="utf-8")
    assert process.find() is None
    again = process.ensure()
    assert again.accident and again.server.pid != stale.pid


def test_a_reused_process_id_is_no_server(lab_home: Path) -> None:
    running = process.ensure().server
    stale = replace(running, created_s=running.created_s - 1000)
    process._state().write_text(json.dumps(asdict(stale)), encoding="utf-8")
    assert process.find() is None
    psutil.Process(running.pid).kill()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"host": 3}'])
def test_a_broken_state_file_is_no_server(lab_home: Path, content: str) -> None:
    process._state().write_text(content, encoding="utf-8")
    assert process.find() is None
    assert process.ensure().server


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process the POSIX way")
def test_a_server_that_hangs_is_ended_and_replaced(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = psutil.Process(process.ensure().server.pid)
    hung.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(process, "ANSWER_LIMIT_S", 0.3)
    found = process.ensure()
    assert "did not answer any more" in found.accident and found.server.pid != hung.pid
    hung.wait(10)


def test_a_learners_file_does_not_stand_in_for_a_library(
    lab_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tornado.py").write_text("raise SystemExit('my own file')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert process.ensure().server


def test_machines_that_share_a_home_do_not_meet(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = process.ensure().server
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "node", lambda: "room 2/电脑")
        assert process.find() is None and not process.stop() and not process.is_held()
    assert process.find() == ours and process.is_held()


def test_two_versions_run_side_by_side(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = process.ensure().server
    monkeypatch.setattr(process, "__version__", "0.0.9")
    assert process.find() is None
    monkeypatch.undo()
    assert psutil.pid_exists(ours.pid)
    psutil.Process(ours.pid).kill()


def test_a_home_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no folder can be made here", encoding="utf-8")
    monkeypatch.setenv("GPTOSS_LAB_HOME", str(blocked / "home"))
    folder = home_module.home()
    assert folder.is_dir() and blocked not in folder.parents
    assert process.ensure().server
    assert capsys.readouterr().err.count("cannot be written to") == 1
    process.stop()


def test_a_server_that_ends_while_it_starts_says_why(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "many")
    with pytest.raises(LabError, match="OLLAMA_NUM_PARALLEL is set to 'many'") as error:
        process.ensure()
    assert "number" in error.value.next_step


@pytest.mark.parametrize(
    ("message", "system", "machine", "words"),
    [
        ("libgomp.so.1: cannot open shared object file", "linux", "x86_64", "apt install libgomp1"),
        ("No module named 'xllamacpp'", "linux", "x86_64", "glibc"),
        ("No module named 'xllamacpp'", "win32", "ARM64", "Install Ollama"),
        ("DLL load failed while importing xllamacpp", "win32", "AMD64", "Redistributable"),
        ("symbol not found", "darwin", "arm64", "force-reinstall"),
    ],
)
def test_an_engine_that_does_not_load(lab_home: Path, message: str, system: str, machine: str, words: str) -> None:
    assert words in " ".join(why_not(message, system, machine))


@pytest.mark.parametrize("code", [-4, 132, 3221225501, -1073741795])
def test_a_processor_without_avx2(lab_home: Path, code: int) -> None:
    assert "AVX2" in why_it_ended(code, [])[0]


def test_holders_that_died_are_forgotten(lab_home: Path) -> None:
    process.hold()
    folder = process._holders()
    (folder / "999999.json").write_text('{"pid": 999999, "created_s": 1.0}', encoding="utf-8")
    (folder / "junk.json").write_text("{", encoding="utf-8")
    assert process.is_held()
    process.release()
    assert not process.is_held() and not list(folder.glob("*.json"))
