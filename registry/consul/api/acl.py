"""Tells "there is no instance" from "the token may not see it". Consul answers both with 200 and an empty list.

A token needs the right to read the service and the right to read its node. One that may write a service may read it,
but no nodes. Newer versions of Consul report in a header that something was filtered, unless there is no token, and the
client turns that into an error. Otherwise Consul is asked for the token's rights, as its own web UI does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcore.core.errors import AuthorizationError, Code, CommunicationError

from .types import AuthorizationRequest

if TYPE_CHECKING:
    from .client import ConsulClient
    from .types import Health


async def why_hidden(client: ConsulClient, service: str, found: Health) -> str:
    """Return why the token may not see the instances of a service; empty if it may, or if Consul cannot tell.

    Args:
        client: a client with the token.
        service: its name in Consul.
        found: the answer for the service.

    Raises:
        AuthorizationError: the token is unknown.
    """
    if found.entries:
        return ""
    try:
        may_service, may_nodes = await client.authorize(
            AuthorizationRequest("service", "read", service), AuthorizationRequest("node", "read", "")
        )
        if not may_service:
            return f'the token may not read the service {service!r} (its policy needs: service "{service}" read)'
        # The right for some nodes may be enough.
        if not may_nodes and not await client.may_read_nodes():
            return (
                f'the token may not read nodes, so it sees no instance of {service!r} (it needs: node_prefix "" read)'
            )
    except AuthorizationError:
        raise
    except (CommunicationError, ValueError):  # Consul has no ACL, or is too old for the request
        pass
    return ""


async def why_keys_hidden(client: ConsulClient, prefix: str) -> str:
    """Return why the token may not see the keys below a prefix; empty if it may, or if Consul cannot tell.

    Raises:
        AuthorizationError: the token is unknown.
    """
    try:
        (may_read,) = await client.authorize(AuthorizationRequest("key", "read", prefix))
    except AuthorizationError:
        raise
    except (CommunicationError, ValueError):  # as above
        return ""
    return "" if may_read else f'the token may not read keys (its policy needs: key_prefix "{prefix}" read)'


async def require_node_read(client: ConsulClient) -> None:
    """Check that the token may read any node. Without that it sees no instance of any service.

    Raises:
        AuthorizationError: it may not.
    """
    if not await client.may_read_nodes():
        raise AuthorizationError(Code.PERMISSION_DENIED, 'the token may not read nodes (it needs: node_prefix "" read)')
