"""The practice model is a true gpt-oss: NumPy, llama.cpp and transformers agree, and so do templates and tokenizers."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptoss_lab.tiny import MODEL_PATH, course, harmony
from gptoss_lab.tiny.forward import GptOss

pytest.importorskip("xllamacpp", reason="the engine is not installed")
from gptoss_lab.tiny.exam import Examinee

PROMPTS = ["What is a token?", "什么是 KV 缓存？", "Tell me a long story.", "What is 17 + 25?"]

PROPERTIES: dict[str, Any] = {
    "city": {"type": "string", "description": "the city"},
    "unit": {"type": "string", "enum": ["c", "f"]},
    "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "note": {"type": ["string", "null"]},
    "tags": {"type": "array", "items": {"type": "string"}},
    "list": {"type": "array"},
    "more": {"type": "object"},
    "free": {"description": "no type"},
    "code": {"enum": [1, 2]},
    "yes": {"type": "boolean"},
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": PROPERTIES, "required": ["city"]},
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


def user(text: str) -> harmony.Message:
    return {"role": "user", "content": text}


def called(arguments: Any, **more: str) -> harmony.Message:
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call], **more}


SYSTEM = {"role": "system", "content": "Be brief.\n\nAnswer in 中文."}
CHATS: dict[str, tuple[list[harmony.Message], list[harmony.Schema] | None]] = {
    "one question": ([user("Hi")], None),
    "two languages": ([user("Hi 你好\n\n- a\n- b")], None),
    "system prompt": ([SYSTEM, user("Hi")], None),
    "developer message": ([{"role": "developer", "content": "Be kind."}, user("Hi")], None),
    "tool": ([user("Hi")], [NOW]),
    "tools and system prompt": ([SYSTEM, user("Hi")], [WEATHER, NOW]),
    "history loses its thinking": (
        [user("a"), {"role": "assistant", "content": "b", "reasoning_content": "t"}, user("c")],
        None,
    ),
    "three turns": (
        [
            SYSTEM,
            user("a"),
            {"role": "assistant", "content": "b"},
            user("c"),
            {"role": "assistant", "content": "d"},
            user("e"),
        ],
        None,
    ),
    "tool result, arguments as text": (
        [user("a"), called('{"city": "Rome", "days": 3}', reasoning_content="t"), {"role": "tool", "content": "sun"}],
        [WEATHER, NOW],
    ),
    "tool result, arguments as object": (
        [user("a"), called({"days": 2, "city": "Zürich"}), {"role": "tool", "tool_name": "weather", "content": "sun"}],
        [WEATHER],
    ),
    "after a tool": (
        [
            user("a"),
            called('{"city":"Rome"}'),
            {"role": "tool", "name": "weather", "content": "sun"},
            {"role": "assistant", "content": "It is sunny."},
            user("ok\n\nand then?"),
        ],
        [WEATHER],
    ),
}


@pytest.fixture(scope="module")
def engine() -> Examinee:
    return Examinee(MODEL_PATH)


@pytest.fixture(scope="module")
def model() -> GptOss:
    return GptOss(MODEL_PATH)


@pytest.mark.parametrize("effort", harmony.EFFORTS)
@pytest.mark.parametrize("name", CHATS)
def test_render_is_what_the_template_gives(engine: Examinee, name: str, effort: str) -> None:
    messages, tools = CHATS[name]
    today = datetime.date.today().isoformat()
    assert harmony.render(messages, tools, effort, today) == engine.prompt(messages, effort, tools)


def test_render_is_what_the_template_gives_for_the_whole_course(engine: Examinee) -> None:
    today = datetime.date.today().isoformat()
    for chat in list(course.Teacher(3).epoch())[::20]:
        messages = [
            {("reasoning_content" if key == "thinking" else key): value for key, value in message.items()}
            for message in chat.messages
        ]
        for message in messages:
            for call in message.get("tool_calls", []):
                call["type"] = "function"
        assert harmony.render(chat.messages, chat.schemas, chat.effort, today) == engine.prompt(
            messages, chat.effort, chat.schemas
        )


def test_parse_finds_what_was_written() -> None:
    for chat in course.Teacher(4).epoch():
        text = "".join(piece for piece, _ in chat.written)
        reply = harmony.parse(text)
        assert reply.thinking and (reply.content or reply.tool_calls)
        again = harmony.thinking_text(reply.thinking)
        for call in reply.tool_calls:
            again += harmony.call_text({"name": call.name, "arguments": call.arguments})
        assert text == (again if reply.tool_calls else again + harmony.final_text(reply.content))


def test_parse_copes_with_a_cut_answer() -> None:
    assert harmony.parse("<|channel|>analysis<|message|>I thi") == harmony.Reply(thinking="I thi")
    assert harmony.parse("") == harmony.Reply()


@pytest.mark.parametrize(
    "text",
    [
        "Hello, 世界! what's 3+45?\n\n  code: x = [1, 2]\t// I'LL DON'T",
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>",
        "什么是 KV 缓存？为什么 ABCdef 重要……émigré ǅ ½ 1234567 🙂",
        "def f(a: int) -> int:\n    return a ** 2  # ok\n",
        "a’s   \n \n\n  end",
    ],
)
def test_tokens_are_those_of_llama_cpp(engine: Examinee, model: GptOss, text: str) -> None:
    ids = model.tokenizer.encode(text)
    assert ids == engine.tokenize(text)
    assert model.tokenizer.decode(ids) == text


def test_digits_are_single_tokens(model: GptOss) -> None:
    assert len(model.tokenizer.encode("1234567")) == 7


def test_the_file_is_small_and_says_what_it_is() -> None:
    import gguf

    fields = gguf.GGUFReader(MODEL_PATH).fields
    assert MODEL_PATH.stat().st_size <= 6_000_000
    assert fields["general.architecture"].contents() == "gpt-oss"
    assert fields["general.name"].contents() and fields["general.license"].contents() == "apache-2.0"


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def prompt_ids(model: GptOss, question: str) -> list[int]:
    return model.tokenizer.encode(harmony.render([user(question)], today="2026-11-23"))


@pytest.mark.parametrize("question", PROMPTS)
def test_numpy_agrees_with_llama_cpp(engine: Examinee, model: GptOss, question: str) -> None:
    """llama.cpp rounds activations to 8 bits before it meets 8- and 4-bit weights; likely tokens differ little."""
    ids = prompt_ids(model, question) + model.tokenizer.encode("<|channel|>analysis<|message|>")
    model.reset()
    mine = log_softmax(model.forward(ids)[-1])
    theirs = engine.next_logprobs(ids, 5)
    assert max(theirs, key=lambda token: theirs[token]) == int(mine.argmax())
    likely = [token for token, logprob in theirs.items() if logprob > -3]
    assert max(abs(mine[token] - theirs[token]) for token in likely) < 0.5


def test_the_cache_changes_nothing(model: GptOss) -> None:
    ids = prompt_ids(model, "Tell me a long story.") * 3
    model.reset()
    whole = model.forward(ids)[-1]
    model.reset()
    model.forward(ids[:-5])
    steps = [model.forward([token])[-1] for token in ids[-5:]]
    assert np.abs(steps[-1] - whole).max() < 1e-3


def test_routing_and_attention_can_be_looked_at(model: GptOss) -> None:
    ids = prompt_ids(model, "Hello")
    model.reset()
    model.forward(ids)
    assert len(model.routing) == len(model.attention) == model.layers
    assert model.routing[0].shape == (len(ids), model.experts_per_token)
    assert model.attention[0].shape == (model.heads, len(ids), len(ids))
    assert model.attention[1].sum(-1).max() <= 1 + 1e-5


def test_numpy_generates_what_llama_cpp_generates(engine: Examinee, model: GptOss) -> None:
    question = user("Hello")
    today = datetime.date.today().isoformat()
    ids = list(model.generate(harmony.render([question], effort="low", today=today)))
    assert harmony.parse(model.tokenizer.decode(ids)) == engine.ask([question], "low")


def reference_state(model: GptOss) -> dict[str, np.ndarray]:
    """Return the weights of the GGUF file under the names of transformers."""
    weights = model.weights
    state = {"model.embed_tokens.weight": "token_embd", "lm_head.weight": "output", "model.norm.weight": "output_norm"}
    out = {name: weights[f"{source}.weight"] for name, source in state.items()}
    for i in range(model.layers):
        there, here = f"model.layers.{i}.", f"blk.{i}."
        out[f"{there}input_layernorm.weight"] = weights[f"{here}attn_norm.weight"]
        out[f"{there}post_attention_layernorm.weight"] = weights[f"{here}post_attention_norm.weight"]
        out[f"{there}self_attn.sinks"] = weights[f"{here}attn_sinks.weight"]
        for kind in ("weight", "bias"):
            for name, source in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
                out[f"{there}self_attn.{name}_proj.{kind}"] = weights[f"{here}{source}.{kind}"]
            out[f"{there}mlp.router.{kind}"] = weights[f"{here}ffn_gate_inp.{kind}"]
        for kind, suffix in (("weight", ""), ("bias", "_bias")):
            gate, up, down = (weights[f"{here}ffn_{part}_exps.{kind}"] for part in ("gate", "up", "down"))
            both = np.stack([gate, up], axis=2).reshape(gate.shape[0], -1, *gate.shape[2:])
            if kind == "weight":
                both, down = both.transpose(0, 2, 1), down.transpose(0, 2, 1)
            out[f"{there}mlp.experts.gate_up_proj{suffix}"] = both
            out[f"{there}mlp.experts.down_proj{suffix}"] = down
    return out


def reference_model(size: Any) -> Any:
    """Return transformers' own gpt-oss of that shape."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `train`")
    yarn = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0}
    config = transformers.GptOssConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_local_experts=size.experts,
        num_experts_per_tok=size.experts_per_token,
        intermediate_size=size.expert_width,
        head_dim=size.head_width,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        sliding_window=size.window,
        tie_word_embeddings=False,
        max_position_embeddings=131072,
        rope_parameters={**yarn, "truncate": True, "original_max_position_embeddings": 4096},
        attn_implementation="eager",
    )
    return transformers.GptOssForCausalLM(config).float().eval()


