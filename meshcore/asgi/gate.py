"""Refuses requests that no client of this server means to send, before anything of them is read.

- Writes that a page of another site lets a browser send (cross-site request forgery). A browser says so in
  `sec-fetch-site`, an older one in `origin`; other clients send neither. The rules are those of Go's
  `http.CrossOriginProtection`.
- Requests to another host, if the setting `allowed_hosts` names those that there are. A page whose name leads to this
  server (DNS rebinding) is of the same site for a browser. Without the setting, hosts are checked where no page of a
  site has to ask: for the live page, for calls of browsers by the mesh's own protocols, and for what operators read.
- Requests with two lengths (RFC 9112, 6.1), which a proxy may take for two requests.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from meshcore.core.errors import Code
from meshcore.core.settings import Settings
from meshcore.server.request import BodyError
from meshcore.wire.headers import RequestHeaders

_BAD_REQUEST, _FORBIDDEN = 400, 403
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})  # "none": who uses the browser has typed the address
_ADDRESS = re.compile(r"[\d.]+|\[[0-9A-Fa-f:.]+\]")  # no page has an address for its name that leads elsewhere
_PORT = re.compile(r":\d*$")
_LOCAL = "localhost"
_PRIVATE = frozenset({_LOCAL, "local", "internal", "svc", "consul", "test"})
"""Top-level names that nobody can register below. Kubernetes and Consul have some of them."""


class Gate:
    """Judges requests by their headers.

    Args:
        settings: its `allowed_origins` and `allowed_hosts` count. The host of `advertise_url` is allowed anyway.

    Attributes:
        checks_hosts: whether only certain hosts are allowed.
    """

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)
        own = urlsplit(settings.advertise_url).hostname or _LOCAL
        self._hosts = frozenset({_LOCAL, own, *map(str.lower, settings.allowed_hosts)})
        self.checks_hosts = bool(settings.allowed_hosts)

    def check(
        self,
        verb: str,
        headers: RequestHeaders,
        *,
        any_host: bool = False,
        known_host: bool = False,
        private_host: bool = False,
    ) -> None:
        """Refuse a request.

        Args:
            verb: of HTTP.
            headers: of the request.
            any_host: whether it is a probe, which knows only an address.
            known_host: whether hosts are checked although `allowed_hosts` is empty.
            private_host: likewise, but names that nobody can register are allowed, such as those in a cluster.

        Raises:
            BodyError: INVALID_ARGUMENT or PERMISSION_DENIED; the text names the setting that allows it.
        """
        if headers.ambiguous:
            text = "a request has either content-length or transfer-encoding"
            raise AmbiguousError(_BAD_REQUEST, Code.INVALID_ARGUMENT, text)
        if verb not in _SAFE and headers.of_browser and not self._own(headers):
            text = "a browser sends this for a page of another site (setting allowed_origins)"
            raise BodyError(_FORBIDDEN, Code.PERMISSION_DENIED, text)
        all_names = self.checks_hosts or known_host
        if any_host or not (all_names or private_host):
            return
        if not self._serves(headers.get("host", ""), private=not all_names):
            text = "the request is for a host that is not served here (setting allowed_hosts)"
            raise BodyError(_FORBIDDEN, Code.PERMISSION_DENIED, text)

    def check_call(self, headers: RequestHeaders) -> None:
        """Refuse a call by the mesh's own protocols, see `check`."""
        self.check("POST", headers, private_host=headers.of_browser and not self._allows(headers.all_of("origin")))

    def _serves(self, host: str, *, private: bool) -> bool:
        name = _PORT.sub("", host.lower()).rstrip(".")
        if name in self._hosts or _ADDRESS.fullmatch(name):
            return True
        if private:
            _, dot, last = name.rpartition(".")
            return last in _PRIVATE if dot else name != ""
        _, dot, domain = name.partition(".")
        while dot:
            if f"*.{domain}" in self._hosts:
                return True
            _, dot, domain = domain.partition(".")
        return False

    def _own(self, headers: RequestHeaders) -> bool:
        # No browser sends one of them twice. If something on the way adds another, the worst counts.
        origins, sites = headers.all_of("origin"), headers.all_of("sec-fetch-site")
        if self._allows(origins):
            return True
        if sites:
            return _OWN_SITES.issuperset(sites)
        host = headers.get("host", "").lower()
        return host != "" and all(_host_of(origin) == host for origin in origins)

    def _allows(self, origins: list[str]) -> bool:
        return bool(origins) and ("*" in self._origins or self._origins.issuperset(map(str.lower, origins)))


def _host_of(origin: str) -> str | None:
    """The host and port of an origin, None if it is none: `null`, `file://`, or something misspelt."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


class AmbiguousError(BodyError):
    """A request has two lengths. The connection is closed after the answer: what follows may be of somebody else."""
