"""The error lab stages five failures with real parts; each is named, and the server is well again afterwards."""

from collections.abc import Iterator

import ollama
import pytest

from gptoss_lab import explain
from gptoss_lab.connect import connect
from gptoss_lab.setup.doctor import diagnose
from gptoss_lab.setup.error_lab import ErrorLab
from gptoss_lab.setup.pull import pull


@pytest.fixture
def errors() -> Iterator[ErrorLab]:
    lab = ErrorLab(seconds=2)
    yield lab
    lab.close()


def test_nobody_answers(errors: ErrorLab) -> None:
    with pytest.raises(ConnectionError) as caught:
        ollama.Client(errors.nobody, trust_env=False).list()
    assert explain(caught.value).code == "no_server" and diagnose(errors.nobody).code == "B8"


def test_a_model_is_missing(errors: ErrorLab) -> None:
    lab = connect(errors.host)
    with pytest.raises(ollama.ResponseError) as caught:
        lab.client.chat("gpt-oss:7b", [{"role": "user", "content": "Hello"}])
    assert explain(caught.value).code == "model_missing"
    assert diagnose(errors.host, model="gpt-oss:7b").code == "E1"


def test_a_queue_is_full_and_empties(errors: ErrorLab) -> None:
    lab = connect(errors.host)
    with errors.full_queue():
        with pytest.raises(ollama.ResponseError) as caught:
            lab.client.chat(lab.model, [{"role": "user", "content": "Hello"}])
        assert explain(caught.value).code == "queue_full" and diagnose(errors.host).code == "G2"
    assert diagnose(errors.host).ok


def test_a_pull_is_stopped_and_goes_on(errors: ErrorLab) -> None:
    lab = connect(errors.host)
    loading = pull(errors.model, lab, insecure=True)
    while loading.progress.share < 0.2:
        loading.wait(0.05)
    kept = loading.cancel()
    assert kept.state == "cancelled" and 0 < kept.share < 1
    assert diagnose(errors.host, model=errors.model).code == "E1"
    again = pull(errors.model, lab, insecure=True)
    again.wait(0.5)
    assert again.progress.done_bytes >= kept.done_bytes * 0.9
    assert again.wait(60).state == "done"
    assert diagnose(errors.host, model=errors.model).ok
