"""The practice server as a process of its own: one per user, machine and version, found again by a state file.

Whoever needs it holds it (a small file with the holder's process id). It ends when its last holder has ended, or when
nobody asked it anything for half an hour. A server that has died or hangs is noticed, its last words are read, and a
new one is started. The machine is part of the file names, because process ids mean nothing on another machine and a
classroom's machines may share one home. How requests are answered is the business of `gptoss_lab.practice.server`.
"""

import asyncio
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_lab.errors import LabError
from gptoss_lab.home import home
from gptoss_lab.practice.engine_check import check_engine, why_it_ended
from gptoss_lab.text import language, text
from gptoss_lab.version import __version__

if TYPE_CHECKING:
    from gptoss_lab.practice.server import PracticeServer

IDLE_LIMIT_S = 1800.0
START_LIMIT_S = 60.0
END_LIMIT_S = 10.0
ANSWER_LIMIT_S = 5.0
LAST_WORDS = 5


@dataclass(frozen=True)
class Running:
    """A practice server that runs."""

    host: str
    pid: int
    created_s: float
    version: str
    python: str
    log: str


@dataclass(frozen=True)
class Found:
    """A running server, and what happened to the one before it if that one died."""

    server: Running
    accident: str = ""


def find() -> Running | None:
    """Return the running server of this version, or None."""
    running = _read_state()
    return running if running and _alive(running.pid, running.created_s) and _answers(running.host) else None


def lives_at(host: str) -> bool:
    """Say whether the server of that address still lives, without asking it: a port may have a new owner."""
    running = _read_state()
    return running is not None and running.host == host and _alive(running.pid, running.created_s)


def ensure(port: int = 0) -> Found:
    """Return a running server, started if there is none; this process becomes one of its holders.

    Raises LabError in plain words when it cannot start.
    """
    hold()
    if running := find():
        return Found(running)
    with _only_one_starts():
        if running := find():
            return Found(running)
        accident = _accident()
        return Found(_start(port), accident)


def hold() -> None:
    """Keep the server alive as long as this process lives."""
    import psutil

    folder = _holders()
    folder.mkdir(parents=True, exist_ok=True)
    me = psutil.Process()
    _write(folder / f"{me.pid}.json", {"pid": me.pid, "created_s": me.create_time()})


def release() -> None:
    """Let go: the server may end if nobody else holds it."""
    _remove(_holders() / f"{os.getpid()}.json")


def is_held() -> bool:
    """Say whether any living process holds the server."""
    return any(_living_holders())


def stop() -> bool:
    """End the server whoever holds it, also one that hangs, and say whether there was one."""
    running = _read_state()
    if not running or not _alive(running.pid, running.created_s):
        return False
    _end(running, END_LIMIT_S)
    _remove(_state())
    return True


def main(port: int) -> int:
    """Be the server until its holders are gone; return the exit code. Errors are said on standard error."""
    try:
        check_engine()
        asyncio.run(_serve(port))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(port: int) -> None:
    from gptoss_lab.practice.server import PracticeServer, Settings

    server = PracticeServer(Settings.from_env(home() / "models"))
    try:
        port = await server.start(port)
    except LabError:
        port = await server.start(0)  # somebody took the port of the server that died
    mine = _describe(port)
    _write(_state(), asdict(mine))
    try:
        await _until_unneeded(server)
    finally:
        if _read_state() == mine:
            _remove(_state())
        await server.close()


async def _until_unneeded(server: "PracticeServer") -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: loop.call_soon_threadsafe(ended.set))
    idle_limit_s = float(os.environ.get("GPTOSS_LAB_IDLE_S", IDLE_LIMIT_S))
    while not ended.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), 1.0)
        if not is_held() or server.idle_s > idle_limit_s:
            return


def _living_holders() -> Iterator[Path]:
    """Yield the files of holders that live; the others are removed."""
    for path in _holders().glob("*.json"):
        if _holder_lives(path):
            yield path
        else:
            _remove(path)


