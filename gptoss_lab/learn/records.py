"""What the learner has done, in one JSON file on this computer.

A file that cannot be read is put aside, one that cannot be written gives way to memory; both are said in a sentence.
It knows nothing about notebooks.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gptoss_lab.home import home
from gptoss_lab.text import text

Entries = dict[str, dict[str, Any]]
_unsaved: Entries = {}  # what could not be written; lives as long as the kernel


@dataclass(frozen=True)
class Record:
    """Everything noted so far, where it is kept, and what a learner should know about that."""

    entries: Entries = field(default_factory=dict)
    words: str = ""

    def done(self, key: str) -> bool:
        """Return whether the exercise or quiz was answered rightly, in full."""
        entry = self.entries.get(key, {})
        return bool(entry) and entry.get("right") == entry.get("of")


def path() -> Path:
    """Return the file that holds the record."""
    return home() / "progress.json"


def load() -> Record:
    """Return the record; never raises."""
    entries, words = _read()
    return Record({**entries, **_unsaved}, words)


def note(key: str, right: int = 1, of: int = 1) -> str:
    """Note a result under `check:NAME` or `quiz:NAME`; return what a learner should know about its keeping.

    A better result is never replaced by a worse one. Never raises.
    """
    record = load()
    if record.entries.get(key, {}).get("right", -1) >= right and record.entries[key].get("of") == of:
        return record.words
    entry = {"right": right, "of": of, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    return _write({**record.entries, key: entry}) or record.words


def clear() -> str:
    """Forget everything; return what a learner should know about it."""
    return _write({})


def _read() -> tuple[Entries, str]:
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
        return {str(key): dict(entry) for key, entry in content["entries"].items()}, ""
    except FileNotFoundError:
        return {}, ""
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}, _put_aside()
    except OSError as error:
        return {}, text("learn.in_memory", reason=error.strerror or error)


def _put_aside() -> str:
    kept = path().with_suffix(".json.bad")
    with suppress(OSError):
        path().replace(kept)
        return text("learn.put_aside", path=kept)
    return text("learn.unreadable", path=path())


def _write(entries: Entries) -> str:
    """Replace the file in one step, so that two notebooks never leave half a file."""
    content = json.dumps({"version": 1, "entries": entries}, ensure_ascii=False, indent=1)
    _unsaved.clear()
    try:
        draft = path().with_name(f"progress.{os.getpid()}.part")
        draft.write_text(content, encoding="utf-8")
        draft.replace(path())
    except OSError as error:
        _unsaved.update(entries)
        return text("learn.in_memory", reason=error.strerror or error)
    return ""
