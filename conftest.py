"""Give notebooks and tests a practice server and a folder of their own: offline, and nothing of the user's is touched.

Hooks, not fixtures: nbval runs no fixture for notebook cells, but its kernels inherit the environment set here.
With OLLAMA_HOST set, notebooks talk to that server instead, and tests marked `live` run too.
"""

import os
import shutil
import signal
import tempfile

import pytest

LIVE = bool(os.environ.get("OLLAMA_HOST"))
OWN_HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Point this process and all its children at the practice server, in a folder that lasts as long as the run."""
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist inherits what its parent has set
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job ignores Ctrl-C, children too
    config.stash[OWN_HOME] = os.environ["GPTOSS_LAB_HOME"] = tempfile.mkdtemp(prefix="gptoss-lab-test-")
    if not LIVE:
        os.environ["GPTOSS_LAB_SERVER"] = "practice"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a real Ollama when none is named."""
    if LIVE:
        return
    skip = pytest.mark.skip(reason="needs a real Ollama with a gpt-oss model: set OLLAMA_HOST")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the practice server and remove its folder."""
    if own_home := config.stash.get(OWN_HOME, ""):
        from gptoss_lab.practice import process

        process.stop()
        shutil.rmtree(own_home, ignore_errors=True)
