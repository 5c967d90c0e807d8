"""`meshcore tap`: prints calls as they end, wherever in the mesh they are served or made."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence

import aiohttp
import msgspec

from meshcore.cli.printing import printable, say
from meshcore.client.contract_fetch import fetch_component
from meshcore.client.overview.follow import Followed, Follower
from meshcore.contract.contract import ComponentContract
from meshcore.core.errors import Code, CommunicationError, ConfigurationError
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.core.suggest import did_you_mean
from meshcore.mesh.security.asking import asking
from meshcore.ports.installed import make_registry
from meshcore.telemetry.tap.seen_call import SeenCall
from meshcore.telemetry.tap.tap import Wanted


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are wanted; see `Wanted`.

    Attributes:
        failed: only those that failed.
        slow: only those that are slow.
        slower_than: only those that took more seconds.
        max_rps: calls per second that are shown at most.
        arguments: whether to show them, too.
    """

    failed: bool = False
    slow: bool = False
    slower_than: float = 0.0
    max_rps: int = 100
    arguments: bool = False


async def follow(settings: Settings, target: str, choice: Choice, *, count: int = 0, as_json: bool = False) -> None:
    """Print calls until cancelled.

    Args:
        settings: name the registry.
        target: a component, or a method as `component.method` or `component.service.method`.
        choice: which calls.
        count: end after so many of them; 0 for no end.
        as_json: print an object on a line for each call, and for each time that some are not shown.

    Raises:
        ConfigurationError: there is no such registry, component, method or number.
        CommunicationError: nothing is announced.
    """
    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    # One connection to each server, as long as it lasts.
    async with registry, asking(settings, registry, limit=0) as session:
        announced = await registry.instances()
        if not announced:
            text = f"nothing is announced in {without_secrets(settings.registry)}; start a server"
            raise CommunicationError(Code.UNAVAILABLE, text, processed=False)
        component, method = _split(target, announced)
        try:
            wanted = msgspec.convert({"component": component, "method": "", **msgspec.structs.asdict(choice)}, Wanted)
        except msgspec.ValidationError as error:
            text = re.sub(r" - at `\$\.(\w+)`$", lambda found: f": --{found[1].replace('_', '-')}", str(error))
            raise ConfigurationError("these options cannot be used", [text]) from None
        if method:
            method = await _checked(session, announced[component], method, settings.max_body)
            wanted = msgspec.structs.replace(wanted, method=method)
        shown = 0
        async with Follower(registry, session, wanted) as follower:
            while not count or shown < count:
                found = await follower.next()
                _print(found, as_json=as_json)
                shown += found.line is not None and found.line.call is not None


def _split(target: str, announced: Mapping[str, Sequence[Instance]]) -> tuple[str, str]:
    """The component and the method that were typed. Both may have dots in their names."""
    fitting = [name for name in announced if target == name or target.startswith(f"{name}.")]
    if not fitting:
        hint = did_you_mean(target.partition(".")[0], announced) or "; meshcore ls lists them"
        raise ConfigurationError(f"cannot tap {target!r}", [f"no such component is announced{hint}"])
    component = max(fitting, key=len)
    return component, target[len(component) + 1 :]


async def _checked(session: aiohttp.ClientSession, instances: Sequence[Instance], typed: str, max_body: int) -> str:
    """The method as `service/method`; as it was typed if no instance says what there is.

    Raises:
        ConfigurationError: there is no such method, or there are several.
    """
    contract: ComponentContract | None = None
    for instance in instances:
        try:
            contract = await fetch_component(session, instance, max_body)
        except ValueError:
            continue
        break
    service, _, name = typed.replace("/", ".").rpartition(".")
    if contract is None:
        return f"{service}/{name}" if service else name
    methods = [(each.name, method.name) for each in contract.services for method in each.methods]
    found = [(owner, method) for owner, method in methods if method == name and service in {"", owner}]
    if not found:
        known = [f"{owner}.{method}" if service else method for owner, method in methods]
        text = f"{contract.name} has no method {typed!r}{did_you_mean(typed, known)}"
        raise ConfigurationError(f"cannot tap {typed!r}", [text])
    if len(found) > 1:
        names = ", ".join(f"{contract.name}.{owner}.{method}" for owner, method in found)
        raise ConfigurationError(f"cannot tap {typed!r}", [f"several services have it: write one of {names}"])
    return "/".join(found[0])


def _print(found: Followed, *, as_json: bool) -> None:
    line = found.line
    if line is None:
        if as_json:
            say(msgspec.json.encode({"url": found.url, "problem": found.problem}).decode())
        else:
            print(f"{found.url or 'the registry'}: {found.problem}", file=sys.stderr)
        return
    if line.call is None and not (line.left_out or line.lost):
        return
    if as_json:
        say(msgspec.json.encode({"url": found.url, **msgspec.to_builtins(line)}).decode())
        return
    if line.call is not None:
        say(_text(line.call, found.url))
    if line.left_out:
        print(f"{found.url}: {line.left_out} more calls, which --max-rps leaves out", file=sys.stderr)
    if line.lost:
        print(f"{found.url}: {line.lost} more calls, which were not read in time", file=sys.stderr)


def _text(call: SeenCall, url: str) -> str:
    """One line for a call."""
    clock = f"{time.strftime('%H:%M:%S', time.localtime(call.at))}.{int(call.at % 1 * 1000):03}"
    given = ""
    if call.arguments is not None:
        given = "(" + ", ".join(f"{name}={value}" for name, value in call.arguments.items()) + ")"
    where = f"served at {url}" if call.side == "served" else f"made at {url}"
    proven = " (proven)" if call.proven else ""
    again = f", attempt {call.attempt}" if call.attempt > 1 else ""
    parts = [
        f"{clock} {call.component} {call.method}{given} by {call.caller or 'unknown'}{proven}{again}",
        f"{call.outcome} in {call.seconds * 1000:.3g} ms, {where}",
    ]
    if call.attempts:
        parts.append("; ".join(map(str, call.attempts)))
    if call.text:
        parts.append(call.text)
    # Callers choose their names and the texts of errors: what is no text must not reach the terminal.
    return printable(" | ".join(parts).replace("\n", " "))
