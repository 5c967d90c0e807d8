"""Explains a call: the rules that govern it, who set them, and the state of each instance that it may choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError
from meshcore.core.instances import Bound, Failed, Instance
from meshcore.core.policy import Resolved
from meshcore.ports.channel import LOCAL, Channel
from meshcore.traffic.channel_order import STREAM, against_stream
from meshcore.traffic.instance_monitor import State
from meshcore.traffic.least_loaded import LeastLoadedURLSelector

if TYPE_CHECKING:
    from meshcore.client.destination import Destination


class InstanceState(msgspec.Struct, frozen=True):
    """The state of one instance, as this mesh sees it.

    Attributes:
        instance: its id.
        url: of its endpoint for the channel.
        zone: where it runs, as announced.
        weight: as announced.
        state: "admitted", "ejected", "probed" or "full".
        pending: calls of this mesh in flight to it.
        latency: the latency in seconds that the URL selector expects; None if that is unknown.
        load: the number by which the URL selector compares instances, lower is better; None if it does not compare.
        remark: what else matters for the choice, empty if nothing does.
        share: the share of the calls that it gets by its weight, unless its load bends that; None if the URL selector
            gives no shares.
        version: as announced.
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
    share: float | None = None
    version: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """What would happen to a call made now.

    Attributes:
        method: what is called.
        component: who offers it.
        channel: the channel that is used; "local" for the implementation in this process, empty if there is none.
        choice: how an instance is chosen, as a phrase.
        rules: by name, the value of each rule that applies, and who set it.
        retries: how many retries the budget of the component allows now.
        instances: those that can be reached over the channel, ordered by id.
        problem: why no instance can be asked, empty if one can.
        contract: differences between the contracts of the instances and the declared one that concern the method.
    """

    method: str
    component: str
    channel: str
    choice: str
    rules: Mapping[str, tuple[Any, str]]
    retries: float = 0.0
    instances: tuple[InstanceState, ...] = ()
    problem: str = ""
    contract: tuple[str, ...] = ()

    def __str__(self) -> str:
        """All of it as text: the choice, the rules, then the instances or why there is none."""
        lines = [self.title, ""]
        lines += _aligned([("rule", "value", "from"), *((name, *rule) for name, rule in self.rules.items())])
        if self.instances:
            heads = ("instance", "url", "version", "zone", "weight", "state", "in hand", "latency", "remark")
            lines += ["", *_aligned([heads, *map(_row, self.instances)])]
        lines += ["", self.problem] if self.problem else []
        return "\n".join([*lines, *self.contract])

    @property
    def title(self) -> str:
        """What is called, over which channel, and how an instance is chosen."""
        return f"{self.method} of {self.component}, over {self.channel or 'no channel'}: {self.choice}"


def _row(state: InstanceState) -> tuple[object, ...]:
    latency = f"{state.latency * 1000:.1f} ms" if state.latency is not None else "-"
    facts = (state.version or "-", state.zone or "-", state.weight, state.state, state.pending, latency, state.remark)
    return (state.instance, state.url, *facts)


