"""The practice model: a true gpt-oss of a few million weights that knows this course and nothing else."""

from pathlib import Path

MODEL_NAME = "gpt-oss:practice"
MODEL_PATH = Path(__file__).parent / "practice.gguf"
