"""`compare`: the same question asked in several ways, one after the other, with a table and the whole transcripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gptoss_lab.chat.conversation import Chat
from gptoss_lab.chat.message import Reply
from gptoss_lab.connect import Connection
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

_COLUMNS = ("case", "tokens", "first", "speed", "letters", "valid", "answer")
_SHORT = 90


@dataclass(frozen=True)
class Case:
    """One way of asking, and what came of it."""

    name: str
    chat: Chat
    reply: Reply | None
    problem: str = ""  # why there is no reply

    @property
    def row(self) -> tuple[str, ...]:
        """The case in the columns of the table."""
        if self.reply is None:
            return (self.name, "", "", "", "", "", self.problem)
        cost = self.reply.metrics
        valid = {True: "✓", False: "✗", None: ""}[self.reply.valid]
        answer = " ".join(self.reply.content.split())
        short = answer if len(answer) <= _SHORT else answer[: _SHORT - 1] + "…"
        figures = (str(cost.tokens), f"{cost.first_token_s:.2f}", f"{cost.tok_s:.1f}", str(len(self.reply.content)))
        return (self.name, *figures, valid, short)


@dataclass(frozen=True, repr=False)
class Comparison:
    """All cases; in a notebook a table, elsewhere lines."""

    cases: tuple[Case, ...]

    def _rows(self) -> list[tuple[str, ...]]:
        """Return titles and rows, without the columns that nobody fills."""
        titles, rows = tuple(text(f"chat.column_{name}") for name in _COLUMNS), [case.row for case in self.cases]
        filled = [at for at in range(len(titles)) if any(row[at] for row in rows)]
        return [tuple(row[at] for at in filled) for row in (titles, *rows)]

    def __repr__(self) -> str:
        rows = self._rows()
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        style = 'style="text-align:left;padding-right:1.2em;white-space:nowrap"'
        titles, *cases = self._rows()
        head = "".join(f"<th {style}>{escape(title)}</th>" for title in titles)
        rows = "".join("<tr>" + "".join(f"<td {style}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cases)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>'

    def to_markdown(self) -> str:
        """Return every conversation in full."""
        return "\n\n".join(f"## {case.name}\n\n{case.chat.to_markdown()}" for case in self.cases)


@dataclass(frozen=True)
class Asked:
    """One way of asking, before it is done."""

    name: str
    chat: Chat
    question: str

    def done(self) -> Case:
        """Ask, and return what came of it; a failure is words."""
        try:
            return Case(self.name, self.chat, self.chat.ask(self.question))
        except LabError as error:
            return Case(self.name, self.chat, None, error.what)


def compare(prompt: str = "", **lists_and_settings: Any) -> Comparison:
    """Ask once per entry of the one list that is given, and return all replies side by side.

    The list is one of models, efforts, prompts, temperatures or seeds; all else are settings of `Chat`, the same for
    all. A case that fails says why and does not end the others. Raises LabError when not exactly one list with two
    entries or more is given.
    """
    return Comparison(tuple(asked.done() for asked in ways(prompt, **lists_and_settings)))


def ways(
    prompt: str = "",
    *,
    models: Sequence[str] = (),
    efforts: Sequence[str] = (),
    prompts: Sequence[str] = (),
    temperatures: Sequence[float] = (),
    seeds: Sequence[int] = (),
    lab: Connection | None = None,
    **settings: Any,
) -> list[Asked]:
    """Return the ways of asking that `compare` takes, each with a conversation of its own."""
    lists: dict[str, Sequence[Any]] = {
        "model": models,
        "effort": efforts,
        "prompt": prompts,
        "temperature": temperatures,
        "seed": seeds,
    }
    given = {name: list(entries) for name, entries in lists.items() if entries}
    if len(given) != 1 or len(next(iter(given.values()))) < 2:
        raise LabError(text("chat.nothing_to_compare"), text("chat.nothing_to_compare_next"))
    name, entries = next(iter(given.items()))
    if name == "prompt":
        return [Asked(entry, Chat(lab=lab, **settings), entry) for entry in entries]
    return [Asked(f"{name} {entry}", Chat(lab=lab, **{**settings, name: entry}), prompt) for entry in entries]
