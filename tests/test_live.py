"""The client code against a real Ollama: `OLLAMA_HOST=127.0.0.1:11434 uv run pytest -m live`.

Shapes and counters are checked, never wording: any gpt-oss model may answer. Without OLLAMA_HOST these tests skip.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import ollama
import pytest

from gptoss_lab.connect import Connection, connect
from gptoss_lab.errors import LabError
from gptoss_lab.hardware import detect, fit, look, with_reply
from gptoss_lab.setup.doctor import diagnose
from gptoss_lab.setup.pull import pull
from gptoss_lab.setup.trouble import explain

pytestmark = pytest.mark.live
QUESTION = [{"role": "user", "content": "What is a token?"}]
SHORT = {"num_predict": 200, "temperature": 0}


@pytest.fixture(scope="module")
def lab() -> Iterator[Connection]:
    """The server that OLLAMA_HOST names."""
    found = connect()
    assert found.kind != "practice"
    yield found


def test_a_gpt_oss_model_is_picked(lab: Connection) -> None:
    assert lab.model in [entry.model for entry in lab.client.list().models]
    assert "OLLAMA_HOST" in lab.why


def test_a_stream_has_thinking_content_and_counters(lab: Connection) -> None:
    parts = list(lab.client.chat(lab.model, QUESTION, stream=True, think="low", options=SHORT))
    text = "".join((part.message.thinking or "") + (part.message.content or "") for part in parts)
    last = parts[-1]
    assert text and last.done and last.done_reason in ("stop", "length")
    assert last.prompt_eval_count > 0 and last.eval_count > 0 and last.eval_duration > 0
    assert last.load_duration + last.prompt_eval_duration + last.eval_duration <= last.total_duration * 1.05


def test_the_async_client_answers(lab: Connection) -> None:
    reply = asyncio.run(lab.async_client.chat(lab.model, QUESTION, think="low", options=SHORT))
    assert reply.done and reply.eval_count


def test_leaving_a_stream_frees_the_server(lab: Connection) -> None:
    parts = lab.client.chat(lab.model, [{"role": "user", "content": "Tell me a long story."}], stream=True)
    next(parts)
    parts.close()
    assert lab.client.chat(lab.model, QUESTION, think="low", options={"num_predict": 3}).done


def test_a_long_history_is_cut_or_refused(lab: Connection) -> None:
    turn = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Thank you."}]
    options = {"num_ctx": 512, "num_predict": 3}
    cut = lab.client.chat(lab.model, turn * 5 + QUESTION, think="low", options=options)
    assert cut.prompt_eval_count <= 512
    body = {"model": lab.model, "messages": turn * 5 + QUESTION, "truncate": False, "options": options}
    refused = httpx.post(f"{lab.host}/api/chat", json=body, timeout=300)
    assert refused.status_code == 400 and "exceeds the available context size" in refused.json()["error"]


def test_a_missing_model_is_a_404(lab: Connection) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        lab.client.chat("no-such-model", QUESTION)
    assert error.value.status_code == 404 and "not found" in error.value.error


def test_it_is_listed_while_loaded_and_can_be_unloaded(lab: Connection) -> None:
    lab.client.chat(lab.model, QUESTION, think="low", options={"num_predict": 3})
    assert any(entry.context_length for entry in lab.client.ps().models)
    assert lab.client.generate(lab.model, keep_alive=0).done_reason == "unload"


def test_the_schema_holds(lab: Connection) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    reply = lab.client.chat(lab.model, QUESTION, think="low", format=schema, options={"num_predict": 600})
    if reply.done_reason == "stop" and reply.message.content:  # thinking may have used up the limit
        assert isinstance(json.loads(reply.message.content)["ok"], bool)


def test_the_doctor_finds_a_healthy_server(lab: Connection) -> None:
    found = diagnose(lab.host)
    assert found.ok and [finding.step for finding in found.findings][-1] == "context", str(found)


def test_the_doctor_names_a_missing_model_and_a_prompt_that_is_too_long(lab: Connection) -> None:
    assert diagnose(lab.host, model="gpt-oss:7b").findings[-1].name == "model_missing"
    assert diagnose(lab.host, prompt="word " * 300_000).findings[-1].name == "prompt_too_long"


def wrong(lab: Connection) -> dict[str, Callable[[], object]]:
    """Return calls that a real server answers with an error, by the name of the trouble."""
    ask = partial(lab.client.chat, lab.model, QUESTION)
    return {
        "model_missing": lambda: lab.client.chat("no-such-model", QUESTION),
        "bad_option": lambda: ask(options={"num_ctx": "many"}),
        "bad_keep_alive": lambda: ask(keep_alive="banana"),
        "no_embeddings": lambda: lab.client.embed(lab.model, "a text"),
        "bad_name": lambda: lab.client.create("///", from_=lab.model),
        "no_server": lambda: ollama.Client("http://127.0.0.1:9", trust_env=False).list(),
    }


@pytest.mark.parametrize(
    "code", ["model_missing", "bad_option", "bad_keep_alive", "no_embeddings", "bad_name", "no_server"]
)
def test_real_errors_in_plain_words(lab: Connection, code: str) -> None:
    with pytest.raises((ollama.ResponseError, ConnectionError)) as caught:
        wrong(lab)[code]()
    assert explain(caught.value, lab.host).code == code


def test_a_pull_of_what_is_here_and_of_what_is_nowhere(lab: Connection) -> None:
    assert pull(lab.model, lab).wait(60).state == "done"
    with pytest.raises(LabError):
        pull("no-such-model-anywhere:1b", lab, resume=False).wait(120)


def test_the_machine_that_counts_is_judged(lab: Connection) -> None:
    report = look(lab)
    assert report.verdicts if report.machine else report.server and report.server.version
    reply = lab.client.chat(lab.model, QUESTION, think="low", options=SHORT)
    told = with_reply(fit(detect()), reply)
    assert told.speed and told.speed.confidence == "measured" and told.speed.middle_tok_s > 0
