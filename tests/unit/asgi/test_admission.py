"""Who may send requests to a server that wants certificates."""

from __future__ import annotations

from typing import Any

import pytest

from meshcore.asgi.access.admission import Admission
from meshcore.asgi.messages import PEER
from meshcore.core.caller import Caller, Peer, Proof


async def _endpoint(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def passes(caller: Caller, **scope: Any) -> bool:
    """Whether a request reaches the endpoints."""
    admission = Admission(lambda _: _endpoint, frozenset({"/orders", "/stream"}), strict=True)
    return admission.endpoint({"headers": [], PEER: Peer("127.0.0.1", caller), **scope}) is _endpoint


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"type": "http", "method": "GET", "path": "/orders"}, True),
        ({"type": "http", "method": "HEAD", "path": "/orders"}, True),
        ({"type": "http", "method": "POST", "path": "/orders"}, False),
        ({"type": "http", "method": "DELETE", "path": "/orders"}, False),
        ({"type": "http", "method": "GET", "path": "/orders/1"}, False),
        ({"type": "websocket", "path": "/stream"}, False),
    ],
)
def test_the_path_of_a_probe_is_open_to_probes_only(scope: dict[str, Any], *, expected: bool) -> None:
    """A method, or the stream channel, may have the path of a component's health, with another verb."""
    assert passes(Caller(), **scope) is expected
    assert passes(Caller("spiffe://dev.mesh/svc/billing", "billing", Proof.CERTIFICATE), **scope)
