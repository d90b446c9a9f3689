"""What every notebook of the course must be: clean in git, complete for a learner, honest about figures."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import pytest

from gptoss_lab.learn.course import COURSE
from gptoss_lab.text import LANGUAGES, area_texts

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*/*.ipynb"))
TAGS = {"exercise", "solution", "nbval-skip", "live", "raises-exception"}
FIGURE = re.compile(r"\d[\d.,]*\s*((GB|GiB|MB|MiB|tok/s|tokens per second)\b|词元每秒|美元|元)|[$€¥]\s*\d")
ONLY_ELSEWHERE = re.compile(r"^> \[!|^:::|^- \[[ x]\]", re.MULTILINE)
FORBIDDEN = re.compile(r"^\s*[!%]|\binput\(|NBVAL_|\bpip install\b", re.MULTILINE)
SECTIONS = {
    "en": ("## You will be able to", "## Quiz", "## What can go wrong", "## Wrap-up"),
    "zh": ("## 学完之后你能够", "## 小测验", "## 可能出现的问题", "## 小结"),
}
HEAD = {"en": ("Time: ", "Needs: ", "Next"), "zh": ("时间：", "需要：", "下一课")}

# The questions a notebook may ask the model, in both languages: the practice model answers each of them.
PROMPTS = {
    "Hello": "你好",
    "Who are you?": "你是谁？",
    "What can you do?": "你能做什么？",
    "What is gpt-oss?": "什么是 gpt-oss？",
    "Why run a model on my own computer?": "为什么要在自己的电脑上运行模型？",
    "What is Ollama?": "什么是 Ollama？",
    "What is a token?": "什么是词元？",
    "What is the context window?": "什么是上下文窗口？",
    "What is streaming?": "什么是流式输出？",
    "What is reasoning effort?": "什么是推理强度？",
    "What is thinking?": "什么是思考？",
    "What is a system message?": "什么是系统消息？",
    "What is prefill?": "什么是预填充？",
    "What is the KV cache?": "什么是 KV 缓存？",
    "What is time to first token?": "什么是首词延迟？",
    "What does done_reason mean?": "done_reason 是什么意思？",
    "What does eval_count mean?": "eval_count 是什么意思？",
    "What is temperature?": "什么是温度？",
    "What is the harmony format?": "什么是 harmony 格式？",
    "What is a mixture of experts?": "什么是混合专家？",
    "What is MXFP4?": "什么是 MXFP4？",
    "What is a tool call?": "什么是工具调用？",
    "What is GPT-5?": "什么是 GPT-5？",
    "Tell me a long story.": "讲一个长故事。",
    "What is the capital of France?": "法国的首都是哪里？",
    "Thanks": "谢谢",
    "Why does it matter?": "它为什么重要？",
    "What is 17 + 25?": "17 + 25 等于多少？",
}


@cache
def opened(path: Path) -> Any:
    """Return the notebook."""
    return nbformat.read(path, as_version=4)


def name_of(path: Path) -> str:
    """Return en/00_start_here."""
    return f"{path.parent.name}/{path.stem}"


def cells(path: Path, kind: str) -> list[Any]:
    """Return the cells of one kind."""
    return [cell for cell in opened(path).cells if cell.cell_type == kind]


def prose(path: Path) -> str:
    """Return all the text a learner reads."""
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def tagged(path: Path, tag: str) -> list[Any]:
    """Return the cells with a tag."""
    return [cell for cell in opened(path).cells if tag in cell.metadata.get("tags", ())]


def questions(cell: Any) -> list[str]:
    """Return what a code cell says as the user: the content of every message with the role user."""
    found = []
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Dict):
            fields = dict(zip(map(ast.unparse, (key for key in node.keys if key)), node.values, strict=False))
            role, content = fields.get("'role'"), fields.get("'content'")
            if isinstance(role, ast.Constant) and role.value == "user" and isinstance(content, ast.Constant):
                found.append(str(content.value))
    return found


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)


def test_there_are_notebooks_in_both_languages() -> None:
    names = [sorted(path.name for path in NOTEBOOKS if path.parent.name == lang) for lang in LANGUAGES]
    assert names[0] == names[1] == [f"{lesson.name}.ipynb" for lesson in COURSE]


@each_notebook
def test_it_is_clean_in_git(path: Path) -> None:
    notebook = opened(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in cells(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None
    assert path.stat().st_size < 50_000
    assert path.read_text(encoding="utf-8").endswith("}\n")


@each_notebook
def test_cell_names_are_unique_and_speak(path: Path) -> None:
    ids = [cell.id for cell in opened(path).cells]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", one) and not re.fullmatch(r"[0-9a-f]{8}", one) for one in ids)


@each_notebook
def test_only_known_tags(path: Path) -> None:
    assert {tag for cell in opened(path).cells for tag in cell.metadata.get("tags", ())} <= TAGS


@each_notebook
def test_the_head_says_time_needs_language_and_way(path: Path) -> None:
    head, objectives = (cell.source for cell in opened(path).cells[:2])
    other = LANGUAGES[1 - LANGUAGES.index(path.parent.name)]
    assert head.startswith("# ") and f"(../{other}/{path.name})" in head
    assert all(word in head for word in HEAD[path.parent.name])
    assert "<details>" in objectives


@each_notebook
def test_all_parts_are_there_in_order(path: Path) -> None:
    places = [prose(path).find(section) for section in SECTIONS[path.parent.name]]
    assert -1 not in places and places == sorted(places)


@each_notebook
def test_the_wrap_up_mirrors_the_objectives(path: Path) -> None:
    first, last = opened(path).cells[1].source, opened(path).cells[-1].source
    count = len(re.findall("^- ", first, re.MULTILINE))
    assert 3 <= count == len(re.findall("^- ", last, re.MULTILINE))


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", prose(path))
    assert links and all((path.parent / link).is_file() for link in links if "://" not in link)


@each_notebook
def test_plain_jupyterlab_can_show_it(path: Path) -> None:
    assert not ONLY_ELSEWHERE.search(prose(path))
    assert len(re.findall("<details>", prose(path))) == len(re.findall("</details>", prose(path)))


@each_notebook
def test_prose_states_no_figures(path: Path) -> None:
    assert not FIGURE.search(prose(path)), FIGURE.search(prose(path))


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.parent.name == "en"], ids=name_of)
def test_it_is_as_long_as_a_lesson_should_be(path: Path) -> None:
    assert 1_200 <= len(prose(path).split()) <= 2_000


@each_notebook
def test_code_is_short_and_asks_for_nothing(path: Path) -> None:
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in cells(path, "code")]
    assert max(lines) <= 10 and median(lines) <= 6 and lines[0] <= 4
    assert "connect()" in cells(path, "code")[0].source
    assert not any(FORBIDDEN.search(cell.source) for cell in cells(path, "code"))


@each_notebook
def test_only_questions_the_practice_model_knows(path: Path) -> None:
    asked = [one for cell in cells(path, "code") for one in questions(cell)]
    known = PROMPTS.keys() if path.parent.name == "en" else PROMPTS.values()
    assert asked and set(asked) <= set(known)


@each_notebook
def test_exercises_have_hints_and_a_collapsed_solution_that_proves_itself(path: Path) -> None:
    lesson = next(lesson for lesson in COURSE if lesson.name == path.stem)
    words = area_texts(path.parent.name, "check")
    all_cells = opened(path).cells
    assert len(tagged(path, "exercise")) == len(tagged(path, "solution")) == len(lesson.checks)
    for name, stub, solution in zip(lesson.checks, tagged(path, "exercise"), tagged(path, "solution"), strict=True):
        assert "answer = ..." in stub.source and f'check("{name}", answer)' in stub.source
        assert solution.source.splitlines()[-1] == f'assert check("{name}", answer)'
        place = all_cells.index(stub)
        hints, heading = all_cells[place + 1], all_cells[place + 2]
        written = hints.source.replace("`", "")  # code is set as code there
        assert all(hint[1:] in written for hint in words[name]["hints"])
        assert heading.metadata.get("jp-MarkdownHeadingCollapsed") is True and heading.source.startswith("### ")
        assert all_cells[place + 3] is solution
        after = all_cells[place + 4]  # the folded solution hides all cells up to the next heading
        assert after.cell_type == "markdown" and re.match("#{1,3} ", after.source)


@each_notebook
def test_its_quizzes_are_in_the_course(path: Path) -> None:
    lesson = next(lesson for lesson in COURSE if lesson.name == path.stem)
    shown = re.findall(r'quiz\("(\w+)"\)', "\n".join(cell.source for cell in cells(path, "code")))
    assert tuple(shown) == lesson.quizzes
    assert all(name in area_texts(path.parent.name, "quiz") for name in shown)


def test_no_text_of_the_package_states_a_figure() -> None:
    for lang in LANGUAGES:
        for area in ("check", "quiz", "learn"):
            assert not FIGURE.search(json.dumps(area_texts(lang, area), ensure_ascii=False))
