"""The Modelfile's Go template, `harmony.render` and the GGUF's jinja template make the same prompt of a chat.

Its renderings are recorded; where Go is installed they are made anew: `go run render.go Modelfile < cases.json`. Two
things differ by nature: Go walks through a tool's properties by name, and writes arguments as JSON without spaces.
"""

import datetime
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gptoss_lab.tiny import MODEL_PATH, harmony

FOLDER = Path(__file__).parent / "contract" / "template"
MODELFILE = MODEL_PATH.parent / "Modelfile"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
PROMPTS: list[str] = json.loads((FOLDER / "prompts.json").read_text(encoding="utf-8"))


def compact(prompt: str) -> str:
    """Write the arguments of every call as Go does."""

    def written(match: re.Match[str]) -> str:
        return (
            json.dumps(json.loads(match[1]), separators=(",", ":"), sort_keys=True, ensure_ascii=False) + harmony.CALL
        )

    return re.sub(r"(\{[^<]*\})" + re.escape(harmony.CALL), written, prompt)


@pytest.mark.parametrize(
    ("case", "recorded"), list(zip(CASES, PROMPTS, strict=True)), ids=[case["name"] for case in CASES]
)
def test_the_go_template_says_what_python_says(case: dict[str, Any], recorded: str) -> None:
    prompt = harmony.render(case["messages"], case.get("tools"), case.get("effort") or "medium", case["today"])
    assert compact(prompt) == recorded


def test_the_jinja_template_says_the_same() -> None:
    from gptoss_lab.tiny.exam import Examinee, _for_llama

    examinee, today = Examinee(MODEL_PATH), datetime.date.today().isoformat()
    for case in CASES:
        given = (case.get("tools"), case.get("effort") or "medium")
        prompt = examinee.prompt(_for_llama(case["messages"]), given[1], given[0])
        assert compact(prompt) == compact(harmony.render(case["messages"], *given, today)), case["name"]


@pytest.mark.skipif(not shutil.which("go"), reason="needs Go, to render with the template anew")
def test_the_recordings_are_what_the_modelfile_gives() -> None:
    cases = (FOLDER / "cases.json").read_text(encoding="utf-8")
    command = ["go", "run", str(FOLDER / "render.go"), str(MODELFILE)]
    done = subprocess.run(command, input=cases, capture_output=True, text=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout) == PROMPTS


def test_ollama_takes_the_template_for_harmony() -> None:
    text = MODELFILE.read_text(encoding="utf-8")
    assert "<|start|>" in text and "<|end|>" in text and ".Messages" in text  # what Ollama looks for
    assert f"FROM ./{MODEL_PATH.name}" in text.splitlines()
