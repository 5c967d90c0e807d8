"""Fills the page of the wire, with what a real server in this process is sent and answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from meshcore import Code, MeshApp, Settings
from meshcore.wire import headers
from meshcore.wire.endpoints import DOCS, INVOKE, INVOKE_STREAM
from meshcore.wire.errors import ErrorBody
from meshcore.wire.problem_details import Problem
from tests.support.reference.docs import attribute_docs, meaning
from tests.support.reference.evidence import statuses
from tests.support.reference.markdown import block, code, sentence, table
from tests.support.reference.sample import Answer, OrdersModule, ask

_JSON: Final = {"content-type": "application/json"}
_PATIENT: Final = {"mesh-timeout-ms": "5000"}
_PACKED: Final = {"content-type": "application/msgpack"}

_OF_REQUESTS: Final = {
    "content-type": "Of the body, see above.",
    "content-length": "Bytes of the body. Without it the body comes in chunks.",
    "traceparent": "The trace of the caller (W3C Trace Context), with `tracestate`; on all calls that follow, too.",
    "baggage": "Values of the application (W3C Baggage), passed on likewise.",
    "any other": "Headers of the call: `current_call().headers` for implementations, `Call.headers` for interceptors.",
}
_OF_ANSWERS: Final = {
    "content-type": "That of the request at `/invoke`; over REST `application/json` or `application/problem+json`.",
    "content-length": "Bytes of the body. An answer with status 204 has neither a body nor this header.",
    "allow": "With status 405: the verbs that the path takes.",
    "www-authenticate": "With status 401 over REST: `Bearer`.",
    "connection": "`close` while the server stops.",
}
_PATHS: Final = {
    INVOKE: ("POST", "Calls over `dispatch-json` and `dispatch-msgpack`."),
    INVOKE_STREAM: ("POST", "Their streaming calls."),
    "/livez": ("GET", "That the process runs, and which one it is: `status`, `instance`, `server`. Always 200."),
    "/readyz": ("GET", "Whether calls are welcome: 200; or 503 before the announcement and while the server stops."),
    "/report": ("GET", "What the process serves: components, services, channels, health, calls in progress."),
    "/report/calls": (
        "GET",
        "Its calls as they end, as JSON lines; the query has the options of `meshcore tap`.",
    ),
    "/report/summary": ("GET", "What its processes have counted of their calls, see `meshcore.telemetry.summary`."),
    "/contract": ("GET", "The contract, as `meshcore describe --json` prints it."),
    "/metrics": ("GET", "What its processes have counted, for Prometheus. The setting `metrics` names another path."),
    "/openapi.json": ("GET", "The OpenAPI 3.1 document of the REST paths. Not with `documents = false`."),
    DOCS: (
        "GET",
        "A page to read and to try that document; needs the extra `docs`. Not with `documents = false`.",
    ),
    "/orders/health": ("GET", "The health of a component, at the path that `@health` gives it: 200, 429 or 500."),
}
_OWN_STATUS: Final = {
    (404, "unimplemented"): "Nothing is offered at this path.",
    (405, "unimplemented"): "The path does not take this verb.",
    (408, "deadline_exceeded"): "The body was not complete in time.",
    (413, "resource_exhausted"): "The body is larger than the setting `max_body`.",
    (415, "invalid_argument"): "The body is not JSON, or compressed.",
}


class Exchange(NamedTuple):
    """A request and what came of it."""

    verb: str
    target: str
    headers: dict[str, str]
    body: bytes
    answer: Answer


class Seen(NamedTuple):
    """What a server was asked, by name, and the paths that it has."""

    exchanges: dict[str, Exchange]
    paths: list[str]


def wire() -> Callable[[str], str]:
    """Bodies, headers, statuses and paths; places are names of exchanges, or of tables."""
    seen = asyncio.run(_see())
    parts: dict[str, Callable[[], str]] = {
        "msgpack request": lambda: block("text", seen.exchanges["packed"].body.hex(" ")),
        "msgpack answer": lambda: block("text", seen.exchanges["packed"].answer.body.hex(" ")),
        "members of an exception": lambda: _members(ErrorBody),
        "members of a problem": lambda: _members(Problem),
        "headers": lambda: _headers(seen.exchanges),
        "statuses": _statuses,
        "paths": lambda: _paths(seen.paths),
    }
    return lambda place: parts[place]() if place in parts else _shown(seen.exchanges[place])


async def _see() -> Seen:
    """Ask a real application."""
    found: dict[str, Exchange] = {}
    app = MeshApp(OrdersModule, settings=Settings(registry="local:", verify_advertise=False))

    async def see(name: str, verb: str, target: str, sent: dict[str, str], body: bytes = b"") -> None:
        found[name] = Exchange(verb, target, sent, body, await ask(app, verb, target, sent, body))

    ours = _JSON | _PATIENT
    async with app.lifespan():
        await see("call", "POST", INVOKE, ours, json.dumps(_call("order", "bolt", 2)).encode())
        await see("packed", "POST", INVOKE, _PACKED | _PATIENT, msgspec.msgpack.encode(_call("order", "bolt", 2)))
        await see("declared exception", "POST", INVOKE, ours, json.dumps(_call("order", "unicorn")).encode())
        await see("mesh error", "POST", INVOKE, ours, json.dumps(_call("price", "bolt")).encode())
        await see("plain error", "POST", INVOKE, _JSON, json.dumps(_call("order", "unicorn")).encode())
        await see("rest call", "POST", "/orders/bolt?count=2", {})
        await see("rest error", "POST", "/orders/unicorn", {})
        await see("unauthenticated", "GET", "/orders/secret/price", {})
        await see("wrong verb", "GET", "/orders/bolt", {})
        endpoint: Any = app._endpoint
        routes = endpoint.__self__._router.routes
        paths = [INVOKE, INVOKE_STREAM, *(route.path for route in routes if hasattr(route, "path"))]
        await app.stop()
        await see("stopping", "POST", INVOKE, ours, json.dumps(_call("order", "bolt", 2)).encode())
    return Seen(found, paths)


def _call(method: str, *arguments: object) -> dict[str, object]:
    return {"method": f"orders-component:orders:{method}", "args": list(arguments)}


def _members(kind: Any) -> str:
    rows = [(code(name), meaning(kind, name)) for name in kind.__struct_fields__]
    return table(("member", "meaning"), rows)


def _shown(exchange: Exchange) -> str:
    """A request and its answer, without the length."""
    answer = exchange.answer
    lines = [f"{exchange.verb} {exchange.target}", *_lines(exchange.headers)]
    if exchange.body:
        lines += ["", exchange.body.decode()]
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    lines += ["", status, *_lines(answer.headers), "", answer.body.decode()]
    return block("text", "\n".join(lines))


def _lines(sent: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in sent.items() if name != "content-length"]


def _headers(seen: dict[str, Exchange]) -> str:
    texts = attribute_docs(headers)
    ours = {getattr(headers, name): text for name, text in texts.items() if not name.startswith("_")}
    of_answers = {headers.RETRY_AFTER: ours.pop(headers.RETRY_AFTER)} | _OF_ANSWERS
    answered = {name for exchange in seen.values() for name in exchange.answer.headers}
    if answered != of_answers.keys():
        raise LookupError(f"servers answer with the headers {sorted(answered)}, described are {sorted(of_answers)}")
    rows = [(_name(name), "request", sentence(text)) for name, text in (ours | _OF_REQUESTS).items()]
    rows += [(_name(name), "answer", sentence(text)) for name, text in of_answers.items()]
    return table(("header", "of", "meaning"), rows)


def _name(header: str) -> str:
    return header if " " in header else code(header)


def _statuses() -> str:
    """Statuses that are not those of the code."""
    rows = [
        (str(status), _OWN_STATUS[status, name], code(name), str(Code(name).http_status)) for status, name in statuses()
    ]
    return table(("status", "when", "code", f"status at {INVOKE}"), rows)


def _paths(found: list[str]) -> str:
    """What a server answers to."""
    fixed = [path for path in found if "{" not in path and not path.startswith(f"{DOCS}/")]
    if sorted(fixed) != sorted(_PATHS):
        raise LookupError(f"a server has the paths {sorted(fixed)}, described are {sorted(_PATHS)}")
    return table(("path", "what it answers"), [(code(f"{verb} {path}"), text) for path, (verb, text) in _PATHS.items()])
