"""Answers checked, hints, quizzes and progress: what turns a notebook into a lesson.

Nothing here leaves the computer. Widgets load only when a quiz or the progress table is shown.
"""

from gptoss_lab.learn.checks import check, hint
from gptoss_lab.learn.overview import progress
from gptoss_lab.learn.quizzes import quiz

__all__ = ["check", "hint", "progress", "quiz"]
