"""Starting an Ollama that is installed: found, asked for, waited for, and never without consent.

The program is a script that behaves as `ollama serve` does from outside; what answers is the practice server.
"""

import socket
import sys
from pathlib import Path

import psutil
import pytest

from gptoss_lab import cli
from gptoss_lab.connect import probe
from gptoss_lab.errors import LabError
from gptoss_lab.setup.start import find_program, start_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the program is a shell script")
SERVE = "import sys; from gptoss_lab import cli; cli.main(['serve', '--port', sys.argv[1]])"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def install(folder: Path, script: str) -> dict[str, str]:
    """Put a program `ollama` into a folder, and return the environment in which it is found."""
    program = folder / "bin" / "ollama"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "OLLAMA_HOST": f"127.0.0.1:{free_port()}", "HOME": str(folder)}


def test_it_starts_waits_and_says_where_the_log_is(tmp_path: Path, lab_home: Path) -> None:
    env = install(tmp_path, f'test "$1" = serve && exec {sys.executable} -c "{SERVE}" ${{OLLAMA_HOST#*:}}')
    env |= {"GPTOSS_LAB_HOME": str(lab_home), "PYTHONPATH": ":".join(sys.path)}
    started = start_server(yes=True, env=env, limit_s=60)
    try:
        assert started.pid and started.log and started.log.is_file() and str(started.log) in str(started)
        assert probe(started.host).models is not None
        again = start_server(env=env)
        assert again.pid is None and started.host in str(again)
    finally:
        psutil.Process(started.pid).terminate()


def test_never_without_consent(tmp_path: Path, lab_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = install(tmp_path, "touch started")
    with pytest.raises(LabError, match="does not run"):
        start_server(env=env)
    assert not (tmp_path / "started").exists()


def test_nothing_installed(tmp_path: Path, lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptoss_lab.setup.start._usual_places", lambda env, system: [tmp_path / "ollama"])
    with pytest.raises(LabError, match="not installed"):
        start_server(yes=True, env={"PATH": "", "OLLAMA_HOST": f"127.0.0.1:{free_port()}"})


def test_another_machine_is_left_alone(lab_home: Path) -> None:
    with pytest.raises(LabError, match=r"10\.9\.9\.9"):
        start_server(yes=True, env={"OLLAMA_HOST": "10.9.9.9"})


def test_a_program_that_ends_gives_its_last_words(tmp_path: Path, lab_home: Path) -> None:
    env = install(tmp_path, "echo 'Error: listen tcp: bind: address already in use' >&2; exit 1")
    with pytest.raises(LabError, match="address already in use") as caught:
        start_server(yes=True, env=env)
    assert "ollama-serve.log" in caught.value.next_step


def test_a_program_that_does_not_answer(tmp_path: Path, lab_home: Path) -> None:
    env = install(tmp_path, "sleep 3")
    with pytest.raises(LabError, match="does not answer"):
        start_server(yes=True, env=env, limit_s=0.5)


@pytest.mark.parametrize(
    ("system", "place"),
    [
        ("Windows", "AppData/Local/Programs/Ollama/ollama.exe"),
        ("Darwin", "Applications/Ollama.app/Contents/Resources/ollama"),
        ("Linux", ".local/bin/ollama"),
    ],
)
def test_where_installers_put_it(tmp_path: Path, system: str, place: str) -> None:
    program = tmp_path / "用户" / place
    program.parent.mkdir(parents=True)
    program.touch()
    env = {"PATH": "", "USERPROFILE": str(tmp_path / "用户"), "HOME": str(tmp_path / "用户")}
    assert find_program(env, system) == program
    assert find_program({"PATH": "", "HOME": str(tmp_path / "nobody")}, "Windows") is None


def test_in_a_terminal(lab_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "10.9.9.9")
    assert cli.main(["start", "--yes"]) == 1
    assert "10.9.9.9" in capsys.readouterr().err