def _holder_lives(path: Path) -> bool:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return _alive(holder["pid"], holder["created_s"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    except OSError:  # Windows: it is being written at this moment
        return True


def _describe(port: int) -> Running:
    import psutil

    me = psutil.Process()
    host = f"http://127.0.0.1:{port}"
    return Running(host, me.pid, me.create_time(), __version__, sys.executable, str(_log()))


def _start(port: int) -> Running:
    log = _log()
    with contextlib.suppress(OSError):
        log.replace(log.with_suffix(".old.log"))
    command = [sys.executable, "-m", "gptoss_lab.practice", "--port", str(port)]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **_apart())
    limit_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit_s:
        if running := find():
            return running
        if process.poll() is not None:
            raise LabError(*why_it_ended(process.returncode, _last_words()))
        time.sleep(0.02)
    process.kill()
    raise LabError(*_too_slow())


def _too_slow() -> tuple[str, str]:
    return text("practice.too_slow", seconds=int(START_LIMIT_S)), text("practice.see_log", log=_log())


def _apart() -> dict[str, Any]:
    """Return what sets a process apart from its parent.

    It is not ended by the parent's Ctrl-C, and works in a folder where no `json.py` of the learner's stands in for
    the real one; its last words are in the learner's language and in UTF-8.
    """
    told = {"GPTOSS_LAB_HOME": str(home()), "GPTOSS_LAB_LANG": language(), "PYTHONIOENCODING": "utf-8"}
    place: dict[str, Any] = {"cwd": home(), "env": {**os.environ, **told}}
    if sys.platform == "win32":
        return {**place, "creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {**place, "start_new_session": True}


def _end(running: Running, patience_s: float) -> None:
    """End a server, by force if it still lives after that time."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(running.pid)
        process.terminate()
        limit_s = time.monotonic() + patience_s
        while _alive(running.pid, running.created_s) and time.monotonic() < limit_s:
            time.sleep(0.02)
        process.kill()


def _accident() -> str:
    """Return one sentence about a server that died or hangs and left its state file behind; clear it away."""
    state = _state()
    if not state.is_file():
        return ""
    running = _read_state()
    _remove(state)
    if running and _alive(running.pid, running.created_s):
        _end(running, 0)
        return text("practice.hung")
    words = _last_words()
    return text("practice.accident_words", words=words[-1]) if words else text("practice.accident")


def _last_words() -> list[str]:
    try:
        lines = _log().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-LAST_WORDS:]


def _alive(pid: int, created_s: float) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created_s) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, TypeError, ValueError):
        return False


def _answers(host: str) -> bool:
    import httpx

    try:
        reply = httpx.get(f"{host}/api/version", timeout=ANSWER_LIMIT_S, trust_env=False)
    except httpx.HTTPError:
        return False
    return reply.status_code == 200 and "practice" in reply.text


@contextlib.contextmanager
def _only_one_starts() -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(_file(".lock"))
    try:
        lock.acquire(timeout=START_LIMIT_S)
    except Timeout as error:
        raise LabError(*_too_slow()) from error
    try:
        yield
    finally:
        lock.release()


def _read_state() -> Running | None:
    try:
        return Running(**json.loads(_state().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file so that a reader sees all of it or the old one."""
    whole = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    whole.write_text(json.dumps(content), encoding="utf-8")
    for _ in range(50):
        with contextlib.suppress(PermissionError):  # Windows: somebody reads the old one at this moment
            whole.replace(path)
            return
        time.sleep(0.01)
    whole.replace(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or read by somebody on Windows
        path.unlink()


def _state() -> Path:
    return _file(".json")


def _holders() -> Path:
    return _file("-holders")


def _log() -> Path:
    return _file(".log")


def _file(ending: str) -> Path:
    machine = re.sub(r"[^\w.-]", "_", platform.node())
    return home() / f"practice-{__version__}-{machine}{ending}"
