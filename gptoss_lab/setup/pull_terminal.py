"""A pull as one line that keeps changing, or as plain lines where the output is no terminal.

Only characters that every console has are drawn; the words come from the progress itself.
"""

import shutil
import sys
import time
import unicodedata
from typing import TYPE_CHECKING, TextIO

from gptoss_lab.setup.pull_progress import Progress

if TYPE_CHECKING:
    from gptoss_lab.setup.pull import Pull

_REFRESH_S = 0.2
_PLAIN_EVERY_S = 10.0
_BAR = 20


def show_in_terminal(pull: "Pull", out: TextIO | None = None) -> Progress:
    """Show a pull until it ends and return its last progress; Ctrl-C cancels it and says how to go on.

    Raises LabError when the pull failed.
    """
    out = out or sys.stdout
    show = _Line(out) if out.isatty() else _Lines(out)
    try:
        while not pull.progress.ended:
            show.put(pull.progress)
            time.sleep(_REFRESH_S)
    except KeyboardInterrupt:
        pull.cancel()
    show.end(pull.progress)
    return pull.wait()


class _Line:
    """One line of a terminal, written over and over."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def put(self, progress: Progress) -> None:
        filled = int(_BAR * progress.share)
        words = f"[{'#' * filled}{'-' * (_BAR - filled)}] {100 * progress.share:3.0f} %  {progress}"
        columns = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r{fill(words, columns)}")
        self._out.flush()

    def end(self, progress: Progress) -> None:
        self.put(progress)
        self._out.write(f"\n{_last_words(progress)}")
        self._out.flush()


class _Lines:
    """A line for each change of state, and one now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._state, self._said_s = out, "", 0.0

    def put(self, progress: Progress) -> None:
        if progress.state != self._state or time.monotonic() - self._said_s > _PLAIN_EVERY_S:
            self._state, self._said_s = progress.state, time.monotonic()
            self._out.write(f"{progress}\n")
            self._out.flush()

    def end(self, progress: Progress) -> None:
        self.put(progress)
        self._out.write(_last_words(progress))
        self._out.flush()


def _last_words(progress: Progress) -> str:
    return f"{progress.note}\n" if progress.note else ""


def fill(words: str, columns: int) -> str:
    """Return the words cut or filled up to so many columns; Chinese characters take two."""
    width = 0
    for place, sign in enumerate(words):
        taken = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if width + taken > columns:
            return words[:place] + " " * (columns - width)
        width += taken
    return words + " " * (columns - width)
