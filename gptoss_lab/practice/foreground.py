"""`gptoss-lab serve`: the practice server in this terminal, with the shipped model and any GGUF file."""

import asyncio
from pathlib import Path

from gptoss_lab.errors import LabError
from gptoss_lab.home import home
from gptoss_lab.practice.engine_check import check_engine
from gptoss_lab.practice.gguf_header import read_header
from gptoss_lab.practice.models import own_name
from gptoss_lab.text import text
from gptoss_lab.tiny import MODEL_NAME


def serve(model: Path | None, port: int, threads: int) -> int:
    """Serve until Ctrl-C and return 0; raises LabError for a file that is no model and for a port it cannot have."""
    if not 0 <= port < 65536:
        raise LabError(text("cli.bad_port", port=port))
    if model:
        _check_file(model)
    check_engine()
    try:
        asyncio.run(_serve(model, port, threads))
    except KeyboardInterrupt:
        print(text("practice.served"))
    return 0


def _check_file(model: Path) -> None:
    if not model.is_file():
        raise LabError(text("practice.no_file", path=model), text("practice.no_file_next"))
    read_header(model)


async def _serve(model: Path | None, port: int, threads: int) -> None:
    from gptoss_lab.practice.server import PracticeServer, Settings

    settings = Settings.from_env(home() / "models", model.resolve() if model else None, threads)
    server = PracticeServer(settings)
    port = await server.start(port)
    name = own_name(model) if model else MODEL_NAME
    print(text("practice.serving", name=name, host=f"http://127.0.0.1:{port}"), flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()
