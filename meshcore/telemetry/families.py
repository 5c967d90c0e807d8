"""The families of metrics: their names, labels, units and what they say. This is the list of all metrics."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

SYSTEM: Final = "meshcore"
"""The value of `rpc.system.name`."""

RPC_SYSTEM, RPC_METHOD = "rpc_system_name", "rpc_method"
RPC_STATUS: Final = "rpc_response_status_code"
"""OpenTelemetry has merged the shorter name `rpc.status_code`, which no release has yet: so it stands here only."""
ERROR_TYPE, SERVER = "error_type", "server_address"


class Kind(Enum):
    """The type of a family; the value is the word of both formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True):
    """Metrics of one name.

    Attributes:
        name: without the suffixes of its samples, such as `_total`.
        kind: the type.
        help: what it says.
        labels: the names of its labels. One whose value is empty is left out.
        unit: which the name ends with; empty for a number of things.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""


_CALL = (RPC_SYSTEM, RPC_METHOD, RPC_STATUS, ERROR_TYPE, SERVER)
_METHOD = (RPC_METHOD, SERVER)

CLIENT_DURATION = Family(
    "rpc_client_call_duration_seconds",
    Kind.HISTOGRAM,
    "Time of calls to other processes, all attempts included; of a stream, its whole life.",
    _CALL,
    "seconds",
)
SERVER_DURATION = Family(
    "rpc_server_call_duration_seconds",
    Kind.HISTOGRAM,
    "Time of served calls, from their arrival until their answer is ready.",
    _CALL,
    "seconds",
)
ATTEMPTS = Family(
    "meshcore_client_attempts", Kind.COUNTER, "Attempts of calls, by how they ended.", (*_METHOD, "outcome")
)
RETRIES = Family("meshcore_client_retries", Kind.COUNTER, "Attempts that followed a failed one of their call.", _METHOD)
HEDGES = Family(
    "meshcore_client_hedges", Kind.COUNTER, "Attempts that were sent while another one was under way.", _METHOD
)
CLIENT_ITEMS = Family(
    "meshcore_client_stream_items", Kind.COUNTER, "Items of streams that clients sent and received.",
    (*_METHOD, "direction"),
)  # fmt: skip
EJECTIONS = Family(
    "meshcore_client_ejections", Kind.COUNTER, "Ejections of instances, those after a failed probe included.", (SERVER,)
)
BUDGET_REFUSALS = Family(
    "meshcore_client_retry_budget_refusals", Kind.COUNTER, "Retries that the budget did not allow.", (SERVER,)
)
INSTANCES = Family(
    "meshcore_client_instances", Kind.GAUGE, "Instances that clients know, by their state.", (SERVER, "state")
)
CLIENT_PENDING = Family(
    "meshcore_client_attempts_in_flight", Kind.GAUGE, "Attempts that wait for an answer.", (SERVER,)
)
SERVER_ITEMS = Family(
    "meshcore_server_stream_items", Kind.COUNTER, "Items of streams that servers sent and received.",
    (*_METHOD, "direction"),
)  # fmt: skip
REFUSALS = Family(
    "meshcore_server_refusals", Kind.COUNTER, "Calls that were refused before they were executed.", ("reason",)
)
SERVER_PENDING = Family("meshcore_server_calls_in_flight", Kind.GAUGE, "Calls that are executed.")
SERVER_STREAMS = Family("meshcore_server_streams_in_flight", Kind.GAUGE, "Streaming calls that are executed.")
CONNECTIONS = Family("meshcore_server_stream_connections", Kind.GAUGE, "Open connections of the stream channel.")
LIMIT = Family("meshcore_server_concurrency_limit", Kind.GAUGE, "Calls that may be executed at once at the moment.")
LAG = Family(
    "meshcore_event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late the event loop was, looked at 20 times a second.",
    (),
    "seconds",
)
PROCESSES = Family("meshcore_server_processes", Kind.GAUGE, "Living processes whose numbers these are.")

FAMILIES: Final = (
    *(SERVER_DURATION, CLIENT_DURATION, ATTEMPTS, RETRIES, HEDGES, EJECTIONS, BUDGET_REFUSALS, INSTANCES),
    *(CLIENT_PENDING, CLIENT_ITEMS, SERVER_ITEMS, REFUSALS, SERVER_PENDING, SERVER_STREAMS, CONNECTIONS, LIMIT),
    *(LAG, PROCESSES),
)
"""All of them, in the order in which they are shown."""

BY_NAME: Final = {family.name: family for family in FAMILIES}
