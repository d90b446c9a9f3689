"""Every figure the course states, each with source and date; nothing else holds figures.

A figure is named `area.name`, for instance `gpt_oss.download_20b`. What is measured on the learner's own machine is
no fact and does not belong here.

>>> table("gpt_oss.download_20b", "gpt_oss.memory_20b")
"""

from gptoss_lab.facts import gpt_oss, ollama, reading
from gptoss_lab.facts.drawing import Table
from gptoss_lab.facts.fact import SURE, Fact

_AREAS = {"gpt_oss": gpt_oss.FACTS, "ollama": ollama.FACTS, "reading": reading.FACTS}

__all__ = ["SURE", "Fact", "Table", "all_facts", "fact", "table"]


def fact(name: str) -> Fact:
    """Return the figure `area.name`; raises KeyError for an unknown one."""
    area, key = name.split(".", 1)
    return _AREAS[area][key]


def table(*names: str) -> Table:
    """Return the named figures as a table that a notebook shows with their sources and dates."""
    return Table({name: fact(name) for name in names})


def all_facts() -> dict[str, Fact]:
    """Return every figure by its full name."""
    return {f"{area}.{key}": found for area, facts in _AREAS.items() for key, found in facts.items()}
