"""Pulls to their end: the real client and the practice server over a registry that breaks in every way it can."""

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from gptoss_lab import hardware
from gptoss_lab.connect import Connection, connect
from gptoss_lab.errors import LabError
from gptoss_lab.hardware import Machine
from gptoss_lab.practice import process
from gptoss_lab.setup import pull_checks
from gptoss_lab.setup.pull import Progress, Pull, pull, show_in_terminal
from gptoss_lab.setup.pull_progress import Meter, Tally, amount, duration
from gptoss_lab.setup.pull_terminal import fill
from gptoss_lab.tiny import MODEL_NAME, MODEL_PATH
from tests.conftest import running_server
from tests.registry import Registry, running_registry

RECORDED = json.loads((Path(__file__).parent / "pull_recorded.json").read_text(encoding="utf-8"))
SOON = (0.01,) * 8  # waits before each new try
SLOW_S = 0.01  # pause after each 32 KiB: the 3.5 MB take about a second
SIZE = MODEL_PATH.stat().st_size
LIMIT_S = 60


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry(MODEL_PATH.read_bytes(), b"Answer briefly.") as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Connection]:
    with running_server(tmp_path / "models") as url:
        yield connection(url)


def connection(url: str, kind: str = "ollama") -> Connection:
    client, async_client = ollama.Client(url, trust_env=False), ollama.AsyncClient(url, trust_env=False)
    return Connection(client, async_client, MODEL_NAME, url, kind, "", "")


def start(registry: Registry, lab: Connection, **more: Any) -> Pull:
    return pull(registry.model, lab, insecure=True, **{"waits_s": SOON, "stall_s": 20.0, **more})


def reached(loading: Pull, wanted: Callable[[Progress], bool]) -> threading.Event:
    """Return an event that is set as soon as the progress is as wanted."""
    event = threading.Event()
    loading.watch(lambda progress: event.set() if wanted(progress) else None)
    return event


def seen(loading: Pull) -> list[Progress]:
    """Return a list that grows with every progress."""
    progresses: list[Progress] = []
    loading.watch(progresses.append)
    return progresses


def never_falls(progresses: list[Progress]) -> bool:
    done = [progress.done_bytes for progress in progresses]
    return len(done) > 2 and done == sorted(done)


# --- adding up recorded streams ---------------------------------------------------------------------------------------


def replay(name: str, tally: Tally) -> list[int]:
    """Feed a recorded stream of a real server and return the bytes shown after each line."""
    shown = []
    for line in RECORDED[name]:
        tally.add(line)
        shown.append(tally.done_bytes)
    return shown


@pytest.mark.parametrize("name", ["progress", "uptodate", "resume"])
def test_a_recorded_pull_ends_whole(name: str) -> None:
    tally = Tally()
    shown = replay(name, tally)
    assert shown == sorted(shown) and shown[0] == 0
    assert tally.done_bytes == tally.total_bytes > 5_999_999 and not tally.layer


def test_what_was_kept_is_shown_at_once_and_is_no_speed() -> None:
    kept, fresh = Tally(), Tally()
    for line in RECORDED["resume"][:2]:
        kept.add(line)
    assert (kept.done_bytes, kept.loaded_bytes) == (1_600_000, 0)
    replay("cancel", fresh)
    assert fresh.loaded_bytes == 1_500_000  # from the first 50 kB that it told of to 1.55 MB


def test_a_second_connection_never_shows_less() -> None:
    tally = Tally()
    tally.add({"status": "pulling x", "digest": "sha256:aa", "total": 100, "completed": 90})
    tally.reconnected()
    assert not tally.add({"status": "pulling x", "digest": "sha256:aa", "total": 100})  # without `completed`: 0
    assert tally.add({"status": "pulling x", "digest": "sha256:aa", "total": 100, "completed": 20})
    assert (tally.done_bytes, tally.loaded_bytes) == (90, 20)
    tally.forget("sha256:aa")
    assert tally.done_bytes == 0


