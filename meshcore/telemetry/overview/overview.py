"""`Overview`: what is known of the mesh, look after look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.telemetry.overview import methods as of_methods
from meshcore.telemetry.overview.histories import Histories
from meshcore.telemetry.overview.processes import NOTHING, Name, Process, Processes, Who
from meshcore.telemetry.overview.state import (
    Edge,
    MeshState,
    MethodCaller,
    MethodHistory,
    Rate,
    ShownComponent,
    ShownInstance,
    ShownMethod,
)
from meshcore.telemetry.summary import MethodSummary, Summary
from meshcore.telemetry.told import told

_NEW = 15
"""Seconds for which an instance counts as new."""

_REMEMBERED = 30.0
"""Seconds for which an instance that vanished without a good-bye is still shown."""

UNNAMED = "(no name)"
"""Stands for callers that do not say who they are."""

UNPROVEN = "(not proven)"
"""Follows the name of a caller that only says it, in a mesh where others have proven theirs."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when the mesh was looked at.

    Attributes:
        at: seconds since 1970.
        clock: seconds on a clock that only goes forward.
        announced: the instances in the registry, by component.
        summaries: of the processes that answered, by the URL that was asked; the workers of a server share one.
        errors: why a URL gave no summary.
        health: the status of components, by URL and component.
        problems: what else could not be read, as sentences.
        unread: why the registry could not be read, empty if it was. It is among the problems, too.
    """

    at: float
    clock: float
    announced: Mapping[str, Sequence[Instance]]
    summaries: Mapping[str, Sequence[Summary]]
    errors: Mapping[str, str]
    health: Mapping[tuple[str, str], str] = {}
    problems: Sequence[str] = ()
    unread: str = ""


class Overview:
    """Puts looks at a mesh together. Rates of callers need two looks."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._histories = Histories()
        self._seen: dict[str, tuple[ShownInstance, float]] = {}  # by id: as it was, and when it was there last
        self._summaries: list[Summary] = []
        self._called: dict[Name, list[MethodSummary]] = {}
        self._served: dict[Name, list[MethodSummary]] = {}
        self._at = 0.0
        self._proves = False  # whether a caller of the mesh has proven its name

    def update(self, look: Look) -> MeshState:
        """Take a look into account, and return the mesh as it is now."""
        summaries = self._summaries = [each for some in look.summaries.values() for each in some]
        self._at = look.at
        self._called = {}
        for summary in summaries:
            for method in summary.called:
                self._called.setdefault((method.component, method.method), []).append(method)
        self._processes.look(summaries, look.clock)
        self._histories.look(summaries, look.at)
        edges, callers = self._processes.callers()
        instances = self._instances(look)
        served = self._served = of_methods.by_name(summaries)
        names = sorted({*instances, *(component for component, _ in served)} - {""})
        components = tuple(
            ShownComponent(
                name,
                self._processes.components.get(name, NOTHING).rate(),
                tuple(instances.get(name, ())),
            )
            for name in names
        )
        self._proves = any(proven for (_, proven), _ in edges)
        shown_edges = tuple(
            Edge(self._name(who), component, now, who[1])
            for (who, component), now in sorted(edges.items(), key=lambda pair: pair[0])
            if component in names
        )
        return MeshState(
            at=look.at,
            components=components,
            callers=tuple(sorted({edge.caller for edge in shown_edges} - set(names))),
            edges=shown_edges,
            methods=tuple(self._method(name, some, callers.get(name, ())) for name, some in served.items()),
            problems=tuple(look.problems),
        )

    def histories(self) -> list[MethodHistory]:
        """The last 15 minutes of each method, as of the last look."""
        return self._histories.shown(self._served, self._at)

    def _name(self, who: Who) -> str:
        """How a caller is shown."""
        name, proven = who
        return f"{name} {UNPROVEN}" if self._proves and name and not proven else name or UNNAMED

    def _method(self, name: Name, served: Sequence[MethodSummary], callers: Iterable[tuple[Who, Rate]]) -> ShownMethod:
        called = self._called.get(name, ())
        return ShownMethod(
            component=name[0],
            method=name[1],
            now=self._processes.methods.get(name, NOTHING).rate(),
            callers=tuple(MethodCaller(self._name(who), now, who[1]) for who, now in callers),
            errors=of_methods.errors(served),
            attempts=told(sum(sum(each.attempts.values()) for each in called)),
            retries=told(sum(each.retries for each in called)),
            hedges=told(sum(each.hedges for each in called)),
        )

    def _instances(self, look: Look) -> dict[str, list[ShownInstance]]:
        """The instances of each component: those that are announced, and those that have vanished lately."""
        by_process = self._processes.by_instance
        ejected = self._ejected()
        found: dict[str, list[ShownInstance]] = {}
        there: set[str] = set()
        for component, announced in look.announced.items():
            for instance in announced:
                shown = _shown(instance, look, by_process, ejected)
                found.setdefault(component, []).append(shown)
                there.add(shown.id)
                self._seen[shown.id] = (shown, look.clock)
        for id_, (shown, last) in list(self._seen.items()):
            if id_ in there:
                continue
            # Who withdraws tells that it drains before it goes, and is not missed.
            if look.clock - last > _REMEMBERED or shown.state == "draining":
                del self._seen[id_]
            else:
                gone = msgspec.structs.replace(
                    shown,
                    state="gone",
                    why="It is no longer announced, and did not say that it stops.",
                    health="unknown",
                    active=0,
                    now=Rate(),
                )
                found.setdefault(shown.component, []).append(gone)
        return {name: sorted(some, key=lambda each: each.id) for name, some in found.items()}

    def _ejected(self) -> dict[str, list[str]]:
        """The clients that have ejected an instance, by its id."""
        found: dict[str, list[str]] = {}
        for each in self._summaries:
            for destination in each.destinations:
                for instance in destination.instances:
                    if instance.state in {"ejected", "probed"}:
                        found.setdefault(instance.id, []).append(each.about.name or each.about.instance)
        return found


