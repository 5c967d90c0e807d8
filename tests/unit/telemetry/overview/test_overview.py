"""The mesh, put together from what its processes tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.telemetry.histogram import BOUNDS, BUCKETS, Histogram
from meshcore.telemetry.history import STEP, STEPS, Step, Window
from meshcore.telemetry.overview.overview import UNNAMED, Look, Overview
from meshcore.telemetry.overview.processes import Processes
from meshcore.telemetry.recorder import SeenDestination, SeenInstance
from meshcore.telemetry.summary import About, Caller, Ended, MethodSummary, Summary

NOW = 1_800_000_000.0


def counts(calls: int, seconds: float = 0.002) -> tuple[int, ...]:
    """The latencies of calls that took the same time."""
    histogram = Histogram()
    for _ in range(calls):
        histogram.observe(seconds)
    return tuple(histogram.counts)


def instance(process: str, component: str = "shop", **more: Any) -> Instance:
    """An instance of a process, at a URL of its own."""
    address = ChannelAddress("dispatch-msgpack", f"http://{process}:80")
    return Instance(f"{component}-{process}", component, (address,), **more)


def caller(name: str, calls: int, failures: int = 0) -> Caller:
    """What a server has counted of a caller."""
    return Caller(name, calls, failures, counts(calls))


def method(component: str = "shop", *callers: Caller, recent: Window | None = None, **more: Any) -> MethodSummary:
    """What a server tells of a method."""
    return MethodSummary(
        component=component,
        method=f"{component}-service/do",
        calls=sum(each.calls for each in callers),
        failures=sum(each.failures for each in callers),
        recent=recent or Window(0.0),
        callers=callers,
        **more,
    )


def summary(process: str, *served: MethodSummary, about: Mapping[str, Any] | None = None, **more: Any) -> Summary:
    """What a process tells."""
    return Summary(at=NOW, about=About(instance=process, **(about or {})), served=served, **more)


def look(announced: Sequence[Instance], summaries: Sequence[Summary] = (), *, clock: float = 0.0, **more: Any) -> Look:
    """A look at instances, and what their processes told."""
    by_component: dict[str, list[Instance]] = {}
    for each in announced:
        by_component.setdefault(each.component, []).append(each)
    told = {f"http://{each.about.instance}:80": [each] for each in summaries}
    return Look(at=NOW + clock, clock=clock, announced=by_component, summaries=told, **{"errors": {}, **more})


def states(overview: Overview, found: Look) -> dict[str, str]:
    """The state of each instance."""
    return {each.id: each.state for component in overview.update(found).components for each in component.instances}


def test_what_processes_of_a_component_do_is_added_up() -> None:
    """Calls per second add up, the share of failures is that of all, and so are the quantiles."""
    fast = method(recent=Window(10.0, 100, 0, counts(100, 0.001)))
    slow = method(recent=Window(20.0, 200, 20, counts(200, 0.4)))
    state = Overview().update(look([instance("a"), instance("b")], [summary("a", fast), summary("b", slow)]))
    (shop,) = state.components
    assert shop.now.calls == pytest.approx(20.0)
    assert shop.now.success == pytest.approx(0.95)
    assert shop.now.p50 is not None
    assert shop.now.p50 <= 0.001
    assert shop.now.p99 is not None
    assert 0.35 < shop.now.p99 <= 0.5
    assert [each.now.calls for each in shop.instances] == [pytest.approx(10.0), pytest.approx(10.0)]
    (listed,) = state.methods
    assert (listed.component, listed.method, listed.now) == ("shop", "shop-service/do", shop.now)


def test_edges_are_what_callers_did_since_the_look_ten_seconds_ago() -> None:
    """The counters of servers are since their start; an edge shows what changed. One without a name is told as such."""
    overview = Overview()
    both = [instance("a"), instance("b", "stock")]

    def served(shop: int, unnamed: int, failed: int) -> list[Summary]:
        to_stock = method("stock", caller("shop", shop, failed), caller("", unnamed))
        return [summary("a", method("shop", caller("web", 7))), summary("b", to_stock)]

    first = overview.update(look(both, served(1000, 5, 50)))
    assert {edge.now.calls for edge in first.edges} == {0.0}  # nothing is known of the time before
    for second in range(1, 31):
        state = overview.update(look(both, served(1000 + 10 * second, 5 + second, 50 + second), clock=float(second)))
    edges = {(edge.caller, edge.component): edge.now for edge in state.edges}
    assert set(edges) == {("shop", "stock"), (UNNAMED, "stock"), ("web", "shop")}
    assert edges["shop", "stock"].calls == pytest.approx(10.0)
    assert edges["shop", "stock"].success == pytest.approx(0.9)
    assert edges[UNNAMED, "stock"].calls == pytest.approx(1.0)
    assert edges["web", "shop"].calls == 0.0
    assert state.callers == (UNNAMED, "web")
    of_stock = next(each for each in state.methods if each.component == "stock")
    assert [(each.caller, round(each.now.calls)) for each in of_stock.callers] == [("shop", 10), (UNNAMED, 1)]


def test_a_caller_that_only_says_a_proven_name_is_shown_as_another_one() -> None:
    """An attacker without a certificate that calls itself as a component does not get the edge of that component."""
    overview = Overview()
    both = [instance("a"), instance("b", "stock")]
    for second in range(2):
        said, proven = caller("shop", 5 * second), msgspec.structs.replace(caller("shop", 9 * second), proven=True)
        state = overview.update(look(both, [summary("b", method("stock", said, proven))], clock=float(second)))
    assert [(each.caller, each.proven, round(each.now.calls)) for each in state.edges] == [
        ("shop (not proven)", False, 5),
        ("shop", True, 9),
    ]
    assert state.callers == ("shop (not proven)",)
    (listed,) = state.methods
    assert [(each.caller, each.proven) for each in listed.callers] == [("shop", True), ("shop (not proven)", False)]


def test_processes_that_are_not_asked_at_each_look_count_for_the_time_between_their_answers() -> None:
    """What they have told is shown until they tell something new."""
    overview = Overview()
    told = summary("b", method("stock", caller("shop", 0)))
    for second in range(25):
        if second % 4 == 0:
            told = summary("b", method("stock", caller("shop", 10 * second)))
        state = overview.update(look([instance("b", "stock")], [told], clock=float(second)))
        (edge,) = state.edges
        assert edge.now.calls == pytest.approx(10.0 if second >= 4 else 0.0)


def test_each_state_has_its_reason() -> None:
    """The worst that is true is shown, with its reason."""
    sees = SeenDestination("shop", instances=(SeenInstance(id="shop-d", state="ejected"),))
    announced = [
        instance("a", started=int(NOW) - 100),
        instance("b", started=int(NOW) - 3),
        instance("c", started=int(NOW) - 100),
        instance("d", started=int(NOW) - 100),
        instance("e", started=int(NOW) - 100),
        instance("f", weight=0),
    ]
    told = [
        summary("a", about={"name": "shop"}, destinations=(sees,)),
        summary("b"),
        summary("c", about={"draining": True}),
        summary("d"),
    ]
    state = Overview().update(look(announced, told, errors={"http://e:80": "connection refused"}))
    (shop,) = state.components
    assert {each.id[-1]: (each.state, each.why) for each in shop.instances} == {
        "a": ("admitted", ""),
        "b": ("new", ""),
        "c": ("draining", "It takes no new calls."),
        "d": ("ejected", "Ejected by shop."),
        "e": ("gone", "It does not answer: connection refused."),
        "f": ("draining", "It takes no new calls."),
    }


def test_instances_with_fixed_addresses_are_found_by_their_url() -> None:
    """Their ids name no process. Of several workers at one URL it is not known which one is meant."""
    fixed = Instance("a:80", "shop", (ChannelAddress("dispatch-json", "http://a:80/"),))
    told = summary("1", method(recent=Window(10.0, 100, 0, counts(100))), about={"draining": True})
    url, two = {"http://a:80": [told]}, {"http://a:80": [told, summary("2")]}
    (shop,) = Overview().update(msgspec.structs.replace(look([fixed]), summaries=url)).components
    assert [(each.state, each.now.calls) for each in shop.instances] == [("draining", 10.0)]
    (shop,) = Overview().update(msgspec.structs.replace(look([fixed]), summaries=two)).components
    assert [(each.state, each.now.calls) for each in shop.instances] == [("admitted", 0.0)]


def test_who_was_killed_is_shown_for_a_while_and_who_said_good_bye_is_not() -> None:
    """A registry forgets a killed instance at once; people should see it for 30 s."""
    overview = Overview()
    here = [summary("a"), summary("b", about={"draining": True})]
    assert states(overview, look([instance("a"), instance("b")], here)) == {"shop-a": "admitted", "shop-b": "draining"}
    assert states(overview, look([], clock=1.0)) == {"shop-a": "gone"}
    assert states(overview, look([], clock=29.0)) == {"shop-a": "gone"}
    assert states(overview, look([instance("a")], [summary("a")], clock=29.5)) == {"shop-a": "admitted"}
    assert states(overview, look([], clock=31.0)) == {"shop-a": "gone"}
    assert states(overview, look([], clock=62.0)) == {}


def test_errors_of_all_servers_are_listed_with_the_last_text() -> None:
    """The most frequent first; a text of any server is better than none."""
    told = [
        summary("a", method(errors=(Ended("internal", "internal", 2, "boom"), Ended("unavailable", "unavailable", 1)))),
        summary("b", method(errors=(Ended("internal", "internal", 3, ""),))),
    ]
    (listed,) = Overview().update(look([instance("a"), instance("b")], told)).methods
    assert [(each.kind, each.count, each.last) for each in listed.errors] == [
        ("internal", 5, "boom"),
        ("unavailable", 1, ""),
    ]


def test_histories_are_put_together_by_step() -> None:
    """Counts add up; of quantiles the slowest process counts; a step without calls has none."""
    at = int(NOW // STEP) * STEP
    told = [
        summary("a", method(history=(Step(at - STEP, 30, 3, 0.01, 0.02, 0.03), Step(at, 10, 0, 0.01, 0.02, 0.03)))),
        summary("b", method(history=(Step(at - STEP, 10, 0, 0.05, 0.06, 0.07),))),
    ]
    overview = Overview()
    overview.update(look([instance("a"), instance("b")], told))
    (history,) = overview.histories()
    assert len(history.calls) == STEPS
    assert (history.calls[-2:], history.failed[-2:]) == ((40, 10), (3, 0))
    assert history.p50[-2] == pytest.approx(0.02)
    assert (history.p95[-2], history.p99[-2]) == (0.06, 0.07)
    assert set(history.p99[:-2]) == {None}


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=4), min_size=1, max_size=12))
def test_no_look_makes_a_rate_negative_or_endless(looks: list[list[tuple[str, int]]]) -> None:
    """Processes come, go and start anew under other names, and counters only grow."""
    rates = Processes()
    totals = dict.fromkeys("abc", 0)
    for clock, seen in enumerate(looks):
        told: list[Summary] = []
        for process, more in dict(seen).items():
            totals[process] += more
            told.append(summary(process, method("shop", caller("web", totals[process]))))
        rates.look(told, float(clock))
        edges, methods = rates.callers()
        for rate in [*edges.values(), *(rate for some in methods.values() for _, rate in some)]:
            assert 0.0 <= rate.calls <= 150 * len(looks)
            assert rate.success is None or 0.0 <= rate.success <= 1.0
            assert rate.p99 is None or 0.0 <= rate.p99 <= BOUNDS[-1]
    assert len(counts(1)) == BUCKETS
