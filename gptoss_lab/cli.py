"""`gptoss-lab`: open the course, copy it, look at the hardware, serve a model, ask one question.

Every command says errors in a sentence and returns 1; only mistakes of this program show a traceback.
"""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_lab import __version__
from gptoss_lab.errors import LabError
from gptoss_lab.text import LANGUAGES, language, text

if TYPE_CHECKING:
    from ollama import ChatResponse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    _never_fail_to_print()
    options = _parser().parse_args(arguments)
    if options.lang:
        os.environ["GPTOSS_LAB_LANG"] = options.lang
    try:
        code: int = options.run(options)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(text("cli.system", error=error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _never_fail_to_print() -> None:
    """Show a question mark for what the terminal's encoding lacks, such as Chinese on an old Windows console."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gptoss-lab", description=text("cli.about"))
    parser.add_argument("--version", action="version", version=f"gptoss-lab {__version__}")
    _open_options(parser)
    parser.set_defaults(run=_open)
    commands = parser.add_subparsers(title="commands", metavar="command")
    copy = _command(commands, "copy", _copy)
    copy.add_argument("folder", type=Path, metavar="DIR")
    serve = _command(commands, "serve", _serve)
    serve.add_argument("--model", type=Path, metavar="FILE", help=text("cli.model"))
    serve.add_argument("--port", type=int, default=11435, help=text("cli.serve_port"))
    serve.add_argument("--threads", type=int, default=1, help=text("cli.threads"))
    ask = _command(commands, "ask", _ask)
    ask.add_argument("question")
    ask.add_argument("--think", choices=("low", "medium", "high"), default="low", help=text("cli.think"))
    ask.add_argument("--server", default=argparse.SUPPRESS, metavar="auto|practice|URL", help=text("cli.server"))
    doctor = _command(commands, "doctor", _doctor)
    doctor.add_argument("--json", action="store_true", help=text("cli.doctor_json"))
    doctor.add_argument("--server", default=None, metavar="practice|URL", help=text("cli.doctor_server"))
    doctor.add_argument("--model", metavar="NAME", help=text("cli.doctor_model"))
    start = _command(commands, "start", _start)
    start.add_argument("--yes", action="store_true", help=text("cli.yes"))
    pull = _command(commands, "pull", _pull)
    pull.add_argument("model", nargs="?", default="gpt-oss:20b", metavar="NAME")
    pull.add_argument("--force", action="store_true", help=text("cli.force"))
    pull.add_argument("--insecure", action="store_true", help=text("cli.insecure"))
    hardware = _command(commands, "hardware", _hardware)
    hardware.add_argument("--json", action="store_true", help=text("cli.json"))
    hardware.add_argument("--model", metavar="NAME|FILE", help=text("cli.hardware_model"))
    hardware.add_argument("--context", type=int, metavar="TOKENS", help=text("cli.hardware_context"))
    hardware.add_argument("--timed", action="store_true", help=text("cli.timed"))
    hardware.add_argument("--server", default=argparse.SUPPRESS, metavar="auto|practice|URL", help=text("cli.server"))
    chat = _command(commands, "chat", _chat)
    chat.add_argument("--model", metavar="NAME", help=text("cli.chat_model"))
    chat.add_argument("--effort", choices=("low", "medium", "high"), default="low", help=text("cli.think"))
    chat.add_argument("--system", default="", metavar="TEXT", help=text("cli.system_message"))
    chat.add_argument("--server", default=None, metavar="auto|practice|URL", help=text("cli.server"))
    _command(commands, "stop", _stop)
    return parser


def _open_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=LANGUAGES, help=text("cli.lang"))
    parser.add_argument("--no-browser", action="store_true", help=text("cli.no_browser"))
    parser.add_argument("--port", type=int, default=8888, help=text("cli.port"))
    parser.add_argument("--server", metavar="auto|practice|URL", help=text("cli.server"))


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: object
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text(f"cli.{name}"), description=text(f"cli.{name}")
    )
    parser.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help=text("cli.lang"))
    parser.set_defaults(run=run)
    return parser


def _open(options: argparse.Namespace) -> int:
    from gptoss_lab import course, jupyter
    from gptoss_lab.connect import connect

    if options.server:
        os.environ["GPTOSS_LAB_SERVER"] = options.server  # JupyterLab's kernels follow it
    lab = connect()
    notebooks = course.folder()
    return jupyter.run(
        notebooks, language(), options.port, browser=not options.no_browser, practice=lab.kind == "practice"
    )


def _copy(options: argparse.Namespace) -> int:
    from gptoss_lab import course

    copied = course.copy(options.folder)
    print(text("cli.copied", new=len(copied.new), folder=copied.folder))
    if copied.kept:
        print(text("cli.kept", names=", ".join(path.as_posix() for path in copied.kept)))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from gptoss_lab.practice.foreground import serve

    return serve(options.model, options.port, options.threads)


def _ask(options: argparse.Namespace) -> int:
    from gptoss_lab.connect import connect

    lab = connect(options.server)
    from httpx import HTTPError
    from ollama import ResponseError  # only now: its import fails over variables that connect() has read first

    from gptoss_lab.setup.trouble import as_error

    question = [{"role": "user", "content": options.question}]
    try:
        _show(lab.client.chat(lab.model, question, think=options.think, stream=True))
    except (ResponseError, HTTPError, ConnectionError) as error:
        raise as_error(error, lab.host, lab.model) from error
    print()
    return 0


def _show(parts: "Iterable[ChatResponse]") -> None:
    """Print thinking and answer as they come, the answer on lines of its own."""
    gap = ""
    for part in parts:
        if thinking := part.message.thinking:
            print(_dim(thinking), end="", flush=True)
            gap = "\n"
        if content := part.message.content:
            print(gap + content, end="", flush=True)
            gap = ""


def _dim(words: str) -> str:
    return f"\x1b[2m{words}\x1b[0m" if words and sys.stdout.isatty() else words


def _doctor(options: argparse.Namespace) -> int:
    from gptoss_lab.setup.doctor import examine
    from gptoss_lab.setup.finding import Diagnosis, told

    findings = []
    for finding in examine(options.server, options.model):
        findings.append(finding)
        if not options.json:
            print(*told(finding), sep="\n", flush=True)
    found = Diagnosis(tuple(findings))
    print(json.dumps(found.as_dict(), indent=2) if options.json else text("doctor.code", code=found.code))
    return 0 if found.ok else 1


def _start(options: argparse.Namespace) -> int:
    from gptoss_lab.setup.start import start_server

    print(start_server(yes=options.yes or _agreed()))
    return 0


def _agreed() -> bool:
    """Ask whether Ollama may be started; without a terminal the answer is no."""
    return sys.stdin.isatty() and input(text("cli.may_start")).strip().lower() in ("y", "yes", "是")


def _pull(options: argparse.Namespace) -> int:
    from gptoss_lab.setup.pull import pull, show_in_terminal

    progress = show_in_terminal(pull(options.model, force=options.force, insecure=options.insecure))
    return 0 if progress.state == "done" else 1


def _hardware(options: argparse.Namespace) -> int:
    from gptoss_lab.connect import connect
    from gptoss_lab.hardware import MODELS, look
    from gptoss_lab.ui.hardware_text import hardware_text

    models = (options.model,) if options.model else MODELS

    asked = options.server if options.server not in (None, "practice") else None
    with contextlib.redirect_stdout(sys.stderr):  # which server was found is no part of the answer
        report = look(connect(asked) if asked else None, options.timed, models, options.context)
    print(json.dumps(report.as_dict(), indent=2) if options.json else hardware_text(report))
    return 0


def _chat(options: argparse.Namespace) -> int:
    from gptoss_lab.chat import Chat
    from gptoss_lab.connect import connect
    from gptoss_lab.terminal import talk

    lab = connect(options.server, options.model)
    return talk(Chat(options.model, options.system, options.effort, lab=lab))


def _stop(options: argparse.Namespace) -> int:
    from gptoss_lab.practice import process

    print(text("cli.stopped" if process.stop() else "cli.nothing_to_stop"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
