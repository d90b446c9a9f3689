"""Every sentence the package says to a learner, per language.

One JSON file per area and language: `text("connect.label")` is the key `label` of `<language>/connect.json`.
This module knows no widget and no figure; figures come from `gptoss_lab.facts`.
"""

import json
import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")


def language() -> str:
    """Return the learner's language: `GPTOSS_LAB_LANG`, else the working folder's name, else English."""
    named = os.environ.get("GPTOSS_LAB_LANG", "")[:2].lower()
    return next((name for name in (named, _folder()) if name in LANGUAGES), "en")


def _folder() -> str:
    try:
        return Path.cwd().name
    except OSError:  # the working folder has been deleted
        return ""


def text(key: str, /, **values: Any) -> str:
    """Return the sentence `area.name` in the learner's language with its fields filled in.

    Raises KeyError for an unknown key.
    """
    area, name = key.split(".", 1)
    sentence: str = area_texts(language(), area)[name]
    return sentence.format(**values)


@lru_cache
def area_texts(lang: str, area: str) -> dict[str, Any]:
    """Return the whole text file of one area, for instance the quiz questions."""
    content: dict[str, Any] = json.loads((files(__package__) / lang / f"{area}.json").read_text(encoding="utf-8"))
    return content
