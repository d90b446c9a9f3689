"""What stands in the way of a pull before a byte is loaded: the name, the place, the disk, the memory.

Disk and memory are looked at only when the server is on this computer and the model's size is known. What an earlier
pull has left is not taken off the need, because the part files do not say whose they are.
"""

import os
from typing import TYPE_CHECKING

from gptoss_lab.connect import LOCAL_OLLAMA, Connection, connect, probe
from gptoss_lab.ollama_host import is_loopback
from gptoss_lab.text import text

if TYPE_CHECKING:
    from gptoss_lab.facts.files import ModelFile
    from gptoss_lab.hardware import Machine
    from gptoss_lab.setup.trouble import Trouble


class Stopped(Exception):
    """A pull cannot go on, and the words for it are there already."""

    def __init__(self, trouble: "Trouble") -> None:
        super().__init__(trouble.what)
        self.trouble = trouble


def stopped(code: str, **values: object) -> Stopped:
    """Return the exception for a trouble whose words are in pull.json."""
    from gptoss_lab.setup.trouble import Trouble

    what, why, do = (text(f"pull.{code}{part}", **values) for part in ("", "_why", "_do"))
    return Stopped(Trouble(code, what, why, do))


def server_for(model: str) -> Connection:
    """Return the server to pull to: the one asked for, else an Ollama on this computer, even one without any model."""
    asked = os.environ.get("OLLAMA_HOST") or os.environ.get("GPTOSS_LAB_SERVER", "auto") != "auto"
    here = not asked and probe(LOCAL_OLLAMA).models is not None
    return connect(LOCAL_OLLAMA if here else None, model)


def full_name(model: str) -> str:
    """Return the name with its tag; raises Stopped for what is no name."""
    from gptoss_lab.practice import models

    try:
        return models.full_name(model.strip())
    except models.ModelError:
        raise stopped("bad_name", model=model) from None


def is_here(lab: Connection, name: str) -> bool:
    """Ask the server whether it has the model."""
    return name in {entry.model for entry in lab.client.list().models}


def check(lab: Connection, name: str) -> None:
    """Raise Stopped when a known model does not belong there, or does not fit."""
    from gptoss_lab.hardware.models import ALIASES, KNOWN

    short = name.removesuffix(":latest")
    file = KNOWN.get(ALIASES.get(short, short))
    if file is None or not is_loopback(lab.host):
        return
    if lab.kind == "practice":
        raise stopped("practice", model=name)
    from gptoss_lab.hardware import detect

    machine = detect()
    _check_disk(machine, file, name)
    _check_memory(machine, file, name)


def _check_disk(machine: "Machine", file: "ModelFile", name: str) -> None:
    needs_gb, free_gb = file.total_bytes / 1e9, machine.disk_free_gb
    if free_gb is not None and free_gb < needs_gb:
        sizes = {"needs": f"{needs_gb:.1f}", "free": f"{free_gb:.1f}"}
        raise stopped("disk_small", model=name, folder=machine.models_folder, **sizes)


def _check_memory(machine: "Machine", file: "ModelFile", name: str) -> None:
    from gptoss_lab.hardware import fit

    verdict = fit(machine, file)
    if verdict.placement == "no":
        raise stopped("memory_small", model=name, sentence=verdict.sentence, advice=" ".join(verdict.advice[:1]))