def test_speed_is_that_of_the_last_seconds() -> None:
    meter, recorded, tally = Meter(), Meter(), Tally()
    for second in range(30):
        meter.add(second, 1_000 * second if second < 15 else 15_000 + 5_000 * (second - 15))
    assert meter.bytes_per_s == pytest.approx(5_000)
    for line in RECORDED["progress"]:
        tally.add(line)
        recorded.add(line["t_ms"] / 1000, tally.loaded_bytes)
    assert 1.0e6 < recorded.bytes_per_s < 2.0e6  # the registry was throttled to 1.5 MB/s


def test_sizes_and_times_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [amount(n) for n in (0, 204, 1_500, 6_000_000, 13_779_630_336)] == [
        "0 B", "204 B", "1.5 kB", "6.0 MB", "13.8 GB"
    ]  # fmt: skip
    assert [duration(s) for s in (8, 60, 310, 3_629, 4_200)] == [
        "8 s",
        "1 min",
        "5 min",
        "1 h 0 min",
        "1 h 10 min",
    ]
    progress = Progress("pulling", "b112e727c6f1", 5 * 10**9, 10**10, 2e7, 250.0)
    assert str(progress) == "loading · 5.0 GB of 10.0 GB · 20.0 MB/s · 4 min left · file b112e727c6f1"
    monkeypatch.setenv("GPTOSS_LAB_LANG", "zh")
    assert str(progress) == "正在下载 · 5.0 GB / 10.0 GB · 20.0 MB/s · 还需 4 分钟 · 文件 b112e727c6f1"


# --- over a real server -----------------------------------------------------------------------------------------------


