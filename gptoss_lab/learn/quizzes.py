"""`quiz`: questions with a reason on every wrong choice, drawn with ipywidgets.

The questions are data: `text/<language>/quiz.json`. The best result is noted in the learner's record.
"""

from html import escape
from typing import TYPE_CHECKING, Any

from gptoss_lab.errors import LabError
from gptoss_lab.learn import records
from gptoss_lab.text import area_texts, language, text

if TYPE_CHECKING:
    from ipywidgets import HTML, VBox

_CHOICE = "gptoss-lab-choice"
_STYLE = f"<style>.{_CHOICE} {{white-space: normal; text-align: left; line-height: 1.4; padding: 5px 10px}}</style>"


def quiz(name: str) -> "VBox":
    """Return the quiz as a widget; raises LabError for a quiz that does not exist."""
    from ipywidgets import HTML, VBox

    quizzes = area_texts(language(), "quiz")
    if name not in quizzes:
        raise LabError(text("learn.unknown_quiz", name=name), text("learn.unknown_quiz_next", names=", ".join(quizzes)))
    questions = quizzes[name]
    right: dict[int, bool] = {}
    result = HTML(_STYLE)

    def answered(number: int, is_right: bool) -> None:
        right[number] = is_right
        words = records.note(f"quiz:{name}", sum(right.values()), len(questions))
        score = text("learn.score", right=sum(right.values()), of=len(questions))
        result.value = f"{_STYLE}<b>{escape(score)}</b> {escape(words)}"

    boxes = [_question(number, question, answered) for number, question in enumerate(questions)]
    return VBox([*boxes, result])


def _question(number: int, question: dict[str, Any], answered: Any) -> "VBox":
    from ipywidgets import HTML, Button, Layout, VBox

    reply = HTML()
    buttons: list[Any] = []
    for choice in question["choices"]:
        button = Button(
            description=choice["text"],
            layout=Layout(width="auto", max_width="640px", height="auto", min_height="32px"),
        )
        button.add_class(_CHOICE)
        button.on_click(lambda pressed, choice=choice: _chosen(pressed, choice, buttons, reply, number, answered))
        buttons.append(button)
    head = HTML(f"<b>{number + 1}. {escape(question['question'])}</b>")
    return VBox([head, *buttons, reply], layout=Layout(margin="0 0 14px 0"))


def _chosen(
    pressed: Any, choice: dict[str, Any], buttons: list[Any], reply: "HTML", number: int, answered: Any
) -> None:
    is_right = bool(choice.get("right"))
    for button in buttons:
        button.icon = ""
    pressed.icon = "check" if is_right else "times"
    opening = text("learn.quiz_right" if is_right else "learn.quiz_wrong")
    reply.value = _coloured(is_right, f"{opening} {choice['why']}")
    answered(number, is_right)


def _coloured(is_right: bool, words: str) -> str:
    colour = "success" if is_right else "warn"
    edge = f"border-left:4px solid var(--jp-{colour}-color1,gray);padding-left:8px"
    return f'<div style="{edge};line-height:1.5;max-width:640px">{escape(words)}</div>'
