"""One answer being made: a worker thread that asks the server, runs tools, and tells what happens as events.

Stopping closes the worker's own connection, also while a model loads and the server says nothing. Nothing here knows
how a conversation is shown; `gptoss_lab.chat.conversation` decides what is asked.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from gptoss_lab.chat import answer_format
from gptoss_lab.chat.events import (
    Approval,
    Content,
    Done,
    Event,
    Failed,
    Notice,
    Thinking,
    ToolCall,
    ToolResult,
    Waiting,
)
from gptoss_lab.chat.message import Call, Message, Metrics, Reply
from gptoss_lab.chat.tools import Tool
from gptoss_lab.errors import LabError
from gptoss_lab.setup.trouble import Trouble, explain, of_reply, trouble
from gptoss_lab.text import text

_TICK_S, _SAY_EVERY_S = 0.2, 1.0


class Lines(Protocol):
    """What a generation reads an answer from; `gptoss_lab.stream.LineStream` is one."""

    def next(self, wait_s: float) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What is asked, and by which rules."""

    open: Callable[[list[Message]], Lines]  # a new stream for the messages of the turn so far
    look: Callable[[], tuple[float | None, int, bool]]  # share on the GPU, window, whether the model is in memory
    keep: Callable[[Message, Metrics | None], None]  # a message is whole: note it in the history
    tools: dict[str, Tool]
    approve: str | Callable[[Call], bool]  # "ask", "always", "never" or a function
    most_steps: int
    format: Any
    window: int  # tokens; 0 when it is not known
    estimate: int  # tokens the request has, about
    host: str
    model: str

    @property
    def asks(self) -> bool:
        """Whether somebody may have to allow a tool."""
        return bool(self.tools) and self.approve == "ask"


