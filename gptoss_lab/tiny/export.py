"""Writes a trained model as GGUF, the file format of llama.cpp and Ollama.

Experts become MXFP4 as in the published gpt-oss, other matrices Q8_0, vectors F32. It takes weights under the names of
transformers' GptOssForCausalLM, so it works for a checkpoint of that class too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from gptoss_lab.tiny.harmony import CALL, RETURN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gptoss_lab.tiny.model import Size

TEMPLATE_PATH = Path(__file__).parent / "harmony.jinja"
CONTEXT_TOKENS = 131_072
EXPERT_KIND, MATRIX_KIND = Kind.MXFP4, Kind.Q8_0


def write_gguf(path: Path, size: Size, state: Mapping[str, Any], tokenizer_path: Path) -> None:
    """Write the model to `path`; the file appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "gpt-oss")
    _add_description(writer)
    _add_shape(writer, size)
    _add_tokenizer(writer, json.loads(tokenizer_path.read_text(encoding="utf-8")))
    _add_tensors(writer, size, {name: np.asarray(tensor, dtype=np.float32) for name, tensor in state.items()})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(path)


def _add_description(writer: gguf.GGUFWriter) -> None:
    writer.add_name("gpt-oss practice")
    writer.add_description(
        "A true gpt-oss of a few million weights that knows the gpt-oss Lab course and nothing else."
    )
    writer.add_author("gpt-oss Lab")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_MXFP4_MOE)


def _add_shape(writer: gguf.GGUFWriter, size: Size) -> None:
    from gptoss_lab.tiny import model

    writer.add_block_count(size.layers)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(size.hidden)
    writer.add_feed_forward_length(size.expert_width)
    writer.add_expert_feed_forward_length(size.expert_width)
    writer.add_expert_count(size.experts)
    writer.add_expert_used_count(size.experts_per_token)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.kv_heads)
    writer.add_key_length(size.head_width)
    writer.add_value_length(size.head_width)
    writer.add_rope_dimension_count(size.head_width)
    writer.add_sliding_window(size.window)
    writer.add_layer_norm_rms_eps(model.NORM_EPS)
    writer.add_rope_freq_base(model.ROPE_BASE)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(model.YARN_FACTOR)
    writer.add_rope_scaling_orig_ctx_len(model.YARN_CONTEXT)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any]) -> None:
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids = dict(tokenizer["model"]["vocab"]) | special
    tokens = sorted(ids, key=lambda token: ids[token])
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(ids["<|startoftext|>"])
    writer.add_eos_token_id(ids[RETURN])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_array("tokenizer.ggml.eos_token_ids", [ids[RETURN], ids["<|endoftext|>"], ids[CALL]])
    writer.add_chat_template(TEMPLATE_PATH.read_text(encoding="utf-8"))


def _add_tensors(writer: gguf.GGUFWriter, size: Size, state: dict[str, np.ndarray]) -> None:
    _add(writer, "token_embd.weight", state["model.embed_tokens.weight"], MATRIX_KIND)
    _add(writer, "output_norm.weight", state["model.norm.weight"])
    _add(writer, "output.weight", state["lm_head.weight"], MATRIX_KIND)
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}."
        tensors = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        _add_layer(writer, f"blk.{layer}.", tensors)


def _add_layer(writer: gguf.GGUFWriter, block: str, tensors: dict[str, np.ndarray]) -> None:
    _add(writer, f"{block}attn_norm.weight", tensors["input_layernorm.weight"])
    _add(writer, f"{block}post_attention_norm.weight", tensors["post_attention_layernorm.weight"])
    for here, there in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output")):
        _add(writer, f"{block}{there}.weight", tensors[f"self_attn.{here}.weight"], MATRIX_KIND)
        _add(writer, f"{block}{there}.bias", tensors[f"self_attn.{here}.bias"])
    _add(writer, f"{block}attn_sinks.weight", tensors["self_attn.sinks"])
    _add(writer, f"{block}ffn_gate_inp.weight", tensors["mlp.router.weight"])
    _add(writer, f"{block}ffn_gate_inp.bias", tensors["mlp.router.bias"])
    gate_up = tensors["mlp.experts.gate_up_proj"].transpose(0, 2, 1)
    gate_up_bias = tensors["mlp.experts.gate_up_proj_bias"]
    for first, name in ((0, "gate"), (1, "up")):
        _add(writer, f"{block}ffn_{name}_exps.weight", gate_up[:, first::2], EXPERT_KIND)
        _add(writer, f"{block}ffn_{name}_exps.bias", gate_up_bias[:, first::2])
    _add(writer, f"{block}ffn_down_exps.weight", tensors["mlp.experts.down_proj"].transpose(0, 2, 1), EXPERT_KIND)
    _add(writer, f"{block}ffn_down_exps.bias", tensors["mlp.experts.down_proj_bias"])


def _add(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray, kind: Kind = Kind.F32) -> None:
    tensor = np.ascontiguousarray(tensor)
    if kind is Kind.F32:
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
