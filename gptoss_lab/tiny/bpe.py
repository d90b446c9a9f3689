"""Learns the practice model's vocabulary: byte pairs of the course's own text, plus the harmony special tokens.

Needs the `tokenizers` package (extra `train`). Digits are never merged, so that a number can be copied digit by digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from gptoss_lab.tiny.harmony import SPECIAL_TOKENS
from gptoss_lab.tiny.text_split import O200K_SPLIT

MAX_TOKEN_BYTES = 18


def learn(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE with at most `vocabulary` tokens, special tokens last."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(O200K_SPLIT), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=MAX_TOKEN_BYTES,
        show_progress=False,
    )
    tokenizer.train_from_iterator((_without_digits(text) for text in texts), trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _without_digits(text: str) -> str:
    return re.sub(r"\d|<\|\w+\|>", "\n", text)
