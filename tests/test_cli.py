"""`gptoss-lab` as a learner types it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from gptoss_lab import __version__, cli, course
from gptoss_lab.practice import process
from gptoss_lab.tiny import MODEL_NAME, MODEL_PATH

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="sends Ctrl-C to a process group the POSIX way")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gptoss_lab.cli", *arguments]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=90, env=env)


def test_version(lab_home: Path) -> None:
    assert run("--version").stdout.strip() == f"gptoss-lab {__version__}"


def test_ask_gets_an_answer_from_the_practice_model(lab_home: Path) -> None:
    done = run("ask", "What is a token?", "--server", "practice")
    assert done.returncode == 0 and "token" in done.stdout.splitlines()[-1]
    assert "practice model: knows this course only" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "what is this"])
def test_a_server_that_cannot_be_reached_is_one_sentence(lab_home: Path, server: str) -> None:
    done = run("ask", "Hello", "--server", server)
    assert done.returncode == 1 and server in done.stderr and "Traceback" not in done.stderr


def test_a_server_named_in_the_environment_is_asked(lab_home: Path) -> None:
    done = run("ask", "Hello", GPTOSS_LAB_SERVER="http://127.0.0.1:9")
    assert done.returncode == 1 and "http://127.0.0.1:9" in done.stderr
    opened = run("--no-browser", GPTOSS_LAB_SERVER="http://127.0.0.1:9")
    assert opened.returncode == 1 and "http://127.0.0.1:9" in opened.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("OLLAMA_API_KEY", "你的密钥"), ("OLLAMA_HOST", "room:port"), ("OLLAMA_HOST", "三 四")]
)
def test_a_variable_that_cannot_be_right_is_one_sentence(lab_home: Path, name: str, value: str) -> None:
    done = run("ask", "Hello", "--server", "practice", **{name: value})
    assert done.returncode == 1 and name in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_breaks_off_is_one_sentence(lab_home: Path) -> None:
    tags = b'{"models": [{"model": "gpt-oss:20b"}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    replies = [head + b"Content-Length: %d\r\n\r\n" % len(tags) + tags, head + b"Content-Length: 99\r\n\r\n"]
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        threading.Thread(target=answer_each, args=(server, replies), daemon=True).start()
        done = run("ask", "Hello", "--server", f"127.0.0.1:{server.getsockname()[1]}")
    assert done.returncode == 1 and "broke off" in done.stderr and "Traceback" not in done.stderr


def answer_each(server: socket.socket, replies: list[bytes]) -> None:
    for reply in replies:
        with server.accept()[0] as caller:
            caller.recv(65536)
            caller.sendall(reply)


def test_a_terminal_without_chinese_letters_is_no_error(lab_home: Path) -> None:
    done = run("stop", "--lang", "zh", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "") and "?" in done.stdout


def test_copy_gives_an_own_copy_and_keeps_what_is_changed(lab_home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mein Kurs 课程"
    first = course.copy(mine)
    shipped = [path for path in course.source().rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert {mine / path for path in first.new} >= {mine / path.relative_to(course.source()) for path in shipped}
    changed, lost = mine / first.new[0], mine / first.new[-1]
    changed.write_text("my own work", encoding="utf-8")
    lost.unlink()
    second = course.copy(mine)
    assert changed.read_text(encoding="utf-8") == "my own work"
    assert second.kept == [first.new[0]] and second.new == [first.new[-1]]


def test_half_a_copy_does_not_pass_for_the_learners_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(source: Path, target: Path) -> None:
        target.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(course.shutil, "copyfile", disk_full)
        with pytest.raises(OSError, match="No space left"):
            course.copy(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not course.copy(tmp_path).kept


def test_copy_to_an_impossible_place_is_one_sentence(lab_home: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    done = run("copy", str(blocked / "below"))
    assert done.returncode == 1 and "file" in done.stderr and "Traceback" not in done.stderr


def test_stop(lab_home: Path) -> None:
    process.ensure()
    assert "ended" in run("stop").stdout and process.find() is None
    assert "No practice server" in run("stop").stdout


@pytest.mark.parametrize(
    ("content", "words"), [(b"junk", "not a GGUF"), (None, "no file"), (b"GGUF" + b"\0" * 9, "header")]
)
def test_serve_refuses_what_is_no_model(lab_home: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "model.gguf"
    if content is not None:
        file.write_bytes(content)
    done = run("serve", "--model", str(file))
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_serve_refuses_what_is_no_port(lab_home: Path, port: str) -> None:
    done = run("serve", f"--port={port}")
    assert done.returncode == 1 and f"{port} is not a port" in done.stderr


@POSIX
def test_serve_a_file_of_the_learners_until_ctrl_c(lab_home: Path, tmp_path: Path) -> None:
    own = tmp_path / "My model.gguf"
    own.write_bytes(MODEL_PATH.read_bytes())
    command = [sys.executable, "-m", "gptoss_lab.cli", "serve", "--model", str(own), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        host = re.search(r"http://\S+", child.stdout.readline())
        assert host
        names = [model["name"] for model in httpx.get(f"{host[0]}/api/tags").json()["models"]]
        assert sorted(names) == sorted(["my-model:latest", MODEL_NAME])
        taken = run("serve", "--port", host[0].rsplit(":", 1)[1])
        assert taken.returncode == 1 and "is taken" in taken.stderr
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0


def test_a_taken_port_names_a_free_one(lab_home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("--no-browser", "--server", "practice", "--port", str(other.getsockname()[1]))
    assert done.returncode == 1 and "gptoss-lab --port" in done.stderr


@POSIX
def test_ctrl_c_leaves_nothing_running(lab_home: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gptoss_lab.cli", "--no-browser", "--server", "practice", "--port", str(port)]
    log = lab_home.parent / "log"
    with log.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    wait_for_lab(port, log)
    assert "practice model: knows this course only" in log.read_text(encoding="utf-8")
    family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(process.ensure().server.pid)]
    process.release()  # this test only looked
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(40) == 0
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left


def wait_for_lab(port: int, log: Path) -> None:
    until_s = time.monotonic() + 90
    while time.monotonic() < until_s:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(log.read_text(encoding="utf-8"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_help_speaks_the_learners_language(lab_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "zh")
    assert "练习服务器" in cli._parser().format_help()


def test_hardware_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hardware"]) == 0
    told = capsys.readouterr().out
    assert "gpt-oss:20b" in told and "gpt-oss:120b" in told
    assert cli.main(["hardware", "--json"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(shown)
    assert shown.isascii() and found["schema"] == 1 and found["machine"]["ram_total_gib"] > 0
    assert [verdict["model"] for verdict in found["verdicts"]] == ["gpt-oss:20b", "gpt-oss:120b"]


def test_every_field_of_the_json_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            inner = [deeper for name, deeper in value.items() if name != "readings"]
            return set(value) | names(inner)
        return {one for entry in value for one in names(entry)} if isinstance(value, list) else set()

    cli.main(["hardware", "--json"])
    page = (Path(__file__).parent.parent / "docs" / "hardware_json.md").read_text(encoding="utf-8")
    documented = {name for code in re.findall(r"`([^`]+)`", page) for name in code.split(".")}
    assert names(json.loads(capsys.readouterr().out)) <= documented


def test_hardware_of_a_server_that_does_not_answer_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hardware", "--server", "http://127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_hardware_of_any_file_and_of_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hardware", "--model", str(MODEL_PATH), "--context", "512"]) == 0
    assert "512" in capsys.readouterr().out
    for wrong in (["--model", "gpt-oss:7b"], ["--context", "-1"], ["--model", __file__]):
        assert cli.main(["hardware", *wrong]) == 1
        assert len(capsys.readouterr().err.splitlines()) >= 2


def test_hardware_on_a_chinese_console() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "gbk", "PYTHONUTF8": "0", "GPTOSS_LAB_LANG": "zh"}
    ran = subprocess.run([sys.executable, "-m", "gptoss_lab.cli", "hardware"], env=env, capture_output=True, check=True)
    assert "内存" in ran.stdout.decode("gbk")
