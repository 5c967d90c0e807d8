"""The texts that Prometheus reads."""

from __future__ import annotations

import pytest

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError
from meshcore.telemetry.exposition import OPENMETRICS, TEXT, content_type, expose
from meshcore.telemetry.families import CLIENT_DURATION, FAMILIES, LIMIT
from meshcore.telemetry.recorder import Recorder
from meshcore.telemetry.snapshot import decode, encode, snapshot, total
from tests.unit.telemetry.golden_names import METRICS

METHOD = Method("shop", "order", (), None, is_async=True)


def recorded() -> Recorder:
    """A mesh that has made three calls."""
    recorder = Recorder()
    calls = recorder.client("orders")[METHOD]
    calls.succeed(0.02, [Attempt("a", "rest", 0.0, 0.02, "ok")])
    calls.succeed(0.3, [Attempt("a", "rest", 1.0, 0.1, "unavailable"), Attempt("b", "rest", 1.2, 0.1, "ok")])
    calls.failed(CommunicationError(Code.UNAVAILABLE, "gone"), METHOD, 20.0, [])
    return recorder


def test_the_text_format():
    """All lines of three calls."""
    text = expose(snapshot(recorded()), openmetrics=False)
    bucket = 'rpc_client_call_duration_seconds_bucket{rpc_system_name="meshcore",rpc_method="shop/order",'
    ok = bucket + 'rpc_response_status_code="ok",server_address="orders",'
    failed = bucket + 'rpc_response_status_code="unavailable",error_type="unavailable",server_address="orders",'
    lines = text.splitlines()
    assert lines[:2] == [
        f"# HELP rpc_client_call_duration_seconds {CLIENT_DURATION.help}",
        "# TYPE rpc_client_call_duration_seconds histogram",
    ]
    assert ok + 'le="0.01"} 0' in lines
    assert ok + 'le="0.025"} 1' in lines
    assert ok + 'le="10.0"} 2' in lines
    assert ok + 'le="+Inf"} 2' in lines
    assert failed + 'le="10.0"} 0' in lines
    assert failed + 'le="+Inf"} 1' in lines
    labels = (
        '{rpc_system_name="meshcore",rpc_method="shop/order",rpc_response_status_code="ok",server_address="orders"}'
    )
    assert f"rpc_client_call_duration_seconds_sum{labels} 0.32" in lines
    assert f"rpc_client_call_duration_seconds_count{labels} 2" in lines
    assert "# TYPE meshcore_client_attempts_total counter" in lines
    attempts = 'meshcore_client_attempts_total{rpc_method="shop/order",server_address="orders",'
    assert attempts + 'outcome="ok"} 2' in lines
    assert attempts + 'outcome="unavailable"} 1' in lines
    assert 'meshcore_client_retries_total{rpc_method="shop/order",server_address="orders"} 1' in lines
    assert text.endswith("\n")


def test_openmetrics_has_units_and_an_end():
    """And names counters without their suffix."""
    lines = expose(snapshot(recorded()), openmetrics=True).splitlines()
    assert "# UNIT rpc_client_call_duration_seconds seconds" in lines
    assert "# TYPE meshcore_client_attempts counter" in lines
    assert 'meshcore_client_retries_total{rpc_method="shop/order",server_address="orders"} 1' in lines
    assert lines[-1] == "# EOF"


def test_the_sum_of_two_processes():
    """Each number twice, but nothing twice; also after a way through bytes."""
    once = snapshot(recorded())
    twice = expose(total([once, decode(encode(once))]), openmetrics=False)
    assert 'meshcore_client_attempts_total{rpc_method="shop/order",server_address="orders",outcome="ok"} 4' in twice
    assert 'le="+Inf"} 4' in twice
    assert len(twice.splitlines()) == len(expose(once, openmetrics=False).splitlines())


def test_special_values():
    """A label may contain anything, a gauge may have no bound."""
    recorder = Recorder()
    recorder.client('a"\n\\')[METHOD].succeed(0.0, [])
    recorder.gauges[LIMIT.name] = lambda: float("inf")
    text = expose(snapshot(recorder), openmetrics=False)
    assert r'server_address="a\"\n\\"' in text
    assert "meshcore_server_concurrency_limit +Inf" in text


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.2", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=many", TEXT),
    ],
)
def test_the_format_is_the_one_that_the_scraper_prefers(accept, expected):
    """Text for whoever does not know OpenMetrics."""
    assert content_type(accept) == expected


def test_the_names_of_all_metrics():
    """They are those of `golden_names`."""
    suffix = {"counter": "_total"}
    found = {
        (family.kind.value, family.name + suffix.get(family.kind.value, ""), *family.labels) for family in FAMILIES
    }
    assert found == METRICS


def test_each_family_is_described_and_named_by_the_rules():
    """One help text each, in one line, and the unit at the end of the name."""
    assert len({family.name for family in FAMILIES}) == len({family.help for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.help.endswith(".")
        assert "\n" not in family.help
        assert family.name.endswith(f"_{family.unit}" if family.unit else "")
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