def test_a_pull_comes_to_its_end_before_two_watchers(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    loading = start(registry, lab)
    first, second = seen(loading), seen(loading)
    end = loading.wait(LIMIT_S)
    assert (end.state, end.done_bytes, end.total_bytes) == ("done", SIZE + 15, SIZE + 15)
    assert end.trouble is None and registry.model in end.note
    assert first == second and never_falls(first) and first[-1] == end
    assert {"pulling", "verifying", "done"} <= {progress.state for progress in first}
    assert any(progress.bytes_per_s > 0 and progress.left_s for progress in first)
    assert any(registry.first[7:19] == progress.layer for progress in first)
    reply = lab.client.generate(f"{registry.model}", "What is a token?", options={"num_predict": 4})
    assert reply.done


def test_a_watcher_may_fail_and_may_leave(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    loading = start(registry, lab)
    left: list[Progress] = []

    def leave_at_once(progress: Progress) -> None:
        left.append(progress)
        unsubscribe()

    unsubscribe = loading.watch(leave_at_once)
    loading.watch(lambda _: 1 / 0)
    assert loading.wait(LIMIT_S).state == "done" and len(left) == 1


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_cut_three_times_and_whole_in_the_end(registry: Registry, lab: Connection, fault: str) -> None:
    registry.pause_s = SLOW_S
    registry.faults.extend([(fault, 900_000)] * 3)
    loading = start(registry, lab)
    progresses = seen(loading)
    assert loading.wait(LIMIT_S).state == "done"
    retries = [progress for progress in progresses if progress.state == "retrying"]
    assert len({progress.done_bytes for progress in retries}) == 3 and all(one.trouble for one in retries)
    assert {progress.tries for progress in retries} == {1}  # bytes came in between
    assert never_falls(progresses)
    assert len(registry.starts) == 4 and registry.starts == sorted(registry.starts)
    assert registry.resent_share() <= 0.05


def test_silence_is_noticed_and_ended(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    registry.faults.append(("stall", 1_500_000))
    loading = start(registry, lab, stall_s=1.0)
    progresses = seen(loading)
    assert loading.wait(LIMIT_S).state == "done"
    stalled = [progress for progress in progresses if progress.state == "stalled"]
    assert stalled and stalled[0].trouble and stalled[0].trouble.code == "stalled"
    assert never_falls(progresses) and registry.resent_share() <= 0.05
    assert registry.starts[1] > 1_000_000


def test_tries_without_a_byte_come_to_an_end(registry: Registry, lab: Connection) -> None:
    registry.faults.extend([("stall", 0)] * 9)
    loading = start(registry, lab, stall_s=1.0, waits_s=SOON[:2])
    with pytest.raises(LabError, match="Nothing came for"):
        loading.wait(LIMIT_S)
    assert loading.progress.tries == 2 and len(registry.starts) == 3


def test_without_resume_the_first_break_is_the_end(registry: Registry, lab: Connection) -> None:
    registry.faults.append(("cut", 500_000))
    with pytest.raises(LabError):
        start(registry, lab, resume=False).wait(LIMIT_S)
    assert len(registry.starts) == 1


def test_cancel_keeps_the_part_and_the_next_pull_goes_on(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    loading = start(registry, lab)
    assert reached(loading, lambda progress: progress.done_bytes > 1_000_000).wait(LIMIT_S)
    end = loading.cancel()
    assert end.state == "cancelled" and amount(end.done_bytes) in end.note and loading.wait(1) == end
    again = start(registry, lab)
    assert again is not loading
    progresses = seen(again)
    assert again.wait(LIMIT_S).state == "done"
    assert registry.starts[1] >= end.done_bytes and registry.resent_share() <= 0.05
    assert min(progress.done_bytes for progress in progresses if progress.layer) >= end.done_bytes


def test_cancel_ends_a_silence(registry: Registry, lab: Connection) -> None:
    registry.faults.append(("stall", 500_000))
    loading = start(registry, lab)
    assert reached(loading, lambda progress: progress.done_bytes > 0).wait(LIMIT_S)
    assert loading.cancel().state == "cancelled"
    assert start(registry, lab).wait(LIMIT_S).state == "done" and 0 < registry.starts[1] <= 500_000


def test_the_same_pull_twice_is_one(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    loading = start(registry, lab)
    assert start(registry, lab) is loading
    assert loading.wait(LIMIT_S).state == "done" and len(registry.starts) == 1


def test_two_who_pull_the_same_share_one_download(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    one = Pull(registry.model, lab, False, True, 20.0, ())
    two = Pull(registry.model, lab, False, True, 20.0, ())
    half = reached(two, lambda progress: progress.done_bytes > SIZE / 2)
    assert half.wait(LIMIT_S)  # whoever does not load looks on
    assert one.wait(LIMIT_S).state == two.wait(LIMIT_S).state == "done"
    assert registry.starts == [0] and registry.resent_share() == 0


def test_wrong_bytes_are_loaded_once_more(registry: Registry, lab: Connection) -> None:
    registry.wrong = 1
    assert start(registry, lab).wait(LIMIT_S).state == "done"
    assert registry.starts == [0, 0]


def test_wrong_bytes_twice_are_the_end(registry: Registry, lab: Connection) -> None:
    registry.wrong = 9
    loading = start(registry, lab)
    with pytest.raises(LabError):
        loading.wait(LIMIT_S)
    assert loading.progress.state == "failed" and registry.starts == [0, 0]
    assert loading.progress.done_bytes == 15  # the system message; the model's bytes are thrown away


def test_a_missing_model_is_said_at_once(registry: Registry, lab: Connection) -> None:
    loading = pull(f"{registry.host}/missing/x", lab, insecure=True, waits_s=SOON)
    with pytest.raises(LabError) as said:
        loading.wait(LIMIT_S)
    assert loading.progress.state == "failed" and loading.progress.tries == 0
    assert loading.progress.trouble and loading.progress.trouble.what in str(said.value)


def test_a_registry_with_a_bad_moment_is_asked_again(registry: Registry, lab: Connection) -> None:
    registry.manifest_status.extend([503, 500])
    assert start(registry, lab).wait(LIMIT_S).state == "done" and not registry.manifest_status


def test_nobody_at_the_registry_ends_after_all_tries(lab: Connection) -> None:
    loading = pull("127.0.0.1:9/test/x", lab, insecure=True, waits_s=SOON[:3])
    with pytest.raises(LabError):
        loading.wait(LIMIT_S)
    assert loading.progress.tries == 3


def test_no_server_is_said_without_tries() -> None:
    loading = pull("gpt-oss:20b", connection("http://127.0.0.1:9"), waits_s=SOON)
    with pytest.raises(LabError):
        loading.wait(LIMIT_S)
    assert loading.progress.tries == 0


@pytest.mark.parametrize(
    ("words", "passes"),
    [
        ('Get "https://x/v2/": dial tcp: lookup x on 192.0.2.53:53: no such host', True),
        ("max retries exceeded: read tcp 10.0.0.2:5->1.2.3.4:443: read: connection reset by peer", True),
        ("max retries exceeded: unexpected EOF", True),
        ('Get "https://x/v2/": net/http: TLS handshake timeout', True),
        ("pull model manifest: 503: try later", True),
        ("pull model manifest: 403: denied", False),
        ("pull model manifest: file does not exist", False),
        ("write /usr/share/ollama/blobs/x: no space left on device", False),
        (
            'Get "https://x/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority',
            False,
        ),
    ],
)
def test_what_passes_by_itself(lab: Connection, words: str, passes: bool) -> None:
    done = pull(MODEL_NAME, lab)
    assert done._may_pass(ollama.ResponseError(words)) is passes


def test_words_of_a_real_server_about_wrong_bytes(lab: Connection) -> None:
    done, error = pull(MODEL_NAME, lab), ollama.ResponseError(RECORDED["corrupt"][-1]["error"])
    for line in RECORDED["corrupt"][:-1]:
        done._tally.add(line)
    assert done._may_pass(error) and done._tally.done_bytes == 217  # once more, and only the large file
    assert not done._may_pass(error)


def test_the_practice_server_breaks_off_in_a_real_servers_words(registry: Registry, lab: Connection) -> None:
    registry.faults.append(("cut", 500_000))
    with pytest.raises(ollama.ResponseError, match=r"^max retries exceeded: unexpected EOF"):
        list(lab.client.pull(registry.model, insecure=True, stream=True))
    assert list(lab.client.pull(registry.model, insecure=True, stream=True))[-1].status == "success"
    assert registry.starts == [0, 500_000]


def test_a_practice_server_of_its_own_can_be_left_and_may_die(lab_home: Path, registry: Registry) -> None:
    lab = connect("practice")
    registry.pause_s = SLOW_S
    registry.faults.append(("stall", 500_000))
    loading = start(registry, lab)
    assert reached(loading, lambda progress: progress.done_bytes > 0).wait(LIMIT_S)
    assert loading.cancel().state == "cancelled"
    again = start(registry, lab)
    progresses = seen(again)
    assert reached(again, lambda progress: progress.done_bytes > 1_000_000).wait(LIMIT_S)
    process.stop()
    assert again.wait(LIMIT_S).state == "done" and never_falls(progresses)
    assert {"retrying", "pulling"} <= {progress.state for progress in progresses}
    assert registry.resent_share() <= 0.05


def test_a_mistake_of_this_program_ends_the_wait(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pull, "_trouble", lambda *_: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    with pytest.raises(LabError, match="failed"):
        pull("a bad name", lab).wait(LIMIT_S)


# --- before it starts -------------------------------------------------------------------------------------------------


def test_what_is_here_is_not_loaded_again(lab: Connection) -> None:
    end = pull(MODEL_NAME, lab).wait(LIMIT_S)
    assert end.state == "done" and "already here" in end.note and end.total_bytes == 0
    forced = pull(MODEL_NAME, lab, force=True).wait(LIMIT_S)
    assert forced.done_bytes == forced.total_bytes == SIZE


@pytest.mark.parametrize("name", ["", "gpt oss", "///x", "gpt-oss:20b:y"])
def test_a_name_that_is_none(lab: Connection, name: str) -> None:
    with pytest.raises(LabError, match="not the name of a model"):
        pull(name, lab).wait(LIMIT_S)


def machine(**more: Any) -> Machine:
    roomy = {"ram_total_gib": 64.0, "ram_free_gib": 60.0, "disk_free_gb": 500.0, "models_folder": "/models 模型"}
    return Machine("test", "Linux", **{**roomy, **more})


def refusal(lab: Connection, monkeypatch: pytest.MonkeyPatch, found: Machine) -> LabError:
    """Return what pull() says of gpt-oss:20b on a machine, after a look that no byte was asked for."""
    monkeypatch.setattr(hardware, "detect", lambda: found)
    loading = pull("gpt-oss:20b", lab)
    with pytest.raises(LabError) as said:
        loading.wait(LIMIT_S)
    assert loading.progress.state == "failed" and loading.progress.layer == ""
    return said.value


def test_a_small_disk_is_said_before_the_first_byte(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(lab, monkeypatch, machine(disk_free_gb=5.0))
    assert re.search(r"13\.8 GB .* 5\.0 GB .*/models 模型", said.what)
    assert "OLLAMA_MODELS" in said.next_step and "force=True" in said.next_step


def test_too_little_memory_is_said_before_the_first_byte(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(lab, monkeypatch, machine(ram_total_gib=4.0, ram_free_gib=3.0))
    assert "would not run" in said.what and "force=True" in said.next_step


def test_the_practice_server_is_no_place_for_gpt_oss(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(connection(lab.host, "practice"), monkeypatch, machine())
    assert "practice server" in said.what and "doctor()" in said.next_step


def test_room_enough_and_force_go_on(lab: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "detect", machine)
    pull_checks.check(lab, "gpt-oss:20b")
    monkeypatch.setattr(hardware, "detect", lambda: machine(disk_free_gb=5.0))
    pull_checks.check(connection("http://192.0.2.7:11434"), "gpt-oss:20b")  # another machine's disk is not known
    pull_checks.check(lab, "llama-of-somebody:7b")
    with pytest.raises(pull_checks.Stopped):
        pull_checks.check(lab, "gpt-oss:latest")


def test_an_ollama_without_models_is_where_a_pull_goes(
    lab: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("OLLAMA_HOST", "GPTOSS_LAB_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pull_checks, "LOCAL_OLLAMA", lab.host)
    found = pull_checks.server_for("gpt-oss:20b")
    assert (found.host, found.kind, found.model) == (lab.host, "ollama", "gpt-oss:20b")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    with pytest.raises(LabError, match="OLLAMA_HOST"):
        pull_checks.server_for("gpt-oss:20b")


# --- in a terminal ----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_changes(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    out = Terminal()
    assert show_in_terminal(start(registry, lab), out).state == "done"
    changing, last, rest = out.getvalue().split("\n")
    assert changing.count("\r") > 2 and "100 %" in changing and registry.model in last and not rest


def test_a_file_gets_plain_lines(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S
    out = io.StringIO()
    show_in_terminal(start(registry, lab), out)
    assert "\r" not in out.getvalue() and 2 <= len(out.getvalue().splitlines()) <= 6


def test_ctrl_c_cancels_and_says_how_to_go_on(registry: Registry, lab: Connection) -> None:
    registry.pause_s = SLOW_S

    class Interrupted(Terminal):
        def write(self, words: str) -> int:
            if loading.progress.done_bytes > 500_000 and not loading.progress.ended:
                raise KeyboardInterrupt
            return super().write(words)

    loading, out = start(registry, lab), Interrupted()
    assert show_in_terminal(loading, out).state == "cancelled"
    assert "kept" in out.getvalue().splitlines()[-1]


def test_a_failure_is_shown_and_raised(registry: Registry, lab: Connection) -> None:
    out = io.StringIO()
    with pytest.raises(LabError):
        show_in_terminal(pull(f"{registry.host}/missing/x", lab, insecure=True), out)
    assert out.getvalue().splitlines()[-1].startswith("failed")


def test_a_line_takes_just_its_columns() -> None:
    assert [fill("abcdef", 4), fill("正在下载", 5), fill("ab", 4)] == ["abcd", "正在 ", "ab  "]
