"""`meshcore why`: prints the policy of a method and the state of each instance that a call may choose."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from meshcore.cli.printing import make_console, print_json, table
from meshcore.cli.targets import client_of
from meshcore.cli.why.access import Access, access_of
from meshcore.client.connections.sessions import open_session
from meshcore.client.overview.look import Looker
from meshcore.client.why import Explanation
from meshcore.core.errors import Code, CommunicationError
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.mesh.mesh import Mesh
from meshcore.telemetry.overview.overview import Look, Overview

_WAIT = 2.0
"""Seconds to wait for a first instance from the registry."""


async def explain(settings: Settings, typed: str, channel: str, caller: str = "", *, as_json: bool = False) -> None:
    """Print how a call of a method, typed as `service.method`, would choose an instance.

    Args:
        settings: of the mesh.
        typed: the method.
        channel: that the call must use, empty for any.
        caller: who calls, to print whether it may; empty for nobody in particular.
        as_json: whether to print JSON.

    Raises:
        CommunicationError: the registry cannot be read. What is known is printed before.
    """
    client, service, method = await client_of(settings, typed)
    async with Mesh(client, settings=settings) as mesh:
        with suppress(CommunicationError):  # the explanation shows it
            await mesh.wait_for(service.interface, timeout=_WAIT)
            if settings.module:  # without it the contract is the server's own, so it cannot differ
                component = mesh.runtime.catalog.component_of(service.interface)
                await mesh.runtime.destinations.compare_contracts(component)
        component = mesh.runtime.catalog.component_of(service.interface)
        access = await access_of(settings, component, method, caller) if caller else None
        look = await _look(mesh)
        found = _as_seen(look, mesh.why(service.interface, method.name, channel))
    if not settings.module:
        found = msgspec.structs.replace(found, contract=())
    if as_json:
        print_json(_plain(found) | ({} if access is None else {"access": msgspec.to_builtins(access)}))
    else:
        _print(found, access)
    if look.unread:  # what is shown may be old, or nothing
        raise CommunicationError(Code.UNAVAILABLE, look.unread.rstrip("."), processed=False)


def _print(found: Explanation, access: Access | None) -> None:
    screen = make_console()
    screen.print(found.title)
    if access is not None:
        screen.print(str(access))
    rules = table("rule", "value", "from")
    for name, (value, source) in found.rules.items():
        rules.add_row(name, str(value), source)
    screen.print(rules)
    if found.problem:
        screen.print(found.problem)
        return
    instances = table("instance", "url", "version", "zone", "weight", "state")
    for each in found.instances:
        instances.add_row(
            each.instance, without_secrets(each.url), each.version, each.zone, str(each.weight), each.state
        )
    screen.print(instances)
    for each in found.instances:
        if each.remark:
            screen.print(f"{each.instance} {each.remark}")
    for remark in found.contract:
        screen.print(remark)


async def _look(mesh: Mesh) -> Look:
    async with open_session(mesh.runtime.tls, limit=0) as session:
        return await Looker(mesh.runtime.registry, session).look()


def _as_seen(look: Look, found: Explanation) -> Explanation:
    """Add what the processes that run now say of the instances: this one is too new to have seen anything."""
    told = {each.id: each.why for one in Overview().update(look).components for each in one.instances}
    instances = (
        msgspec.structs.replace(each, remark=". ".join(filter(None, (each.remark, told.get(each.instance, "")))))
        for each in found.instances
    )
    return msgspec.structs.replace(found, instances=tuple(instances))


def _plain(found: Explanation) -> dict[str, Any]:
    rules = {name: {"value": value, "from": source} for name, (value, source) in found.rules.items()}
    plain: dict[str, Any] = msgspec.to_builtins({**msgspec.structs.asdict(found), "rules": rules})
    return plain
