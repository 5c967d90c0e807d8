"""The series of all methods. What others choose, such as their own names, never makes more than a fixed number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from meshcore.core.description import ComponentDescription, Method
from meshcore.telemetry.calls import Calls, ClientCalls, Series, method_name
from meshcore.telemetry.conventions import OTHER
from meshcore.telemetry.tap.watch import CallWatch

MOST_CALLERS: Final = 32
"""Callers with series of their own. The first that call are these."""

MOST_SERIES: Final = 2500
"""Pairs of a method and a caller with series of their own: 0.5 KB each, and more for those that fail."""

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


class ServedTable(dict[Method | None, Calls]):
    """The calls of one caller to this process, by method; None is for those whose method is not known."""

    def __init__(self, calls: ServedCalls, caller: str) -> None:
        super().__init__()
        self._calls = calls
        self.caller = caller

    def __missing__(self, method: Method | None) -> Calls:
        found = self[method] = self._calls.series(self.caller, method)
        return found


class Callers(dict[str, ServedTable]):
    """The tables of all callers. Those beyond the first share one, `_OTHER`."""

    def __init__(self, calls: ServedCalls) -> None:
        super().__init__()
        self._calls = calls
        self[OTHER] = ServedTable(calls, OTHER)

    def __missing__(self, caller: str) -> ServedTable:
        if len(self) > MOST_CALLERS:
            return self[OTHER]
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
        by_caller: what each caller called, by its name; the name is empty if it does not say.
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
        self._series = 0
        self.refused: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.denied: dict[tuple[str, str, str], int] = {}
        self.rules_refused = 0
        self.by_caller = Callers(self)

    def series(self, caller: str, method: Method | None) -> Calls:
        """A new series, or that of other callers if there are too many."""
        if self._series >= MOST_SERIES and caller != OTHER:
            return self.by_caller[OTHER][method]
        self._series += 1
        if method is None:
            return self._new("", OTHER)
        return self._new(self._components.get(method, ""), method_name(method))

    def refuse(self, reason: str) -> None:
        """Count a call that was refused, for one of `REASONS`."""
        self.refused[reason] += 1

    def deny(self, method: str, component: str, mode: str) -> None:
        """Count a call that its caller may not make.

        Args:
            method: as `service/method`; else the path of an endpoint.
            component: that offers the method.
            mode: see `security.authorization.Mode`.
        """
        key = (method, component, mode)
        self.denied[key] = self.denied.get(key, 0) + 1

    def __iter__(self) -> Iterator[tuple[str, Calls]]:
        """All series, each with its caller."""
        others = frozenset(map(id, self.by_caller[OTHER].values()))
        for caller, table in self.by_caller.items():
            for calls in table.values():
                if caller == OTHER or id(calls) not in others:
                    yield caller, calls
