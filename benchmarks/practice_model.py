"""Print how often the practice model answers as trained: `python benchmarks/practice_model.py [--model FILE] [--full]`.

Known words, new words, the three efforts, chats, questions from outside the course, tools. Greedy decoding, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from gptoss_lab.tiny import MODEL_PATH, exam
from gptoss_lab.tiny.course import LANGUAGES, Conversation
from gptoss_lab.tiny.harmony import EFFORTS


def parts(full: bool) -> Iterator[tuple[str, Iterator[Conversation]]]:
    """Yield the parts of the exam by name."""
    for language in LANGUAGES:
        for effort in EFFORTS:
            yield f"{language} {effort}: plain trained wording", exam.first_wordings(language, effort)
        every = 1 if full else 10
        yield f"{language} low: all trained wordings", exam.all_wordings(language, "low", every)
        for effort in EFFORTS:
            yield f"{language} {effort}: follow-up with history", exam.follow_ups(language, effort)
        yield f"{language} low: wordings never trained", exam.unseen_wordings(language, "low")
        yield f"{language}: outside the course, never trained", exam.unseen_outside(language)
        yield f"{language}: tool call with the right arguments", exam.tool_calls(language)
        yield f"{language}: tool result used in the answer", exam.tool_results(language)


def main() -> None:
    """Run the exam and print the marks, with some mistakes if asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_PATH, help="GGUF file to examine")
    parser.add_argument("--full", action="store_true", help="ask every trained wording, not every tenth")
    parser.add_argument("--mistakes", type=int, default=0, help="show so many mistakes of each part")
    args = parser.parse_args()
    examinee, begun = exam.Examinee(args.model), time.monotonic()
    print(f"{args.model.name}: {args.model.stat().st_size / 1e6:.2f} MB")
    for name, conversations in parts(args.full):
        result = exam.mark(examinee, name, conversations)
        print(result, flush=True)
        for mistake in result.mistakes[: args.mistakes]:
            print(
                f"    {mistake.effort} {mistake.question!r}\n      got {mistake.got!r}\n      not {mistake.expected!r}"
            )
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
