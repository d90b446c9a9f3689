"""`check` and `hint`: a reply to every try.

>>> check("speed", 30)
"""

import sys
from collections import Counter
from typing import Any

from gptoss_lab.learn import records
from gptoss_lab.learn.rules import RULES
from gptoss_lab.text import area_texts, language, text

_hints_given: Counter[str] = Counter()


def check(name: str, value: Any) -> bool:
    """Say whether the answer to an exercise is right, and why not; `...` means not tried yet. Never raises.

    A right answer is noted in the learner's record, unless it comes from the notebook's own solution.
    """
    if name not in RULES:
        print(text("learn.unknown_exercise", name=name, names=", ".join(RULES)))
        return False
    if value is ...:
        print(text("learn.not_tried"))
        return False
    reason = _reason(name, value)
    if reason:
        print(reason)
        hint(name)
        return False
    print(text("learn.right", more=_words(name)["right"]))
    if not _in_solution():
        _say(records.note(f"check:{name}"))
    return True


def hint(name: str) -> None:
    """Print the next hint for an exercise; the last one stays."""
    if name not in RULES:
        print(text("learn.unknown_exercise", name=name, names=", ".join(RULES)))
        return
    hints = _words(name)["hints"]
    place = min(_hints_given[name], len(hints) - 1)
    _hints_given[name] += 1
    print(text("learn.hint", number=place + 1, of=len(hints), hint=hints[place]))
    if _hints_given[name] > len(hints):
        print(text("learn.see_solution"))


def _reason(name: str, value: Any) -> str:
    """Return why a value is not right yet, or "" when it is."""
    try:
        reason = RULES[name](value)
    except Exception:  # any object may come in, and its own code may fail
        return text("learn.strange", kind=type(value).__name__)
    return text("learn.not_yet", reason=_words(name)["wrong"][reason]) if reason else ""


def _words(name: str) -> dict[str, Any]:
    found: dict[str, Any] = area_texts(language(), "check")[name]
    return found


def _in_solution() -> bool:
    """Return whether a notebook's solution cell is running: JupyterLab tells the kernel the cell's name."""
    ipython: Any = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    header = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return str(header.get("metadata", {}).get("cellId", "")).startswith("solution-")


def _say(words: str) -> None:
    if words:
        print(words)
