"""What is shown of a mesh: the documents of the live page and of `meshcore top`."""

from __future__ import annotations

import msgspec

from meshcore.telemetry.summary import Ended

STATES = ("admitted", "new", "draining", "ejected", "gone")
"""What an instance may be. The worst that is true counts, so a later one before an earlier one."""


class Rate(msgspec.Struct, frozen=True):
    """What happens now.

    Attributes:
        calls: that end per second.
        success: the share of these that succeed; None without calls.
        p50: seconds within which half of them end; None without calls.
        p95: the same for 95 %.
        p99: the same for 99 %.
    """

    calls: float = 0.0
    success: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class ShownInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance.

    Attributes:
        id: of the instance.
        component: that it hosts.
        url: of its first address.
        channels: that it offers.
        state: one of `STATES`.
        why: what the state comes from, as a sentence; empty if nothing is wrong.
        health: the status of its health check, "unknown" if it does not say.
        version: as announced.
        zone: as announced.
        weight: as announced.
        started: as announced: seconds since 1970, 0 if unknown.
        digest: of its contract.
        active: calls that its process executes.
        now: the calls that its process has served lately.
    """

    id: str
    component: str
    url: str
    channels: tuple[str, ...]
    state: str
    why: str
    health: str
    version: str
    zone: str
    weight: int
    started: int
    digest: str
    active: int
    now: Rate


class ShownComponent(msgspec.Struct, frozen=True):
    """A component.

    Attributes:
        name: of the component.
        now: the calls to all its instances.
        instances: ordered by id.
    """

    name: str
    now: Rate
    instances: tuple[ShownInstance, ...]


class Edge(msgspec.Struct, frozen=True):
    """Who calls whom.

    Attributes:
        caller: its name: that of its component, if it hosts one. If others of the mesh have proven theirs, and this one
            only says it, "(not proven)" follows, so that it is not taken for the component.
        component: that it calls.
        now: its calls.
        proven: whether the caller has proven its name by a certificate.
    """

    caller: str
    component: str
    now: Rate
    proven: bool = False


class MethodCaller(msgspec.Struct, frozen=True):
    """Who calls a method.

    Attributes:
        caller: as in `Edge`.
        now: its calls.
        proven: as in `Edge`.
    """

    caller: str
    now: Rate
    proven: bool = False


class ShownMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A method, as its servers have seen it.

    Attributes:
        component: that offers it.
        method: as `service/method`.
        now: the calls to it.
        callers: who has called it lately, those with most calls first.
        errors: how calls failed since the start, the most frequent first.
        attempts: of clients that serve something themselves, since their start.
        retries: the attempts among these that followed a failed one.
        hedges: the attempts among these that were sent while another one was under way.
    """

    component: str
    method: str
    now: Rate
    callers: tuple[MethodCaller, ...]
    errors: tuple[Ended, ...]
    attempts: int
    retries: int
    hedges: int


class MeshState(msgspec.Struct, frozen=True, kw_only=True):
    """The mesh at one moment.

    Attributes:
        at: seconds since 1970.
        components: ordered by name.
        callers: names of those that call and serve nothing, ordered.
        edges: ordered by caller and component.
        methods: ordered by component and name.
        problems: what could not be read, as sentences.
    """

    at: float
    components: tuple[ShownComponent, ...] = ()
    callers: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()
    methods: tuple[ShownMethod, ...] = ()
    problems: tuple[str, ...] = ()


class MethodHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The last 15 minutes of a method, oldest first.

    Attributes:
        component: that offers it.
        method: as `service/method`.
        step: seconds of each number.
        calls: that ended in each step.
        failed: the calls that failed.
        p50: seconds within which half of them ended: the mean of the processes, weighted by their calls; None without.
        p95: the same for 95 %: of the slowest process.
        p99: the same for 99 %: of the slowest process.
    """

    component: str
    method: str
    step: int
    calls: tuple[int, ...]
    failed: tuple[int, ...]
    p50: tuple[float | None, ...]
    p95: tuple[float | None, ...]
    p99: tuple[float | None, ...]
