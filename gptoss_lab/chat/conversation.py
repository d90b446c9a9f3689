"""`Chat`: one conversation with a model, without any widget. A panel, a magic and a terminal show the same object.

>>> chat = Chat(effort="medium")
>>> chat.ask("What is a token?")
>>> for event in chat.stream("Why does it matter?"): ...
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from gptoss_lab.chat import answer_format, transcript
from gptoss_lab.chat.events import Event, Started
from gptoss_lab.chat.generation import Generation, Lines, Plan
from gptoss_lab.chat.history import History, Node
from gptoss_lab.chat.message import Call, Message, Metrics, Reply, Settings
from gptoss_lab.chat.openai_lab import OpenAIConnection
from gptoss_lab.chat.tools import Tool, tool
from gptoss_lab.connect import Connection, connect
from gptoss_lab.errors import LabError
from gptoss_lab.stream import LineStream
from gptoss_lab.text import text

EFFORTS = ("low", "medium", "high")
APPROVALS = ("ask", "always", "never")
MOST_STEPS = 8


class Chat:
    """A conversation: ask, edit, branch, stop, save."""

    def __init__(
        self,
        model: str | None = None,
        system: str = "",
        effort: str = "low",
        tools: Sequence[Callable[..., Any] | Tool] = (),
        format: Any = None,
        approve: str | Callable[[Call], bool] = "ask",
        most_steps: int = MOST_STEPS,
        lab: Connection | None = None,
        **options: Any,
    ) -> None:
        """Prepare a conversation; the server is asked only when something is said.

        `lab` is a connection, None for the one `connect()` finds; `options` go to the model, such as temperature, seed
        or num_ctx. `approve` says whether tools may run: "ask", "always", "never", or a function of the call. Raises
        LabError for what cannot be understood, and when no server answers.
        """
        _must_be(effort, EFFORTS, "bad_effort")
        if not callable(approve):
            _must_be(approve, APPROVALS, "bad_approve")
        answer_format.wanted(format)
        self.lab = lab or _found()
        self.settings = Settings(model or self.lab.model, system, effort, dict(options), format)
        self.tools = {one.name: one for one in map(tool, tools)}
        self.approve, self.most_steps = approve, most_steps
        self.history = History()
        self.loaded_messages: int | None = None  # how many were read from a file; None for a new conversation
        self._generation: Generation | None = None
        self._watchers: list[Callable[[Event], object]] = []
        self._capabilities: dict[str, tuple[str, ...]] = {}
        self._letters_per_token = 3.5  # a first guess; each answer's counter corrects it

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, question: str) -> Reply:
        """Ask and wait for the reply; raises LabError, in plain words, when there is none."""
        return self.stream(question).wait()

    def stream(self, question: str, watch: Callable[[Event], object] | None = None) -> Generation:
        """Ask and return the answer in the making: iterate over its events, `wait()`, or `stop()` it.

        Raises LabError for an empty question and while another answer is being made.
        """
        if not question.strip():
            raise LabError(text("chat.empty"), text("chat.empty_next"))
        self._must_be_free()
        self.history.add(Message("user", question))
        return self._generate(watch)

    def regenerate(self, watch: Callable[[Event], object] | None = None) -> Generation:
        """Ask the last question again, as a new branch; the answers before stay."""
        self._must_be_free()
        self.history.back_to(self._turn(-1).id)
        return self._generate(watch)

    def edit(self, question: str, turn: int = -1, watch: Callable[[Event], object] | None = None) -> Generation:
        """Ask a past question in other words, as a new branch; `turn` counts the questions of this branch from 0."""
        self._must_be_free()
        self.history.back_to(self._turn(turn).parent)
        return self.stream(question, watch)

    def watch(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback` with every event of every answer, from its thread; return a function that ends this."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

    def stop(self) -> None:
        """End the answer that is being made; what has come is kept."""
        if self._generation:
            self._generation.stop()

    @property
    def running(self) -> bool:
        """Whether an answer is being made."""
        return bool(self._generation and self._generation.running)

    def _must_be_free(self) -> None:
        if self.running:
            raise LabError(text("chat.busy"), text("chat.busy_next"))

    # --- history ------------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> list[Message]:
        """The messages of the branch that is spoken on."""
        return [node.message for node in self.history.path()]

    def undo(self) -> str:
        """Take back the last question with its answer and return the question; "" when there is none."""
        self._must_be_free()
        node = self.history.undo()
        return node.message.content if node else ""

    def branches(self, turn: int = -1) -> list[str]:
        """Return the versions of a question, oldest first."""
        return [self.history.nodes[one].message.content for one in self.history.siblings(self._turn(turn).id)]

    def go(self, turn: int, version: int) -> None:
        """Go to another version of a question, and to the end of what was said after it."""
        siblings = self.history.siblings(self._turn(turn).id)
        if not -len(siblings) <= version < len(siblings):
            raise LabError(text("chat.no_turn", number=version), text("chat.no_turn_next", last=len(siblings) - 1))
        self.history.go(siblings[version])

    def _turn(self, number: int) -> Node:
        turns = self.history.turns()
        if not turns:
            raise LabError(text("chat.nothing_asked"), text("chat.nothing_asked_next"))
        if not -len(turns) <= number < len(turns):
            raise LabError(text("chat.no_turn", number=number), text("chat.no_turn_next", last=len(turns) - 1))
        return turns[number]

    # --- settings -----------------------------------------------------------------------------------------------------

    def change(self, **settings: Any) -> None:
        """Change model, system, effort, options or format from the next question on; raises LabError for bad ones."""
        changed = replace(self.settings, **settings)
        _must_be(changed.effort, EFFORTS, "bad_effort")
        answer_format.wanted(changed.format)
        self.settings = changed

    # --- the request --------------------------------------------------------------------------------------------------

    def _generate(self, watch: Callable[[Event], object] | None) -> Generation:
        settings, before = self.settings, self.messages
        asked_at = max(at for at, one in enumerate(before) if one.role == "user")

        def open_stream(turn: list[Message]) -> Lines:
            body = self.body([*before, *turn], settings, asked_at)
            return (
                self.lab.lines(body)
                if isinstance(self.lab, OpenAIConnection)
                else LineStream(self.lab, "/api/chat", body)
            )

        def keep(message: Message, metrics: Metrics | None) -> None:
            self.history.add(message, metrics, settings if message.role == "assistant" else None)
            if metrics and metrics.prompt_tokens:
                self._learn_from(metrics.prompt_tokens)

        watchers = (*self._watchers, *([watch] if watch else []))

        def tell(event: Event) -> None:
            for watcher in watchers:
                watcher(event)

        plan = Plan(
            open_stream, self._look, keep, self.tools, self.approve, self.most_steps, settings.format,
            int(settings.options.get("num_ctx") or 0), self.estimate(), self.lab.host, settings.model,
        )  # fmt: skip
        tell(Started(before[asked_at].content))
        self._generation = Generation(plan).start(tell)
        return self._generation

    def body(self, messages: Sequence[Message], settings: Settings | None = None, asked_at: int = -1) -> dict[str, Any]:
        """Return the request for some messages, as it is sent to /api/chat.

        Reasoning goes along only inside the turn that is being answered, as gpt-oss was trained; the server is asked to
        refuse a text that does not fit, and not to cut it in silence.
        """
        settings = settings or self.settings
        system = [{"role": "system", "content": settings.system}] if settings.system else []
        sent = [one.on_wire(with_thinking=0 <= asked_at < at) for at, one in enumerate(messages)]
        body: dict[str, Any] = {
            "model": settings.model, "messages": system + sent, "stream": True, "truncate": False, "shift": False,
        }  # fmt: skip
        if self._can("thinking", settings.model):
            body["think"] = settings.effort
        if self.tools and self._can("tools", settings.model):
            body["tools"] = [dict(one.schema) for one in self.tools.values()]
        if settings.format is not None:
            body["format"] = answer_format.wanted(settings.format)
        if settings.options:
            body["options"] = dict(settings.options)
        return body

    def _can(self, skill: str, model: str) -> bool:
        """Tell whether a model thinks or uses tools; of one that does not say, it is believed."""
        if model not in self._capabilities:
            try:
                self._capabilities[model] = tuple(self.lab.client.show(model).capabilities or ("thinking", "tools"))
            except Exception:  # the request itself will say what is wrong
                self._capabilities[model] = ("thinking", "tools")
        return skill in self._capabilities[model]

    def _look(self) -> tuple[float | None, int, bool]:
        """Return the model's share on the GPU, its window in tokens, and whether it is in memory."""
        try:
            loaded = self.lab.client.ps().models
        except Exception:
            return None, 0, True
        name = self.settings.model if ":" in self.settings.model else f"{self.settings.model}:latest"
        found = next((one for one in loaded if one.name == name), None)
        if found is None:
            return None, 0, False
        share = (found.size_vram or 0) / found.size if found.size else None
        return share, found.context_length or 0, True

    # --- the window ---------------------------------------------------------------------------------------------------

    def estimate(self, question: str = "") -> int:
        """Return about how many tokens the next request has, with `question` at its end."""
        said = [self.settings.system, question, *(one.content for one in self.messages)]
        tools = sum(len(str(one.schema)) for one in self.tools.values())
        return round((sum(map(len, said)) + tools) / self._letters_per_token) + 4 * len(said) + 60

    def _learn_from(self, prompt_tokens: int) -> None:
        letters = sum(len(one.content) for one in self.messages[:-1]) + len(self.settings.system)
        if letters > 400:
            self._letters_per_token = max(letters / prompt_tokens, 0.5)

    # --- keeping ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the whole conversation with all branches to a file and return its path."""
        return transcript.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, lab: Connection | None = None, **more: Any) -> "Chat":
        """Return a conversation that `save` has written; tools are functions and must be given again.

        Raises LabError when the file is none, or was written by a newer version.
        """
        settings, history = transcript.load(Path(path))
        chat = cls(lab=lab, **more)
        chat.settings, chat.history, chat.loaded_messages = settings, history, len(history.nodes)
        return chat

    def to_markdown(self) -> str:
        """Return the branch that is spoken on as Markdown."""
        return transcript.markdown(self.history.path())

    def to_python(self) -> str:
        """Return Python code that asks the questions of this branch again, each with the settings it was asked with."""
        return transcript.python(self.settings, self.history.path())

    def panel(self) -> Any:
        """Return a panel of this conversation for a notebook; the widgets know this module, and not it them."""
        return import_module("gptoss_lab.ui.panel").panel(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)


def _found() -> Connection:
    """Return the connection `connect()` finds, without its announcement."""
    with redirect_stdout(StringIO()):
        return connect()


def _must_be(value: Any, known: Sequence[str], key: str) -> None:
    if value not in known:
        name = key.removeprefix("bad_")
        raise LabError(text(f"chat.{key}", **{name: value}), text(f"chat.{key}_next"))
