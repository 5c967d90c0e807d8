"""The series of all methods. What others choose, such as their own names, never makes more than a fixed number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from meshcore.core.caller import CallerKey
from meshcore.core.description import ComponentDescription, Method
from meshcore.telemetry.calls import Calls, ClientCalls, Series, method_name
from meshcore.telemetry.conventions import OTHER
from meshcore.telemetry.tap.watch import CallWatch

MOST_CALLERS: Final = 32
"""Callers with series of their own. The first that call are these. As many that have proven their names come on top, so
that others cannot take their places."""

MOST_SERIES: Final = 2500
"""Pairs of a method and a caller with series of their own: 0.5 KB each, and more for those that fail. Those of callers
that have proven their names are as many again."""

PROVEN_OTHER: Final = (OTHER,)
"""The key of all callers beyond the first that have proven their names."""

PLAIN: Final = Series()

REASONS: Final = ("stopping", "max_concurrency", "requests", "max_unsent", "overload", "late")
"""Why a server refuses calls: it stops, runs or has in hand as many as it may, holds too many bytes of answers, is
overloaded, or could not answer in time."""


class ClientTable(dict[Method, ClientCalls]):
    """The calls of this process to one component, by method. A series is made when it is first asked for.

    Attributes:
        watch: shows them one by one to those who want to see that.
    """

    def __init__(self, component: str, series: Series = PLAIN, watch: CallWatch | None = None) -> None:
        super().__init__()
        self._component = component
        self._series = series
        self.watch = CallWatch() if watch is None else watch

    def __missing__(self, method: Method) -> ClientCalls:
        found = self[method] = self._series.client(self._component, method_name(method))
        return found


def other_of(caller: CallerKey) -> CallerKey:
    """The key of those that share a table, and are of the same kind."""
    return OTHER if isinstance(caller, str) else PROVEN_OTHER


class ServedTable(dict[Method | None, Calls]):
    """The calls of one caller to this process, by method; None is for those whose method is not known."""

    def __init__(self, calls: ServedCalls, caller: CallerKey) -> None:
        super().__init__()
        self._calls = calls
        self.caller = caller

    def __missing__(self, method: Method | None) -> Calls:
        found = self[method] = self._calls.series(self.caller, method)
        return found


class Callers(dict[CallerKey, ServedTable]):
    """The tables of all callers. Those beyond the first share one, `OTHER`; proven ones share another."""

    def __init__(self, calls: ServedCalls) -> None:
        super().__init__()
        self._calls = calls
        self._left = {False: MOST_CALLERS, True: MOST_CALLERS}  # by whether their names are proven
        for other in (OTHER, PROVEN_OTHER):
            self[other] = ServedTable(calls, other)

    def __missing__(self, caller: CallerKey) -> ServedTable:
        proven = isinstance(caller, tuple)
        if not self._left[proven]:
            return self[other_of(caller)]
        self._left[proven] -= 1
        found = self[caller] = ServedTable(self._calls, caller)
        return found


class ServedCalls:
    """The calls to this process.

    Args:
        components: those that are served.
        series: makes the series.
        watch: see the attribute.

    Attributes:
        watch: shows them one by one to those who want to see that.
        by_caller: what each caller called, by its key; the name is empty if it does not say.
        refused: calls that were refused before they were executed, by the reason.
        denied: calls that their caller may not make, by method, component, and what becomes of them.
        rules_refused: how often new rules could not be used, so that the last ones stayed.
    """

    def __init__(
        self,
        components: Iterable[ComponentDescription] = (),
        series: Series = PLAIN,
        watch: CallWatch | None = None,
    ) -> None:
        self.watch = CallWatch() if watch is None else watch
        self._new = series.served
        self._components = {
            method: component.name
            for component in components
            for service in component.services
            for method in service.methods
        }
        self._series = {False: 0, True: 0}  # by whether the names of their callers are proven
        self.refused: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.denied: dict[tuple[str, str, str], int] = {}
        self.rules_refused = 0
        self.by_caller = Callers(self)

    def series(self, caller: CallerKey, method: Method | None) -> Calls:
        """A new series, or that of other callers if there are too many."""
        proven, other = isinstance(caller, tuple), other_of(caller)
        if self._series[proven] >= MOST_SERIES and caller != other:
            return self.by_caller[other][method]
        self._series[proven] += 1
        return self._new(self.component_of(method), OTHER if method is None else method_name(method))

    def component_of(self, method: Method | None) -> str:
        """The component that offers a method; empty if it is not known."""
        return "" if method is None else self._components.get(method, "")

    def refuse(self, reason: str) -> None:
        """Count a call that was refused, for one of `REASONS`."""
        self.refused[reason] += 1

    def deny(self, method: str, component: str, mode: str) -> None:
        """Count a call that its caller may not make.

        Args:
            method: as `service/method`; else the path of an endpoint.
            component: that offers the method.
            mode: see `security.authorization.guard.Mode`.
        """
        key = (method, component, mode)
        self.denied[key] = self.denied.get(key, 0) + 1

    def __iter__(self) -> Iterator[tuple[CallerKey, Calls]]:
        """All series, each with its caller."""
        others = frozenset(id(calls) for other in (OTHER, PROVEN_OTHER) for calls in self.by_caller[other].values())
        for caller, table in self.by_caller.items():
            for calls in table.values():
                if caller == other_of(caller) or id(calls) not in others:
                    yield caller, calls