def _aligned(rows: Sequence[tuple[object, ...]]) -> list[str]:
    """The rows as lines, with two spaces between columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in texts]


_CHOICES = {
    "least-loaded": "each instance gets its share by weight, unless it is clearly more loaded than another one",
    "round-robin": "the instances in turn, by weight",
    "first": "the first instance by id",
    "random": "a random instance, by weight",
}


def explain_local(component: str, method: Method, resolved: Resolved) -> Explanation:
    """Explain a call within the process. Of all rules only the timeout applies."""
    rules = {"timeout": _rules(resolved)["timeout"]}
    return Explanation(str(method), component, LOCAL, "the implementation is in this process", rules)


def explain(destination: Destination, method: Method, resolved: Resolved, required: str) -> Explanation:
    """Explain a call to another process.

    Args:
        destination: the component.
        method: what is called.
        resolved: the rules of its calls.
        required: the channel that must be used, empty for any.
    """
    names = (required,) if required else destination.offered_channels()
    name = next((name for name in names if any(each.endpoint(name) for each in destination.instances)), "")
    channel = destination.channels.get(name)
    traffic = destination.traffic
    now = traffic.clock()
    by_default = not required and not destination.preferred()
    against: Mapping[str, str] = (
        against_stream(destination.instances) if by_default and STREAM in destination.offered else {}
    )
    states = tuple(
        _state(destination, each, name, channel, now, against.get(each.id, ""))
        for each in destination.instances
        if each.endpoint(name)
    )
    return Explanation(
        str(method),
        destination.component.name,
        name,
        _choice(method, resolved, channel),
        _rules(resolved),
        traffic.retries.available(now),
        states,
        "" if name and name not in destination.selector_errors else destination.unavailable_error(required).message,
    )


def _rules(resolved: Resolved) -> dict[str, tuple[Any, str]]:
    return {name: (getattr(resolved.rules, name), source) for name, source in resolved.sources.items()}


def _choice(method: Method, resolved: Resolved, channel: Channel | None) -> str:
    if channel is not None and not isinstance(channel.selector, LeastLoadedURLSelector):
        return f"{type(channel.selector).__name__}, chosen for the channel"
    if method.affinity is not None:
        parameter = method.parameters[method.affinity].name
        return f"the instance that the value of {parameter!r} leads to, unless it has more than its share of the calls"
    return _CHOICES[resolved.rules.balance]


def _state(
    destination: Destination, instance: Instance, name: str, channel: Channel | None, now: float, against: str
) -> InstanceState:
    endpoint = instance.endpoint(name)
    assert endpoint is not None  # noqa: S101 - the caller has checked it
    facts = (instance.id, endpoint.url, instance.zone, instance.weight)
    if not instance.weight:
        return InstanceState(
            *facts,
            State.ADMITTED.value,
            0,
            remark="has the weight 0, so it gets no new calls",
            share=0.0,
            version=instance.version,
        )
    ejection = destination.traffic.ejection
    monitor = ejection[instance.id]
    state, remark = monitor.state.value, ""
    if instance.id in ejection.full:
        state = "full"
    elif monitor.state is State.EJECTED:
        left = monitor.until - now
        remark = f"is probed in {left:.1f} s" if left > 0 else "is probed by the next call or check"
    more = channel.remark(endpoint) if channel is not None else ""
    remark = "; ".join(filter(None, (remark, more, against)))
    selector = channel.selector if channel is not None and name not in destination.selector_errors else None
    if not isinstance(selector, LeastLoadedURLSelector):
        return InstanceState(*facts, state, monitor.pending, remark=remark, version=instance.version)
    load = selector.load(instance.id)
    return InstanceState(
        *facts,
        state,
        monitor.pending,
        load.cost(now) or None,
        load.value(now),
        remark or selector.remark(instance.id, now),
        selector.share(instance.id, now),
        instance.version,
    )


def unavailable_error(destination: Destination, required: str, *, full: bool = False) -> CommunicationError:
    """The error that says why no endpoint can be asked.

    Args:
        destination: the component.
        required: the channel that must be used, empty for any.
        full: whether some instance is only excluded because it has too many calls.
    """
    name, registry = destination.component.name, repr(destination.registry)
    if full:
        limit = destination.traffic.rules.concurrency
        text = f"component {name!r}: every instance has {limit} calls of this mesh in flight (policy: concurrency)"
        return CommunicationError(Code.RESOURCE_EXHAUSTED, text, processed=False)
    over = f" over channel {required!r}" if required else ""
    match destination.sighting:
        case Bound(instances):
            offered = sorted({address.channel for instance in instances for address in instance.addresses})
            missing = required not in offered if required else not destination.offered
            but = f", but not{over or ' over a channel that is known here'}" if missing else ""
            text = f"component {name!r} is offered{but}; its instances offer: {', '.join(offered)}"
            if not missing and not any(each.weight for each in instances if not required or each.endpoint(required)):
                text = f"component {name!r}: every instance{over} has the weight 0, so none takes new calls "
                text += "(setting weight)"
            for channel in (required,) if required else destination.offered:
                if channel in destination.selector_errors:
                    text += f"; channel {channel!r} cannot choose one: {destination.selector_errors[channel]}"
        case Failed(cause):
            text = f"component {name!r} cannot be looked up{over}: {registry}: {cause}"
        case _:
            text = f"component {name!r} is offered by nobody{over}, says {registry}{destination.hint}"
    return CommunicationError(Code.UNAVAILABLE, text, processed=False)
