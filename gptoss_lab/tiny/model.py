"""gpt-oss in plain torch, made to be trained on one CPU thread (extra `train`).

The same mathematics as `GptOssForCausalLM` of transformers; a test compares them. Two parts have a hand-written
backward because it halves the time of a step: attention keeps only its probabilities, and experts are one matrix
product each over the tokens sorted by expert. Nothing here knows text, files or optimisers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SWIGLU_LIMIT, SWIGLU_ALPHA, NORM_EPS = 7.0, 1.702, 1e-5
ROPE_BASE, YARN_FACTOR, YARN_CONTEXT, YARN_FAST, YARN_SLOW = 150_000.0, 32.0, 4096, 32.0, 1.0
NOT_VISIBLE = -1e9


@dataclass(frozen=True)
class Size:
    """The shape of a model; `window` is the reach of the sliding layers in tokens."""

    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 4
    experts: int = 8
    experts_per_token: int = 2
    expert_width: int = 192
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    window: int = 128


def yarn_frequencies(head_width: int) -> tuple[Tensor, float]:
    """Return the rotary frequencies and the scale of cos and sin, as in YaRN (arXiv 2309.00071).

    The bounds of the ramp are rounded, as llama.cpp does and transformers does with `truncate: true`.
    """
    half = torch.arange(head_width // 2, dtype=torch.float64)
    plain = ROPE_BASE ** (-2 * half / head_width)
    low = max(math.floor(_turning_pair(YARN_FAST, head_width)), 0)
    high = min(math.ceil(_turning_pair(YARN_SLOW, head_width)), head_width - 1)
    ramp = ((half - low) / max(high - low, 1e-3)).clamp(0, 1)
    return (plain * (1 - ramp) + plain / YARN_FACTOR * ramp).float(), 0.1 * math.log(YARN_FACTOR) + 1


def _turning_pair(turns: float, head_width: int) -> float:
    """Return which rotary pair makes that many turns over the original context."""
    return head_width * math.log(YARN_CONTEXT / (turns * 2 * math.pi)) / (2 * math.log(ROPE_BASE))


class SinkAttention(torch.autograd.Function):
    """softmax(q k^T * scale + mask) with one more logit per head that takes weight and returns nothing.

    q: (batch, kv heads, group, tokens, width); k, v: (batch, kv heads, tokens, width); sink: (kv heads, group);
    mask: (batch, 1, 1, tokens, tokens), added to the scores.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sink: Tensor, mask: Tensor, scale: float) -> Tensor:
        batch, kv, group, length, width = q.shape
        flat = (batch * kv, group * length, width)
        scores = torch.bmm((q * scale).reshape(flat), k.reshape(batch * kv, length, width).transpose(1, 2))
        scores = scores.view(batch, kv, group, length, length).add_(mask)
        largest = scores.amax(-1, keepdim=True)
        weights = torch.softmax(scores, -1)
        log_sum = largest - weights.amax(-1, keepdim=True).log_()
        kept = torch.sigmoid(log_sum - sink.view(1, kv, group, 1, 1))
        weights.mul_(kept)
        mixed = torch.bmm(weights.view(batch * kv, group * length, length), v.reshape(batch * kv, length, width))
        mixed = mixed.view(q.shape)
        ctx.save_for_backward(q, k, v, weights, 1 - kept, mixed)
        ctx.scale = scale
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, sunk, mixed = ctx.saved_tensors
        batch, kv, group, length, width = q.shape
        grad = grads[0].contiguous()
        rows, keys = (batch * kv, group * length, width), (batch * kv, length, width)
        flat_weights = weights.view(batch * kv, group * length, length)
        inner = (grad * mixed).sum(-1, keepdim=True)
        grad_v = torch.bmm(flat_weights.transpose(1, 2), grad.view(rows)).view(v.shape)
        grad_scores = torch.bmm(grad.view(rows), v.reshape(keys).transpose(1, 2)).view(weights.shape)
        grad_scores = grad_scores.sub_(inner).mul_(weights).view(flat_weights.shape)
        grad_q = torch.bmm(grad_scores, k.reshape(keys)).view(q.shape) * ctx.scale
        grad_k = torch.bmm(grad_scores.transpose(1, 2), q.reshape(rows)).view(k.shape) * ctx.scale
        return grad_q, grad_k, grad_v, -(sunk * inner).sum((0, 3, 4)), None, None


