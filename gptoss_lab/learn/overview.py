"""`progress`: what is done, notebook by notebook, with a button that forgets it all."""

from html import escape
from typing import TYPE_CHECKING

from gptoss_lab.learn import records
from gptoss_lab.learn.course import COURSE, Lesson
from gptoss_lab.text import text

if TYPE_CHECKING:
    from ipywidgets import HTML, Button, HBox, VBox


def progress() -> "VBox":
    """Return a table of the notebooks with what is done in each, and a reset button that asks first."""
    from ipywidgets import HTML, Button, HBox, Layout, VBox

    table = HTML(drawn(records.load()))
    wide = Layout(width="auto")
    ask = Button(description=text("learn.reset"), icon="trash", layout=wide)
    yes = Button(description=text("learn.reset_yes"), button_style="danger", layout=wide)
    no = Button(description=text("learn.reset_no"), layout=wide)
    row = HBox([ask])
    _wire(table, row, ask, yes, no)
    return VBox([table, row])


def _wire(table: "HTML", row: "HBox", ask: "Button", yes: "Button", no: "Button") -> None:
    def answered(pressed: "Button") -> None:
        words = records.clear() if pressed is yes else ""
        table.value = drawn(records.load(), words)
        row.children = [ask]

    def asked(_: "Button") -> None:
        row.children = [yes, no]

    ask.on_click(asked)
    yes.on_click(answered)
    no.on_click(answered)


def drawn(record: records.Record, words: str = "") -> str:
    """Return the record as HTML."""
    columns = text("learn.column_notebook"), text("learn.column_exercises"), text("learn.column_quiz")
    head = "".join(f'<th style="text-align:left;padding-right:2em">{escape(column)}</th>' for column in columns)
    rows = "".join(_row(lesson, record) for lesson in COURSE)
    where = escape(words or record.words or text("learn.kept_in", path=records.path()))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p><small>{where}</small></p>"


def _row(lesson: Lesson, record: records.Record) -> str:
    title = escape(text(f"learn.title_{lesson.name}"))
    cells = (title, _marks("check", lesson.checks, record), _marks("quiz", lesson.quizzes, record))
    return "<tr>" + "".join(f'<td style="text-align:left;padding-right:2em">{cell}</td>' for cell in cells) + "</tr>"


def _marks(kind: str, names: tuple[str, ...], record: records.Record) -> str:
    """Return one filled or empty circle per item, and the count for those who hear the page."""
    done = [record.done(f"{kind}:{name}") for name in names]
    circles = "".join("●" if one else "○" for one in done)
    return f'<span aria-hidden="true">{circles}</span> {sum(done)} / {len(done)}'
