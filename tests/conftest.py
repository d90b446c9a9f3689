"""What the tests share: a practice server of their own, on an event loop in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gptoss_lab.practice import process
from gptoss_lab.practice.in_thread import ServerInThread
from gptoss_lab.practice.server import Settings
from gptoss_lab.tiny import MODEL_PATH


@contextmanager
def running_server(folder: Path, **settings: object) -> Iterator[str]:
    """Run a practice server in this process and give its address."""
    server = ServerInThread(Settings(models_dir=folder, **settings))  # type: ignore[arg-type]
    try:
        yield server.host
    finally:
        server.close()


def write_plain_model(path: Path) -> Path:
    """Write the practice model with a chat template that knows neither thinking nor tools."""
    import gguf
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    changed = {"tokenizer.chat_template": MetadataDetails(gguf.GGUFValueType.STRING, template)}
    writer = gguf.GGUFWriter(path, "gpt-oss")
    copy_with_new_metadata(gguf.GGUFReader(MODEL_PATH), writer, changed, [])
    return path


@pytest.fixture(scope="session")
def practice_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests that leave it as they found it."""
    with running_server(tmp_path_factory.mktemp("models")) as url:
        yield url


@pytest.fixture
def lab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, with a name that has a space and Chinese characters, and no server set outside."""
    folder = tmp_path / "my 实验室"
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY", "GPTOSS_LAB_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTOSS_LAB_HOME", str(folder))
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")
    yield folder
    process.stop()
