"""What model files are made of: the bytes and counts from which memory and speed follow.

The gpt-oss sizes are those of the files' tensors (headers of the published GGUF files); a learner's own file is read
by `gptoss_lab.hardware.models` into the same shape.
"""

from dataclasses import dataclass

_GGUF = "https://ollama.com/library/gpt-oss"
_GGML_ORG = "https://huggingface.co/ggml-org/gpt-oss-20b-GGUF"
_UNSLOTH = "https://huggingface.co/unsloth/gpt-oss-20b-GGUF"
_SMALL = "https://github.com/ollama/ollama/blob/v0.9.0/README.md"
_READ = "2026-11-23"


@dataclass(frozen=True)
class ModelFile:
    """One model file as the engine sees it; bytes are those of the tensors, not of the file."""

    name: str
    layers: int
    kv_width: int  # KV heads × (key length + value length): numbers the cache keeps per layer and token
    context: int  # longest, in tokens
    total_bytes: int
    embedding_bytes: int  # token embedding: stays in the machine's memory
    output_bytes: int  # output head; of tied weights the copy that goes to the GPU
    expert_bytes: int = 0  # all experts of one layer; 0 for a dense model
    experts: int = 1
    experts_used: int = 1  # per token
    sliding_layers: int = 0
    window: int = 0  # tokens that a sliding layer sees
    width: int = 2880  # embedding length
    kv_width_by_head: int = 0  # what Ollama's own guess takes for kv_width, from embedding length and heads
    source: str = _GGUF
    as_of: str = _READ

    @property
    def full_layers(self) -> int:
        return self.layers - self.sliding_layers

    @property
    def gpu_bytes(self) -> int:
        """Weights that lie on the GPU when everything is offloaded."""
        return self.total_bytes - self.embedding_bytes

    @property
    def dense_bytes(self) -> int:
        """Weights outside experts, embedding and output head, all layers together."""
        return self.gpu_bytes - self.output_bytes - self.layers * self.expert_bytes

    @property
    def block_bytes(self) -> int:
        """What moves between GPU and memory as one piece: a layer's experts, or a whole layer without any."""
        return self.expert_bytes or self.dense_bytes // self.layers

    @property
    def read_bytes(self) -> float:
        """Weights read for one token."""
        return self.dense_bytes + self.output_bytes + self.expert_read_bytes

    @property
    def expert_read_bytes(self) -> float:
        return self.layers * self.expert_bytes * self.experts_used / self.experts


def _gpt_oss(name: str, layers: int, experts: int, total_bytes: int, head_bytes: int, source: str) -> ModelFile:
    """Return a gpt-oss file: 8 KV heads of 64, every second layer with a window of 128, 4 experts per token.

    One layer's experts: three matrices of 2,880 × 2,880 in MXFP4 (17 bytes per 32 weights) with float32 biases.
    """
    expert_bytes = experts * (3 * 2880 * 2880 * 17 // 32 + 3 * 2880 * 4)
    return ModelFile(
        name, layers, 8 * (64 + 64), 131_072, total_bytes, head_bytes, head_bytes, expert_bytes, experts, 4,
        layers // 2, 128, kv_width_by_head=8 * (45 + 45), source=source,
    )  # fmt: skip


_BF16_HEAD = 2880 * 201_088 * 2
_Q8_HEAD = 2880 * 201_088 * 34 // 32
_Q4_READ = 980_000_000  # dense weights and head of the 20b in Q4_K_M, estimated from the file's size

FILES = {
    ("gpt-oss:20b", "bf16"): _gpt_oss("gpt-oss:20b", 24, 32, 13_779_630_336, _BF16_HEAD, _GGUF),
    ("gpt-oss:120b", "bf16"): _gpt_oss("gpt-oss:120b", 36, 128, 65_355_994_368, _BF16_HEAD, _GGUF),
    ("gpt-oss:20b", "q8"): _gpt_oss("gpt-oss:20b", 24, 32, 12_096_558_336, _Q8_HEAD, _GGML_ORG),
    ("gpt-oss:120b", "q8"): _gpt_oss("gpt-oss:120b", 36, 128, 63_374_323_968, _Q8_HEAD, _GGML_ORG),
}
FILES["gpt-oss:20b", "q4km"] = _gpt_oss(
    "gpt-oss:20b", 24, 32, 24 * FILES["gpt-oss:20b", "q8"].expert_bytes + _Q4_READ + 440_000_000, 440_000_000, _UNSLOTH
)
FILES["gpt-oss:120b", "q4km"] = _gpt_oss(
    "gpt-oss:120b", 36, 128, 36 * FILES["gpt-oss:120b", "q8"].expert_bytes + 1_270_000_000 + 440_000_000, 440_000_000,
    _UNSLOTH,
)  # fmt: skip

# Three models a machine with 8 GB can run, smallest first. Sizes as Ollama's list rounds them; shapes from the makers.
SMALL = {
    "llama3.2:3b": ModelFile(
        "llama3.2:3b", 28, 8 * (128 + 128), 131_072, 2_343_000_000, 323_000_000, 323_000_000, width=3072,
        kv_width_by_head=8 * (128 + 128), source=_SMALL,
    ),
    "phi4-mini": ModelFile(
        "phi4-mini", 32, 8 * (128 + 128), 131_072, 3_004_000_000, 504_000_000, 504_000_000, width=3072,
        kv_width_by_head=8 * (128 + 128), source=_SMALL,
    ),
    "gemma3:4b": ModelFile(
        "gemma3:4b", 34, 4 * (256 + 256), 131_072, 3_850_000_000, 550_000_000, 550_000_000, sliding_layers=29,
        window=1024, width=2560, kv_width_by_head=4 * (320 + 320), source=_SMALL,
    ),
}  # fmt: skip
SMALL_DOWNLOAD_GB = {"llama3.2:3b": 2.0, "phi4-mini": 2.5, "gemma3:4b": 3.3}
