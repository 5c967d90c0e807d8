"""Whatever a process tells, what is shown of it can be encoded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.telemetry.history import Window
from meshcore.telemetry.overview.overview import Look, Overview
from meshcore.telemetry.overview.processes import Processes, Sum
from meshcore.telemetry.summary import About, Caller, MethodSummary, Summary
from meshcore.telemetry.told import told

integers = st.one_of(st.integers(-2, 2), st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64, 10**400]))
floats = st.one_of(st.just(0.0), st.floats(allow_nan=False), st.sampled_from([5e-324, 1e-300, 1e10, 1e11, 1e308]))
texts = st.one_of(st.text(max_size=5), st.just("<img src=x onerror=alert(1)>"), st.just("x" * 10_000))
counts = st.lists(integers, max_size=3)

methods = st.fixed_dictionaries(
    {
        "component": st.just("shop"),
        "method": st.just("shop/do"),
        "calls": integers,
        "failures": integers,
        "recent": st.fixed_dictionaries({"seconds": floats, "calls": integers, "failures": integers, "counts": counts}),
    },
    optional={
        "errors": st.lists(st.fixed_dictionaries({"status": texts, "kind": texts, "count": integers}), max_size=3),
        "history": st.lists(st.tuples(st.just(1_800_000_000), integers, integers, floats, floats, floats), max_size=2),
        "callers": st.lists(
            st.fixed_dictionaries({"name": texts, "calls": integers, "failures": integers, "counts": counts}),
            max_size=3,
        ),
        "attempts": st.dictionaries(texts, integers, max_size=3),
        "retries": integers,
        "hedges": integers,
    },
)


@given(st.lists(st.lists(st.lists(methods, max_size=2), max_size=2), min_size=2, max_size=3))
def test_what_can_be_read_can_be_shown(looks: list[list[list[dict[str, Any]]]]) -> None:
    """A summary with a number that is beyond all bounds cannot be read; sums of others are cut."""
    overview = Overview()
    for clock, processes in enumerate(looks):
        summaries: list[Summary] = []
        for some in processes:
            about = {"instance": "a"}
            try:
                data = msgspec.json.encode({"at": 1.0, "about": about}).removesuffix(b"}")
                data += b',"served":[' + b",".join(_json(each) for each in some) + b"]"
                data += b',"called":[' + b",".join(_json(each) for each in some) + b"]}"
                summaries.append(msgspec.json.decode(data, type=Summary))
            except msgspec.DecodeError:
                continue
        address = ChannelAddress("dispatch-json", "http://a:80")
        announced = {"shop": [Instance("shop-a", "shop", (address,))]}
        url = {"http://a:80": summaries}
        found = Look(at=1_800_000_000.0, clock=float(clock), announced=announced, summaries=url, errors={})
        msgspec.json.encode(overview.update(found))
        msgspec.json.encode(overview.histories())


def _json(value: Any) -> bytes:
    """As JSON, also with numbers that msgspec does not write."""
    if isinstance(value, dict):
        return b"{" + b",".join(_json(key) + b":" + _json(each) for key, each in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(_json, value)) + b"]"
    return str(value).encode() if isinstance(value, int) else msgspec.json.encode(value)


def test_after_a_pause_callers_are_counted_anew() -> None:
    """Nobody looked for an hour: a mean of that hour is not what happens now."""
    rates = Processes()

    def look(calls: int, now: float) -> float:
        served = MethodSummary(
            component="shop", method="shop/do", calls=calls, failures=0, recent=Window(0.0), callers=(_web(calls),)
        )
        rates.look([Summary(at=now, about=About(instance="a"), served=(served,))], now)
        return rates.callers()[0][("web", False), "shop"].calls

    look(0, 0.0)
    assert look(10, 1.0) == pytest.approx(10.0)
    assert look(360_000, 3601.0) == 0.0
    assert look(360_010, 3602.0) == pytest.approx(10.0)


def test_a_window_of_no_time_counts_for_nothing() -> None:
    """Beside one of ten seconds it would stand for endless calls."""
    rates = Processes()
    windows = [Window(10.0, 5, 0, (5,)), Window(5e-324, 1, 0, (1,))]
    served = [
        MethodSummary(component="shop", method="shop/do", calls=5, failures=0, recent=window) for window in windows
    ]
    rates.look([Summary(at=1.0, about=About(instance="a"), served=tuple(served))], 1.0)
    (process,) = rates.by_instance.values()
    assert process.methods["shop", "shop/do"].rate().calls == 0.5


def test_windows_of_several_processes_add_up() -> None:
    """Rates add up though the windows have other lengths; quantiles are those of all calls."""
    rates = Processes()
    short, long = Window(10.0, 100, 0, (100,)), Window(20.0, 100, 50, (0,) * 30 + (100,))
    for process, window in (("a", short), ("b", long)):
        served = MethodSummary(component="shop", method="shop/do", calls=1, failures=0, recent=window)
        rates.look([*(each.summary for each in rates.by_instance.values()), _told(process, served)], 1.0)
    rate = rates.components["shop"].rate()
    assert rate.calls == 15.0
    assert rate.success == pytest.approx(1 - 2.5 / 15)
    assert rate.p50 is not None
    assert rate.p50 < 0.0001
    assert rate.p99 is not None
    assert rate.p99 > 1.0
    assert Sum().rate().p50 is None


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(range(6)), max_size=3), max_size=8))
def test_totals_are_those_of_the_processes_that_are_there(looks: list[dict[str, int]]) -> None:
    """Whoever comes, tells something new, or goes. What is corrected again and again is what would be added up anew."""
    rates = Processes()
    kept: dict[tuple[str, int], Summary] = {}
    for clock, processes in enumerate(looks):
        for process, number in processes.items():
            window = Window(10.0 + number, 100 * number, number, (number,) * number)
            served = MethodSummary(
                component="shop", method=f"shop/{number % 3}", calls=number, failures=0, recent=window,
                callers=(_web(10 * clock + number),),
            )  # fmt: skip
            kept.setdefault((process, number), _told(process, served))
        rates.look([kept[each] for each in processes.items()], float(clock))
        for totals, of in ((rates.methods, "methods"), (rates.components, "components")):
            anew: dict[object, int] = {}
            for process in rates.by_instance.values():
                for key, part in getattr(process, of).items():
                    anew[key] = anew.get(key, 0) + part.calls
            assert {key: each.calls for key, each in totals.items()} == anew
        assert len(rates.callers()[0]) == bool(processes)


def _told(process: str, served: MethodSummary) -> Summary:
    return Summary(at=1.0, about=About(instance=process), served=(served,))


def test_no_more_is_told_than_javascript_can_have() -> None:
    """Sums of numbers that may be told are cut."""
    assert told(5) == 5
    assert told(2**60) == 2**53


def _web(calls: int) -> Caller:
    return Caller("web", calls, 0, (calls,))
