"""What a conversation is made of: messages, tool calls, and what one answer cost; plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """The model's wish to call a tool."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One message; `thinking` and `calls` only of the assistant, `tool` the name of the tool that answered."""

    role: str  # "user", "assistant" or "tool"
    content: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    tool: str = ""
    stopped: bool = False  # the answer was stopped and is not whole

    def on_wire(self, with_thinking: bool) -> dict[str, Any]:
        """Return the message as /api/chat takes it."""
        sent: dict[str, Any] = {"role": self.role, "content": self.content}
        if with_thinking and self.thinking:
            sent["thinking"] = self.thinking
        if self.calls:
            functions = ({"name": call.name, "arguments": dict(call.arguments)} for call in self.calls)
            sent["tool_calls"] = [{"function": function} for function in functions]
        if self.tool:
            sent["tool_name"] = self.tool
        return sent


@dataclass(frozen=True)
class Settings:
    """How the model is asked: everything that shapes an answer besides the messages."""

    model: str
    system: str = ""
    effort: str = "low"
    options: Mapping[str, Any] = field(default_factory=dict)  # temperature, seed, num_ctx, …
    format: Any = None  # a pydantic model, a JSON schema, or "json"

    def __str__(self) -> str:
        """Return what a reader of an answer wants to know."""
        return " · ".join([self.model, self.effort, *(f"{name} {value}" for name, value in self.options.items())])


@dataclass(frozen=True)
class Metrics:
    """What one request to the model cost; times in seconds."""

    prompt_tokens: int = 0
    tokens: int = 0  # thinking counts, too
    load_s: float = 0.0
    queue_s: float = 0.0  # waiting that the server tells nothing of
    prefill_s: float = 0.0
    first_token_s: float = 0.0  # as seen from here
    decode_s: float = 0.0
    thinking_s: float = 0.0  # as seen from here
    thinking_tokens: int = 0  # as many as pieces came: Ollama sends a token in a piece
    gpu_share: float | None = None
    window: int = 0  # tokens of context; 0 when it is not known

    @property
    def tok_s(self) -> float:
        """Speed of writing in tokens per second."""
        return self.tokens / self.decode_s if self.decode_s else 0.0


@dataclass(frozen=True)
class Reply:
    """One whole answer: its text, its thinking, the tools on the way, and what it cost."""

    content: str
    thinking: str = ""
    steps: tuple[Message, ...] = ()  # every message of the turn after the question, the answer last
    metrics: Metrics = Metrics()
    done_reason: str = ""
    data: Any = None  # the validated object, when a format was asked for
    valid: bool | None = None  # None when no format was asked for
    problem: str = ""  # why it is not valid
    notes: tuple[str, ...] = ()  # what was said about it on the way: a retry, a full window

    def __str__(self) -> str:
        return self.content

    def _repr_markdown_(self) -> str:
        return self.content
