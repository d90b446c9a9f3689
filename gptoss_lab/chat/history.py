"""The history of a conversation: a tree of messages. Editing and asking again make branches; nothing is lost.

The head is the last message of the branch that is spoken on. This module knows nothing about models.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gptoss_lab.chat.message import Message, Metrics, Settings


@dataclass
class Node:
    """A message in the tree."""

    id: int
    parent: int | None
    message: Message
    metrics: Metrics | None = None
    settings: Settings | None = None  # how the model was asked for this message
    children: list[int] = field(default_factory=list)


class History:
    """All messages that were ever said, and where the conversation stands."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.head: int | None = None
        self._roots: list[int] = []

    def add(self, message: Message, metrics: Metrics | None = None, settings: Settings | None = None) -> Node:
        """Add a message after the head and make it the head."""
        node = Node(len(self.nodes), self.head, message, metrics, settings)
        self.nodes[node.id] = node
        self._siblings(node.parent).append(node.id)
        self.head = node.id
        return node

    def path(self) -> list[Node]:
        """Return the branch that is spoken on, from its first message to the head."""
        return list(reversed(list(self._upwards())))

    def _upwards(self) -> Iterator[Node]:
        at = self.head
        while at is not None:
            yield self.nodes[at]
            at = self.nodes[at].parent

    def turns(self) -> list[Node]:
        """Return the questions on the branch that is spoken on."""
        return [node for node in self.path() if node.message.role == "user"]

    def siblings(self, node: int) -> list[int]:
        """Return the versions of a message, itself among them, oldest first."""
        return list(self._siblings(self.nodes[node].parent))

    def _siblings(self, parent: int | None) -> list[int]:
        return self._roots if parent is None else self.nodes[parent].children

    def go(self, node: int) -> None:
        """Go to a message and on to the newest end of its branch; raises KeyError for an unknown one."""
        at = self.nodes[node]
        while at.children:
            at = self.nodes[at.children[-1]]
        self.head = at.id

    def back_to(self, node: int | None) -> None:
        """Make a message the head, so that what is said next follows it; None is before the first."""
        if node is not None and node not in self.nodes:
            raise KeyError(node)
        self.head = node

    def undo(self) -> Node | None:
        """Step back to before the last question and return it; None when there is none."""
        asked = self.turns()
        if not asked:
            return None
        self.head = asked[-1].parent
        return asked[-1]
