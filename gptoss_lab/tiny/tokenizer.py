"""Text to token ids and back, with the vocabulary of a GGUF file: byte-level BPE, readable.

A text is cut into pieces (words, numbers, marks), each piece becomes bytes, and neighbouring parts are merged in the
order the vocabulary learned them. Only vocabularies split like gpt-oss (`o200k`) are understood.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import regex

from gptoss_lab.tiny.text_split import O200K_SPLIT

if TYPE_CHECKING:
    from gguf import GGUFReader

CONTROL = 3  # token type of special tokens in a GGUF file


@lru_cache
def byte_letters() -> dict[int, str]:
    """Return the printable letter that stands for each byte in a vocabulary (as in GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


class Tokenizer:
    """The tokenizer of one model: `tokens[id]` is a token's spelling, `ids[spelling]` its number."""

    def __init__(self, tokens: list[str], merges: list[str], special: set[str]) -> None:
        self.tokens, self.special = tokens, special
        self.ids = {token: i for i, token in enumerate(tokens)}
        self._rank = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self._split = regex.compile(O200K_SPLIT)
        self._marks = regex.compile("(" + "|".join(regex.escape(token) for token in special) + ")")
        self._letters = byte_letters()
        self._bytes = {letter: byte for byte, letter in self._letters.items()}

    @classmethod
    def from_gguf(cls, reader: GGUFReader) -> Tokenizer:
        """Read the tokenizer that a GGUF file carries."""
        tokens = reader.fields["tokenizer.ggml.tokens"].contents()
        kinds = reader.fields["tokenizer.ggml.token_type"].contents()
        special = {token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL}
        return cls(tokens, reader.fields["tokenizer.ggml.merges"].contents(), special)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens such as `<|start|>` are recognised."""
        ids: list[int] = []
        for part in self._marks.split(text):
            if part in self.special:
                ids.append(self.ids[part])
            else:
                ids += [self.ids[token] for piece in self._split.findall(part) for token in self._merge(piece)]
        return ids

    def _merge(self, piece: str) -> list[str]:
        """Merge the bytes of one piece, always the pair that was learned first."""
        parts = [self._letters[byte] for byte in piece.encode("utf-8")]
        while len(parts) > 1:
            pairs = [self._rank.get(pair, len(self._rank)) for pair in pairwise(parts)]
            best = min(pairs)
            if best == len(self._rank):
                break
            i = pairs.index(best)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; a cut character becomes the replacement mark."""
        return b"".join(self.token_bytes(i) for i in ids).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes that one token stands for."""
        token = self.tokens[id]
        return token.encode("utf-8") if token in self.special else bytes(self._bytes[letter] for letter in token)
