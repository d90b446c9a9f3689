"""Addresses of Ollama servers, in every spelling that `OLLAMA_HOST` may have.

Follows Ollama's own reading (envconfig.Host): scheme, host and port may each be missing; the port is 11434 without a
scheme, 80 with http and 443 with https. For a client, 0.0.0.0 and :: mean this computer.
"""

import ipaddress
from urllib.parse import urlsplit

from gptoss_lab.errors import LabError
from gptoss_lab.text import text

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def parse_host(written: str) -> str:
    """Return the base URL of an address such as `:8080`, `0.0.0.0`, `[::1]`, `box.local:11434/` or `https://x/ollama`.

    Raises LabError with an example for what is no address.
    """
    trimmed = written.strip().strip("\"'").strip()
    scheme, found, rest = trimmed.partition("://")
    if not found:
        scheme, rest = "http", trimmed
    if scheme.lower() not in _SCHEME_PORTS:
        raise _nonsense(written)
    default_port = _SCHEME_PORTS[scheme.lower()] if found else DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, port = _split(authority, written)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme.lower()}://{shown}:{port or default_port}{(slash + path).rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Say whether a URL is on this computer."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_ip_address(host) and ipaddress.ip_address(host).is_loopback


def _split(authority: str, written: str) -> tuple[str, int | None]:
    """Return host and port of `host`, `host:port`, `:port`, `[v6]:port` or a bare IPv6 address."""
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    if set(authority) & set("?#@\\ "):
        raise _nonsense(written)
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _nonsense(written) from error
    host = _EVERYWHERE.get(host, host)
    if not _plausible(host):
        raise _nonsense(written)
    return host, port


def _plausible(host: str) -> bool:
    if ":" in host:
        return _is_ip_address(host)
    labels = host.rstrip(".").split(".")
    return all(label and all(c.isalnum() or c in "-_" for c in label) for label in labels)


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _nonsense(written: str) -> LabError:
    return LabError(text("connect.nonsense", value=written), text("connect.nonsense_next"))
