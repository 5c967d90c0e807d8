"""The families of metrics: their names, labels, units and what they say. This is the list of all metrics."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from meshcore.telemetry import conventions as names


class Kind(Enum):
    """The type of a family; the value is the word of both formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True):
    """Metrics of one name. OpenTelemetry's translation to Prometheus makes of it what `name` and `labels` are.

    Attributes:
        instrument: its name for OpenTelemetry.
        kind: the type.
        help: what it says.
        attributes: the names of its attributes. One whose value is empty is left out.
        unit: which the name for Prometheus ends with; empty for a number of things.
        least: whether the least number of several processes counts; else numbers are added up.
        name: for Prometheus, without the suffixes of its samples, such as `_total`.
        labels: the attributes for Prometheus.
    """

    instrument: str
    kind: Kind
    help: str
    attributes: tuple[str, ...] = ()
    unit: str = ""
    least: bool = False
    name: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Derive the names for Prometheus."""
        name = _underlined(self.instrument)
        msgspec.structs.force_setattr(self, "name", f"{name}_{self.unit}" if self.unit else name)
        msgspec.structs.force_setattr(self, "labels", tuple(map(_underlined, self.attributes)))

    def attributes_of(self, values: tuple[str, ...]) -> dict[str, str]:
        """The attributes of a sample with these values."""
        return {name: value for name, value in zip(self.attributes, values, strict=True) if value}


def _underlined(name: str) -> str:
    return name.replace(".", "_")


_CALL = (names.SYSTEM_NAME, names.METHOD, names.STATUS_CODE, names.ERROR_TYPE, names.SERVER_ADDRESS)
_METHOD = (names.METHOD, names.SERVER_ADDRESS)
_SERVER = (names.SERVER_ADDRESS,)

CLIENT_DURATION = Family(
    "rpc.client.call.duration",
    Kind.HISTOGRAM,
    "Time of calls to other processes, all attempts included; of a stream, its whole life.",
    _CALL,
    "seconds",
)
SERVER_DURATION = Family(
    "rpc.server.call.duration",
    Kind.HISTOGRAM,
    "Time of served calls, from their arrival until their answer is ready.",
    _CALL,
    "seconds",
)
ATTEMPTS = Family(
    "meshcore.client.attempts", Kind.COUNTER, "Attempts of calls, by how they ended.", (*_METHOD, "outcome")
)
RETRIES = Family("meshcore.client.retries", Kind.COUNTER, "Attempts that followed a failed one of their call.", _METHOD)
HEDGES = Family(
    "meshcore.client.hedges", Kind.COUNTER, "Attempts that were sent while another one was under way.", _METHOD
)
CLIENT_ITEMS = Family(
    "meshcore.client.stream_items", Kind.COUNTER, "Items of streams that clients sent and received.",
    (*_METHOD, "direction"),
)  # fmt: skip
EJECTIONS = Family(
    "meshcore.client.ejections", Kind.COUNTER, "Ejections of instances, those after a failed probe included.", _SERVER
)
BUDGET_REFUSALS = Family(
    "meshcore.client.retry_budget_refusals", Kind.COUNTER, "Retries that the budget did not allow.", _SERVER
)
INSTANCES = Family(
    "meshcore.client.instances", Kind.GAUGE, "Instances that clients know, by their state.", (*_SERVER, "state")
)
CLIENT_PENDING = Family("meshcore.client.attempts_in_flight", Kind.GAUGE, "Attempts that wait for an answer.", _SERVER)
SERVER_ITEMS = Family(
    "meshcore.server.stream_items", Kind.COUNTER, "Items of streams that servers sent and received.",
    (*_METHOD, "direction"),
)  # fmt: skip
REFUSALS = Family(
    "meshcore.server.refusals", Kind.COUNTER, "Calls that were refused before they were executed.", ("reason",)
)
DENIALS = Family(
    "meshcore.server.denials", Kind.COUNTER, "Calls that their caller may not make; `audit` only counts them.",
    (*_METHOD, "mode"),
)  # fmt: skip
RULES_REFUSED = Family("meshcore.server.rules_refused", Kind.COUNTER, "Rules of authorization that could not be used.")
SERVER_PENDING = Family("meshcore.server.calls_in_flight", Kind.GAUGE, "Calls that are executed.")
SERVER_STREAMS = Family("meshcore.server.streams_in_flight", Kind.GAUGE, "Streaming calls that are executed.")
CONNECTIONS = Family("meshcore.server.stream_connections", Kind.GAUGE, "Open connections of the stream channel.")
LIMIT = Family("meshcore.server.concurrency_limit", Kind.GAUGE, "Calls that may be executed at once at the moment.")
LAG = Family(
    "meshcore.event_loop.lag",
    Kind.HISTOGRAM,
    "How late the event loop was, looked at 20 times a second.",
    (),
    "seconds",
)
PROCESSES = Family("meshcore.server.processes", Kind.GAUGE, "Living processes whose numbers these are.")
CERTIFICATE_EXPIRY = Family(
    "meshcore.certificate.expiry_timestamp",
    Kind.GAUGE,
    "When the own certificate expires, the first if there are several.",
    unit="seconds",
    least=True,
)

FAMILIES: Final = (
    *(SERVER_DURATION, CLIENT_DURATION, ATTEMPTS, RETRIES, HEDGES, EJECTIONS, BUDGET_REFUSALS, INSTANCES),
    *(
        CLIENT_PENDING,
        CLIENT_ITEMS,
        SERVER_ITEMS,
        REFUSALS,
        DENIALS,
        RULES_REFUSED,
        SERVER_PENDING,
        SERVER_STREAMS,
        CONNECTIONS,
        LIMIT,
    ),
    *(LAG, PROCESSES, CERTIFICATE_EXPIRY),
)
"""All of them, in the order in which they are shown."""

BY_NAME: Final = {family.name: family for family in FAMILIES}
