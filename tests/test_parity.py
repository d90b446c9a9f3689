"""The Chinese notebooks are the English ones in other words: same cells, same tags, same code."""

import ast
import re
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.test_notebooks import FOLDER, PROMPTS, name_of, opened

ENGLISH = sorted(FOLDER.glob("en/*.ipynb"))
CHINESE_SIGNS = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
each_pair = pytest.mark.parametrize("english", ENGLISH, ids=name_of)


def mirror(path: Path) -> Path:
    """Return the Chinese notebook of an English one."""
    return FOLDER / "zh" / path.name


def strings(source: str) -> list[str]:
    """Return every string of the code, in order."""
    nodes = ast.walk(ast.parse(source))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def translated(english: str, chinese: str) -> str:
    """Return the English code with the strings in Chinese that the Chinese code has in their place."""
    tree, pairs = ast.parse(english), iter(strings(chinese))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            other = next(pairs, "")
            node.value = other if CHINESE_SIGNS.search(other) else node.value
    return ast.dump(tree)


@each_pair
def test_both_have_the_same_cells(english: Path) -> None:
    for one, other in zip_longest(opened(english).cells, opened(mirror(english)).cells):
        assert (one.id, one.cell_type, one.metadata) == (other.id, other.cell_type, other.metadata)


@each_pair
def test_both_have_the_same_code_but_for_chinese_sentences(english: Path) -> None:
    for one, other in zip(opened(english).cells, opened(mirror(english)).cells, strict=True):
        if one.cell_type == "code":
            assert translated(one.source, other.source) == ast.dump(ast.parse(other.source)), one.id


@each_pair
def test_both_ask_the_same_questions(english: Path) -> None:
    for one, other in zip(opened(english).cells, opened(mirror(english)).cells, strict=True):
        if one.cell_type == "code":
            expected = [PROMPTS[said] for said in strings(one.source) if said in PROMPTS]
            assert [said for said in strings(other.source) if said in PROMPTS.values()] == expected, one.id


@each_pair
def test_every_paragraph_is_translated(english: Path) -> None:
    for one, other in zip(opened(english).cells, opened(mirror(english)).cells, strict=True):
        if one.cell_type == "markdown":
            assert CHINESE_SIGNS.search(other.source), one.id
            shapes = [re.findall(r"^(#+|- |\d\. |\||```)", cell.source, re.MULTILINE) for cell in (one, other)]
            assert shapes[0] == shapes[1], one.id