class Experts(torch.autograd.Function):
    """Sum over the chosen experts of weight * down(swiglu(gate_up(x))).

    x: (tokens, hidden); chosen, weight: (tokens, experts per token); gate_up: (experts, hidden, 2 * width), the gate
    in the first half; down: (experts, width, hidden).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, chosen: Tensor, weight: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
    ) -> Tensor:
        tokens, k = chosen.shape
        order = torch.argsort(chosen.reshape(-1), stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        ends = torch.bincount(chosen.reshape(-1), minlength=w1.shape[0]).cumsum(0).tolist()
        spans = [(e, a, b) for e, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True)) if b > a]
        source = order // k
        xs, ws = x.index_select(0, source), weight.reshape(-1).index_select(0, order)[:, None]
        gate_up = x.new_empty(tokens * k, w1.shape[2])
        for e, a, b in spans:
            torch.addmm(b1[e], xs[a:b], w1[e], out=gate_up[a:b])
        gate = gate_up.chunk(2, -1)[0].clamp(max=SWIGLU_LIMIT)
        up = gate_up.chunk(2, -1)[1].clamp(-SWIGLU_LIMIT, SWIGLU_LIMIT).add_(1)
        soft = torch.sigmoid(gate * SWIGLU_ALPHA)
        act = gate * soft
        inner = act * up
        out = x.new_empty(tokens * k, w2.shape[2])
        for e, a, b in spans:
            torch.addmm(b2[e], inner[a:b], w2[e], out=out[a:b])
        ctx.save_for_backward(source, order, back, ws, xs, gate_up, up, soft, act, inner, out, w1, w2)
        ctx.spans, ctx.k = spans, k
        return (out * ws).index_select(0, back).view(tokens, k, -1).sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        source, order, back, ws, xs, gate_up, up, soft, act, inner, out, w1, w2 = ctx.saved_tensors
        tokens = len(order) // ctx.k
        grad_out = grads[0].index_select(0, source)
        grad_weight = (grad_out * out).sum(1).index_select(0, back).view(tokens, ctx.k)
        grad_out.mul_(ws)
        grad_inner, grad_w2, grad_b2 = _matmul_backward(ctx.spans, grad_out, inner, w2)
        slope = soft + SWIGLU_ALPHA * act * (1 - soft)
        grad_gate_up = torch.cat([grad_inner * up * slope, grad_inner * act], -1)
        gate_raw, up_raw = gate_up.chunk(2, -1)
        clipped = torch.cat([gate_raw >= SWIGLU_LIMIT, up_raw.abs() >= SWIGLU_LIMIT], -1)
        if bool(clipped.any()):
            grad_gate_up.masked_fill_(clipped, 0)
        grad_xs, grad_w1, grad_b1 = _matmul_backward(ctx.spans, grad_gate_up, xs, w1)
        grad_x = grad_xs.index_select(0, back).view(tokens, ctx.k, -1).sum(1)
        return grad_x, None, grad_weight, grad_w1, grad_b1, grad_w2, grad_b2


def _matmul_backward(
    spans: list[tuple[int, int, int]], grad: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias of `x @ weight[e] + bias[e]` over the rows of each expert."""
    grad_x, grad_weight = torch.empty_like(x), torch.zeros_like(weight)
    grad_bias = weight.new_zeros(weight.shape[0], weight.shape[2])
    for e, a, b in spans:
        torch.mm(grad[a:b], weight[e].t(), out=grad_x[a:b])
        torch.mm(x[a:b].t(), grad[a:b], out=grad_weight[e])
        torch.sum(grad[a:b], 0, out=grad_bias[e])
    return grad_x, grad_weight, grad_bias


