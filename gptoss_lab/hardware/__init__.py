"""What this machine has, and what gpt-oss will do on it.

`detect()` looks, `fit()` judges, `look()` does both for the machine that serves the model. Nothing here draws; see
`gptoss_lab.ui` for the card.

>>> verdict = fit(detect(), "gpt-oss:20b")
>>> verdict.placement, verdict.sentence
"""

from gptoss_lab.hardware.detect import detect
from gptoss_lab.hardware.fit import fit, with_reply
from gptoss_lab.hardware.look import MODELS, Report, ServerView, look
from gptoss_lab.hardware.machine import Gpu, Machine, Reading
from gptoss_lab.hardware.verdict import Measured, Parts, Speed, Verdict

__all__ = [
    "MODELS",
    "Gpu",
    "Machine",
    "Measured",
    "Parts",
    "Reading",
    "Report",
    "ServerView",
    "Speed",
    "Verdict",
    "detect",
    "fit",
    "look",
    "with_reply",
]
