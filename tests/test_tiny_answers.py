"""The shipped practice model answers what the course asks: every notebook prompt, three efforts, two languages."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_lab.tiny import MODEL_PATH, course, harmony

pytest.importorskip("xllamacpp", reason="the engine is not installed")
from gptoss_lab.tiny import exam

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

FIXED = {
    "en": """Hello | Who are you? | What can you do? | What is gpt-oss? | Why run a model on my own computer? | What is Ollama?
        | What is a token? | What is the context window? | What is streaming? | What is reasoning effort?
        | What is thinking? | What is a system message? | What is prefill? | What is the KV cache? | What is time to first token?
        | What does done_reason mean? | What does eval_count mean? | What is temperature? | What is the harmony format?
        | What is a mixture of experts? | What is MXFP4? | What is a tool call? | What is GPT-5? | Tell me a long story.
        | What is the capital of France? | Thanks""",
    "zh": """你好 | 你是谁？ | 你能做什么？ | 什么是 gpt-oss？ | 为什么要在自己的电脑上运行模型？ | 什么是 Ollama？ | 什么是词元？
        | 什么是上下文窗口？ | 什么是流式输出？ | 什么是推理强度？ | 什么是思考？ | 什么是系统消息？ | 什么是预填充？ | 什么是 KV 缓存？
        | 什么是首词延迟？ | done_reason 是什么意思？ | eval_count 是什么意思？ | 什么是温度？ | 什么是 harmony 格式？
        | 什么是混合专家？ | 什么是 MXFP4？ | 什么是工具调用？ | 什么是 GPT-5？ | 讲一个长故事。 | 法国的首都是哪里？ | 谢谢""",
}
FIXED_PROMPTS = [prompt for text in FIXED.values() for prompt in course.alternatives(text)]
CALCULATE = course.tool_book()["tools"]["calculate"]["schema"]


def notebook_prompts() -> list[str]:
    """Return every user prompt in the code cells of all notebooks."""
    found: dict[str, None] = {}
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found |= dict.fromkeys(prompt for source in code for prompt in prompts_in(source))
    return list(found)


class OnlyPractice(ast.NodeTransformer):
    """Leave out what a cell does for a real model alone: the body of `if lab.kind != "practice"`, or of `== "ollama"`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        real = any(words in ast.unparse(node.test) for words in ("lab.kind != 'practice'", "lab.kind == 'ollama'"))
        return node.orelse if real else node


def prompts_in(source: str) -> Iterator[str]:
    """Yield the constants that a cell sends as a user's words: in messages, as `prompt=`, or through a name."""
    try:
        tree = ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))
    except SyntaxError:
        return
    tree = OnlyPractice().visit(tree)
    names = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        for value in user_words(node):
            value = names.get(value.id, value) if isinstance(value, ast.Name) else value
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.strip():
                yield value.value


def user_words(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Dict):
        fields = {
            key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
        }
        role = fields.get("role")
        if isinstance(role, ast.Constant) and role.value == "user" and "content" in fields:
            yield fields["content"]
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg in ("prompt", "question"))
        yield from (arg for arg in node.args if isinstance(arg, ast.Constant) and str(arg.value).endswith(("?", "？")))


def language_of(prompt: str) -> str:
    return "zh" if any("\u4e00" <= letter <= "\u9fff" for letter in prompt) else "en"


def trained(prompt: str, effort: str) -> course.Conversation:
    """Return what was trained for a prompt; a prompt with a sum is asked with the tool that can do it."""
    for language in sorted(course.LANGUAGES, key=lambda language: language != language_of(prompt)):
        known = course.load(language)
        for entry in [*exam.entries(language), known.outside]:
            if prompt in entry.asks:
                return exam.plain(entry, prompt, effort)
        for pattern in course.tool_book()["tools"]["calculate"][language]:
            for a, op, b in course.KNOWN_SUMS:
                if prompt == pattern.format(a=a, op=op, b=b):
                    return calculation(prompt, a, op, b, effort)
    pytest.fail(f"the practice model was never taught to answer {prompt!r}")


def calculation(prompt: str, a: int, op: str, b: int, effort: str) -> course.Conversation:
    call = harmony.call_text({"name": "calculate", "arguments": {"a": a, "op": op, "b": b}})
    messages = [{"role": "user", "content": prompt}]
    return course.Conversation(messages, [(call, True)], effort, ("calculate",), [CALCULATE])


