"""`meshcore ls`: prints the announced instances, their addresses and their health."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import aiohttp
import msgspec
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meshcore.cli.printing import first_of, make_console, print_json, printable, table
from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import request_options
from meshcore.client.overview.look import Looker
from meshcore.core.errors import CommunicationError, ConfigurationError
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.declare.health import HealthStatus
from meshcore.mesh.security.asking import asking
from meshcore.ports.installed import make_registry
from meshcore.ports.registry import ComponentRegistry
from meshcore.telemetry.overview.overview import Overview
from meshcore.wire.endpoints import REPORT

_TIMEOUT = 2.0
"""Seconds for a health request."""
_CONCURRENCY = 20
"""Health requests at the same time."""
_INTERVAL = 1.0
"""Seconds between two reads with `watch`."""
_MAX_BODY = 1 << 20
"""Bytes of a health response that are read."""
_OF_STATUS = {status.http_status: status.value for status in HealthStatus}
_UNREACHABLE = "unreachable"
_STYLES = {
    "ok": "green", "warning": "yellow", "error": "red", "unreachable": "red", "ejected": "yellow", "gone": "red",
}  # fmt: skip


class Listed(msgspec.Struct, frozen=True):
    """An announced instance and its health.

    Attributes:
        health: "ok", "warning", "error", "unreachable", or "unknown" if it has no URL for its health.
        details: the body of its health response, or why there is no response; None if there is neither.
        state: what the running processes say of it: one of `telemetry.overview.state.STATES`.
        why: what the state comes from, empty if nothing is wrong.
    """

    instance: Instance
    health: str
    details: Any = None
    state: str = ""
    why: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return the fields of the instance, with its health."""
        found: dict[str, Any] = msgspec.to_builtins(self.instance)
        found["health"] = {"status": self.health, "url": self.instance.health, "details": self.details}
        found |= {"state": self.state, "why": self.why}
        return found


async def list_instances(settings: Settings, *, as_json: bool = False, watch: bool = False) -> None:
    """Print the announced instances.

    Args:
        settings: name the registry.
        as_json: print one object on one line instead of a table.
        watch: go on until cancelled, and print after each change; on a terminal, update the table in place.

    Raises:
        ConfigurationError: there is no such registry.
        CommunicationError: the first read of the registry failed. With `watch`, later failures are shown instead.
    """
    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    source = without_secrets(settings.registry)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    async with registry, asking(settings, registry, limit=0, timeout=timeout) as session:
        found = await _read(registry, session)
        if watch:
            await _watch(registry, session, found, source, as_json=as_json)
        elif as_json:
            print_json(_plain(found, source))
        elif found:
            make_console().print(_screen(found, registry, ""))
        else:
            print(f"nothing is announced in {registry}", file=sys.stderr)


async def _watch(
    registry: ComponentRegistry, session: aiohttp.ClientSession, found: list[Listed], source: str, *, as_json: bool
) -> None:
    screen = make_console()
    in_place = screen.is_terminal and not as_json
    shown: object = None
    problem = ""
    with Live(console=screen, auto_refresh=False) if in_place else nullcontext() as live:
        while True:
            key = (_stable(found), problem)
            if key != shown or live is not None:
                shown = key
                if live is not None:
                    live.update(_screen(found, registry, problem), refresh=True)
                elif as_json:
                    print_json(_plain(found, source) | ({"problem": problem} if problem else {}))
                else:
                    screen.print(_screen(found, registry, problem))
            await asyncio.sleep(_INTERVAL)
            try:
                found, problem = await _read(registry, session), ""
            except CommunicationError as error:  # the last instances stay on the screen
                problem = str(error)


def _stable(found: list[Listed]) -> list[tuple[Instance, str, str]]:
    """Return what counts as a change. Details do not: they contain durations, which always differ."""
    return [(each.instance, each.health, each.why) for each in found]


