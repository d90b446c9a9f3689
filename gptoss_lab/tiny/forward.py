"""gpt-oss in plain NumPy, to be read: one file of weights in, one token out, and again.

Everything that makes gpt-oss special is here in its simplest form: rotary positions stretched by YaRN, attention sinks,
a sliding window in every second layer, a router that wakes a few experts, and the KV cache. It reads any gpt-oss GGUF
that fits in memory as 32-bit floats (the practice model does, the 20b does not). It is slow and knows no batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from gptoss_lab.tiny import MODEL_PATH
from gptoss_lab.tiny.tokenizer import Tokenizer

Array = NDArray[np.float32]

SWIGLU_LIMIT, SWIGLU_ALPHA = 7.0, 1.702
YARN_FAST, YARN_SLOW = 32.0, 1.0  # turns over the original context


class GptOss:
    """A gpt-oss model with its cache; `routing` and `attention` keep what the last call did, to look at.

    routing[layer]: (tokens, experts per token), the experts each token went to.
    attention[layer]: (heads, tokens, cached tokens), where each token looked; what is missing to 1 went to the sink.
    """

    def __init__(self, path: Path = MODEL_PATH) -> None:
        reader = gguf.GGUFReader(path)
        self.weights = {tensor.name: _dequantize(tensor) for tensor in reader.tensors}
        self.tokenizer = Tokenizer.from_gguf(reader)

        def setting(name: str) -> Any:
            return reader.fields[f"gpt-oss.{name}"].contents()

        self.layers: int = setting("block_count")
        self.heads: int = setting("attention.head_count")
        self.kv_heads: int = setting("attention.head_count_kv")
        self.head_width: int = setting("attention.key_length")
        self.window: int = setting("attention.sliding_window")
        self.experts_per_token: int = setting("expert_used_count")
        self.norm_eps: float = setting("attention.layer_norm_rms_epsilon")
        self.frequencies, self.rope_scale = yarn_frequencies(
            self.head_width,
            setting("rope.freq_base"),
            setting("rope.scaling.factor"),
            setting("rope.scaling.original_context_length"),
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything that was read."""
        empty = np.zeros((0, self.kv_heads, self.head_width), np.float32)
        self.keys = [empty] * self.layers
        self.values = [empty] * self.layers
        self.routing: list[NDArray[np.intp]] = []
        self.attention: list[Array] = []

    def forward(self, ids: list[int]) -> Array:
        """Read more tokens, on top of what is in the cache; return the logits (tokens, vocabulary) after each."""
        past = len(self.keys[0])
        positions = np.arange(past, past + len(ids))
        self.routing, self.attention = [], []
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.layers):
            x = x + self._attend(self._norm(x, f"blk.{layer}.attn_norm"), layer, positions)
            x = x + self._think(self._norm(x, f"blk.{layer}.post_attention_norm"), layer)
        logits: Array = self._norm(x, "output_norm") @ self.weights["output.weight"].T
        return logits

    def _norm(self, x: Array, name: str) -> Array:
        """Scale every token's numbers to mean square one, then by a learned weight per channel (RMSNorm)."""
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.norm_eps))
        scaled: Array = x / scale * self.weights[f"{name}.weight"]
        return scaled

    def _linear(self, x: Array, name: str) -> Array:
        out: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return out

    def _attend(self, x: Array, layer: int, positions: NDArray[np.int_]) -> Array:
        """Let every token look at itself and the past: queries meet keys, and the weights mix the values."""
        block, tokens = f"blk.{layer}", len(x)
        q = self._linear(x, f"{block}.attn_q").reshape(tokens, self.heads, self.head_width)
        k = self._linear(x, f"{block}.attn_k").reshape(tokens, self.kv_heads, self.head_width)
        v = self._linear(x, f"{block}.attn_v").reshape(tokens, self.kv_heads, self.head_width)
        self.keys[layer] = np.concatenate([self.keys[layer], self._rotate(k, positions)])
        self.values[layer] = np.concatenate([self.values[layer], v])
        group = self.heads // self.kv_heads  # several query heads share one key and value head
        keys = np.repeat(self.keys[layer], group, axis=1)
        values = np.repeat(self.values[layer], group, axis=1)
        scores = np.einsum("thd,shd->hts", self._rotate(q, positions), keys) / math.sqrt(self.head_width)
        scores = np.where(self._hidden(layer, positions), -np.inf, scores)
        weights = softmax_with_sink(scores, self.weights[f"{block}.attn_sinks.weight"])
        self.attention.append(weights)
        mixed = np.einsum("hts,shd->thd", weights, values).reshape(tokens, -1)
        return self._linear(mixed, f"{block}.attn_output")

    def _rotate(self, x: Array, positions: NDArray[np.int_]) -> Array:
        """Turn pairs of channels by an angle that grows with the position (RoPE). x: (tokens, heads, width)."""
        angle = positions[:, None, None] * self.frequencies
        cos = (np.cos(angle) * self.rope_scale).astype(np.float32)
        sin = (np.sin(angle) * self.rope_scale).astype(np.float32)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def _hidden(self, layer: int, positions: NDArray[np.int_]) -> NDArray[np.bool_]:
        """Say which past tokens a token must not see: the future and, in even layers, all beyond the window."""
        distance = positions[:, None] - np.arange(len(self.keys[layer]))
        future = distance < 0
        return future | (distance >= self.window) if layer % 2 == 0 else future

    def _think(self, x: Array, layer: int) -> Array:
        """Send every token to its best experts and add what they say, weighted by the router."""
        scores = self._linear(x, f"blk.{layer}.ffn_gate_inp")
        chosen = np.argsort(-scores, axis=-1)[:, : self.experts_per_token]
        weights = softmax(np.take_along_axis(scores, chosen, axis=-1))
        self.routing.append(chosen)
        out = np.zeros_like(x)
        for expert in np.unique(chosen):
            token, place = np.nonzero(chosen == expert)
            out[token] += weights[token, place, None] * self._expert(x[token], layer, int(expert))
        return out

    def _expert(self, x: Array, layer: int, expert: int) -> Array:
        """Run one expert: a gate decides how much of each inner channel passes (SwiGLU, clamped at 7)."""
        gate = np.minimum(self._expert_linear(x, layer, expert, "gate"), SWIGLU_LIMIT)
        up = np.clip(self._expert_linear(x, layer, expert, "up"), -SWIGLU_LIMIT, SWIGLU_LIMIT)
        inner = gate / (1 + np.exp(-SWIGLU_ALPHA * gate)) * (up + 1)
        return self._expert_linear(inner, layer, expert, "down")

    def _expert_linear(self, x: Array, layer: int, expert: int, part: str) -> Array:
        name = f"blk.{layer}.ffn_{part}_exps"
        out: Array = x @ self.weights[f"{name}.weight"][expert].T + self.weights[f"{name}.bias"][expert]
        return out

    def generate(self, prompt: str, max_tokens: int = 400, temperature: float = 0.0, seed: int = 0) -> Iterator[int]:
        """Yield one token id after another for a harmony prompt, until the model ends its turn.

        The first step reads the whole prompt (prefill); every later step reads one token and uses the cache (decode).
        """
        rng = np.random.default_rng(seed)
        stop = {self.tokenizer.ids[name] for name in ("<|return|>", "<|call|>", "<|endoftext|>")}
        self.reset()
        logits = self.forward(self.tokenizer.encode(prompt))[-1]
        for _ in range(max_tokens):
            token = choose(logits, temperature, rng)
            yield token
            if token in stop:
                return
            logits = self.forward([token])[-1]


