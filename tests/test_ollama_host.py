"""Every spelling of OLLAMA_HOST that Ollama accepts, and nonsense."""

import pytest

from gptoss_lab.errors import LabError
from gptoss_lab.ollama_host import is_loopback, parse_host

SPELLINGS = {
    "example.com": "http://example.com:11434",
    "room-server": "http://room-server:11434",
    "my_box.local": "http://my_box.local:11434",
    "1.2.3.4": "http://1.2.3.4:11434",
    "1.2.3.4:56789": "http://1.2.3.4:56789",
    ":8080": "http://127.0.0.1:8080",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:8080": "http://127.0.0.1:8080",
    "http://0.0.0.0": "http://127.0.0.1:80",
    "[::1]": "http://[::1]:11434",
    "[::1]:8080": "http://[::1]:8080",
    "::1": "http://[::1]:11434",
    "[::]:11434": "http://[::1]:11434",
    "fe80::1": "http://[fe80::1]:11434",
    "http://example.com": "http://example.com:80",
    "https://example.com": "https://example.com:443",
    "HTTPS://example.com": "https://example.com:443",
    "https://example.com:8443/": "https://example.com:8443",
    "example.com/": "http://example.com:11434",
    "https://example.com/ollama/": "https://example.com:443/ollama",
    "  127.0.0.1:11434 ": "http://127.0.0.1:11434",
    '"127.0.0.1:11434"': "http://127.0.0.1:11434",
    "'localhost'": "http://localhost:11434",
    "": "http://127.0.0.1:11434",
}


@pytest.mark.parametrize(("written", "url"), SPELLINGS.items())
def test_spellings(written: str, url: str) -> None:
    assert parse_host(written) == url


@pytest.mark.parametrize(
    "written",
    [
        "ftp://example.com",
        "http://a b",
        "host:port",
        "host:99999",
        "me@host",
        "what?",
        "[::1",
        "[localhost:1]",
        "a:b:c",
        "http://",
        "a..b",
        "三 四",
    ],
)
def test_nonsense_is_said_with_an_example(written: str) -> None:
    if written == "http://":  # Ollama reads this as its own computer
        assert parse_host(written) == "http://127.0.0.1:80"
        return
    with pytest.raises(LabError, match="is not the address of a server") as error:
        parse_host(written)
    assert "11434" in error.value.next_step


def test_what_is_on_this_computer() -> None:
    assert all(map(is_loopback, ("http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:2", "http://localhost")))
    assert not any(map(is_loopback, ("http://192.168.0.2", "https://ollama.com", "http://localhost.example.org")))
