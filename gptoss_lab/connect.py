"""Which server answers, and why: one rule, in one place.

What is asked for explicitly → `OLLAMA_HOST` → an Ollama on this computer that has a gpt-oss model → the practice
server. `connect()` prints the choice with its reason and returns ordinary `ollama` clients for it. It knows nothing
about prompts; a practice server that died is started again by `gptoss_lab.practice.link`.

>>> lab = connect()
>>> lab.client.chat(lab.model, [{"role": "user", "content": "What is a token?"}])
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gptoss_lab.errors import LabError
from gptoss_lab.ollama_host import is_loopback, parse_host
from gptoss_lab.text import text

if TYPE_CHECKING:
    import httpx
    import ollama

LOCAL_OLLAMA = "http://127.0.0.1:11434"
FIRST_CHOICES = ("gpt-oss:20b", "gpt-oss:latest", "gpt-oss:120b")
FAMILIES = ("gpt-oss", "gptoss")
_LOCAL_LIMIT_S, _REMOTE_LIMIT_S = 0.5, 5.0
_CONNECT_LIMIT_S = 10.0


@dataclass(frozen=True)
class Connection:
    """A server that answers: clients for it, the model to use, and why it was chosen."""

    client: "ollama.Client" = field(repr=False)
    async_client: "ollama.AsyncClient" = field(repr=False)
    model: str
    host: str
    kind: str  # "practice", "ollama" or "cloud"
    why: str
    label: str

    def __str__(self) -> str:
        return f"{self.label} · {self.model} · {self.host}\n{self.why}"


@dataclass(frozen=True)
class Probe:
    """What was found at an address: `models` maps names to families; None when no Ollama answers there."""

    models: Mapping[str, str] | None = None
    trouble: str = ""  # "", "silent", "other" (something else answers), "refused" (the key is missing or wrong)
    detail: str = ""


@dataclass(frozen=True)
class Choice:
    """The server that the rule picks."""

    kind: str
    host: str
    why: str
    models: Mapping[str, str] = field(default_factory=dict)


def connect(server: str | None = None, model: str | None = None) -> Connection:
    """Find the server that answers, print which one and why, and return clients for it.

    `server` is "practice", "auto", or an address in any spelling Ollama accepts; `model` any model name. Raises
    LabError when what was asked for does not answer, has no model, or cannot be understood.
    """
    _check_key(os.environ.get("OLLAMA_API_KEY", ""))
    _check_import(os.environ.get("OLLAMA_HOST", ""))
    asked = server or os.environ.get("GPTOSS_LAB_SERVER") or "auto"
    choice = choose(asked, os.environ, probe)
    connection = _practice(choice, model) if choice.kind == "practice" else _ollama(choice, model)
    print(connection)
    return connection


def choose(asked: str, env: Mapping[str, str], look: Callable[[str], Probe]) -> Choice:
    """Apply the rule to what was asked for, the environment, and what `look` finds at an address."""
    if asked == "practice":
        return Choice("practice", "", text("connect.why_asked_practice"))
    if asked != "auto":
        return _must_answer(asked, text("connect.why_asked"), look)
    named = env.get("OLLAMA_HOST", "").strip().strip("\"'").strip()
    if named:
        return _must_answer(named, text("connect.why_ollama_host", value=named), look)
    return _local_or_practice(look(LOCAL_OLLAMA))


def _local_or_practice(found: Probe) -> Choice:
    if found.models is None:
        why = "why_other_program" if found.trouble in ("other", "refused") else "why_no_ollama"
        return Choice("practice", "", text(f"connect.{why}", host=LOCAL_OLLAMA))
    if not any(_is_gpt_oss(name, family) for name, family in found.models.items()):
        return Choice("practice", "", text("connect.why_no_gpt_oss", host=LOCAL_OLLAMA))
    return Choice("ollama", LOCAL_OLLAMA, text("connect.why_local"), found.models)


def _must_answer(written: str, why: str, look: Callable[[str], Probe]) -> Choice:
    try:
        host = parse_host(written)
    except LabError as error:
        raise LabError(f"{why} {error.what}", error.next_step) from None
    found = look(host)
    if found.models is None:
        what = text(f"connect.{found.trouble}", host=host, detail=found.detail)
        raise LabError(f"{why} {what}", text(f"connect.{found.trouble}_next"))
    return Choice("cloud" if urlsplit(host).hostname == "ollama.com" else "ollama", host, why, found.models)


def _check_key(key: str) -> None:
    """Raise LabError for a key that cannot travel in a header, such as an example in Chinese or a line's end."""
    if key != key.strip() or not (key.isascii() and key.isprintable()):
        raise LabError(text("connect.bad_key"), text("connect.bad_key_next"))


