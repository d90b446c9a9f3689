"""`gptoss-lab chat`: a conversation in a terminal, Markdown as it comes; Ctrl-C stops an answer, not the program."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

from gptoss_lab.chat import Chat
from gptoss_lab.chat.events import Approval, Content, Done, Notice, Thinking, ToolCall, ToolResult, Waiting
from gptoss_lab.chat.generation import Generation
from gptoss_lab.errors import LabError
from gptoss_lab.text import text

_PER_SECOND = 12


def talk(chat: Chat, console: Console | None = None, read: Callable[[], str] | None = None) -> int:
    """Talk until /bye or the end of the input, and return 0."""
    console = console or Console()
    read = read or (lambda: console.input("[bold]>>> [/bold]"))
    console.print(text("chat.welcome", label=chat.lab.label))
    while True:
        try:
            said = read().strip()
        except (EOFError, KeyboardInterrupt):
            return 0
        if said == "/bye":
            return 0
        if said:
            _safely(console, lambda said=said: _do(chat, console, said))  # type: ignore[misc]


def _safely(console: Console, act: Callable[[], None]) -> None:
    try:
        act()
    except LabError as error:
        console.print(Text(str(error), style="red"))


def _do(chat: Chat, console: Console, said: str) -> None:
    if not said.startswith("/"):
        answer(chat.stream(said), console)
        return
    name, _, rest = said[1:].partition(" ")
    command = _COMMANDS.get(name)
    if command is None:
        console.print(text("chat.unknown_command", help=text("chat.help")))
    else:
        command(chat, console, rest.strip())


def answer(generation: Generation, console: Console) -> None:
    """Show an answer as it comes; Ctrl-C stops it."""
    thinking, content, status = "", "", ""
    with Live(console=console, refresh_per_second=_PER_SECOND, vertical_overflow="visible") as live:
        try:
            for event in generation:
                if isinstance(event, Thinking):
                    thinking += event.text
                elif isinstance(event, Content):
                    content += event.text
                elif isinstance(event, Waiting):
                    status = f"{event.status}, {event.seconds:.0f} s"
                elif isinstance(event, Approval):
                    live.stop()
                elif isinstance(event, ToolCall):
                    status = f"{event.call.name}({dict(event.call.arguments)})"
                elif isinstance(event, ToolResult):
                    status = f"{event.call.name}: {event.text[:200]}"
                elif isinstance(event, Notice):
                    console.print(Text(event.trouble.what, style="yellow"))
                live.update(_drawn(thinking, content, "" if isinstance(event, Done) else status))
        except KeyboardInterrupt:
            generation.stop()
    generation.wait()


def _drawn(thinking: str, content: str, status: str) -> Group:
    parts: list[Text | Markdown] = [Text(thinking, style="dim"), Markdown(content), Text(status, style="cyan")]
    return Group(*(part for part, words in zip(parts, (thinking, content, status), strict=True) if words))


def _effort(chat: Chat, console: Console, level: str) -> None:
    chat.change(effort=level)
    console.print(text("chat.effort_now", effort=level))


def _system(chat: Chat, console: Console, words: str) -> None:
    chat.change(system=words)
    console.print(text("chat.system_now", system=words or "-"))


def _undo(chat: Chat, console: Console, _: str) -> None:
    console.print(text("chat.undone", question=chat.undo() or "-"))


def _save(chat: Chat, console: Console, path: str) -> None:
    console.print(text("chat.saved", path=chat.save(path or "chat.json")))


def _markdown(chat: Chat, console: Console, path: str) -> None:
    target = Path(path or "chat.md")
    target.write_text(chat.to_markdown(), encoding="utf-8")
    console.print(text("chat.saved", path=target))


def _tools(chat: Chat, console: Console, _: str) -> None:
    console.print(", ".join(chat.tools) or "-")


def _metrics(chat: Chat, console: Console, _: str) -> None:
    cost = next((node.metrics for node in reversed(chat.history.path()) if node.metrics), None)
    if cost is None:
        raise LabError(text("chat.nothing_asked"), text("chat.nothing_asked_next"))
    used, window = f"{cost.prompt_tokens + cost.tokens:,}", f"{cost.window:,}" if cost.window else "?"
    figures = {"tokens": cost.tokens, "tok_s": f"{cost.tok_s:.1f}", "first": f"{cost.first_token_s:.2f}"}
    console.print(text("chat.tokens_line", used=used, window=window, **figures))


_COMMANDS: dict[str, Callable[[Chat, Console, str], None]] = {
    "help": lambda chat, console, _: console.print(text("chat.help")),
    "effort": _effort,
    "system": _system,
    "undo": _undo,
    "again": lambda chat, console, _: answer(chat.regenerate(), console),
    "save": _save,
    "markdown": _markdown,
    "tools": _tools,
    "metrics": _metrics,
}
