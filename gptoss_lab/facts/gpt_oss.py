"""Figures about the two gpt-oss models. Nothing here is measured by this project."""

from gptoss_lab.facts.fact import Fact

_CARD = "https://arxiv.org/abs/2508.10925"
_REPOSITORY = "https://github.com/openai/gpt-oss"
_LIBRARY = "https://ollama.com/library/gpt-oss"
_READ = "2026-11-23"

FACTS = {
    "released": Fact("2025-08-05", "", _CARD, _READ, "maker"),
    "licence": Fact("Apache-2.0", "", _REPOSITORY, _READ, "maker", "plus a one-paragraph usage policy"),
    "weights_20b": Fact(20.91, "billion", _CARD, _READ, "maker"),
    "weights_120b": Fact(116.83, "billion", _CARD, _READ, "maker"),
    "active_20b": Fact(3.61, "billion", _CARD, _READ, "maker", "4 of 32 experts per token"),
    "active_120b": Fact(5.13, "billion", _CARD, _READ, "maker", "4 of 128 experts per token"),
    "temperature": Fact(1.0, "", _REPOSITORY, _READ, "maker", "recommended for sampling"),
    "top_p": Fact(1.0, "", _REPOSITORY, _READ, "maker", "recommended; 1 leaves no token out"),
    "context": Fact(131_072, "tokens", _REPOSITORY, _READ, "maker", "4,096 stretched 32 times by YaRN"),
    "vocabulary": Fact(201_088, "entries", _REPOSITORY, _READ, "maker", "o200k_harmony"),
    "download_20b": Fact(13.8, "GB", _LIBRARY, _READ, "maker", "13,793,441,244 bytes; the page rounds to 14 GB"),
    "download_120b": Fact(65.4, "GB", _LIBRARY, _READ, "maker", "65,369,799,840 bytes"),
    "right_20b": Fact(6.7, "%", _CARD, _READ, "maker", "Table 9, SimpleQA accuracy without tools"),
    "wrong_20b": Fact(91.4, "%", _CARD, _READ, "maker", "Table 9, SimpleQA hallucination rate"),
    "right_120b": Fact(16.8, "%", _CARD, _READ, "maker", "Table 9, SimpleQA accuracy without tools"),
    "wrong_120b": Fact(78.2, "%", _CARD, _READ, "maker", "Table 9, SimpleQA hallucination rate"),
    "memory_20b": Fact(16, "GB", _REPOSITORY, _READ, "maker", "VRAM or unified memory; CPU works, slowly"),
    "memory_120b": Fact(60, "GB", "https://cookbook.openai.com/articles/gpt-oss/run-locally-ollama", _READ, "maker"),
}