def _check_import(named: str) -> None:
    """Import `ollama`, which reads OLLAMA_HOST at that moment; raises LabError when it fails over the value."""
    import httpx

    try:
        import ollama  # noqa: F401
    except (ValueError, httpx.InvalidURL):
        what = f"{text('connect.why_ollama_host', value=named)} {text('connect.nonsense', value=named)}"
        raise LabError(what, text("connect.nonsense_next")) from None


def http_client(host: str, limit_s: float | None) -> "httpx.Client":
    """Return an HTTP client for a server: with the key, if there is one, and past the proxy on this computer.

    `limit_s` is the longest wait for an answer, None for any.
    """
    import httpx

    key = os.environ.get("OLLAMA_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connect_s = _LOCAL_LIMIT_S if is_loopback(host) else _REMOTE_LIMIT_S
    limits = httpx.Timeout(limit_s, connect=connect_s)
    away = not is_loopback(host)  # on this computer no proxy is asked, and reading all certificates would take longer
    return httpx.Client(
        base_url=host, headers=headers, timeout=limits, trust_env=away, verify=away, follow_redirects=True
    )


def probe(host: str) -> Probe:
    """Look whether an Ollama answers at an address, and what models it has; never raises."""
    import httpx

    try:
        with http_client(host, 5.0 if is_loopback(host) else 15.0) as http:
            reply = http.get("/api/tags")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return Probe(trouble=_trouble(error), detail=str(error))
    if reply.status_code in (401, 403):
        return Probe(trouble="refused", detail=str(reply.status_code))
    try:
        listed = reply.json()["models"] or []
        return Probe({entry["model"]: (entry.get("details") or {}).get("family", "") for entry in listed})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Probe(trouble="other", detail=f"HTTP {reply.status_code}")


def _trouble(error: Exception) -> str:
    """Tell nobody there ("silent") from somebody who took the call and did not speak as Ollama does ("other")."""
    import httpx

    spoke = (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError, httpx.TooManyRedirects)
    return "other" if isinstance(error, spoke) or "SSL" in str(error) else "silent"


def pick_model(models: Mapping[str, str], wanted: str | None, host: str) -> str:
    """Return the model to use: the one wanted, else the best gpt-oss, else any; raises LabError when there is none."""
    if wanted:
        return wanted
    gpt_oss = [name for name, family in models.items() if _is_gpt_oss(name, family)]
    by_name = [name for name in gpt_oss if name.startswith("gpt-oss")]
    for name in (*(name for name in FIRST_CHOICES if name in models), *by_name, *gpt_oss, *models):
        return name
    raise LabError(text("connect.no_model", host=host), text("connect.no_model_next"))


def _is_gpt_oss(name: str, family: str) -> bool:
    return name.startswith("gpt-oss") or family in FAMILIES


def _ollama(choice: Choice, model: str | None) -> Connection:
    import httpx
    import ollama

    from gptoss_lab.tiny import MODEL_NAME

    options: dict[str, Any] = {
        "host": choice.host,
        "timeout": httpx.Timeout(None, connect=_CONNECT_LIMIT_S),  # a large model may load for minutes
        "trust_env": not is_loopback(choice.host),  # a proxy has no business on this computer
    }
    name = pick_model(choice.models, model, choice.host)
    label = text(f"connect.label_{'practice' if name == MODEL_NAME else choice.kind}")
    return Connection(
        ollama.Client(**options), ollama.AsyncClient(**options), name, choice.host, choice.kind, choice.why, label
    )


def _practice(choice: Choice, model: str | None) -> Connection:
    from gptoss_lab.practice import link
    from gptoss_lab.tiny import MODEL_NAME

    client, async_client, found = link.clients()
    why = f"{found.accident} {choice.why}".strip()
    label = text("connect.label_practice")
    return Connection(client, async_client, model or MODEL_NAME, found.server.host, "practice", why, label)
