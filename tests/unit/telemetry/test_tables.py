"""The series of all methods: how many there can be."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.caller import Caller, Peer, Proof
from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.telemetry.conventions import OTHER
from meshcore.telemetry.history import STEP, History
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.tables import MOST_CALLERS, MOST_SERIES, PROVEN_OTHER, ServedCalls


def component(methods: int) -> ComponentDescription:
    """A component with so many methods."""
    described = tuple(Method("shop", f"method{number}", (), None, is_async=True) for number in range(methods))
    return ComponentDescription(object, "orders", "", (ServiceDescription(object, "shop", "", described),))


def test_a_series_has_the_names_of_component_and_method():
    """As the conventions want the method: `service/method`."""
    orders = component(1)
    (method,) = orders.services[0].methods
    calls = ServedCalls([orders]).by_caller[""][method]
    assert (calls.component, calls.method) == ("orders", "shop/method0")
    assert ServedCalls([orders]).by_caller[""][None].method == OTHER


def test_100_000_callers_leave_memory_flat():
    """The first have series of their own, all others share theirs."""
    orders = component(3)
    served = ServedCalls([orders])
    methods = [*orders.services[0].methods, None]

    def call(begin: int, end: int) -> None:
        for number in range(begin, end):
            served.by_caller[f"caller {number}"][methods[number % 4]].ok.observe(0.001)

    call(0, 1000)
    tracemalloc.start()
    try:
        call(1000, 101_000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 20_000
    assert len(served.by_caller) == MOST_CALLERS + len((OTHER, PROVEN_OTHER))
    assert sum(calls.ok.count for _, calls in served) == 101_000


def test_many_methods_of_many_callers_share_series_too():
    """A series is counted once, whoever shares it."""
    orders = component(500)
    served = ServedCalls([orders])
    for caller in range(20):
        for method in orders.services[0].methods:
            served.by_caller[f"caller {caller}"][method].ok.observe(0.001)
    series = [calls for _, calls in served]
    assert len(series) <= MOST_SERIES + 500
    assert sum(calls.ok.count for calls in series) == 10_000
    assert len(set(map(id, series))) == len(series)
    assert {caller for caller, _ in served} >= {"caller 0", OTHER}


def test_a_name_that_is_only_said_is_not_counted_as_the_proven_one():
    """Nor do callers that say many names take the places of those that prove theirs."""
    orders = component(1)
    (method,) = orders.services[0].methods
    served = ServedCalls([orders])
    proven = Peer("10.0.0.1", Caller("spiffe://a.test/stock", "stock", Proof.CERTIFICATE))
    for number in range(100):
        served.by_caller[Peer("10.0.0.2").key(f"caller {number}")][method].ok.observe(0.001)
    served.by_caller[Peer("10.0.0.2").key("stock")][method].ok.observe(0.001)
    for said in ("stock", "", "anything"):
        served.by_caller[proven.key(said)][method].ok.observe(0.001)
    counted = {caller: calls.ok.count for caller, calls in served}
    assert counted["stock",] == 3
    assert counted[OTHER] == 100 - MOST_CALLERS + 1
    assert sum(counted.values()) == 104


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 80), st.integers(0, 2)), max_size=300))
def test_no_call_is_lost_and_no_kind_of_caller_takes_the_places_of_the_other(calls: list[tuple[bool, int, int]]):
    """Whoever calls what."""
    orders = component(3)
    served = ServedCalls([orders])
    for proven, number, method in calls:
        key = (f"caller {number}",) if proven else f"caller {number}"
        served.by_caller[key][orders.services[0].methods[method]].ok.observe(0.001)
    for proven in (True, False):
        counted = [(key, each.ok.count) for key, each in served if isinstance(key, tuple) == proven]
        assert sum(count for _, count in counted) == sum(kind == proven for kind, _, _ in calls)
        assert len({key for key, _ in counted}) <= MOST_CALLERS + 1


@pytest.mark.long
def test_500_methods_take_less_than_5_mib():
    """Called by four components, with two kinds of failures and the history of 15 minutes."""
    orders = component(500)
    tracemalloc.start()
    try:
        recorder = Recorder([orders])
        history = History(recorder, 0.0)
        for step in range(1, 100):
            for method in orders.services[0].methods if step % 33 == 0 else ():
                for caller in "abcd":
                    calls = recorder.served.by_caller[caller][method]
                    calls.ok.observe(0.001)
                calls.fail("unavailable", "unavailable", 0.001, "nobody is there")
                calls.fail("not_found", "OutOfStock", 0.001, "")
            history.tick(step * STEP)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 5 * 2**20


def test_all_proxies_of_a_component_share_its_series():
    """So a call counts once, whatever policy or channel its proxy has."""
    recorder = Recorder()
    assert recorder.client("orders") is recorder.client("orders")
