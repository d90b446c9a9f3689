"""The widgets of the setup: a doctor that fills a list, a pull with a bar, install steps; each with a twin in text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_lab import doctor, install_guide
from gptoss_lab import pull as pull_panel
from gptoss_lab.connect import Connection, connect
from gptoss_lab.errors import LabError
from gptoss_lab.setup import install
from gptoss_lab.setup.finding import STEPS
from gptoss_lab.text import LANGUAGES
from gptoss_lab.tiny import MODEL_PATH
from gptoss_lab.ui.doctor_panel import findings_html
from gptoss_lab.ui.install_guide import steps_html, steps_text
from tests.conftest import running_server
from tests.registry import Registry, running_registry
from tests.staged import Staged, staged

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", "en")


@pytest.fixture
def stage() -> Iterator[Staged]:
    with staged() as stage:
        stage.loaded(14, 14)
        yield stage


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_a_healthy_server_gets_ten_ticks(practice_url: str) -> None:
    panel = doctor(practice_url)
    found = panel.wait(60)
    assert found.ok and len(found.findings) == len(STEPS)
    panel._draw()
    assert panel.shown.value.count("<li") == len(STEPS) and found.code in panel.shown.value
    bundle = panel._repr_mimebundle_()
    assert f"Code: {found.code}" in bundle["text/plain"] and "<ul>" in bundle["text/html"]


def test_steps_to_come_are_shown_before_they_are_taken() -> None:
    assert findings_html([], ended=False).count("gol-waiting") == len(STEPS) + 1  # and once in the style
    assert findings_html([], ended=True).count("gol-waiting") == 1


def test_a_fault_shows_what_to_do_and_can_be_looked_at_again(stage: Staged) -> None:
    stage.answers["/api/version"] = (200, {"version": "0.9.0"})
    panel = doctor(stage.host)
    assert panel.wait(30).code == "C1"
    assert "Update Ollama" in panel.shown.value and "C1" in panel.shown.value
    stage.answers["/api/version"] = (200, {"version": "0.33.0"})
    panel.examine()
    assert panel.wait(30).ok and panel.findings[-1].step == "context"


def test_a_missing_model_gets_a_button(stage: Staged) -> None:
    stage.answers["/api/tags"] = (200, {"models": []})
    panel = doctor(stage.host)
    panel.wait(30)
    panel._offer()
    assert [button.description for button in panel.buttons.children] == ["Pull the model", "Examine again"]


def test_what_a_server_says_becomes_no_html(stage: Staged) -> None:
    stage.answers["/api/version"] = (200, {"version": NASTY})
    panel = doctor(stage.host)
    panel.wait(30)
    panel._draw()
    assert NASTY not in panel.shown.value and "&lt;img" in panel.shown.value


# --- pull -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry(MODEL_PATH.read_bytes(), b"Answer briefly.") as registry:
        yield registry


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Connection]:
    with running_server(tmp_path) as url:
        yield connect(url)


def test_a_pull_fills_its_bar(registry: Registry, lab: Connection) -> None:
    panel = pull_panel(registry.model, lab, insecure=True)
    assert panel.wait(60).state == "done"
    panel._show(panel.pull.progress)
    assert panel.bar.value == 1 and panel.bar.bar_style == "success" and panel.buttons.children == ()
    assert "done" in panel._repr_mimebundle_()["text/plain"]


def test_a_pull_that_fails_says_why_and_can_go_on(registry: Registry, lab: Connection) -> None:
    panel = pull_panel(f"{registry.host}/test/missing", lab, insecure=True)
    with pytest.raises(LabError):
        panel.wait(60)
    panel._show(panel.pull.progress)
    assert panel.bar.bar_style == "danger" and "no model" in panel.words.value
    assert [button.description for button in panel.buttons.children] == ["Go on"]


def test_a_name_becomes_no_html(lab: Connection) -> None:
    panel = pull_panel(NASTY, lab)
    with pytest.raises(LabError):
        panel.wait(60)
    assert NASTY not in panel.children[0].value + panel.words.value


# --- install ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("system", install.SYSTEMS)
def test_every_system_has_steps_with_a_way_to_know(system: str, lang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    found = install.steps(system)
    assert len(found) >= 3 and all(step.do and step.know for step in found)
    assert all(step.know in steps_text(system) for step in found)
    assert steps_html(system).count("<li>") == len(found)


def test_the_learners_own_system_comes_first() -> None:
    guide = install_guide("macos")
    assert guide.systems[0] == "macos" and sorted(guide.systems) == sorted(install.SYSTEMS)
    assert (
        "Your system: macOS" in guide.children[0].value and "OllamaSetup" not in guide._repr_mimebundle_()["text/plain"]
    )


def test_which_system_this_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, system in {"Windows": "windows", "Darwin": "macos", "Linux": "linux"}.items():
        monkeypatch.setattr("platform.system", lambda name=name: name)
        assert install.this_system({}, tmp_path) == system
    assert install.this_system({"WSL_DISTRO_NAME": "Ubuntu"}, tmp_path) == "wsl"
    (tmp_path / ".dockerenv").touch()
    assert install.this_system({}, tmp_path) == "docker"
