"""How far a pull is: the lines a server streams, added up to bytes, speed and time left.

A server names one layer per line (`digest`, `total`, and `completed` once there is something), about every 60 ms; the
last line of a layer may stay below its total, and small layers may never show. This module knows no clock and no
server: times come in from outside.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.setup.trouble import Trouble

WINDOW_S = 10.0
ENDS = ("done", "cancelled", "failed")


@dataclass(frozen=True)
class Progress:
    """One moment of a pull."""

    state: str = "checking"  # "pulling", "stalled", "retrying", "verifying", "done", "cancelled" or "failed" later
    layer: str = ""  # the first twelve digits of the file being loaded, as `ollama pull` shows it
    done_bytes: int = 0  # what earlier pulls have left counts too
    total_bytes: int = 0  # of the layers that the server has named so far
    bytes_per_s: float = 0.0  # over the last ten seconds; 0 while unknown
    left_s: float | None = None
    tries: int = 0  # how often the connection was lost since bytes last came
    trouble: "Trouble | None" = None  # what is wrong now, or was the end of it
    note: str = ""  # a sentence for the end: what is here, what is kept

    @property
    def ended(self) -> bool:
        return self.state in ENDS

    @property
    def share(self) -> float:
        """The part that is here, from 0 to 1."""
        return self.done_bytes / self.total_bytes if self.total_bytes else 0.0

    def __str__(self) -> str:
        """Return one line in the learner's language."""
        parts = [text(f"pull.state_{self.state}")]
        if self.total_bytes:
            parts.append(text("pull.amount", done=amount(self.done_bytes), total=amount(self.total_bytes)))
        if self.state == "pulling" and self.bytes_per_s:
            parts.append(f"{amount(self.bytes_per_s)}/s")
        if self.state == "pulling" and self.left_s is not None:
            parts.append(text("pull.left", time=duration(self.left_s)))
        if self.state in ("stalled", "retrying"):
            parts.append(text("pull.tries", n=self.tries))
        if self.layer and not self.ended:
            parts.append(text("pull.layer", name=self.layer))
        return " · ".join(parts)


def amount(size_bytes: float) -> str:
    """Return a size as Ollama writes it, with powers of ten: 13.8 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def duration(time_s: float) -> str:
    """Return a time in the words of somebody who waits: 40 s, 5 min, 1 h 10 min."""
    minutes, seconds = divmod(round(time_s), 60)
    if not minutes:
        return text("pull.seconds", s=seconds)
    hours, rest = divmod(minutes + (seconds >= 30), 60)
    return text("pull.hours", h=hours, min=rest) if hours else text("pull.minutes", min=rest)


def is_loading(line: Mapping[str, Any]) -> bool:
    """Say whether a line is about loading; after it come the checks and the manifest."""
    return str(line.get("status", "")).startswith("pulling")


@dataclass
class Tally:
    """The layers of one model, over all connections that it takes to pull it."""

    layer: str = ""
    loaded_bytes: int = 0  # came over the line since the start; what was kept from before does not count
    _totals: dict[str, int] = field(default_factory=dict)
    _shown: dict[str, int] = field(default_factory=dict)
    _here: dict[str, int] = field(default_factory=dict)  # as this connection says

    @property
    def done_bytes(self) -> int:
        return sum(self._shown.values())

    @property
    def total_bytes(self) -> int:
        return sum(self._totals.values())

    def reconnected(self) -> None:
        """Take the next line of each layer as a new starting point."""
        self._here.clear()

    def add(self, line: Mapping[str, Any]) -> bool:
        """Take a line in; return whether bytes came with it."""
        digest, before = line.get("digest") or "", self.loaded_bytes
        if digest:
            here = line.get("completed") or 0
            self.loaded_bytes += max(0, here - self._here.get(digest, here))
            self._here[digest] = here
            self._totals[digest] = line.get("total") or self._totals.get(digest, 0)
            self._shown[digest] = max(here, self._shown.get(digest, 0))
            self.layer = digest.removeprefix("sha256:")[:12]
        elif not is_loading(line):  # all layers are here, whatever was last said of them
            self._shown, self.layer = dict(self._totals), ""
        return self.loaded_bytes > before

    def forget(self, digest: str) -> None:
        """Count a layer as missing again, because the server has thrown it away."""
        self._shown.pop(digest, None)


class Meter:
    """Speed as a moving average."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, loaded_bytes: int) -> None:
        self._seen.append((now_s, loaded_bytes))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    @property
    def bytes_per_s(self) -> float:
        if len(self._seen) < 2:
            return 0.0
        (start_s, start), (end_s, end) = self._seen[0], self._seen[-1]
        return (end - start) / (end_s - start_s) if end_s > start_s else 0.0
