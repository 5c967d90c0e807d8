"""Where Consul is and how it is spoken to: by URL, by arguments, and by the environment of Consul's own tools."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from meshcore.core.masking import without_secrets
from meshcore.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

WATCHES = 32
"""Far below the 200 connections that an agent allows all processes of a machine, and more than most processes watch."""

_DEFAULT = "127.0.0.1:8500"
_SCHEMES = ("http", "https")
_CHECKS = ("http", "ttl")
_YES, _NO = frozenset({"1", "t", "true", "yes", "on"}), frozenset({"0", "f", "false", "no", "off"})

_VARIABLES = {
    "token": "CONSUL_HTTP_TOKEN",
    "token_file": "CONSUL_HTTP_TOKEN_FILE",
    "ca": "CONSUL_CACERT",
    "certificate": "CONSUL_CLIENT_CERT",
    "key": "CONSUL_CLIENT_KEY",
    "server_name": "CONSUL_TLS_SERVER_NAME",
    "verify": "CONSUL_HTTP_SSL_VERIFY",
}

_TOKENS = {"token": "token_file", "token_file": "token"}


class ConsulConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is spoken to.

    Attributes:
        url: scheme, host and port of the agent of this machine. Never a load balancer's: what is registered belongs to
            one agent.
        token: the ACL token, empty for none.
        datacenter: where services are looked for; empty: the agent's own.
        ca: file with the certificates of the authorities that are trusted; empty: the system's.
        certificate: file with the client's certificate, empty for none.
        key: file with its key.
        server_name: the name in the server's certificate, if it is not the host's.
        verify: whether the server's certificate must be genuine.
        watches: how many components are watched over a connection each; further ones share a few.
        check: how Consul learns of an instance's health. "http": the agent asks its health URL, which it must be
            able to reach; an instance without one reports by itself. "ttl": all report by themselves.
    """

    url: str = f"http://{_DEFAULT}"
    token: str = ""
    datacenter: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True
    watches: int = WATCHES
    check: str = "http"

    def __repr__(self) -> str:
        """Where it is; the token is a secret."""
        return f"ConsulConfig({self.url!r})"

    def tls(self) -> ssl.SSLContext | None:
        """For https, else None.

        Raises:
            OSError: a file cannot be used.
        """
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context(cafile=self.ca or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return context


_NAMES = frozenset(ConsulConfig.__struct_fields__) - {"url"} | {"tls", "token_file"}


def read_config(
    address: str | None = None, options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> ConsulConfig:
    """What is given, else what the environment says, else Consul's defaults.

    Args:
        address: `http://host:8500`, `https://host:8501`, or `host:8500`; None or empty: the environment's.
        options: fields of `ConsulConfig` by name, `token_file`, and `tls` for https without writing so; None or empty
            values count as not given.
        environ: the environment; default: the process's.

    Raises:
        ValueError: something does not fit; the text says what.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (options or {}).items() if value not in {None, ""}}
    for name in given:
        if name not in _NAMES:
            raise ValueError(f"consul has no option {name!r}{did_you_mean(name, _NAMES)}")
    for name, variable in _VARIABLES.items():
        # The token that was given is not to be replaced by the file that was not, nor the other way round.
        if environ.get(variable) and _TOKENS.get(name) not in given:
            given.setdefault(name, environ[variable])
    tls = given.pop("tls", None)
    if tls is None and "://" not in (address or ""):
        tls = environ.get("CONSUL_HTTP_SSL") or None
    file = given.pop("token_file", None)
    if file and "token" not in given:
        given["token"] = _token_in(file)
    if given.get("check", "http") not in _CHECKS:
        raise ValueError(f"check must be {' or '.join(_CHECKS)}, got {given['check']!r}")
    given["verify"] = _flag("verify", given.get("verify", True))
    given["watches"] = _count("watches", given.get("watches", WATCHES))
    url = _url(address or environ.get("CONSUL_HTTP_ADDR") or _DEFAULT, secure=_flag("tls", tls or False))
    return ConsulConfig(url=url, **given)


def parse_config(url: str, environ: Mapping[str, str] | None = None) -> ConsulConfig:
    """The form of the setting: `consul://host:8500?token=...&datacenter=...&tls=true&ca=...`, or just `consul:`.

    Raises:
        ValueError: it does not fit; the text says what is expected.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.fragment or parts.username is not None:
        raise ValueError(
            f"consul: takes a host, a port and options, as in consul://host:8500?token=...; got {parts.path!r}"
        )
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    return read_config(unquote(parts.netloc), dict(pairs), environ)


def _url(address: str, *, secure: bool) -> str:
    text = address if "://" in address else f"{'https' if secure else 'http'}://{address}"
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"the address of Consul must be like http://host:8500, got {without_secrets(address)!r}")
    scheme = "https" if secure else parts.scheme
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{parts.port or (8501 if scheme == 'https' else 8500)}"


def _token_in(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise ValueError(f"the file with Consul's token cannot be read: {error}") from error


def _count(name: str, value: object) -> int:
    text = str(value)
    if text.isdecimal():
        return int(text)
    raise ValueError(f"{name} must be a number, 0 or more, got {value!r}")


def _flag(name: str, value: object) -> bool:
    text = str(value).lower()
    if text in _YES | _NO:
        return text in _YES
    raise ValueError(f"{name} must be true or false, got {value!r}")
