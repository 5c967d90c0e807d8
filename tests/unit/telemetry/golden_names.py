"""The names of all metrics and spans. Dashboards and alerts of users depend on them: a change here is one for them.

The tests of the exposition, of the meter and of the spans compare what they find with these.
"""

from __future__ import annotations

# What Prometheus reads: kind, name and labels.
_CALL = "rpc_system_name rpc_method rpc_response_status_code error_type server_address"
_METRICS = """
counter   meshcore_client_attempts_total               rpc_method server_address outcome
gauge     meshcore_client_attempts_in_flight           server_address
counter   meshcore_client_ejections_total              server_address
counter   meshcore_client_hedges_total                 rpc_method server_address
gauge     meshcore_client_instances                    server_address state
counter   meshcore_client_retries_total                rpc_method server_address
counter   meshcore_client_retry_budget_refusals_total  server_address
counter   meshcore_client_stream_items_total           rpc_method server_address direction
histogram meshcore_event_loop_lag_seconds
gauge     meshcore_server_calls_in_flight
gauge     meshcore_server_concurrency_limit
counter   meshcore_server_denials_total                rpc_method server_address mode
gauge     meshcore_server_processes
gauge     meshcore_certificate_expiry_timestamp_seconds
counter   meshcore_server_refusals_total               reason
counter   meshcore_server_rules_refused_total
gauge     meshcore_server_stream_connections
counter   meshcore_server_stream_items_total           rpc_method server_address direction
gauge     meshcore_server_streams_in_flight
histogram rpc_client_call_duration_seconds             CALL
histogram rpc_server_call_duration_seconds             CALL
"""

# What OpenTelemetry's meter is told: kind, name, unit and attributes.
_TOLD_CALL = "rpc.system.name rpc.method rpc.response.status_code server.address"
_METER = """
Histogram meshcore.event_loop.lag                s
Histogram rpc.client.call.duration               s CALL
Histogram rpc.server.call.duration               s CALL
Sum       meshcore.client.attempts               - rpc.method server.address outcome
Sum       meshcore.client.ejections              - server.address
Sum       meshcore.client.hedges                 - rpc.method server.address
Sum       meshcore.client.retries                - rpc.method server.address
Sum       meshcore.client.retry_budget_refusals  - server.address
Sum       meshcore.client.stream_items           - rpc.method server.address direction
Sum       meshcore.server.refusals               - reason
Sum       meshcore.server.stream_items           - rpc.method server.address direction
Gauge     meshcore.client.attempts_in_flight     - server.address
Gauge     meshcore.client.instances              - server.address state
Gauge     meshcore.server.calls_in_flight        -
Gauge     meshcore.server.processes              -
Gauge     meshcore.server.stream_connections     -
Gauge     meshcore.server.streams_in_flight      -
"""

# The spans of a call that goes on to another process: kind and name, indented below the parent.
SPANS = [
    "CLIENT middle/ask",
    "  CLIENT middle/ask attempt",
    "    SERVER middle/ask",
    "      CLIENT last/told",
    "        CLIENT last/told attempt",
    "          SERVER last/told",
]

# Their attributes, for a call that succeeds at once.
CLIENT_SPAN = {
    "rpc.system.name": "meshcore",
    "rpc.method": "last/told",
    "rpc.response.status_code": "ok",
    "server.address": "last-component",
    "network.peer.address": "instance-0.memory",
    "network.peer.port": 80,
    "meshcore.attempts": 1,
}
ATTEMPT_SPAN = {
    "rpc.system.name": "meshcore",
    "rpc.method": "last/told",
    "rpc.response.status_code": "ok",
    "server.address": "last-component",
    "network.peer.address": "instance-0.memory",
    "network.peer.port": 80,
    "meshcore.attempt": 1,
    "meshcore.attempt.kind": "first",
    "meshcore.attempt.outcome": "ok",
    "meshcore.channel": "dispatch-json",
    "meshcore.instance": "...",
}
SERVER_SPAN = {
    "rpc.system.name": "meshcore",
    "rpc.method": "last/told",
    "rpc.response.status_code": "ok",
    "network.peer.address": "memory",
}


def _table(text: str, call: str) -> set[tuple[str, ...]]:
    return {tuple(line.replace("CALL", call).split()) for line in text.strip().splitlines()}


METRICS = _table(_METRICS, _CALL)
METER = _table(_METER, _TOLD_CALL)
