"""What one process knows of itself and of whom it calls, as a document: for the live page, `top` and `ls`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from meshcore.core.caller import CallerKey
from meshcore.telemetry.calls import Calls, ClientCalls
from meshcore.telemetry.histogram import BOUNDS, quantile
from meshcore.telemetry.history import STEPS, History, Key, Step, Window
from meshcore.telemetry.recorder import Recorder, SeenDestination
from meshcore.telemetry.told import Count, Counts, Few, Many, Seconds, Text


class Ended(msgspec.Struct, frozen=True):
    """How calls failed.

    Attributes:
        status: the code.
        kind: the name of a declared exception, else the code.
        count: how often.
        last: the text of the last one, cut; empty for a declared exception.
    """

    status: Text
    kind: Text
    count: Count
    last: Text = ""


class Caller(msgspec.Struct, frozen=True):
    """Who called a method.

    Attributes:
        name: of the caller; empty if it does not say, `_OTHER` for all beyond the first.
        calls: that ended.
        failures: the calls that failed.
        counts: the latencies of all its calls, by bucket of `BOUNDS`, without the empty ones at the end.
        proven: whether the name was proven by a certificate. A caller that only says a name is another one.
    """

    name: Text
    calls: Count
    failures: Count
    counts: Counts
    proven: bool = False


class MethodSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A method, as server or as client.

    Attributes:
        component: who offers it.
        method: as `service/method`, `_OTHER` for all that are not known.
        calls: that ended since the start.
        failures: the calls that failed.
        recent: what it did lately.
        errors: how calls failed since the start.
        history: the last 15 minutes.
        sent: items of streams that went to the other side.
        received: items of streams that came from there.
        callers: on the server's side.
        attempts: on the client's side, by outcome.
        retries: on the client's side.
        hedges: on the client's side.
    """

    component: Text
    method: Text
    calls: Count
    failures: Count
    recent: Window
    errors: Annotated[tuple[Ended, ...], Many] = ()
    history: Annotated[tuple[Step, ...], Few] = ()
    sent: Count = 0
    received: Count = 0
    callers: Annotated[tuple[Caller, ...], Few] = ()
    attempts: Annotated[dict[Text, Count], Few] = {}
    retries: Count = 0
    hedges: Count = 0


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The process.

    Attributes:
        instance: identifies it; ids of its instances end with this.
        name: what it calls itself as a caller.
        pid: of the process.
        components: that it serves.
        url: where it is reached.
        version: that its operator gave it.
        zone: where it runs.
        weight: its share of the calls.
        started: seconds since 1970.
        ready: whether calls are welcome.
        draining: whether it stops.
        active: calls that are executed.
        streams: streaming calls that are executed.
        connections: of the stream channel.
        page: the path of the live page, empty if it does not serve one.
    """

    instance: Text
    name: Text = ""
    pid: Count = 0
    components: Annotated[tuple[Text, ...], Many] = ()
    url: Text = ""
    version: Text = ""
    zone: Text = ""
    weight: Count = 1
    started: Count = 0
    ready: bool = False
    draining: bool = False
    active: Count = 0
    streams: Count = 0
    connections: Count = 0
    page: Text = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What one process knows.

    Attributes:
        at: when it was made, in seconds since 1970.
        about: the process.
        lag: seconds by which the event loop is late, the 99th percentile since the start; None if nobody looks.
        served: the methods that were called here.
        called: the methods that this process called.
        destinations: the components that it calls, with their instances as it sees them.
        refused: calls that were refused before they were executed, by the reason.
        bounds: of the buckets in `recent` and in `counts`.
    """

    at: Seconds
    about: About
    lag: Seconds | None = None
    served: Annotated[tuple[MethodSummary, ...], Many] = ()
    called: Annotated[tuple[MethodSummary, ...], Many] = ()
    destinations: Annotated[tuple[SeenDestination, ...], Many] = ()
    refused: Annotated[dict[Text, Count], Few] = {}
    bounds: Annotated[tuple[Seconds, ...], Few] = BOUNDS


def summary(recorder: Recorder, history: History, about: About, now: float, *, steps: int = STEPS) -> Summary:
    """The document of a process.

    Args:
        recorder: has the counters.
        history: has what was before.
        about: the process.
        now: seconds since 1970.
        steps: how many of the last steps are told. All are two thirds of the document.
    """
    windows = history.windows(now)
    served: dict[Key, list[tuple[CallerKey, Calls]]] = {}
    for caller, calls in recorder.served:
        if calls.ok.count or calls.failures:
            served.setdefault(("server", calls.component, calls.method), []).append((caller, calls))
    return Summary(
        at=now,
        about=about,
        lag=quantile(recorder.lag.counts, 0.99),
        served=tuple(
            _served(key, series, tuple(history.steps(key, steps)), windows[key]) for key, series in served.items()
        ),
        called=tuple(_called(calls, history, windows, steps=steps) for calls in recorder.made()),
        destinations=tuple(recorder.destinations()),
        refused=dict(recorder.served.refused),
    )


def _served(
    key: Key, series: Iterable[tuple[CallerKey, Calls]], steps: tuple[Step, ...], recent: Window
) -> MethodSummary:
    series = list(series)
    callers = tuple(_caller(caller, calls) for caller, calls in series)
    errors: dict[tuple[str, str], Ended] = {}
    for _, calls in series:
        for each in _errors(calls):
            known = errors.get((each.status, each.kind))
            count = each.count + (known.count if known else 0)
            errors[each.status, each.kind] = Ended(each.status, each.kind, count, each.last)
    return MethodSummary(
        component=key[1],
        method=key[2],
        calls=sum(each.calls for each in callers),
        failures=sum(each.failures for each in callers),
        recent=recent,
        errors=tuple(errors.values()),
        history=steps,
        sent=sum(calls.sent for _, calls in series),
        received=sum(calls.received for _, calls in series),
        callers=callers,
    )


def _caller(caller: CallerKey, calls: Calls) -> Caller:
    proven = isinstance(caller, tuple)
    name = caller[0] if isinstance(caller, tuple) else caller
    return Caller(name, calls.count, calls.failed_count, _shortened(calls.latencies()), proven)


def _shortened(counts: Sequence[int]) -> tuple[int, ...]:
    """Without the zeros at the end: fast calls leave most buckets empty."""
    end = len(counts)
    while end and not counts[end - 1]:
        end -= 1
    return tuple(counts[:end])


def _called(calls: ClientCalls, history: History, windows: Mapping[Key, Window], *, steps: int) -> MethodSummary:
    key = ("client", calls.component, calls.method)
    return MethodSummary(
        component=calls.component,
        method=calls.method,
        calls=calls.count,
        failures=calls.failed_count,
        recent=windows[key],
        errors=tuple(_errors(calls)),
        history=tuple(history.steps(key, steps)),
        sent=calls.sent,
        received=calls.received,
        attempts=calls.outcomes(),
        retries=calls.retries,
        hedges=calls.hedges,
    )


def _errors(calls: Calls) -> Iterable[Ended]:
    return (Ended(*kind, failed.count, failed.last) for kind, failed in calls.failures.items())
