"""Figures drawn for reading: an HTML table in a notebook, lines of text elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlsplit

from gptoss_lab.facts.fact import Fact
from gptoss_lab.text import area_texts, language


@dataclass(frozen=True, repr=False)
class Table:
    """Some figures, in the order asked for."""

    facts: Mapping[str, Fact]

    def __repr__(self) -> str:
        return "\n".join(
            f"{_words()['labels'][name]}: {shown(found)} ({found.source}, {found.as_of})"
            for name, found in self.facts.items()
        )

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="text-align:left">{escape(word)}</th>' for word in _words()["columns"])
        rows = "".join(_row(name, found) for name, found in self.facts.items())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def shown(found: Fact) -> str:
    """Return value and unit as a reader expects them: 131,072 tokens."""
    value = f"{found.value:,}" if isinstance(found.value, int) and found.unit else str(found.value)
    unit = _words()["units"].get(found.unit, found.unit)
    return f"{value} {unit}".strip()


def _row(name: str, found: Fact) -> str:
    words = _words()
    link = f'<a href="{escape(found.source)}" target="_blank" rel="noopener">{escape(_short(found.source))}</a>'
    unbroken = '<span style="white-space:nowrap">{}</span>'.format
    value, as_of = unbroken(f"<b>{escape(shown(found))}</b>"), unbroken(found.as_of)
    cells = (escape(words["labels"][name]), value, link, as_of, escape(words["sure"][found.sure]))
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


def _short(source: str) -> str:
    """Return the part of an address that a reader recognises: its host and the end of its path."""
    parts = urlsplit(source)
    return (
        f"{parts.netloc}/…/{parts.path.rsplit('/', 1)[-1]}" if parts.path.count("/") > 2 else parts.netloc + parts.path
    )


def _words() -> dict[str, Any]:
    return area_texts(language(), "facts")
