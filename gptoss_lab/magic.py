"""`%load_ext gptoss_lab` gives `%%ask`: a question in a cell of its own, answered as it comes.

The conversation goes on from cell to cell; `--new` begins another. The reply can be put into a variable.
"""

import shlex
from typing import Any

from gptoss_lab.chat import Chat, Reply
from gptoss_lab.chat.conversation import EFFORTS
from gptoss_lab.chat.events import Content, Event, Notice, Thinking
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

_chat: list[Chat] = []  # the conversation of this kernel


def load(shell: Any) -> None:
    """Register the magic with a shell of IPython."""
    shell.register_magic_function(lambda line, cell: ask(line, cell, shell), "cell", "ask")


def ask(line: str, cell: str, shell: Any) -> None:
    """Answer a cell; the line holds options: --effort LEVEL, --model NAME, --system TEXT, --to VARIABLE, --new."""
    options = _options(line)
    chat = _conversation(options)
    if options.to and not options.to.isidentifier():
        raise LabError(text("chat.bad_variable", name=options.to), text("chat.bad_variable_next"))
    generation, printer = chat.stream(cell), Printer()
    try:
        for event in generation:
            printer.show(event)
    except KeyboardInterrupt:
        generation.stop()
    reply: Reply = generation.wait()
    print()
    if options.to:
        shell.user_ns[options.to] = reply


class Printer:
    """Print what comes: thinking in grey, then the answer on lines of its own."""

    def __init__(self) -> None:
        self._thought = False

    def show(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, Thinking):
            self._thought = True
            print(f"\x1b[90m{event.text}\x1b[0m", end="", flush=True)
        elif isinstance(event, Content):
            print("\n\n" * self._thought + event.text, end="", flush=True)
            self._thought = False
        elif isinstance(event, Notice):
            print(f"\n[{event.trouble.what}]")


def _conversation(options: Any) -> Chat:
    wanted = {"effort": options.effort, "system": options.system, "model": options.model}
    if options.new or not _chat:
        _chat[:] = [Chat(**{name: value for name, value in wanted.items() if value is not None})]
    else:
        _chat[0].change(**{name: value for name, value in wanted.items() if value is not None})
    return _chat[0]


def _options(line: str) -> Any:
    import argparse

    parser = argparse.ArgumentParser("%%ask", add_help=False, exit_on_error=False)
    parser.add_argument("--effort", choices=EFFORTS)
    parser.add_argument("--model")
    parser.add_argument("--system")
    parser.add_argument("--to")
    parser.add_argument("--new", action="store_true")
    try:
        found, rest = parser.parse_known_args(shlex.split(line))
    except (argparse.ArgumentError, ValueError) as error:
        raise LabError(text("chat.bad_option", error=error), text("chat.bad_option_next")) from error
    if rest:
        raise LabError(text("chat.bad_option", error=" ".join(rest)), text("chat.bad_option_next"))
    return found