def shape_of(model: GptOss) -> Any:
    from gptoss_lab.tiny.model import Size

    experts, width, hidden = model.weights["blk.0.ffn_gate_exps.weight"].shape
    return Size(
        vocabulary=len(model.tokenizer.tokens),
        hidden=hidden,
        layers=model.layers,
        experts=experts,
        experts_per_token=model.experts_per_token,
        expert_width=width,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_width=model.head_width,
        window=model.window,
    )


def test_numpy_agrees_with_transformers(model: GptOss) -> None:
    """The shipped weights, 300 tokens, so beyond the window; trained attention scores are large, hence 1e-2."""
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    reference = reference_model(shape_of(model))
    state = {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in reference_state(model).items()}
    reference.load_state_dict(state)
    ids = (prompt_ids(model, "什么是混合专家？") * 5)[:300]
    model.reset()
    mine = model.forward(ids)
    with torch.no_grad():
        theirs = reference(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(mine - theirs).max() < 1e-2
    assert (mine.argmax(-1) == theirs.argmax(-1)).all()


def test_the_trained_model_class_agrees_with_transformers() -> None:
    """Same logits and gradients for random weights, none at its neutral value."""
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from gptoss_lab.tiny import model as torch_model

    torch.manual_seed(0)
    size = torch_model.Size(vocabulary=300, hidden=64, layers=2, expert_width=32, head_width=32)
    mine = torch_model.GptOss(size).eval()
    for parameter in mine.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    reference = reference_model(size)
    reference.load_state_dict(mine.reference_state())
    ids = torch.randint(0, 300, (2, 200))
    ours, theirs = mine(ids), reference(ids).logits
    assert float((ours - theirs).detach().abs().max()) < 1e-4
    direction = torch.randn_like(ours)
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    for parameter in mine.parameters():
        parameter.data = parameter.grad
    expected = dict(reference.named_parameters())
    for name, gradient in mine.reference_state().items():
        difference = float((gradient - expected[name].grad).abs().max())
        assert difference < 1e-3 * float(expected[name].grad.abs().max()), name


def test_training_makes_a_file_that_loads(tmp_path: Path) -> None:
    """A few seconds of training: the loss falls, the run resumes, the file loads and has the right template."""
    pytest.importorskip("torch", reason="needs the extra `train`")
    from gptoss_lab.tiny import train

    out, file = tmp_path / "läufe 训练", tmp_path / "toy 模型.gguf"
    small = ["--vocabulary", "600", "--hidden", "64", "--layers", "2", "--expert-width", "32"]
    assert train.main(["--out", str(out), "--minutes", "0.04", *small]) == 0
    assert train.main(["--out", str(out), "--minutes", "0.08", "--resume", "--export", str(file)]) == 0
    assert json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["model"]["type"] == "BPE"
    toy = Examinee(file)
    assert toy.prompt([user("Hi")], "low").endswith("<|start|>assistant")
    numpy_toy = GptOss(file)
    ids = numpy_toy.tokenizer.encode("<|start|>user<|message|>Hi 你好 12<|end|><|start|>assistant")
    assert ids == toy.tokenize("<|start|>user<|message|>Hi 你好 12<|end|><|start|>assistant")
    assert np.isfinite(numpy_toy.forward(ids)).all()


def test_resuming_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs the extra `train`")
    from gptoss_lab.tiny import train

    assert train.main(["--out", str(tmp_path), "--resume"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