class Generation:
    """A handle on an answer: iterate over its events, `wait()` for its reply, or `stop()` it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._stream: Lines | None = None
        self._stopped = threading.Event()
        self._turn: list[Message] = []
        self._notes: list[str] = []
        self._end: Done | Failed | None = None
        self._watchers: list[Callable[[Event], object]] = []
        self._worker = threading.Thread(target=self._run, name="chat", daemon=True)

    def start(self, watch: Callable[[Event], object] | None = None) -> "Generation":
        """Begin; `watch` is called with every event, from the worker's thread."""
        if watch:
            self._watchers.append(watch)
        self._worker.start()
        return self

    @property
    def running(self) -> bool:
        return self._end is None

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the answer has ended; whoever lets an approval pass is asked in the terminal."""
        while True:
            alive = self._worker.is_alive()
            try:
                event = self._events.get(timeout=_TICK_S)  # Windows interrupts nobody who waits without a limit
            except Empty:
                if alive:
                    continue
                return
            yield event
            if isinstance(event, Approval) and not event.decided:
                event.decide(_asked(event.call))
            if isinstance(event, (Done, Failed)):
                return

    def wait(self) -> Reply:
        """Wait until all have heard the end and return the reply, also of an answer that was stopped.

        Raises LabError when the answer failed. An interrupt, such as Ctrl-C, stops the answer.
        """
        try:
            if self._plan.asks:
                for _ in self:
                    pass
            while self._worker.is_alive() and threading.current_thread() is not self._worker:
                self._worker.join(_TICK_S)
        except KeyboardInterrupt:
            self.stop()
            raise
        if isinstance(self._end, Done):
            return self._end.reply
        found = self._end.trouble if self._end else trouble("unknown")
        raise LabError(f"{found.what} {found.why}".strip(), "\n".join(filter(None, (found.do, found.command))))

    def stop(self) -> None:
        """End the answer; what has come is kept."""
        self._stopped.set()
        if stream := self._stream:
            stream.close()

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _say(self, event: Event) -> None:
        if isinstance(event, (Done, Failed)):
            self._end = event
        self._events.put(event)
        for watcher in tuple(self._watchers):
            watcher(event)

    def _run(self) -> None:
        try:
            self._say(self._answer())
        except Exception as error:
            self._say(Failed(explain(error, self._plan.host, self._plan.model)))

    def _answer(self) -> Done | Failed:
        """Ask, and ask again with the results of tools, until there is an answer."""
        for _ in range(self._plan.most_steps):
            message, metrics, reason = self._asked_once()
            self._turn.append(message)
            self._plan.keep(message, metrics)
            if self._stopped.is_set() or not message.calls:
                return self._finished(message, metrics, reason)
            for call in message.calls:
                self._call(call)
        limit = Trouble(
            "tool_limit", text("chat.tool_limit", calls=self._plan.most_steps), "", text("chat.tool_limit_next")
        )
        return Failed(limit)

    def _asked_once(self) -> tuple[Message, Metrics, str]:
        """Return one message of the model; one broken tool call is forgiven and asked for again."""
        for attempt in (1, 2):
            try:
                return self._read()
            except Exception as error:
                found = explain(error, self._plan.host, self._plan.model)
                if attempt == 2 or found.code != "tool_json" or self._stopped.is_set():
                    if self._stopped.is_set():
                        return Message("assistant", stopped=True), Metrics(), "stopped"
                    raise
                self._note(found)
        raise AssertionError("both tries return or raise")

    def _read(self) -> tuple[Message, Metrics, str]:
        """Read one stream to its end and return the message, its cost, and why it ended."""
        began_s, first_s, said_s = time.monotonic(), 0.0, 0.0
        thought_s, thoughts = 0.0, 0
        message = Message("assistant")
        last: dict[str, Any] = {}
        self._stream = self._plan.open(self._turn)
        try:
            while not last.get("done") and not self._stopped.is_set():
                line = self._stream.next(_TICK_S)
                waited_s = time.monotonic() - began_s
                if line is not None:
                    message, came = self._taken(message, line)
                    first_s = first_s or (waited_s if came else 0.0)
                    if (line.get("message") or {}).get("thinking"):
                        thought_s, thoughts = waited_s - first_s, thoughts + 1
                    last = line
                elif not first_s and waited_s - said_s >= _SAY_EVERY_S:
                    said_s = waited_s
                    self._say(Waiting(waited_s, text("chat.queued" if self._plan.look()[2] else "chat.loading")))
        except Exception:
            if not self._stopped.is_set():
                raise
        finally:
            self._stream.close()
        stopped = self._stopped.is_set() and not last.get("done")
        share, window, _ = self._plan.look()
        cost = replace(
            _metrics(last), first_token_s=first_s, thinking_s=thought_s, thinking_tokens=thoughts, gpu_share=share,
            window=window or self._plan.window,
        )  # fmt: skip
        return replace(message, stopped=stopped), cost, "stopped" if stopped else str(last.get("done_reason") or "")

    def _taken(self, message: Message, line: dict[str, Any]) -> tuple[Message, bool]:
        """Return the message with a line of the stream added, and whether anything came."""
        part = line.get("message") or {}
        thinking, content = part.get("thinking") or "", part.get("content") or ""
        if thinking:
            self._say(Thinking(thinking))
        if content:
            self._say(Content(content))
        calls = tuple(_call(one) for one in part.get("tool_calls") or ())
        for call in calls:
            self._say(ToolCall(call))
        added = replace(
            message,
            thinking=message.thinking + thinking,
            content=message.content + content,
            calls=message.calls + calls,
        )
        return added, bool(thinking or content or calls)

    def _call(self, call: Call) -> None:
        """Run a tool, when it exists and may be run, and note what came of it."""
        known = self._plan.tools.get(call.name)
        if known is None:
            words, ok = text("chat.tool_unknown", name=call.name), False
        elif not self._allowed(call):
            words, ok = text("chat.tool_denied"), False
        else:
            words, ok = known.run(call)
        self._say(ToolResult(call, words, ok))
        answer = Message("tool", words, tool=call.name)
        self._turn.append(answer)
        self._plan.keep(answer, None)

    def _allowed(self, call: Call) -> bool:
        rule = self._plan.approve
        if callable(rule):
            return bool(rule(call))
        if rule != "ask":
            return rule == "always"
        approval = Approval(call)
        self._say(approval)
        while not self._stopped.is_set():
            verdict = approval.wait(_TICK_S)
            if verdict is not None:
                return verdict
        return False

    def _finished(self, message: Message, metrics: Metrics, reason: str) -> Done:
        window = metrics.window
        shown = {
            "message": {"content": message.content, "thinking": message.thinking, "tool_calls": message.calls},
            "done_reason": reason, "eval_count": metrics.tokens, "prompt_eval_count": metrics.prompt_tokens,
        }  # fmt: skip
        if not message.stopped and (found := of_reply(shown, window) or self._cut(metrics)):
            self._note(found)
        data, problem, valid = None, "", None
        if self._plan.format is not None and not message.stopped:
            data, problem = answer_format.checked(self._plan.format, message.content)
            valid = not problem
        thinking = "\n".join(one.thinking for one in self._turn if one.thinking)
        reply = Reply(
            message.content, thinking, tuple(self._turn), metrics, reason, data, valid, problem, tuple(self._notes)
        )
        return Done(reply, message.stopped)

    def _cut(self, metrics: Metrics) -> Trouble | None:
        """Return the trouble of a prompt that was cut in silence: the server counted far less than was sent."""
        counted, sent = metrics.prompt_tokens, self._plan.estimate
        silently = 0 < counted < sent / 1.8 and sent > (metrics.window or sent) * 0.9
        return trouble("forgets", window=metrics.window) if silently and metrics.window else None

    def _note(self, found: Trouble) -> None:
        self._notes.append(found.what)
        self._say(Notice(found))


def _call(told: dict[str, Any]) -> Call:
    function = told.get("function") or {}
    return Call(function.get("name") or "", function.get("arguments") or {}, told.get("id") or "")


def _metrics(last: dict[str, Any]) -> Metrics:
    """Return the counters of a stream's last line; what the server leaves out of its sum is time in the queue."""
    load, prefill, decode, total = (
        (last.get(f"{name}_duration") or 0) / 1e9 for name in ("load", "prompt_eval", "eval", "total")
    )
    return Metrics(
        prompt_tokens=last.get("prompt_eval_count") or 0,
        tokens=last.get("eval_count") or 0,
        load_s=load,
        queue_s=max(total - load - prefill - decode, 0.0),
        prefill_s=prefill,
        decode_s=decode,
    )


def _asked(call: Call) -> bool:
    """Ask in the terminal or under the cell whether a tool may be called; without an answer it may not."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    try:
        answer = input(text("chat.ask_approval", name=call.name, arguments=arguments))
    except (EOFError, RuntimeError, NotImplementedError):  # nobody can be asked here
        return False
    return answer.strip().lower() in ("y", "yes", "是")
