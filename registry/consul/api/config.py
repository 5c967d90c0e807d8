"""The settings for Consul, from a URL, from arguments, and from the environment variables of Consul's own tools."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from meshcore.core.masking import without_secrets
from meshcore.core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

WATCHES = 32
"""More than most processes watch, and far below the 200 connections that an agent allows for one machine."""

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
    """The settings of the connection to an agent, and of the use of Consul.

    Attributes:
        url: scheme, host and port of the agent of this machine. Not of a load balancer: a registration belongs to one
            agent.
        token: the ACL token; empty for none.
        datacenter: the datacenter of the services; empty for the agent's own.
        ca: a file with the certificate authorities; empty for the system's.
        certificate: a file with the client's certificate; empty for none.
        key: a file with the client's key.
        server_name: the name in the agent's certificate, if it is not the host.
        verify: whether to verify the agent's certificate.
        watches: how many components are watched over a connection each. Further ones share a few.
        check: how Consul learns the health of an instance. "http": the agent asks the health URL; an instance without
            one reports its health. "ttl": all instances report their health.
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
        """Show the URL only: the token is a secret."""
        return f"ConsulConfig({self.url!r})"

    def tls(self) -> ssl.SSLContext | None:
        """Make the TLS context for https; None for http.

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
    """Make a configuration from arguments, the environment, and Consul's defaults, in this order.

    Args:
        address: `http://host:8500`, `https://host:8501`, or `host:8500`. None or empty: that of the environment.
        options: fields of `ConsulConfig` by name, `token_file`, and `tls` for https with an address without a scheme.
            None or empty values count as not given.
        environ: the environment; by default that of the process.

    Raises:
        ValueError: an option is unknown or invalid.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (options or {}).items() if value not in {None, ""}}
    for name in given:
        if name not in _NAMES:
            raise ValueError(f"consul has no option {name!r}{did_you_mean(name, _NAMES)}")
    for name, variable in _VARIABLES.items():
        # A token that is given takes precedence over a token file of the environment, and the other way round.
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
    """Make a configuration from `consul://host:8500?token=...&datacenter=...&tls=true&ca=...`, or from `consul:`.

    Raises:
        ValueError: the URL is invalid.
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
    if (
        parts.scheme not in _SCHEMES
        or not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or not _port_fits(parts)
    ):
        raise ValueError(f"the address of Consul must be like http://host:8500, got {without_secrets(address)!r}")
    scheme = "https" if secure else parts.scheme
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{parts.port or (8501 if scheme == 'https' else 8500)}"


def _port_fits(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # no number, or above 65535
        return False


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
