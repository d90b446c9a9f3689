"""JupyterLab with the course in it, as a child process that ends with us and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from gptoss_lab.errors import LabError
from gptoss_lab.home import home
from gptoss_lab.text import text

FIRST_NOTEBOOK = "00_start_here.ipynb"
END_LIMIT_S = 5.0


def run(notebooks: Path, lang: str, port: int, browser: bool, practice: bool) -> int:
    """Run JupyterLab on the notebooks until it ends or Ctrl-C; return its exit code.

    Raises LabError when the port is taken.
    """
    _check_port(port)
    print(text("cli.opening", notebook=f"{lang}/{FIRST_NOTEBOOK}", folder=notebooks), flush=True)
    child = subprocess.Popen(_command(notebooks, lang, port, browser), env=_environment(), cwd=notebooks)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return _wait(child)
    finally:
        if practice:
            _let_go_of_server()


def _wait(child: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child has had its Ctrl-C too, and ends by itself
            return _end(child)


def _end(child: "subprocess.Popen[bytes]") -> int:
    try:
        child.wait(END_LIMIT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.terminate()
        child.wait()
    return 0


def _let_go_of_server() -> None:
    from gptoss_lab.practice import process

    process.release()
    if not process.is_held():
        process.stop()


def _command(notebooks: Path, lang: str, port: int, browser: bool) -> list[str]:
    options = {
        "ServerApp.root_dir": str(notebooks),
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": str(port),
        "ServerApp.answer_yes": "True",  # Ctrl-C ends it without a question
        "LabApp.default_url": f"/lab/tree/{lang}/{FIRST_NOTEBOOK}",
        "Application.log_level": "WARN",  # the address still shows; a hundred lines of routine do not
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command if browser else [*command, "--no-browser"]


def _environment() -> dict[str, str]:
    """Return the child's environment, with a configuration that asks no question about news at the first start."""
    folder = home() / "jupyter"
    page = folder / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    page.write_text(json.dumps(quiet), encoding="utf-8")
    paths = [str(folder), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return {**os.environ, "GPTOSS_LAB_HOME": str(home()), "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return
        except OverflowError as error:
            raise LabError(text("cli.bad_port", port=port)) from error
        except OSError as error:
            free = _free_port()
            raise LabError(text("cli.port_taken", port=port), text("cli.port_taken_next", free=free)) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
