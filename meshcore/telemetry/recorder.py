"""`Recorder`: everything that one mesh counts. Both stacks feed it; Prometheus, OpenTelemetry and the page read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final

import msgspec

from meshcore.core.description import ComponentDescription
from meshcore.telemetry.calls import ClientCalls, Series
from meshcore.telemetry.tables import PLAIN, ClientTable, ServedCalls
from meshcore.telemetry.tap.watch import CallWatch
from meshcore.telemetry.told import Count, Few, Many, Seconds, Text

INSTANCE_STATES: Final = ("admitted", "ejected", "probed", "full", "draining")
"""What an instance may be for a client. One with the weight 0 is "draining": it gets no new calls."""


class SeenInstance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance as a client sees it.

    Attributes:
        id: of the instance.
        url: of its first address.
        version: as announced.
        zone: as announced.
        weight: as announced.
        started: as announced: seconds since 1970, 0 if unknown.
        state: one of `INSTANCE_STATES`.
        pending: attempts in flight to it.
        latency: seconds that a call is expected to take, None if that is not known.
        digest: of its contract.
    """

    id: Text
    url: Text = ""
    version: Text = ""
    zone: Text = ""
    weight: Count = 1
    started: Count = 0
    state: Text = "admitted"
    pending: Count = 0
    latency: Seconds | None = None
    digest: Text = ""


class SeenDestination(msgspec.Struct, frozen=True):
    """What a client knows of a component that it calls, beside the calls.

    Attributes:
        component: the component.
        ejections: how often an instance was ejected.
        budget_refusals: retries and hedges that the budget did not allow.
        instances: those that the registry reported.
        channels: that are open.
    """

    component: Text
    ejections: Count = 0
    budget_refusals: Count = 0
    instances: Annotated[tuple[SeenInstance, ...], Many] = ()
    channels: Annotated[tuple[Text, ...], Few] = ()


class Recorder:
    """The counters of one mesh. Series are found once, when a stack is built; a call then changes a few numbers.

    Args:
        components: those that this process serves.
        series: makes the series.

    Attributes:
        watch: shows calls one by one to those who want to see that.
        served: the calls to this process.
        clients: the calls of this process, by component.
        lag: how late the event loop was, at each look at it.
        destinations: reads what the machines of the client's side have counted. Set by who makes them.
        gauges: read the numbers that are what they are now, by name; None if there is none. Set by who has them.
    """

    def __init__(self, components: Iterable[ComponentDescription] = (), series: Series = PLAIN) -> None:
        self._series = series
        self.watch = CallWatch()
        self.served = ServedCalls(components, series, self.watch)
        self.clients: dict[str, ClientTable] = {}
        self.lag = series.lag()
        self.destinations: Callable[[], Iterable[SeenDestination]] = tuple
        self.gauges: dict[str, Callable[[], float | None]] = {}

    def client(self, component: str) -> ClientTable:
        """The series of calls to a component. All proxies share them."""
        found = self.clients.get(component)
        if found is None:
            found = self.clients[component] = ClientTable(component, self._series, self.watch)
        return found

    def made(self) -> Iterator[ClientCalls]:
        """The series of all calls that this process made."""
        for table in self.clients.values():
            yield from table.values()
