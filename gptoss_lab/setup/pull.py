"""Pull a model through the server's own /api/pull, to the end: over broken connections and silence, with a handle.

`pull()` starts a worker thread and returns at once; closing the notebook's tab does not end it, ending the kernel does.
What has come is kept by the server, and the next pull goes on from there. It writes no model file itself and draws
nothing: a widget takes `watch()`, a terminal `show_in_terminal()`.

>>> loading = pull("gpt-oss:20b")
>>> loading.wait()
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gptoss_lab.connect import Connection
from gptoss_lab.errors import LabError
from gptoss_lab.setup.pull_checks import Stopped, check, full_name, is_here, server_for, stopped
from gptoss_lab.setup.pull_progress import Meter, Progress, Tally, amount, is_loading
from gptoss_lab.setup.pull_terminal import show_in_terminal
from gptoss_lab.stream import LineStream
from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.setup.trouble import Trouble

__all__ = ["STALL_S", "WAITS_S", "Progress", "Pull", "pull", "running", "show_in_terminal"]

STALL_S = 30.0
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)  # before each new try without a byte: two minutes in all
_TICK_S = 0.5
_GONE_WRONG = re.compile(r"digest mismatch.*want (sha256:[0-9a-f]{64})")
_PASSING = re.compile(
    r"unexpected eof|connection (reset|refused|attempts failed)|time-?out|timed out|deadline exceeded|no such host"
    r"|name resolution|server misbehaving|network is unreachable|no route to host|broken pipe|closed network connection"
    r"|manifest: (429|5\d\d):",
    re.IGNORECASE,
)
_PASSING_STATUS = (429, 502, 503, 504)
_running: dict[tuple[str, str], "Pull"] = {}
_starting = threading.Lock()


def pull(
    model: str,
    lab: Connection | None = None,
    resume: bool = True,
    *,
    force: bool = False,
    insecure: bool = False,
    stall_s: float = STALL_S,
    waits_s: Sequence[float] = WAITS_S,
) -> "Pull":
    """Start to pull a model and return a handle at once; a pull of it that already runs is returned as it is.

    `resume` goes on after a broken connection or `stall_s` seconds of silence, waiting `waits_s` seconds before each
    try. `force` pulls also what is here already or does not seem to fit; `insecure` allows a registry without https.
    Raises LabError when no server answers; everything later is in the handle.
    """
    lab = lab or server_for(model)
    key = (lab.host, model)
    with _starting:
        if key not in _running or _running[key].progress.ended:
            _running[key] = Pull(model, lab, force, insecure, stall_s, tuple(waits_s) if resume else ())
        return _running[key]


def running(host: str, model: str) -> "Pull | None":
    """Return the latest pull of a model to a server that this session has started; None when there is none."""
    return _running.get((host, model))


class Pull:
    """A pull that runs: look at `progress`, `wait()`, `watch()` or `cancel()`."""

    def __init__(
        self, model: str, lab: Connection, force: bool, insecure: bool, stall_s: float, waits_s: tuple[float, ...]
    ) -> None:
        self.model, self.host, self.progress = model, lab.host, Progress()
        self._lab, self._force, self._insecure, self._stall_s, self._waits_s = lab, force, insecure, stall_s, waits_s
        self._tally, self._meter = Tally(), Meter()
        self._stream: LineStream | None = None
        self._mismatched = False
        self._watchers: list[Callable[[Progress], object]] = []
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._worker = threading.Thread(target=self._run, name=f"pull {model}", daemon=True)
        self._worker.start()

    def __repr__(self) -> str:
        return f"{self.model}: {self.progress}"

    def wait(self, timeout: float | None = None) -> Progress:
        """Wait for the end, at most `timeout` seconds, and return the progress; raises LabError when the pull failed.

        Interrupting the wait does not end the pull.
        """
        end_s = time.monotonic() + (float("inf") if timeout is None else timeout)
        while not self._ended.is_set() and (left_s := end_s - time.monotonic()) > 0:
            self._ended.wait(min(left_s, _TICK_S))  # in short steps, so that Windows hears Ctrl-C
        if self.progress.state == "failed":
            raise _as_error(self.progress.trouble) if self.progress.trouble else LabError(repr(self))
        return self.progress

    def cancel(self) -> Progress:
        """End the pull and return its last progress, whose note says what is kept."""
        self._cancelled.set()
        if stream := self._stream:
            stream.close()
        if threading.current_thread() is not self._worker:
            self._ended.wait(self._stall_s)
        return self.progress

    def watch(self, callback: Callable[[Progress], object]) -> Callable[[], None]:
        """Call `callback` with every new progress, from the pull's thread; return a function that ends this."""
        self._watchers.append(callback)

        def unsubscribe() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return unsubscribe

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._pull()
        except Exception as error:
            self._say("failed", trouble=self._trouble(error))
        finally:
            if not self.progress.ended:  # a mistake of this program: whoever waits must hear of it too
                self._say("failed", trouble=None)
            self._ended.set()

    def _pull(self) -> None:
        name = full_name(self.model)
        if not self._force:
            if is_here(self._lab, name):
                self._say("done", note=text("pull.already", model=name))
                return
            check(self._lab, name)
        while not self._cancelled.is_set():
            try:
                if self._follow_stream(name):
                    size = amount(self._tally.total_bytes)
                    self._say("done", tries=0, trouble=None, note=text("pull.here", model=name, size=size))
                    return
            except Exception as error:
                if not self._cancelled.is_set():
                    self._wait_before_next_try(error)
        self._say("cancelled", trouble=None, note=self._kept())

    def _follow_stream(self, name: str) -> bool:
        """Follow one connection and return whether it came to a good end, False when cancelled.

        Raises what broke it, and Stopped when nothing moves. Checking what is here takes minutes without a line.
        """
        self._tally.reconnected()
        body = {"model": name, "stream": True, "insecure": self._insecure}
        self._stream = LineStream(self._lab, "/api/pull", body)
        try:
            last: Mapping[str, Any] = {}
            moved_s = time.monotonic()
            while last.get("status") != "success" and not self._cancelled.is_set():
                line = self._stream.next(min(_TICK_S, self._stall_s))
                if line and line != last:
                    last, moved_s = line, time.monotonic()
                    self._take(line)
                elif self.progress.state != "verifying" and time.monotonic() - moved_s > self._stall_s:
                    raise stopped("stalled", seconds=round(self._stall_s))
                self._measure()
            return last.get("status") == "success"
        finally:
            self._stream.close()

    def _take(self, line: Mapping[str, Any]) -> None:
        came = self._tally.add(line)
        state = "pulling" if is_loading(line) else "verifying"
        self._say(state, **({"tries": 0, "trouble": None} if came else {}))

    def _measure(self) -> None:
        self._meter.add(time.monotonic(), self._tally.loaded_bytes)
        self._say(self.progress.state)

    def _wait_before_next_try(self, error: Exception) -> None:
        """Wait, or raise the error when it will not pass by itself or the tries are used up."""
        tries = self.progress.tries
        if tries >= len(self._waits_s) or not self._may_pass(error):
            raise error
        state = "stalled" if isinstance(error, Stopped) else "retrying"
        self._say(state, tries=tries + 1, trouble=self._trouble(error))
        self._cancelled.wait(self._waits_s[tries])

    def _may_pass(self, error: Exception) -> bool:
        import httpx

        if isinstance(error, (Stopped, httpx.TransportError)) or getattr(error, "status_code", 0) in _PASSING_STATUS:
            return True
        if wrong := _GONE_WRONG.search(str(error)):
            again, self._mismatched = self._mismatched, True
            self._tally.forget(wrong[1])
            return not again
        return bool(_PASSING.search(str(error))) or text("practice.broken_off") in str(error)

    def _trouble(self, error: Exception) -> "Trouble":
        from gptoss_lab.setup.trouble import explain

        return error.trouble if isinstance(error, Stopped) else explain(error, self.host, self.model)

    def _kept(self) -> str:
        done, total = amount(self._tally.done_bytes), amount(self._tally.total_bytes)
        return text("pull.kept", done=done, total=total) if self._tally.done_bytes else text("pull.nothing_kept")

    def _say(self, state: str, **changes: Any) -> None:
        """Publish a new progress when it differs from the last."""
        tally, speed = self._tally, self._meter.bytes_per_s
        progress = replace(
            self.progress,
            state=state,
            layer=tally.layer,
            done_bytes=tally.done_bytes,
            total_bytes=tally.total_bytes,
            bytes_per_s=speed,
            left_s=(tally.total_bytes - tally.done_bytes) / speed if speed else None,
            **changes,
        )
        if progress == self.progress:
            return
        self.progress = progress
        for watcher in tuple(self._watchers):
            try:
                watcher(progress)
            except Exception:  # a watcher's mistake must not cost the download
                logging.getLogger(__name__).exception("a watcher of the pull failed")


def _as_error(trouble: "Trouble") -> LabError:
    next_step = "\n".join(words for words in (trouble.do, trouble.command) if words)
    return LabError(f"{trouble.what} {trouble.why}".strip(), next_step)