class Norm(torch.autograd.Function):
    """Scale each row to length one per channel, then by a learned weight (RMSNorm)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        scale = x.pow(2).mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
        normal = x * scale
        ctx.save_for_backward(normal, scale, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        normal, scale, weight = ctx.saved_tensors
        grad = grads[0] * weight
        grad_x = (grad - normal * (grad * normal).mean(-1, keepdim=True)).mul_(scale)
        return grad_x, (grads[0] * normal).sum(0)


def _weight(*shape: int, std: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * std)


class Block(nn.Module):
    """One layer: attention, then experts, each added to the stream. Even layers see only the window."""

    def __init__(self, size: Size, index: int) -> None:
        super().__init__()
        hidden, q, kv = size.hidden, size.heads * size.head_width, size.kv_heads * size.head_width
        shrink = (2 * size.layers) ** -0.5
        self.size, self.sliding = size, index % 2 == 0
        self.attn_norm, self.mlp_norm = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
        self.wqkv, self.bqkv = _weight(q + 2 * kv, hidden, std=hidden**-0.5), _weight(q + 2 * kv)
        self.wo, self.bo = _weight(hidden, q, std=q**-0.5 * shrink), _weight(hidden)
        self.sink = _weight(size.heads)
        self.wr, self.br = _weight(size.experts, hidden, std=0.02), _weight(size.experts)
        width = size.expert_width
        self.w1, self.b1 = _weight(size.experts, hidden, 2 * width, std=hidden**-0.5), _weight(size.experts, 2 * width)
        self.w2, self.b2 = _weight(size.experts, width, hidden, std=width**-0.5 * shrink), _weight(size.experts, hidden)
        self.balance = torch.zeros(())

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        """x: (batch * tokens, hidden); cos, sin: (batch, tokens, 1, width / 2); masks: sliding and full."""
        x = x + self._attend(Norm.apply(x, self.attn_norm), cos, sin, masks[0 if self.sliding else 1])
        return x + self._think(Norm.apply(x, self.mlp_norm))

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        s, (batch, length) = self.size, cos.shape[:2]
        heads = F.linear(x, self.wqkv, self.bqkv).view(batch, length, s.heads + 2 * s.kv_heads, s.head_width)
        q, k, v = heads.split([s.heads, s.kv_heads, s.kv_heads], 2)
        q = _rotate(q, cos, sin).view(batch, length, s.kv_heads, -1, s.head_width).permute(0, 2, 3, 1, 4)
        k, v = _rotate(k, cos, sin).transpose(1, 2), v.transpose(1, 2)
        mixed = SinkAttention.apply(q, k, v, self.sink.view(s.kv_heads, -1), mask, s.head_width**-0.5)
        return F.linear(mixed.permute(0, 3, 1, 2, 4).reshape(batch * length, -1), self.wo, self.bo)

    def _think(self, x: Tensor) -> Tensor:
        scores = F.linear(x, self.wr, self.br)
        best, chosen = scores.topk(self.size.experts_per_token, -1)
        if self.training:
            share = torch.bincount(chosen.reshape(-1), minlength=self.size.experts).float() / chosen.numel()
            self.balance = self.size.experts * (scores.softmax(-1).mean(0) * share).sum()
        return Experts.apply(x, chosen, best.softmax(-1), self.w1, self.b1, self.w2, self.b2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class GptOss(nn.Module):
    """The whole model; `hidden` gives the last states, `forward` the logits of every token."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embedding = _weight(size.vocabulary, size.hidden, std=0.5)
        self.head = _weight(size.vocabulary, size.hidden, std=0.02)
        self.norm = nn.Parameter(torch.ones(size.hidden))
        self.blocks = nn.ModuleList(Block(size, i) for i in range(size.layers))
        self.frequencies, self.rope_scale = yarn_frequencies(size.head_width)

    def hidden(self, ids: Tensor, positions: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        """ids, positions: (batch, tokens). Return (batch * tokens, hidden)."""
        angle = (positions[..., None].float() * self.frequencies)[:, :, None]
        cos, sin = angle.cos() * self.rope_scale, angle.sin() * self.rope_scale
        x = F.embedding(ids.reshape(-1), self.embedding)
        for block in self.layers():
            x = block(x, cos, sin, masks)
        return Norm.apply(x, self.norm)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (batch, tokens, vocabulary) for plain rows of ids."""
        positions = torch.arange(ids.shape[1]).expand(ids.shape)
        masks = visible(positions, torch.ones_like(ids), self.size.window)
        return F.linear(self.hidden(ids, positions, masks), self.head).view(*ids.shape, -1)

    @property
    def balance(self) -> Tensor:
        """How uneven the routers are: 1 when all experts of a layer get the same share."""
        return torch.stack([block.balance for block in self.layers()]).mean()

    def layers(self) -> list[Block]:
        """Return the layers from first to last."""
        return [cast(Block, block) for block in self.blocks]

    @torch.no_grad()
    def wire_look_back(self, steps: tuple[int, ...] = (1, 2, 3), pairs: int = 8, gain: float = 6.0) -> None:
        """Start the first heads of layer 0 as "the token 1, 2, 3 back".

        Rotary positions turn constant biases of query and key into a pure preference for one distance. Training may
        change it; it only saves the steps needed to find it.
        """
        size, bias = self.size, self.layers()[0].bqkv
        split = size.heads * size.head_width
        q = bias[:split].view(size.heads, 2, -1)
        k = bias[split : split + size.kv_heads * size.head_width].view(size.kv_heads, 2, -1)
        k[:, 0, :pairs] = gain / 2
        for head, distance in enumerate(steps):
            q[head, 0, :pairs] = gain * torch.cos(distance * self.frequencies[:pairs])
            q[head, 1, :pairs] = -gain * torch.sin(distance * self.frequencies[:pairs])

    @torch.no_grad()
    def wire_induction(self, first_slow_pair: int = 14, gain: float = 2.0) -> None:
        """Start layer 1 as "find where this token occurred before and look at what followed".

        Its keys read what the look-back heads of layer 0 write, its queries read the token itself (kv head 0) or the
        token before it (kv head 1); only slow rotary pairs are used, so that the distance does not matter.
        """
        size, (below, above, *_) = self.size, self.layers()
        width, queries, half = size.head_width, size.heads * size.head_width, size.head_width // 2
        slow = torch.cat([torch.arange(first_slow_pair, half), torch.arange(half + first_slow_pair, width)])
        read = _orthogonal(size.hidden, width)
        back = [_orthogonal(size.hidden, width) for _ in range(2)]
        below.wqkv[queries + size.kv_heads * width :][:width] = read.t()
        for head in (0, 1):
            below.wo[:, head * width : (head + 1) * width] = 0.7 * back[head]
        group = size.heads // size.kv_heads
        for kv, (key, query) in enumerate(((back[0], read), (back[1], back[0]))):
            above.wqkv[queries + kv * width : queries + (kv + 1) * width] = _rows(key, slow, gain)
            for head in range(kv * group, (kv + 1) * group):
                above.wqkv[head * width : (head + 1) * width] = _rows(query, slow, gain)

    def reference_state(self) -> dict[str, Tensor]:
        """Return the weights under the names and in the layout of transformers' GptOssForCausalLM."""
        state: dict[str, Tensor] = {
            "model.embed_tokens.weight": self.embedding,
            "lm_head.weight": self.head,
            "model.norm.weight": self.norm,
        }
        for i, block in enumerate(self.layers()):
            state |= {f"model.layers.{i}.{name}": tensor for name, tensor in _reference_block(block)}
        return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}

    def weights(self) -> tuple[int, int]:
        """Return the number of weights, and of those that work on one token."""
        total = sum(p.numel() for p in self.parameters())
        experts = sum(p.numel() for block in self.layers() for p in (block.w1, block.b1, block.w2, block.b2))
        return total, total - experts + experts * self.size.experts_per_token // self.size.experts


