"""The sessions with which this process asks instances, and what they have to know if it has an identity."""

from __future__ import annotations

from typing import Any

import aiohttp
from yarl import URL

from meshcore.ports.channel import ChannelTLS
from meshcore.security.tls.connector import TLSConnector


def open_session(tls: ChannelTLS | None, *, limit: int = 100, **options: Any) -> aiohttp.ClientSession:
    """Make a session for questions to instances.

    Args:
        tls: of this process, None without an identity.
        limit: connections at the same time; 0 for any number.
        options: of `aiohttp.ClientSession`.
    """
    make = aiohttp.TCPConnector if tls is None else tls.connector
    return aiohttp.ClientSession(connector=make(limit=limit), **options)


def request_options(session: aiohttp.ClientSession, component: str, url: URL | str) -> dict[str, Any]:
    """The options `ssl` and `server_hostname` for a request, none if the session is not that of an identity.

    Args:
        session: for the request.
        component: that the server has to prove; empty for any.
        url: of the server.

    Raises:
        ClearTextError: the server would have to be called in clear text.
    """
    connector = session.connector
    return connector.request_options(component, URL(url)) if isinstance(connector, TLSConnector) else {}
