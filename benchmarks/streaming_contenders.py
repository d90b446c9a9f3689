"""Four ways to show an answer while it comes; `chat_streaming.py` runs them in a kernel and measures from outside.

Each is shown by one cell and returns how it takes a piece, and what is left to do at the end.
"""

import json
import time
from collections.abc import Callable, Iterator

Take, End = Callable[[str], object], Callable[[], object]
RATE_TOK_S = 200
PARAGRAPHS = (
    "A token is a piece of text , often a part of a word , that the model reads and writes as one number . ",
    "The **context window** holds the prompt and the answer ; what does not fit is lost , and `ollama` is silent . ",
    "- first the prompt is read\n- then one token after another is written\n- each of them costs the same time \n",
    "| part | size |\n| --- | --- |\n| weights | large |\n| cache | grows with every token |\n\n",
    "```python\nfor event in chat.stream ( question ) :\n    print ( event . text , end = '' )\n```\n",
)


def tokens(count: int) -> list[str]:
    """Return an answer of so many pieces, about five letters each, with lists, tables and code."""
    text = "\n\n".join(f"## Part {part}\n\n" + "\n".join(PARAGRAPHS) for part in range(count // 90 + 1))
    pieces = [piece + " " for piece in text.split(" ")]
    return pieces[:count]


def paced(count: int) -> Iterator[str]:
    """Yield the pieces as fast as a fast graphics card writes them."""
    due = time.monotonic()
    for piece in tokens(count):
        due += 1 / RATE_TOK_S
        time.sleep(max(due - time.monotonic(), 0))
        yield piece


def nothing() -> tuple[Take, End]:
    """Show nothing: what the loop itself costs."""
    return lambda piece: None, lambda: None


def ours() -> tuple[Take, End]:
    """Show the answer in the panel of this package, until it is kept and the plain transcript is written."""
    from IPython.display import display

    from gptoss_lab.chat import Chat, Message, Metrics, Reply
    from gptoss_lab.chat.events import Content, Done, Started

    chat, question, said = Chat(), "Explain tokens at length.", []
    panel = chat.panel()
    display(panel)

    def take(piece: str) -> None:
        if not said:
            chat.history.add(Message("user", question))
            panel.hear(Started(question))
        said.append(piece)
        panel.hear(Content(piece))

    def end() -> None:
        answer, cost = "".join(said), Metrics(tokens=len(said))
        chat.history.add(Message("assistant", answer), cost)
        panel.hear(Done(Reply(answer, metrics=cost)))

    return take, end


def chat_interface() -> tuple[Take, End]:
    """Show the answer in Panel's ChatInterface."""
    import panel
    from IPython.display import display

    panel.extension(inline=True)  # its scripts from this machine, and not from a server in the network
    chat, messages = panel.chat.ChatInterface(height=600), [None]
    display(chat)

    def take(piece: str) -> None:
        messages[0] = chat.stream(piece, user="Assistant", message=messages[0])

    return take, lambda: None


def output_widget() -> tuple[Take, End]:
    """Show the answer as Markdown in an `Output` widget, drawn anew for every token."""
    from IPython.display import Markdown, clear_output, display
    from ipywidgets import Output

    shown, said = Output(), []
    display(shown)

    def take(piece: str) -> None:
        said.append(piece)
        with shown:
            clear_output(wait=True)
            display(Markdown("".join(said)))

    return take, lambda: None


def html_widget() -> tuple[Take, End]:
    """Show the answer as the whole text of an `HTML` widget, set for every token."""
    from html import escape

    from IPython.display import display
    from ipywidgets import HTML

    shown, said = HTML(), []
    display(shown)

    def take(piece: str) -> None:
        said.append(piece)
        shown.value = escape("".join(said)).replace("\n", "<br>")

    return take, lambda: None


CONTENDERS: dict[str, Callable[[], tuple[Take, End]]] = {
    "nothing": nothing, "gptoss_lab": ours, "HTML widget": html_widget, "Output widget": output_widget,
    "Panel ChatInterface": chat_interface,
}  # fmt: skip


def stream(count: int, take: Take, end: End) -> None:
    """Stream so many tokens and print what it took in the kernel, as JSON."""
    started, cpu = time.monotonic(), time.process_time()
    for piece in paced(count):
        take(piece)
    end()
    print("TAKEN " + json.dumps({"kernel_s": time.process_time() - cpu, "wall_s": time.monotonic() - started}))
