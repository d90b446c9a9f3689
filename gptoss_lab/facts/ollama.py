"""Figures about the Ollama server and its defaults, as its documentation and source state them."""

from gptoss_lab.facts.fact import Fact

_CONFIG = "https://github.com/ollama/ollama/blob/main/envconfig/config.go"
_CONTEXT = "https://docs.ollama.com/context-length"
_READ = "2026-11-23"

FACTS = {
    "port": Fact(11434, "", _CONFIG, _READ, "maker"),
    "keep_alive": Fact(5, "minutes", _CONFIG, _READ, "maker", "OLLAMA_KEEP_ALIVE; -1 never, 0 at once"),
    "parallel": Fact(1, "requests", _CONFIG, _READ, "maker", "OLLAMA_NUM_PARALLEL"),
    "queue": Fact(512, "requests", _CONFIG, _READ, "maker", "OLLAMA_MAX_QUEUE; beyond it the answer is HTTP 503"),
    "context_small": Fact(4_096, "tokens", _CONTEXT, _READ, "maker", "below 24 GiB of VRAM"),
    "context_middle": Fact(32_768, "tokens", _CONTEXT, _READ, "maker", "24 to 48 GiB of VRAM"),
    "first_with_gpt_oss": Fact("0.11.0", "", "https://github.com/ollama/ollama/releases/tag/v0.11.0", _READ, "maker"),
    "client": Fact("0.6.3", "", "https://github.com/ollama/ollama-python/releases", _READ, "maker", "Python package"),
}