def _plain(found: list[Listed], source: str) -> dict[str, Any]:
    return {"registry": source, "instances": [each.to_plain() for each in found]}


def _screen(found: list[Listed], registry: ComponentRegistry, problem: str) -> RenderableType:
    if not found and not problem:
        return Text(f"nothing is announced in {registry}")
    made = _table(found)
    notes = first_of(str(each.details) for each in found if each.health == _UNREACHABLE)
    if problem:
        notes.append(problem)
    made.caption = Text(printable("\n".join(notes))) if notes else None
    return made


def _table(found: list[Listed]) -> Table:
    made = table("component", "instance", "health", "state", "version", "zone", "weight", "age", "channels", "url")
    now = time.time()
    for each in found:
        instance = each.instance
        by_url: dict[str, list[str]] = {}
        for address in instance.addresses:
            by_url.setdefault(address.url, []).append(address.channel)
        facts = (instance.version or "-", instance.zone or "-", str(instance.weight), _age(instance.started, now))
        made.add_row(
            Text(instance.component),
            Text(instance.id),
            Text(each.health, _STYLES.get(each.health, "")),
            Text(_state(each), _STYLES.get(each.state, "")),
            *map(Text, facts),
            # A line for each URL. Mostly there is one.
            Text("\n".join(", ".join(channels) for channels in by_url.values())),
            Text("\n".join(map(without_secrets, by_url))),
        )
    return made


def _state(listed: Listed) -> str:
    """The state in a few words; who has ejected the instance is worth them."""
    return listed.why.rstrip(".").lower() if listed.state == "ejected" else listed.state


def _age(started: int, now: float) -> str:
    """How long an instance has run, in its largest unit. Clocks of machines differ, so it may not be negative."""
    if not started:
        return "-"
    seconds = max(0, int(now - started))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


async def _read(registry: ComponentRegistry, session: aiohttp.ClientSession) -> list[Listed]:
    """Read all announced instances, ask each for its health, and all processes for what they know of each other."""
    announced: Mapping[str, tuple[Instance, ...]] = await registry.instances()
    instances = [instance for _, some in sorted(announced.items()) for instance in some]
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def ask(instance: Instance) -> Listed:
        async with slots:
            return await _ask(session, instance)

    listed, look = await asyncio.gather(asyncio.gather(*map(ask, instances)), Looker(registry, session).look())
    seen = {each.id: each for component in Overview().update(look).components for each in component.instances}
    return [
        msgspec.structs.replace(each, state=known.state, why=known.why)
        if (known := seen.get(each.instance.id)) is not None
        else each
        for each in listed
    ]


async def _ask(session: aiohttp.ClientSession, instance: Instance) -> Listed:
    """Ask an instance for its health: at its health URL, or else in the report of its server."""
    bases = [address.url.rstrip("/") for address in instance.addresses if address.url.startswith("http")]
    if not instance.health and not bases:
        return Listed(instance, "unknown")
    url = instance.health or bases[0] + REPORT
    try:
        options = request_options(session, instance.component, url)
        async with session.get(url, allow_redirects=False, **options) as response:
            status = response.status
            body = _read_json(await response.content.read(_MAX_BODY))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Listed(instance, _UNREACHABLE, f"{without_secrets(url)}: {why_no_answer(error)}")
    if instance.health:
        return Listed(instance, _OF_STATUS.get(status, "ok" if status < 300 else "error"), body)  # noqa: PLR2004 - 2xx
    for component in _components_of(body):
        if component.name == instance.component:
            return Listed(instance, str(component.health.get("status", "unknown")), component.health)
    return Listed(instance, "unknown")


class _Component(msgspec.Struct):
    name: str
    health: dict[str, Any]


class _Report(msgspec.Struct):
    components: list[_Component]


def _components_of(body: Any) -> list[_Component]:
    """Return the components of a server's report; none if the body is not such a report."""
    try:
        return msgspec.convert(body, _Report).components
    except msgspec.ValidationError:
        return []


def _read_json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
