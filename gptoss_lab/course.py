"""Where the notebooks are, and how a learner gets a copy of their own.

In a clone they are its `notebooks/`; in an installed package they travel as `gptoss_lab/course/`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gptoss_lab.errors import LabError
from gptoss_lab.text import text

COPY_NAME = "gptoss-lab-course"
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Copied:
    """What a copy did: files written, and files of the learner's that were left as they are (relative paths)."""

    folder: Path
    new: list[Path]
    kept: list[Path]


def source() -> Path:
    """Return the folder with the notebooks as shipped, one folder per language in it; raises LabError without it."""
    for folder in (_PACKAGE.parent / "notebooks", _PACKAGE / "course"):
        if (folder / "en").is_dir():
            return folder
    raise LabError(text("cli.no_course"), text("cli.no_course_next"))


def folder() -> Path:
    """Return the folder to open: a clone's own notebooks, else the learner's copy, made if need be."""
    shipped = source()
    if shipped.parent != _PACKAGE:
        return shipped
    return copy(_copy_place()).folder


def copy(target: Path) -> Copied:
    """Copy the notebooks into a folder. A file that is there and differs is the learner's: it stays as it is."""
    target, shipped = target.expanduser().resolve(), source()
    new, kept = [], []
    for path in sorted(shipped.rglob("*")):
        name = path.relative_to(shipped)
        if not path.is_file() or any(part.startswith((".", "__")) for part in name.parts):
            continue
        if (target / name).exists():
            if (target / name).read_bytes() != path.read_bytes():
                kept.append(name)
            continue
        _copy_whole(path, target / name)
        new.append(name)
    return Copied(target, new, kept)


def _copy_whole(path: Path, target: Path) -> None:
    """Copy a file so that all of it arrives or nothing: half of one would pass for the learner's own work."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(path, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _copy_place() -> Path:
    here = Path.cwd()
    return here / COPY_NAME if (here / COPY_NAME).is_dir() else Path.home() / COPY_NAME
