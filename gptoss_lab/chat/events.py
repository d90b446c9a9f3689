"""What happens while an answer is made, in order; whoever shows a conversation listens to these."""

import threading
from dataclasses import dataclass, field

from gptoss_lab.chat.message import Call, Reply
from gptoss_lab.setup.trouble import Trouble


@dataclass(frozen=True)
class Started:
    """A question has been asked."""

    question: str


@dataclass(frozen=True)
class Waiting:
    """Nothing has come yet; `status` says in words what the server is doing."""

    seconds: float
    status: str


@dataclass(frozen=True)
class Thinking:
    """A piece of the model's notes."""

    text: str


@dataclass(frozen=True)
class Content:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The model wants to call a tool."""

    call: Call


@dataclass(frozen=True)
class Approval:
    """The generation waits until somebody allows or denies a tool call."""

    call: Call
    _decided: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    _verdict: list[bool] = field(default_factory=list, repr=False, compare=False)

    def decide(self, allow: bool) -> None:
        """Allow or deny the call; the first decision counts."""
        if not self._decided.is_set():
            self._verdict.append(allow)
            self._decided.set()

    @property
    def decided(self) -> bool:
        return self._decided.is_set()

    def wait(self, timeout: float) -> bool | None:
        """Return the decision, or None when there is none in time."""
        return self._verdict[0] if self._decided.wait(timeout) else None


@dataclass(frozen=True)
class ToolResult:
    """A tool has answered, or why it has not."""

    call: Call
    text: str
    ok: bool


@dataclass(frozen=True)
class Notice:
    """Something a reader should know: a retry, a full window, markers of the format in the answer."""

    trouble: Trouble


@dataclass(frozen=True)
class Done:
    """The answer is whole, or was stopped."""

    reply: Reply
    stopped: bool = False


@dataclass(frozen=True)
class Failed:
    """There is no answer, and why."""

    trouble: Trouble


Event = Started | Waiting | Thinking | Content | ToolCall | Approval | ToolResult | Notice | Done | Failed