@pytest.fixture(scope="module")
def model() -> exam.Examinee:
    return exam.Examinee(MODEL_PATH)


def check(model: exam.Examinee, *conversations: course.Conversation) -> None:
    result = exam.mark(model, "test", conversations)
    assert not result.mistakes


@pytest.mark.parametrize("effort", harmony.EFFORTS)
@pytest.mark.parametrize("prompt", FIXED_PROMPTS)
def test_fixed_prompts(model: exam.Examinee, prompt: str, effort: str) -> None:
    check(model, trained(prompt, effort))


@pytest.mark.parametrize("today", ["2026-01-01", "2027-06-30", "2028-12-28"])
def test_the_date_changes_nothing(model: exam.Examinee, today: str) -> None:
    for i, prompt in enumerate(FIXED_PROMPTS):
        chat = trained(prompt, harmony.EFFORTS[i % 3])
        reply = harmony.parse(model.write(harmony.render(chat.messages, effort=chat.effort, today=today)))
        assert reply == harmony.parse(chat.written[0][0]), prompt


@pytest.mark.parametrize("prompt", [prompt for prompt in notebook_prompts() if prompt not in FIXED_PROMPTS])
def test_notebook_prompts(model: exam.Examinee, prompt: str) -> None:
    check(model, *(trained(prompt, effort) for effort in harmony.EFFORTS))


def test_prompts_are_found_in_cells() -> None:
    cell = 'q = "A?"\n%time\nchat(messages=[{"role": "user", "content": q}])\ngenerate(prompt="B")\nask("C?", "d")'
    assert sorted(prompts_in(cell)) == ["A?", "B", "C?"]


@pytest.mark.parametrize("effort", harmony.EFFORTS)
@pytest.mark.parametrize("language", course.LANGUAGES)
def test_thinking_grows_with_effort(model: exam.Examinee, language: str, effort: str) -> None:
    topic = next(topic for topic in course.load(language).topics if topic.id == "kv_cache")
    reply = model.ask([{"role": "user", "content": topic.what.asks[0]}], effort)
    assert reply.thinking == topic.what.thinking[effort]
    lengths = [len(topic.what.thinking[level]) for level in harmony.EFFORTS]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("effort", harmony.EFFORTS)
@pytest.mark.parametrize("language", course.LANGUAGES)
def test_history_is_what_makes_a_follow_up_work(model: exam.Examinee, language: str, effort: str) -> None:
    """With history: the reason. Without: it says that it sees one message only."""
    fixed = {prompt.strip() for prompt in FIXED_PROMPTS}
    known = course.load(language)
    about_it = zip(known.topics, exam.follow_ups(language, effort), strict=True)
    check(model, *(chat for topic, chat in about_it if topic.what.asks[0] in fixed))
    check(model, exam.plain(known.no_history, known.no_history.asks[0], effort))


@pytest.mark.parametrize("language", course.LANGUAGES)
def test_a_long_story_is_long(model: exam.Examinee, language: str) -> None:
    story = next(entry for entry in course.load(language).talk if entry.id == "talk.story")
    assert len(model.tokenize(story.answer)) >= 250


@pytest.mark.parametrize("effort", harmony.EFFORTS)
@pytest.mark.parametrize("prompt", ["What is 17 + 25?", "17 + 25 等于多少？"])
def test_a_tool_is_called_and_its_result_used(model: exam.Examinee, prompt: str, effort: str) -> None:
    asked = calculation(prompt, 17, "+", 25, effort)
    check(model, asked)
    call = {"function": {"name": "calculate", "arguments": {"a": 17, "op": "+", "b": 25}}}
    messages = [*asked.messages, {"role": "assistant", "content": "", "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_name": "calculate", "content": "42"})
    assert model.ask(messages, effort, [CALCULATE]).content == "17 + 25 = 42"


@pytest.mark.parametrize("language", course.LANGUAGES)
def test_outside_the_course_it_says_what_it_is(model: exam.Examinee, language: str) -> None:
    result = exam.mark(model, "outside", exam.unseen_outside(language, 60))
    assert result.right >= 0.8 * result.asked, result.mistakes[:5]


@pytest.mark.parametrize("language", course.LANGUAGES)
def test_almost_every_plain_question_is_answered(model: exam.Examinee, language: str) -> None:
    result = exam.mark(model, "plain", list(exam.first_wordings(language, "low")))
    assert result.right >= 0.97 * result.asked, result.mistakes[:5]
