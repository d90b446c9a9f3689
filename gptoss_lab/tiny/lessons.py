"""Turns conversations into rows of token ids for training (extra `train`).

Many conversations start with the same system message and tools. A row holds that beginning once and several chats
behind it; masks and positions keep the chats apart, so the result is exact and costs about half the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from gptoss_lab.tiny.course import Conversation, dated, with_schemas

NO_TARGET = -100


@dataclass
class Row:
    """Token ids with the target, segment and position of each; segment 0 is the shared beginning."""

    shared: int
    ids: list[int]
    targets: list[int]
    segments: list[int]
    positions: list[int]
    chats: list[Conversation] = field(default_factory=list)

    def add(self, chat: Conversation, ids: list[int], targets: list[int]) -> None:
        """Append one chat behind the shared beginning."""
        self.chats.append(chat)
        self.ids += ids
        self.targets += targets
        self.segments += [len(self.chats)] * len(ids)
        self.positions += range(self.shared, self.shared + len(ids))


def pack(tokenizer: Tokenizer, chats: Iterable[Conversation], rng: random.Random, width: int) -> list[Row]:
    """Pack chats with the same effort, rules and tools into rows of about `width` tokens, each with its own date."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Conversation]] = {}
    for chat in chats:
        rules = chat.messages[0]["content"] if chat.messages[0]["role"] == "system" else ""
        groups.setdefault((chat.effort, rules, chat.tools), []).append(chat)
    rows: list[Row] = []
    for group in groups.values():
        rng.shuffle(group)
        rows += _pack_group(tokenizer, group, rng, width)
    rng.shuffle(rows)
    return rows


def _pack_group(tokenizer: Tokenizer, group: list[Conversation], rng: random.Random, width: int) -> Iterator[Row]:
    row, today, schemas = None, "", group[0].schemas
    for chat in group:
        if row is None:
            today, schemas = _random_date(rng), chat.schemas
        shared, text = dated(with_schemas(chat, schemas), today)
        ids, targets = _encode(tokenizer, text, chat.written)
        if row is not None and len(row.ids) + len(ids) > width:
            yield row
            today, schemas, row = _random_date(rng), chat.schemas, None
            shared, _ = dated(chat, today)
        if row is None:
            row = _start(tokenizer.encode(shared).ids)
        row.add(chat, ids, targets)
    if row is not None:
        yield row


def _start(ids: list[int]) -> Row:
    count = len(ids)
    return Row(count, list(ids), [NO_TARGET] * count, [0] * count, list(range(count)))


def _encode(tokenizer: Tokenizer, text: str, written: list[tuple[str, bool]]) -> tuple[list[int], list[int]]:
    ids = tokenizer.encode(text).ids
    targets = [NO_TARGET] * len(ids)
    for piece, learned in written:
        more = tokenizer.encode(piece).ids
        ids = ids + more
        targets += more if learned else [NO_TARGET] * len(more)
    return ids, targets


def _random_date(rng: random.Random) -> str:
    return f"{rng.randint(2025, 2029)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def batches(rows: list[Row], tokens: int, rng: random.Random) -> list[list[Row]]:
    """Return lists of rows of similar length with about `tokens` tokens together, in random order."""
    done: list[list[Row]] = []
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        batch.append(row)
        if len(batch) * len(row.ids) >= tokens:
            done.append(batch)
            batch = []
    rng.shuffle(done)
    return done


def collate(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, targets (of the next token), segments and positions, each (rows, longest row)."""
    longest = max(len(row.ids) for row in rows)

    def padded(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([values + [fill] * (longest - len(values)) for values in lists])

    targets = padded([row.targets[1:] for row in rows], NO_TARGET)
    return (
        padded([row.ids for row in rows], 0),
        targets,
        padded([row.segments for row in rows], -1),
        padded([row.positions for row in rows], 0),
    )
