"""`ChatPanel`: the chat in a notebook. The conversation is a `Chat`; this sends what happens to the browser and back.

Pieces of an answer go out in batches, each with the place at which it begins, so that a lost one is noticed and asked
for again. The whole conversation goes out when a turn ends. Drawing is the front end's business (frontend/src).
"""

import itertools
import json
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from gptoss_lab.chat import Chat, Message, Metrics
from gptoss_lab.chat.events import (
    Approval,
    Content,
    Done,
    Event,
    Failed,
    Notice,
    Started,
    Thinking,
    ToolCall,
    ToolResult,
    Waiting,
)
from gptoss_lab.chat.history import Node
from gptoss_lab.errors import LabError
from gptoss_lab.setup.pull import Pull, pull
from gptoss_lab.setup.trouble import explain
from gptoss_lab.text import area_texts, language, text
from gptoss_lab.ui.transcript import transcript_html

_STATIC = files("gptoss_lab.ui") / "static"
_BATCH_S, _BATCH_LETTERS = 0.04, 256
_numbers = itertools.count(1)


class ChatPanel(anywidget.AnyWidget):
    """The widget of one conversation."""

    _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
    _css = (_STATIC / "panel.css").read_text(encoding="utf-8")
    state = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    twin = traitlets.Unicode().tag(sync=True)
    comm_id = traitlets.Unicode().tag(sync=True)  # for wishes over the control channel

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self._stream = _Stream(self.send)
        self._approvals: dict[int, Approval] = {}
        self._number, self._problem = 0, ""
        self._acts: tuple[str, ...] = ()
        self._pulling: Pull | None = None
        self._twin_shown: Any = None
        self._notes: dict[int | None, list[str]] = {}
        super().__init__(words=area_texts(language(), "panel")["words"], twin=f"t{next(_numbers)}{int(time.time())}")
        self.state = self._drawn(running=False)
        self.on_msg(self._told)
        self.chat.watch(self.hear)
        self.comm_id = self.model_id or ""
        _hear_while_a_cell_runs(self)

    # --- from the browser ---------------------------------------------------------------------------------------------

    def _told(self, _: Any, wish: dict[str, Any], __: Any) -> None:
        acts: dict[str, Callable[[dict[str, Any]], object]] = {
            "ask": lambda told: self.chat.stream(told["text"]),
            "again": lambda told: self.chat.regenerate(),
            "edit": lambda told: self.chat.edit(told["text"], told["turn"]),
            "stop": lambda told: self._stop(told.get("number")),
            "undo": lambda told: self._change(self.chat.undo),
            "go": lambda told: self._change(lambda: self._go(told["node"], told["version"])),
            "set": self._set,
            "approve": lambda told: self._decide(told["id"], bool(told["allow"])),
            "unload": lambda told: self._change(self._unload),
            "raw": lambda told: self.send({"k": "raw", "s": self._raw(told["node"])}),
            "pull": lambda told: self._pull(),
            "cancel": lambda told: self._pulling and self._pulling.cancel(),
            "save": lambda told: self._save(told["as"]),
            "resync": lambda told: self._stream.whole(),
        }
        act = acts.get(str(wish.get("k")))
        if act is None:
            return
        try:
            act(wish)
        except (LabError, KeyError, TypeError, ValueError) as error:
            self._show(str(error))

    def _stop(self, number: int | None) -> None:
        """End an answer; a wish that comes late does not end the next one."""
        if number in (None, self._number):
            self.chat.stop()

    def _decide(self, number: int, allow: bool) -> None:
        """Allow or deny a tool call; a wish may come twice, over two channels."""
        if approval := self._approvals.pop(number, None):
            approval.decide(allow)

    def _change(self, change: Callable[[], object]) -> None:
        change()
        self._show("")

    def _set(self, told: dict[str, Any]) -> None:
        names = ("model", "effort", "system")
        changed: dict[str, Any] = {name: told[name] for name in names if name in told}
        if "options" in told:
            changed["options"] = {name: value for name, value in told["options"].items() if value is not None}
        self.chat.change(**changed)
        self._show("")

    def _go(self, node: int, version: int) -> None:
        if self.chat.running:
            raise LabError(text("chat.busy"), text("chat.busy_next"))
        self.chat.history.go(self.chat.history.siblings(node)[version])

    def _unload(self) -> None:
        try:
            self.chat.lab.client.generate(self.chat.settings.model, keep_alive=0)
        except Exception as error:
            found = explain(error, self.chat.lab.host, self.chat.settings.model)
            raise LabError(found.what, found.do) from error

    def _raw(self, node: int) -> str:
        """Return the request that a message answers, and the message with its counters, as JSON."""
        nodes = self.chat.history.nodes
        before, at = [], nodes[node].parent
        while at is not None:
            before.append(nodes[at].message)
            at = nodes[at].parent
        found, asked = nodes[node], [one.role for one in before]  # newest first
        settings = found.settings or self.chat.settings
        body = self.chat.body(before[::-1], settings, len(asked) - 1 - asked.index("user") if "user" in asked else -1)
        reply = {**found.message.on_wire(with_thinking=True), "metrics": vars(found.metrics or Metrics())}
        return json.dumps({"request": body, "reply": reply}, ensure_ascii=False, indent=1)

    def _pull(self) -> None:
        """Get the model that is missing, show how far it is, and ask again when it is there."""
        self._pulling = pull(self.chat.settings.model, self.chat.lab)
        self._show(str(self._pulling.progress), ("cancel",))
        self._pulling.watch(lambda progress: self.send({"k": "w", "s": str(progress)}))
        threading.Thread(target=self._after, args=(self._pulling,), name="after pull", daemon=True).start()

    def _after(self, pulling: Pull) -> None:
        try:
            done = pulling.wait().state == "done"
            self._show(pulling.progress.note, () if done else ("pull",))
            if done:
                self.chat.regenerate()
        except LabError as error:
            self._show(str(error), ("pull",))

    def _save(self, kind: str) -> None:
        content = self.chat.to_python() if kind == "py" else self.chat.to_markdown()
        self.send({"k": "file", "name": f"chat.{kind}", "s": content})

    # --- from the worker ----------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Send an event of a generation on; called from its thread."""
        if isinstance(event, (Thinking, Content)):
            self._stream.add("thinking" if isinstance(event, Thinking) else "content", event.text)
            return
        self._stream.flush()
        if isinstance(event, Started):
            self._problem, self._acts = "", ()
            self._number += 1
            self._stream.clear()
            self.state = self._drawn(running=True)
        elif isinstance(event, Waiting):
            self.send({"k": "w", "s": f"{event.status} · {event.seconds:.0f} s"})
        elif isinstance(event, ToolCall):
            self.send({"k": "call", "call": {"name": event.call.name, "arguments": dict(event.call.arguments)}})
        elif isinstance(event, Approval):
            number = next(_numbers)
            self._approvals[number] = event
            self.send({"k": "approve", "id": number, "call": {"name": event.call.name}})
        elif isinstance(event, ToolResult):
            self._stream.clear()
            self.send({"k": "result", "name": event.call.name, "s": event.text, "ok": event.ok})
        elif isinstance(event, Notice):
            self.send({"k": "note", "s": event.trouble.what})
        elif isinstance(event, (Done, Failed)):
            self._end(event)

    def _end(self, event: Done | Failed) -> None:
        self._problem = str(event.trouble) if isinstance(event, Failed) else ""
        self._acts = _acts(event.trouble.code) if isinstance(event, Failed) else ()
        content = "" if isinstance(event, Failed) else event.reply.content
        self._approvals.clear()
        self._notes = {} if isinstance(event, Failed) else {self.chat.history.head: list(event.reply.notes)}
        self.send({"k": "end", "content": content, "problem": self._problem})
        self.state = self._drawn(running=False)
        self._keep_twin()

    def _show(self, problem: str, acts: tuple[str, ...] = ()) -> None:
        self._problem, self._acts = problem, acts
        self.state = self._drawn(running=self.chat.running)
        self._keep_twin()

    # --- the state ----------------------------------------------------------------------------------------------------

    def _drawn(self, running: bool) -> dict[str, Any]:
        chat = self.chat
        path, turn = chat.history.path(), itertools.count()
        messages = [
            self._message(node, path[-1].id, next(turn) if node.message.role == "user" else -1) for node in path
        ]
        cost = next((node.metrics for node in reversed(path) if node.metrics), Metrics())
        return {
            "messages": messages, "running": running, "problem": self._problem, "acts": self._acts,
            "label": chat.lab.label, "number": self._number,
            "models": self._models(), "settings": self._settings(), "chips": self._chips(), "version": time.time(),
            "used": cost.prompt_tokens + cost.tokens, "window": cost.window,
        }  # fmt: skip

    def _message(self, node: Any, last: int, turn: int) -> dict[str, Any]:
        message: Message = node.message
        siblings = self.chat.history.siblings(node.id)
        return {
            "node": node.id, "role": message.role, "content": message.content, "thinking": message.thinking,
            "calls": [{"name": call.name, "arguments": dict(call.arguments)} for call in message.calls],
            "tool": message.tool, "stopped": message.stopped, "turn": turn, "last": node.id == last,
            "versions": len(siblings), "version": siblings.index(node.id), "line": _line(node),
            "thought": _thought(node.metrics), "notes": self._notes.get(node.id, []),
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        chosen = self.chat.settings
        named = {"model": chosen.model, "effort": chosen.effort, "system": chosen.system}
        return {**named, "options": dict(chosen.options)}

    def _models(self) -> list[str]:
        try:
            found = [one.model for one in self.chat.lab.client.list().models if one.model]
        except Exception:  # the next question will say what is wrong
            found = []
        return found if self.chat.settings.model in found else [self.chat.settings.model, *found]

    def _chips(self) -> list[str]:
        chips: list[str] = area_texts(language(), "panel")["chips"]
        return chips

    # --- without a kernel ---------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Show the panel, and below it a plain transcript, which the panel hides as long as it lives."""
        from IPython.display import display

        bundle = super()._repr_mimebundle_()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        display({**data, "text/plain": "Chat"}, metadata=metadata, raw=True)
        self._twin_shown = display(self._twin(), display_id=True, raw=True)

    def _twin(self) -> dict[str, str]:
        """Return the transcript in three forms, marked so that a living panel hides it."""
        shown = transcript_html(self.chat.messages)
        markdown = self.chat.to_markdown()
        plain = {"text/plain": markdown, "text/markdown": markdown}
        return {**plain, "text/html": f'<div class="gol-twin-{self.twin}">{shown}</div>'}

    def _keep_twin(self) -> None:
        if self._twin_shown is not None:
            self._twin_shown.update(self._twin(), raw=True)


class _Stream:
    """Batches of letters, each with the place at which it begins, and the whole text for whoever missed one."""

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._send, self._lock = send, threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Begin a new text."""
        with self._lock:
            self._said = {"thinking": "", "content": ""}
            self._sent = {"thinking": 0, "content": 0}
            self._pieces = {"thinking": 0, "content": 0}
            self._flushed_s = 0.0

    def add(self, channel: str, words: str) -> None:
        """Take a piece; send when there is enough of it, or it has waited long enough."""
        with self._lock:
            self._said[channel] += words
            self._pieces[channel] += 1
            waiting = sum(len(self._said[one]) - self._sent[one] for one in self._said)
            if waiting >= _BATCH_LETTERS or time.monotonic() - self._flushed_s >= _BATCH_S:
                self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        with self._lock:
            for channel, said in self._said.items():
                begin = self._sent[channel]
                if begin < len(said):
                    at, pieces = _units(said[:begin]), self._pieces[channel]
                    self._send({"k": "d", "n": at, "c": channel, "s": said[begin:], "t": pieces})
                    self._sent[channel] = len(said)
            self._flushed_s = time.monotonic()

    def whole(self) -> None:
        """Send all of it."""
        with self._lock:
            self._send({"k": "full", **self._said})
            self._sent = {channel: len(said) for channel, said in self._said.items()}


def _units(words: str) -> int:
    """Return the length of a text as JavaScript counts it."""
    return len(words.encode("utf-16-le")) // 2


def _acts(code: str) -> tuple[str, ...]:
    """Return what a button can do about a trouble."""
    return ("pull",) if code == "model_missing" else ("again",)


def _thought(cost: Metrics | None) -> str:
    """Return how long and how much a model has thought."""
    if cost is None or not cost.thinking_tokens:
        return ""
    return text("panel.thought", seconds=f"{cost.thinking_s:.1f}", tokens=cost.thinking_tokens)


def _line(node: Node) -> str:
    """Return how an answer was asked for and what it cost, in one line."""
    cost, how = node.metrics, str(node.settings or "")
    if cost is None or not cost.tokens:
        return how
    share = "" if cost.gpu_share is None else f" · {cost.gpu_share:.0%} GPU"
    figures = {"tokens": cost.tokens, "tok_s": f"{cost.tok_s:.0f}", "first": f"{cost.first_token_s:.2f}"}
    return " · ".join(filter(None, [how, text("panel.line", **figures) + share]))


def _hear_while_a_cell_runs(widget: ChatPanel) -> None:
    """Let the browser's wishes be heard while a cell runs, on every ipykernel.

    From 7 on they have a subshell of their own, but 7.4 sends them to the shell that spoke last; before 7 only the
    control channel is read, and it is not told of widgets.
    """
    from IPython.core.getipython import get_ipython

    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default=None: default
    kernel = getattr(get_ipython(), "kernel", None)
    control, shell = (getattr(kernel, f"{name}_handlers", {}) for name in ("control", "shell"))
    if "comm_msg" in shell:
        control.setdefault("comm_msg", shell["comm_msg"])
