"""Which exercises and quizzes each notebook holds; a test compares it with the notebooks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """One notebook: its file name without `.ipynb`, its exercises and its quizzes."""

    name: str
    checks: tuple[str, ...]
    quizzes: tuple[str, ...]


COURSE = (
    Lesson("00_start_here", ("first_question", "two_texts"), ("start_here",)),
    Lesson("04_check_hardware", ("free_memory", "kv_cache", "memory_need", "top_speed"), ("check_hardware",)),
    Lesson(
        "05_install_ollama",
        ("server_version", "size_in_gib", "diagnosis_code", "trouble_code"),
        ("install_ollama",),
    ),
    Lesson("06_first_chat", ("raw_answer", "whole_history", "speed", "cut_off"), ("first_chat",)),
    Lesson(
        "07_chat_with_widgets",
        ("pressed_twice", "joined_events", "three_versions", "loaded_chat"),
        ("chat_with_widgets",),
    ),
)