def _dequantize(tensor: gguf.ReaderTensor) -> Array:
    """Turn a stored tensor, perhaps 4-bit MXFP4, into 32-bit floats."""
    values: Array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return values


def yarn_frequencies(width: int, base: float, factor: float, context: int) -> tuple[NDArray[np.float64], float]:
    """Return the angle per position of each channel pair, and the scale of cos and sin (YaRN, arXiv 2309.00071).

    Fast pairs stay as they are, slow ones are stretched by `factor`, with a ramp between whose ends are rounded.
    """

    def pair_that_turns(turns: float) -> float:
        return width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(base))

    pair = np.arange(width // 2)
    plain = base ** (-2 * pair / width)
    low = max(math.floor(pair_that_turns(YARN_FAST)), 0)
    high = min(math.ceil(pair_that_turns(YARN_SLOW)), width - 1)
    ramp = np.clip((pair - low) / max(high - low, 1e-3), 0, 1)
    return plain * (1 - ramp) + plain / factor * ramp, 0.1 * math.log(factor) + 1


def softmax(scores: Array) -> Array:
    """Turn scores into positive weights that add up to one along the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    normalised: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def softmax_with_sink(scores: Array, sink: Array) -> Array:
    """Softmax with one more score per head, the sink, whose weight is thrown away. scores: (heads, tokens, past)."""
    sink = sink[:, None, None]
    largest = np.maximum(scores.max(axis=-1, keepdims=True), sink)
    weights = np.exp(scores - largest)
    kept: Array = weights / (weights.sum(axis=-1, keepdims=True) + np.exp(sink - largest))
    return kept


def choose(logits: Array, temperature: float, rng: np.random.Generator) -> int:
    """Choose the next token: the best one at temperature 0, else one drawn from softmax(logits / temperature)."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = softmax(logits / np.float32(temperature)).astype(np.float64)
    return int(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))
