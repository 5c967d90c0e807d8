"""Why a call goes where it goes: the numbers that govern it, who set them, and how its instances stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from meshcore.client.destination import Destination
from meshcore.core.description import Method
from meshcore.core.instances import Instance
from meshcore.core.policy import Resolved
from meshcore.ports.channel import LOCAL, Channel
from meshcore.traffic.ejection import State
from meshcore.traffic.selectors import LeastLoadedURLSelector, PolicyURLSelector


class Standing(msgspec.Struct, frozen=True):
    """How one instance stands with this mesh.

    Attributes:
        state: "admitted", "ejected", "probed" or "full".
        pending: calls of this mesh in hand.
        latency: seconds that a call takes there, as the balancer has it; None if it does not know yet.
        load: what two candidates are compared by, the less the better; None if nobody compares.
        remark: what else decides, empty if nothing does.
    """

    instance: str
    url: str
    zone: str
    weight: int
    state: str
    pending: int
    latency: float | None = None
    load: float | None = None
    remark: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """What would happen to a call made now.

    Attributes:
        method: what is called.
        component: who offers it.
        channel: over which channel; "local" for the implementation in this process, empty if there is none.
        choice: how an instance is picked, in words.
        rules: by name, the number and who set it; those that count.
        retries: how many retries the budget of the component grants now.
        instances: all that can be reached over the channel, by id.
        problem: why nobody can be asked, empty if somebody can.
        contract: how what the instances serve differs from what is declared here, as far as it concerns the method.
    """

    method: str
    component: str
    channel: str
    choice: str
    rules: Mapping[str, tuple[Any, str]]
    retries: float = 0.0
    instances: tuple[Standing, ...] = ()
    problem: str = ""
    contract: tuple[str, ...] = ()


_CHOICES = {
    "least-loaded": "the less loaded of two random instances",
    "round-robin": "the instance that was chosen longest ago",
    "first": "the first instance by id",
    "random": "a random instance, by weight",
}


def explain_local(component: str, method: Method, resolved: Resolved) -> Explanation:
    """The explanation of a call that does not leave this process: of all rules only its timeout counts."""
    rules = {"timeout": _rules(resolved)["timeout"]}
    return Explanation(str(method), component, LOCAL, "the implementation is in this process", rules)


def explain(destination: Destination, method: Method, resolved: Resolved, wanted: str) -> Explanation:
    """The explanation of a call over a destination.

    Args:
        destination: the way to the component.
        method: what is called.
        resolved: the rules of its calls.
        wanted: the channel that must be used, empty for any.
    """
    names = (wanted,) if wanted else destination.candidates()
    name = next((name for name in names if any(each.endpoint(name) for each in destination.instances)), "")
    channel = destination.channels.get(name)
    traffic = destination.traffic
    now = traffic.clock()
    standings = tuple(
        _standing(destination, each, name, channel, now) for each in destination.instances if each.endpoint(name)
    )
    return Explanation(
        str(method),
        destination.component.name,
        name,
        _choice(method, resolved, channel),
        _rules(resolved),
        traffic.retries.available(now),
        standings,
        "" if name and name not in destination.broken else destination.unavailable(wanted).message,
    )


def _rules(resolved: Resolved) -> dict[str, tuple[Any, str]]:
    return {name: (getattr(resolved.rules, name), source) for name, source in resolved.sources.items()}


def _choice(method: Method, resolved: Resolved, channel: Channel | None) -> str:
    if channel is not None and not isinstance(channel.selector, PolicyURLSelector | LeastLoadedURLSelector):
        return f"{type(channel.selector).__name__}, chosen for the channel"
    if method.affinity is not None:
        parameter = method.parameters[method.affinity].name
        return f"the instance that the value of {parameter!r} leads to, unless it has more than its share in hand"
    return _CHOICES[resolved.rules.balance]


def _standing(destination: Destination, instance: Instance, name: str, channel: Channel | None, now: float) -> Standing:
    endpoint = instance.endpoint(name)
    assert endpoint is not None  # noqa: S101 - asked before
    ejection = destination.traffic.ejection
    peer = ejection[instance.id]
    state, remark = peer.state.value, ""
    if instance.id in ejection.full:
        state = "full"
    elif peer.state is State.EJECTED:
        left = peer.until - now
        remark = f"is probed in {left:.1f} s" if left > 0 else "is probed by the next call that can be repeated"
    latency = load = None
    selector = channel.selector if channel is not None and name not in destination.broken else None
    if isinstance(selector, PolicyURLSelector):
        selector = selector.least_loaded
    if isinstance(selector, LeastLoadedURLSelector):
        found = selector.load(instance.id)
        latency, load = found.cost(now) or None, found.value(now)
        ramp = found.ramp(now)
        if ramp < 1.0:
            remark = remark or f"is new and gets {ramp:.0%} of its share"
    return Standing(
        instance.id, endpoint.url, instance.zone, instance.weight, state, peer.pending, latency, load, remark
    )