def _shown(
    instance: Instance, look: Look, by_process: Mapping[str, Process], ejected: Mapping[str, Sequence[str]]
) -> ShownInstance:
    url = server_of(instance)
    told = look.summaries.get(url, ())
    # The ids of a registry with fixed addresses name no process.
    process = by_process.get(instance.id.rpartition("-")[2])
    if process is None and len(told) == 1:
        process = by_process.get(told[0].about.instance)
    summary = process.summary if process is not None else None
    state, why = _state(instance, look, summary, look.errors.get(url, ""), ejected.get(instance.id, ()))
    return ShownInstance(
        id=instance.id,
        component=instance.component,
        url=without_secrets(url),
        channels=tuple(dict.fromkeys(each.channel for each in instance.addresses)),
        state=state,
        why=why,
        health="unknown" if state == "gone" else look.health.get((url, instance.component), "unknown"),
        version=instance.version,
        zone=instance.zone,
        weight=instance.weight,
        started=instance.started,
        digest=instance.digest,
        active=summary.about.active if summary else 0,
        now=(process.components if process is not None else {}).get(instance.component, NOTHING).rate(),
    )


def server_of(instance: Instance) -> str:
    """The base URL of the server of an instance; empty if it is not reached over HTTP."""
    return next((each.url.rstrip("/") for each in instance.addresses if each.url.startswith("http")), "")


def servers_of(announced: Mapping[str, Sequence[Instance]]) -> dict[str, str]:
    """The base URLs of the servers of instances, each with one of the components that it serves."""
    found: dict[str, str] = {}
    for component, some in announced.items():
        for each in some:
            if url := server_of(each):
                found.setdefault(url, component)
    return found


def _state(
    instance: Instance, look: Look, summary: Summary | None, error: str, ejected: Sequence[str]
) -> tuple[str, str]:
    by = f"Ejected by {', '.join(sorted(set(ejected)))}." if ejected else ""
    if error:
        return "gone", f"It does not answer: {error}. {by}".strip()
    if by:
        return "ejected", by
    if (summary is not None and summary.about.draining) or instance.weight == 0:
        return "draining", "It takes no new calls."
    if instance.started and look.at - instance.started < _NEW:
        return "new", ""
    return "admitted", ""
