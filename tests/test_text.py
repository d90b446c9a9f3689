"""The two languages say the same things: same files, same keys, same fields to fill in."""

import json
import string
from pathlib import Path
from typing import Any

import pytest

from gptoss_lab import text as text_package
from gptoss_lab.text import LANGUAGES

FOLDER = Path(text_package.__file__).parent
FILES = sorted({path.name for lang in LANGUAGES for path in (FOLDER / lang).glob("*.json")})


def shape(value: Any) -> Any:
    """Return keys, lengths and the {fields} of every sentence, without its words."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, str):
        return sorted(field for _, field, _, _ in string.Formatter().parse(value) if field is not None)
    return value


def sentences(value: Any) -> list[str]:
    """Return every sentence of a text file."""
    if isinstance(value, dict):
        return [one for inner in value.values() for one in sentences(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in sentences(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", FILES)
def test_both_languages_have_the_same_keys_and_fields(name: str) -> None:
    english, chinese = (json.loads((FOLDER / lang / name).read_text(encoding="utf-8")) for lang in LANGUAGES)
    assert shape(english) == shape(chinese)


@pytest.mark.parametrize("name", FILES)
def test_no_sentence_is_empty_or_untranslated(name: str) -> None:
    english, chinese = (sentences(json.loads((FOLDER / lang / name).read_text(encoding="utf-8"))) for lang in LANGUAGES)
    assert all(one.strip() for one in english + chinese)
    same = [one for one, other in zip(english, chinese, strict=True) if one == other and " " in one and "=" not in one]
    assert same == []
