"""The paths of a server's own endpoints."""

from __future__ import annotations

INVOKE = "/invoke"
"""Takes the calls of the dispatch channels."""

INVOKE_STREAM = "/invoke/stream"
"""Takes their streaming calls."""

STREAM = "/stream"
"""Takes the connections of the channel `stream-msgpack`, which are WebSockets."""

STREAM_PROTOCOL = "meshcore.stream"
"""The subprotocol of these WebSockets (RFC 6455, 1.9). A server that does not choose it is another one."""

LIVEZ, READYZ = "/livez", "/readyz"
"""Answer probes: whether the process runs, and whether it takes calls."""

REPORT = "/report"
"""Tells what the process serves, and how healthy that is."""

SUMMARY = "/report/summary"
"""Tells what the process has counted of its calls, for the live page and for programs."""

TAPPED = "/report/calls"
"""Shows the calls of the process as they end, as JSON lines, for `meshcore tap` and for programs."""

PAGE = "/mesh"
"""Shows the whole mesh to people, where the setting `page` has it."""

CONTRACT = "/contract"
"""Tells what the process promises to callers."""

OPENAPI, DOCS = "/openapi.json", "/docs"
"""Tell programs and people what is offered over REST; a route of the user's may take their place."""

RESERVED_PATHS = (
    ("POST", INVOKE),
    ("POST", INVOKE_STREAM),
    ("GET", LIVEZ),
    ("GET", READYZ),
    ("GET", REPORT),
    ("GET", SUMMARY),
    ("GET", TAPPED),
    ("GET", CONTRACT),
)
"""Verb and path of what no route of the user's may take."""