def _orthogonal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(rows, columns))[0]


def _rows(matrix: Tensor, kept: Tensor, gain: float) -> Tensor:
    """Return the transpose with all rows but the kept ones set to zero."""
    out = torch.zeros_like(matrix.t())
    out[kept] = gain * matrix.t()[kept]
    return out


def _reference_block(block: Block) -> list[tuple[str, Tensor]]:
    size = block.size
    cut = [size.heads * size.head_width, size.kv_heads * size.head_width, size.kv_heads * size.head_width]
    named: list[tuple[str, Tensor]] = [
        ("input_layernorm.weight", block.attn_norm),
        ("post_attention_layernorm.weight", block.mlp_norm),
    ]
    for name, weight, bias in zip("qkv", block.wqkv.split(cut), block.bqkv.split(cut), strict=True):
        named += [(f"self_attn.{name}_proj.weight", weight), (f"self_attn.{name}_proj.bias", bias)]
    named += [
        ("self_attn.o_proj.weight", block.wo),
        ("self_attn.o_proj.bias", block.bo),
        ("self_attn.sinks", block.sink),
    ]
    named += [("mlp.router.weight", block.wr), ("mlp.router.bias", block.br)]
    named += [
        ("mlp.experts.gate_up_proj", _interleave(block.w1)),
        ("mlp.experts.gate_up_proj_bias", _interleave(block.b1)),
    ]
    return [*named, ("mlp.experts.down_proj", block.w2), ("mlp.experts.down_proj_bias", block.b2)]


def _interleave(gate_up: Tensor) -> Tensor:
    """Put gate and up side by side, column by column, as the published checkpoints do."""
    return torch.stack(gate_up.chunk(2, -1), -1).flatten(-2)


def visible(positions: Tensor, segments: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the masks (sliding, full) for rows that hold several conversations behind one shared beginning.

    positions, segments: (batch, tokens); segment 0 is the shared beginning. A token sees its own segment and segment 0.
    """
    length = positions.shape[1]
    same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    full = same & torch.ones(length, length, dtype=torch.bool).tril()
    near = full & (positions[:, :, None] - positions[:, None, :] < window)
    return _additive(near), _additive(full)


def _additive(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape).masked_fill_(~allowed, NOT_VISIBLE)[:, None, None]
