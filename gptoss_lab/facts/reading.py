"""How fast people read, to compare a model's speed with."""

from gptoss_lab.facts.fact import Fact

FACTS = {
    "words_per_minute": Fact(
        238, "words per minute", "https://doi.org/10.1016/j.jml.2019.104047", "2026-11-23", "reported",
        "Brysbaert 2019, silent reading of English non-fiction",
    ),
    "tokens_per_word": Fact(
        1.33, "tokens per word", "https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them",
        "2026-11-23", "maker", "a token is about three quarters of an English word",
    ),
}  # fmt: skip
