"""Tells "nobody is there" from "this token may not see them": Consul answers both with 200 and no entries.

What hides an instance is that the token may not read its service, or its node: both are needed, and a token that may
write services may read them, but no nodes. Newer versions say by a header that something was left out, unless there is
no token, and the client takes that for an error. Else the call tells by which Consul's own pages ask what to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcore.core.errors import AuthorizationError, Code, CommunicationError

from .types import Question

if TYPE_CHECKING:
    from .client import ConsulClient
    from .types import Health


async def why_hidden(client: ConsulClient, service: str, found: Health) -> str:
    """Why nobody may be seen although somebody may be there; empty if the list can be believed, or nobody can tell.

    Args:
        client: with the token.
        service: its name in Consul.
        found: what it was answered.

    Raises:
        AuthorizationError: the token is unknown.
    """
    if found.entries:
        return ""
    try:
        may_service, may_nodes = await client.allowed(
            Question("service", "read", service), Question("node", "read", "")
        )
        if not may_service:
            return f'the token may not read the service {service!r} (its policy needs: service "{service}" read)'
        # Some nodes may be enough; none at all is not.
        if not may_nodes and not await client.sees_nodes():
            return f'the token may not read nodes, so it sees nobody of {service!r} (it needs: node_prefix "" read)'
    except AuthorizationError:
        raise
    except (CommunicationError, ValueError):  # there are no tokens here, or nobody who can tell
        pass
    return ""


async def why_keys_hidden(client: ConsulClient, prefix: str) -> str:
    """Why there may be keys although none is seen; empty if the answer can be believed, or nobody can tell.

    Raises:
        AuthorizationError: the token is unknown.
    """
    try:
        (may_read,) = await client.allowed(Question("key", "read", prefix))
    except AuthorizationError:
        raise
    except (CommunicationError, ValueError):  # as above
        return ""
    return "" if may_read else f'the token may not read keys (its policy needs: key_prefix "{prefix}" read)'


async def check_sight(client: ConsulClient) -> None:
    """See whether a token that sees no instance of anything may see any.

    Raises:
        AuthorizationError: it may not.
    """
    if not await client.sees_nodes():
        raise AuthorizationError(Code.PERMISSION_DENIED, 'the token may not read nodes (it needs: node_prefix "" read)')
