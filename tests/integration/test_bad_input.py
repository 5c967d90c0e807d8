"""What people get for bad input: one table of all of it, with the full text of each, for you to judge.

Each row is given to a real server process, client or command. Whatever it is, it is answered with a code, in bounded
time and memory, the process goes on, and the next call works.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from meshcore import Policy, with_policy
from tests.support.bad_input import (
    MODULE,
    MSGPACK,
    Act,
    Stage,
    asked,
    call,
    chunked,
    client,
    client_of,
    client_of_nobody,
    client_of_whom,
    command,
    compressed,
    dispatch_json,
    dispatch_msgpack,
    http,
    loaded,
    logged,
    mesh,
    pack,
    packed,
    raw_json,
    raw_packed,
    rest,
    served,
    slow,
    typed,
)
from tests.support.bazaar import Bazaar, Line, Order
from tests.support.misbuilt import Circular, Leaking, Plain, Unoffered, Whole
from tests.support.processes import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIME = 15.0
"""Seconds in which each is over. Most take milliseconds; those that start a process take seconds on a busy machine."""
MEMORY = 8 * 2**20
"""Bytes by which the server may grow meanwhile: its `max_body` is one million, and it reads on to four times that."""


class Row(NamedTuple):
    """One kind of bad input.

    Attributes:
        what: it is.
        act: hands it in, and gives the text that came of it.
        text: that is expected; <id> and <url> stand for what is different each time.
    """

    what: str
    act: Act
    text: str


DEEP = 10_000
STREAMED = "stream-msgpack"
ORDER = {"customer": "ada", "lines": [{"sku": "bolt", "price": 1}, {"sku": "nut", "price": "x"}]}
NAN = {"customer": "ada", "lines": [{"sku": "bolt", "price": float("nan")}]}


def any_of(service: Any) -> Any:
    """The service, to call it as no type checker lets one."""
    return service


def response(body: bytes, *, status: bytes = b"200 OK", content_type: bytes = b"application/json") -> bytes:
    """An answer of a server that is no mesh."""
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (status, content_type, len(body)) + body


async def raising(bazaar: Bazaar) -> object:
    """Call what raises."""
    return await bazaar.raises()


async def lying(bazaar: Bazaar) -> object:
    """Call what returns a wrong type."""
    return await bazaar.lies()


async def hurried(bazaar: Bazaar) -> object:
    """Call what blocks the loop of its server for longer than this waits."""
    return await with_policy(bazaar, Policy(timeout=0.5)).blocks(1.5)


TABLE = [
    # --- Misspelt names -----------------------------------------------------------------------------------------------
    Row(
        "a misspelt component",
        asked(dispatch_json(call("price", "a", path="bazar-component:bazaar:"))),
        (
            "501 unimplemented: no method 'bazar-component:bazaar:price' is offered here; did you mean "
            "'bazaar-component:bazaar:price'?"
        ),
    ),
    Row(
        "a misspelt service",
        asked(dispatch_msgpack(pack({"method": "bazaar-component:bazar:price", "args": []}))),
        (
            "501 unimplemented: no method 'bazaar-component:bazar:price' is offered here; did you mean "
            "'bazaar-component:bazaar:price'?"
        ),
    ),
    Row(
        "a misspelt method",
        asked(dispatch_json(call("prise", "a"))),
        (
            "501 unimplemented: no method 'bazaar-component:bazaar:prise' is offered here; did you mean "
            "'bazaar-component:bazaar:price'?"
        ),
    ),
    Row(
        "a method that is none of the interface",
        asked(dispatch_json(call("__init__"))),
        (
            "501 unimplemented: no method 'bazaar-component:bazaar:__init__' is offered here; there is "
            "'anything', 'blocks', 'item', 'lies', 'order', 'price', 'raises'"
        ),
    ),
    Row(
        "a name of 10,000 characters",
        asked(dispatch_json(call("x" * 10_000))),
        (
            "501 unimplemented: no method "
            "'bazaar-component:bazaar:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'... "
            "(10024 characters) is offered here; there is 'anything', 'blocks', 'item', 'lies', 'order', "
            "'price', 'raises'"
        ),
    ),
    Row(
        "a name of another form",
        asked(dispatch_json(call("price", path=""))),
        (
            "501 unimplemented: no method 'price' is offered here; there is "
            "'bazaar-component:bazaar:anything', 'bazaar-component:bazaar:blocks', "
            "'bazaar-component:bazaar:item', 'bazaar-component:bazaar:lies', "
            "'bazaar-component:bazaar:order', 'bazaar-component:bazaar:price', "
            "'bazaar-component:bazaar:raises'"
        ),
    ),
    Row(
        "a misspelt path",
        asked(rest("GET", "/itemz/7")),
        "404 unimplemented: nothing is offered at /bazaar/itemz/7; did you mean /bazaar/items/{number}?",
    ),
    Row(
        "a path like none",
        asked(http("GET", "/favicon.ico", b"", b"")),
        "404 unimplemented: nothing is offered at /favicon.ico",
    ),
    Row(
        "a wrong verb",
        asked(rest("DELETE", "/items/7")),
        "405 unimplemented: /bazaar/items/7 takes GET, HEAD, not DELETE",
    ),
    Row(
        "GET of the calls' endpoint",
        asked(http("GET", "/invoke", b"", b"")),
        "405 unimplemented: /invoke takes POST, not GET",
    ),
    Row(
        "a misspelt channel",
        mesh(Whole, channel="dispatch-jsn"),
        "LocalError invalid_argument: no channel 'dispatch-jsn'; did you mean 'dispatch-json'?",
    ),
    Row(
        "a misspelt channel in the settings",
        mesh(Whole, preferred_channel="rset"),
        (
            "ConfigurationError failed_precondition: Whole cannot start: setting preferred_channel: no "
            "channel 'rset'; did you mean 'rest'?"
        ),
    ),
    Row(
        "a service that nobody offers",
        mesh(Whole, interface=Unoffered),
        (
            "ConfigurationError failed_precondition: Unoffered cannot be called: no component offers "
            "Unoffered; name the one that does: @module(components=[...])"
        ),
    ),
    Row(
        "a class that is no service",
        mesh(Whole, interface=Plain),
        "LocalError invalid_argument: Plain is no service interface; decorate it with @service()",
    ),
    Row(
        "a misspelt setting",
        command("run", MODULE, "--registry", "consl://127.0.0.1:8500"),
        (
            "exit 2: meshcore: BazaarModule cannot start: setting registry: no registry 'consl' for "
            "'consl://127.0.0.1:8500'; did you mean 'consul'?"
        ),
    ),
    Row(
        "a misspelt package",
        command("run", "tests.suport.bazaar:BazaarModule"),
        (
            "exit 2: meshcore: setting module = 'tests.suport.bazaar:BazaarModule' (from: argument): no "
            "Python module 'tests.suport' in <here> or on sys.path; did you mean 'tests.support'?"
        ),
    ),
    Row(
        "a misspelt module",
        loaded("tests.support.bazar:BazaarModule"),
        (
            "ConfigurationError failed_precondition: setting module = 'tests.support.bazar:BazaarModule' "
            "(from: argument): no Python module 'tests.support.bazar' in <here> or on sys.path; did you "
            "mean 'tests.support.bazaar'?"
        ),
    ),
    Row(
        "a misspelt class",
        loaded("tests.support.bazaar:BazarModule"),
        (
            "ConfigurationError failed_precondition: setting module = 'tests.support.bazaar:BazarModule' "
            "(from: argument): tests.support.bazaar has no 'BazarModule'; did you mean 'BazaarModule'?"
        ),
    ),
    Row(
        "a misspelt service on the command line",
        typed("bazar.price", "sku=a"),
        (
            "ConfigurationError failed_precondition: cannot call 'bazar.price': no such service; did you "
            "mean 'bazaar.price'?"
        ),
    ),
    Row(
        "a misspelt method on the command line",
        typed("bazaar.prise", "sku=a"),
        (
            "ConfigurationError failed_precondition: cannot call 'bazaar.prise': bazaar has no method "
            "'prise'; did you mean 'price'?"
        ),
    ),
    # --- Arguments ----------------------------------------------------------------------------------------------------
    Row(
        "too few arguments",
        asked(dispatch_json(call("price"))),
        "400 invalid_argument: bazaar.price: $.args: takes 1 to 2 arguments [sku, count=...], got 0",
    ),
    Row(
        "too many arguments",
        asked(dispatch_msgpack(packed("price", "a", 1, 2, 3))),
        "400 invalid_argument: bazaar.price: $.args: takes 1 to 2 arguments [sku, count=...], got 4",
    ),
    Row(
        "arguments by name",
        asked(dispatch_json(raw_json("price", b'{"sku":"a"}'))),
        (
            "400 invalid_argument: bazaar.price: $.args: expected array, got object; they go by position: "
            "[sku, count=...]"
        ),
    ),
    Row(
        "no arguments at all",
        asked(dispatch_json(b'{"method":"bazaar-component:bazaar:price"}')),
        ("400 invalid_argument: the body is no call in application/json: $: object missing required field args"),
    ),
    Row(
        "an argument of a wrong type",
        asked(dispatch_json(call("price", 7))),
        "400 invalid_argument: bazaar.price: $.args[0]: expected str, got int",
    ),
    Row(
        "the same in msgpack",
        asked(dispatch_msgpack(packed("price", 7))),
        "400 invalid_argument: bazaar.price: $.args[0]: expected str, got int",
    ),
    Row(
        "a wrong type at depth",
        asked(dispatch_json(call("order", ORDER))),
        "400 invalid_argument: bazaar.order: $.args[0].lines[1].price: expected float, got str",
    ),
    Row(
        "the same in msgpack, at depth",
        asked(dispatch_msgpack(packed("order", ORDER))),
        "400 invalid_argument: bazaar.order: $.args[0].lines[1].price: expected float, got str",
    ),
    Row(
        "a missing field at depth",
        asked(dispatch_json(call("order", {"customer": "a", "lines": [{"sku": "a"}]}))),
        "400 invalid_argument: bazaar.order: $.args[0].lines[0]: object missing required field price",
    ),
    Row(
        "a wrong type in a path",
        asked(rest("GET", "/items/seven")),
        "400 invalid_argument: bazaar.item: path parameter 'number': expected int, got 'seven'",
    ),
    Row(
        "wrong types in path and query",
        asked(rest("GET", "/items/seven?limit=ten")),
        (
            "400 invalid_argument: bazaar.item: path parameter 'number': expected int, got 'seven'; query "
            "parameter 'limit': expected int, got 'ten'"
        ),
    ),
    Row(
        "a parameter twice",
        asked(rest("GET", "/items/7?limit=1&limit=2")),
        "400 invalid_argument: bazaar.item: query parameter 'limit': expected one value, got 2",
    ),
    Row(
        "a wrong type in a body",
        asked(rest("POST", "/orders", json.dumps(ORDER).encode())),
        "400 invalid_argument: bazaar.order: body.lines[1].price: expected float, got str",
    ),
    Row(
        "a missing field in a body",
        asked(rest("POST", "/orders", b'{"lines":[]}')),
        "400 invalid_argument: bazaar.order: body: object missing required field customer",
    ),
    Row(
        "a wrong number by a proxy",
        client(lambda bazaar: any_of(bazaar).price("a", 1, 2)),
        "TypeError Bazaar.price() takes from 2 to 3 positional arguments but 4 were given",
    ),
    Row(
        "a wrong name by a proxy",
        client(lambda bazaar: any_of(bazaar).price(skuu="a")),
        "TypeError Bazaar.price() got an unexpected keyword argument 'skuu'",
    ),
    Row(
        "a wrong type by a proxy",
        client(lambda bazaar: any_of(bazaar).price(7)),
        "RemoteError invalid_argument: bazaar.price: $.args[0]: expected str, got int",
    ),
    Row(
        "a wrong type at depth by a proxy",
        client(lambda bazaar: bazaar.order(Order("a", [Line("b", any_of("x"))]))),
        "RemoteError invalid_argument: bazaar.order: $.args[0].lines[0].price: expected float, got str",
    ),
    Row(
        "what cannot be sent",
        client(lambda bazaar: bazaar.anything({"a": [1, object()]})),
        "LocalError invalid_argument: bazaar.anything: $.args[0].a[1]: object cannot travel",
    ),
    Row(
        "NaN as JSON by a proxy",
        client(lambda bazaar: bazaar.order(Order("a", [Line("b", float("nan"))]))),
        ("LocalError invalid_argument: bazaar.order: $.args[0].lines[0].price: nan does not exist in JSON"),
    ),
    Row(
        "a time whose offset has seconds",
        client(lambda bazaar: bazaar.anything(dt.time(12, tzinfo=dt.timezone(dt.timedelta(minutes=53, seconds=28))))),
        (
            "LocalError invalid_argument: bazaar.anything: $.args[0]: the offset of 12:00:00+00:53:28 has seconds, "
            "which the text of a time does not have: use whole minutes"
        ),
    ),
    Row(
        "wrong arguments on the command line",
        typed("bazaar.price", "sku=a", "cuont=2", "loud"),
        (
            "ConfigurationError failed_precondition: cannot call bazaar.price (sku=... count=...):\n  1. "
            "'loud' is not of the form name=value\n  2. no parameter 'cuont'; did you mean 'count'?"
        ),
    ),
    # --- Bodies -------------------------------------------------------------------------------------------------------
    Row("no body", asked(dispatch_json(b"")), "400 invalid_argument: the body is empty"),
    Row("no body, msgpack", asked(dispatch_msgpack(b"")), "400 invalid_argument: the body is empty"),
    Row("no body, REST", asked(rest("POST", "/orders")), "400 invalid_argument: bazaar.order: body: is missing"),
    Row(
        "a wrong media type",
        asked(dispatch_json(call("price", "a"), b"text/plain")),
        ("400 invalid_argument: content type must be application/json or application/msgpack, got 'text/plain'"),
    ),
    Row(
        "no media type",
        asked(dispatch_json(call("price", "a"), b"")),
        "400 invalid_argument: content type must be application/json or application/msgpack, got none",
    ),
    Row(
        "a wrong media type, REST",
        asked(rest("POST", "/orders", b'{"customer":"a"}', b"text/plain")),
        "415 invalid_argument: bazaar.order: content type must be application/json, got 'text/plain'",
    ),
    Row(
        "a compressed body",
        asked(compressed(dispatch_msgpack(packed("price", "a")))),
        (
            "415 invalid_argument: content-encoding 'gzip' is not read: send the body as it is, without compression "
            "(identity)"
        ),
    ),
    Row(
        "a compressed body, REST",
        asked(compressed(rest("POST", "/orders", b'{"customer":"a"}'))),
        (
            "415 invalid_argument: content-encoding 'gzip' is not read: send the body as it is, without compression "
            "(identity)"
        ),
    ),
    Row(
        "JSON that is said to be msgpack",
        asked(dispatch_msgpack(call("price", "a"))),
        "400 invalid_argument: the body is no call in application/msgpack: $: expected object, got int",
    ),
    Row(
        "msgpack that is said to be JSON",
        asked(dispatch_json(packed("price", "a"))),
        ("400 invalid_argument: the body is no call in application/json: malformed JSON at byte 0: invalid character"),
    ),
    Row(
        "HTML",
        asked(dispatch_json(b"<html>")),
        ("400 invalid_argument: the body is no call in application/json: malformed JSON at byte 0: invalid character"),
    ),
    Row(
        "JSON that is no call",
        asked(dispatch_json(b"[]")),
        "400 invalid_argument: the body is no call in application/json: $: expected object, got array",
    ),
    Row(
        "a body that is too large",
        asked(dispatch_json(call("price", "x" * 1_000_000))),
        "429 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "the same in msgpack, too large",
        asked(dispatch_msgpack(packed("price", "x" * 1_000_000))),
        "429 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "the same over REST",
        asked(rest("POST", "/orders", b'{"customer":"%b"}' % (b"x" * 1_000_000))),
        "413 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "a body of 40 million bytes",
        asked(dispatch_json(call("price", "x" * 40_000_000))),
        "429 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "a request that is too large",
        client(lambda bazaar: bazaar.price("x" * 1_000_000), max_body=1_000_000),
        (
            "LocalError resource_exhausted: bazaar.price: the request is 1000056 bytes, more than 1000000 "
            "(setting max_body)"
        ),
    ),
    Row(
        "a chunked body that never ends",
        asked(chunked(65_536)),
        "429 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "the same over REST, endless",
        asked(chunked(65_536, target="/bazaar/orders")),
        "413 resource_exhausted: the body is larger than 1000000 bytes (setting max_body)",
    ),
    Row(
        "chunks of a byte that never end",
        asked(chunked(1, content_type=MSGPACK, wait=700)),
        "504 deadline_exceeded: the body was not complete when the time for the call was up",
    ),
    Row(
        "a slow sender",
        asked(slow()),
        "504 deadline_exceeded: the body was not complete when the time for the call was up",
    ),
    Row(
        "a slow sender, msgpack",
        asked(slow(content_type=MSGPACK)),
        "504 deadline_exceeded: the body was not complete when the time for the call was up",
    ),
    Row(
        "a slow sender, REST",
        asked(slow(target="/bazaar/orders")),
        "408 deadline_exceeded: the body was not complete when the time for the call was up",
    ),
    Row(
        "text that is not UTF-8",
        asked(dispatch_json(raw_json("price", b'["bo\xfft"]'))),
        ("400 invalid_argument: bazaar.price: $.args: malformed JSON: a text is not UTF-8"),
    ),
    Row(
        "the same in msgpack, text",
        asked(dispatch_msgpack(raw_packed("price", b"\x91\xa2\xff\xfe"))),
        ("400 invalid_argument: bazaar.price: $.args: malformed msgpack: a text is not UTF-8"),
    ),
    Row(
        "the same over REST, text",
        asked(rest("POST", "/orders", b'{"customer":"\xff"}')),
        ("400 invalid_argument: bazaar.order: body: malformed JSON: a text is not UTF-8"),
    ),
    Row(
        "the same in a query",
        asked(rest("GET", "/items/7?limit=%ff")),
        ("400 invalid_argument: bazaar.item: malformed query: a text is not UTF-8"),
    ),
    Row(
        "the same in a path",
        asked(rest("GET", "/items/%ff")),
        "400 invalid_argument: bazaar.item: path parameter 'number': expected UTF-8, got '%FF'",
    ),
    Row(
        "truncated JSON",
        asked(dispatch_json(call("price", "bolt")[:-5])),
        ("400 invalid_argument: the body is no call in application/json: malformed JSON: input data was truncated"),
    ),
    Row(
        "truncated JSON, REST",
        asked(rest("POST", "/orders", b'{"customer":"a"')),
        "400 invalid_argument: bazaar.order: body: malformed JSON: input data was truncated",
    ),
    Row(
        "truncated msgpack",
        asked(dispatch_msgpack(packed("price", "bolt")[:-2])),
        (
            "400 invalid_argument: the body is no call in application/msgpack: malformed msgpack: input "
            "data was truncated"
        ),
    ),
    Row(
        "msgpack that claims four billion items",
        asked(dispatch_msgpack(raw_packed("anything", b"\xdd" + b"\xff" * 4))),
        (
            "400 invalid_argument: the body is no call in application/msgpack: malformed msgpack: input "
            "data was truncated"
        ),
    ),
    Row(
        "an extension type of msgpack",
        asked(dispatch_msgpack(raw_packed("anything", b"\x91\xd4\x05\x00"))),
        "400 invalid_argument: bazaar.anything: $.args: unknown msgpack extension 5",
    ),
    Row(
        "something after the call",
        asked(dispatch_json(call("price", "a") + b"{}")),
        (
            "400 invalid_argument: the body is no call in application/json: malformed JSON at byte 59: "
            "trailing characters"
        ),
    ),
    Row(
        "JSON nested 10,000-fold",
        asked(dispatch_json(raw_json("anything", b"[" * DEEP + b"]" * DEEP))),
        (
            "400 invalid_argument: the body is no call in application/json: nested deeper than 128 levels "
            "(setting max_depth)"
        ),
    ),
    Row(
        "objects nested 10,000-fold",
        asked(dispatch_json(raw_json("anything", b'{"a":' * DEEP + b"1" + b"}" * DEEP))),
        (
            "400 invalid_argument: the body is no call in application/json: nested deeper than 128 levels "
            "(setting max_depth)"
        ),
    ),
    Row(
        "JSON nested as deep as it may be, in a call with a space",
        asked(dispatch_json(b" " + raw_json("anything", b"[" * 128 + b"]" * 128))),
        '200 {"result":"list","exception":null}',
    ),
    Row(
        "JSON nested 200-fold",
        asked(dispatch_json(raw_json("anything", b"[" * 200 + b"]" * 200))),
        ("400 invalid_argument: bazaar.anything: $.args: nested deeper than 128 levels (setting max_depth)"),
    ),
    Row(
        "JSON nested 10,000-fold, REST",
        asked(rest("POST", "/anything", b"[" * DEEP + b"]" * DEEP)),
        "400 invalid_argument: bazaar.anything: body: nested deeper than 128 levels (setting max_depth)",
    ),
    Row(
        "msgpack nested 10,000-fold",
        asked(dispatch_msgpack(raw_packed("anything", b"\x91" * DEEP + b"\x00"))),
        (
            "400 invalid_argument: the body is no call in application/msgpack: nested deeper than 128 "
            "levels (setting max_depth)"
        ),
    ),
    Row(
        "a list of empty lists",
        asked(dispatch_msgpack(raw_packed("anything", b"\xdd\x00\x04\x00\x00" + b"\x90" * 0x40000))),
        "400 invalid_argument: bazaar.anything: $.args: more than 125000 items (setting max_items)",
    ),
    Row(
        "a list of empty lists, REST",
        asked(rest("POST", "/anything", b"[" + b"[]," * 0x40000 + b"[]]")),
        "400 invalid_argument: bazaar.anything: body: more than 125000 items (setting max_items)",
    ),
    Row(
        "numbers of equal hash as keys",
        asked(dispatch_msgpack(packed("anything", {2.0**power: "x" * 200 for power in range(-1037, 1023, 61)}))),
        (
            "400 invalid_argument: bazaar.anything: $.args: the hashes of 34 keys collide, so they would take too long "
            "to read"
        ),
    ),
    Row(
        "brackets that never close, a million",
        asked(dispatch_json(raw_json("anything", b"[" * 900_000))),
        (
            "400 invalid_argument: the body is no call in application/json: nested deeper than 128 levels "
            "(setting max_depth)"
        ),
    ),
    Row(
        "NaN in JSON",
        asked(dispatch_json(call("order", NAN))),
        (
            "400 invalid_argument: the body is no call in application/json: malformed JSON at byte 108: "
            "invalid character"
        ),
    ),
    Row(
        "NaN in msgpack, where it is a number",
        asked(dispatch_msgpack(packed("order", NAN))),
        '200 {"result":1,"exception":null}',
    ),
    Row(
        "a float that is too large",
        asked(dispatch_json(raw_json("anything", b"[1e999]"))),
        "400 invalid_argument: bazaar.anything: $.args[0]: number out of range",
    ),
    Row(
        "an int of 5,000 digits",
        asked(dispatch_json(raw_json("price", b'["a",%b]' % (b"9" * 5000)))),
        "400 invalid_argument: bazaar.price: $.args[1]: integer value out of range",
    ),
    Row(
        "an int of 5,000 digits in a query",
        asked(rest("GET", f"/items/7?limit={'9' * 5000}")),
        "400 invalid_argument: bazaar.item: query parameter 'limit': integer value out of range",
    ),
    Row(
        "an int beyond 64 bits, which Python has",
        asked(dispatch_json(call("price", "a", 2**64))),
        '200 {"result":0.5,"exception":null}',
    ),
    Row(
        "a key twice",
        asked(dispatch_json(raw_json("order", b'[{"customer":"a","customer":"b"}]'))),
        "400 invalid_argument: bazaar.order: $.args[0]: key 'customer' comes twice",
    ),
    Row(
        "the same in msgpack, of which the last counts",
        asked(
            dispatch_msgpack(
                raw_packed("order", b"\x91\x82" + (pack("customer") + pack("a")) + pack("customer") + pack(7))
            )
        ),
        "400 invalid_argument: bazaar.order: $.args[0].customer: expected str, got int",
    ),
    Row(
        "the same over REST, twice",
        asked(rest("POST", "/orders", b'{"customer":"a","customer":"b"}')),
        "400 invalid_argument: bazaar.order: body: key 'customer' comes twice",
    ),
    Row(
        "a key twice, far inside and written in another way",
        asked(dispatch_json(raw_json("anything", b'[ [ 1, { "a": { "k\\u0065y": 1.50, "key": [] } } ] ]'))),
        "400 invalid_argument: bazaar.anything: $.args[0][1].a: key 'key' comes twice",
    ),
    Row(
        "the method twice",
        asked(dispatch_json(call("price", 7)[:-1] + b',"method":"no"}')),
        ("400 invalid_argument: the body is no call in application/json: $: key 'method' comes twice"),
    ),
    # --- Servers, as clients see them ---------------------------------------------------------------------------------
    Row(
        "a server that does not run",
        client_of_nobody("dispatch-json"),
        "CommunicationError unavailable: bazaar.raises: no answer from <url>: connection refused",
    ),
    Row(
        "the same over REST, not running",
        client_of_nobody("rest"),
        "CommunicationError unavailable: bazaar.raises: no answer from <url>: connection refused",
    ),
    Row(
        "a server that nobody announced",
        client_of_whom("dispatch-msgpack"),
        (
            "CommunicationError unavailable: component 'bazaar-component' is offered by nobody over "
            "channel 'dispatch-msgpack', says DirectoryComponentRegistry('<folder>')"
        ),
    ),
    Row(
        "a server that dies in mid-answer",
        client_of([response(b'{"result":7,"exception":null}')[:-9]], "dispatch-json", reset=True),
        (
            "CommunicationError unavailable: bazaar.raises: no answer from <url>: the connection broke in "
            "the middle of the answer"
        ),
    ),
    Row(
        "the same over REST, dying",
        client_of([response(b"7000")[:-2]], "rest", reset=True),
        (
            "CommunicationError unavailable: bazaar.raises: no answer from <url>: the connection broke in "
            "the middle of the answer"
        ),
    ),
    Row(
        "the same, closing",
        client_of([response(b"7000")[:-2]], "rest"),
        (
            "CommunicationError unavailable: bazaar.raises: no answer from <url>: the connection broke in "
            "the middle of the answer"
        ),
    ),
    Row(
        "a server that says nothing",
        client_of([], "dispatch-msgpack"),
        (
            "CommunicationError unavailable: bazaar.raises: no answer from <url>: the connection was "
            "closed before the answer; a server that expects https:// does that"
        ),
    ),
    Row(
        "a server that does not speak HTTP",
        client_of([b"220 smtp.example.org ready\r\n"], "dispatch-json"),
        ("CommunicationError unavailable: bazaar.raises: no answer from <url>: the answer is not HTTP"),
    ),
    Row(
        "an answer of a wrong type",
        client_of([response(b'{"result":"seven","exception":null}')], "dispatch-json"),
        (
            "CommunicationError internal: the answer to bazaar.raises does not fit: $.result: expected "
            "int, got str (from <url>)"
        ),
    ),
    Row(
        "the same in msgpack, answered",
        client_of([response(pack({"result": "seven", "exception": None}), content_type=MSGPACK)], "dispatch-msgpack"),
        (
            "CommunicationError internal: the answer to bazaar.raises does not fit: $.result: expected "
            "int, got str (from <url>)"
        ),
    ),
    Row(
        "the same over REST, answered",
        client_of([response(b'"seven"')], "rest"),
        (
            "CommunicationError internal: the answer to bazaar.raises does not fit: $: expected int, got "
            "str (from <url>)"
        ),
    ),
    Row(
        "an answer that is a page",
        client_of([response(b"<html>Please sign in</html>")], "dispatch-json"),
        (
            "CommunicationError internal: the answer to bazaar.raises does not fit: malformed JSON at byte "
            "0: invalid character (from <url>)"
        ),
    ),
    Row(
        "the page of a proxy in between",
        client_of([response(b"<html>Bad Gateway</html>", status=b"502 Bad Gateway")], "dispatch-json"),
        ("RemoteError unavailable: bazaar.raises: <url> answered with HTTP status 502, not as a meshcore server"),
    ),
    Row(
        "the same over REST, in between",
        client_of([response(b"<html>Bad Gateway</html>", status=b"502 Bad Gateway")], "rest"),
        "RemoteError unavailable: bazaar.raises: <url> answered with HTTP status 502 (Bad Gateway)",
    ),
    Row(
        "an answer that is too large",
        client_of([response(b'"%b"' % (b"x" * 200_000))], "rest", values={"max_body": 100_000}),
        (
            "CommunicationError resource_exhausted: the answer to bazaar.raises is larger than 100000 "
            "bytes (setting max_body)"
        ),
    ),
    Row(
        "an answer nested 10,000-fold",
        client_of([response(b'{"result":' + b"[" * DEEP)], "dispatch-json"),
        (
            "CommunicationError internal: the answer to bazaar.raises does not fit: $.result: expected "
            "int, got array (from <url>)"
        ),
    ),
    # --- Implementations ----------------------------------------------------------------------------------------------
    Row(
        "an implementation that raises",
        logged(client(raising), "call <id>"),
        (
            "RemoteError internal: internal error; the server's log has it as call <id> | log: call <id> "
            "of bazaar.raises failed"
        ),
    ),
    Row(
        "the same over REST, raising",
        logged(client(raising, "rest"), "ZeroDivisionError: "),
        (
            "RemoteError internal: internal error; the server's log has it as call <id> | log: "
            "ZeroDivisionError: the secret of the server"
        ),
    ),
    Row(
        "an implementation that returns a wrong type",
        logged(client(lying), "call <id>"),
        (
            "RemoteError internal: internal error; the server's log has it as call <id> | log: call <id> "
            "of bazaar.lies failed: what it returned does not fit its type: $.lines[0].price: expected "
            "float, got str"
        ),
    ),
    Row(
        "the same over REST, returning",
        logged(client(lying, "rest"), "call <id>"),
        (
            "RemoteError internal: internal error; the server's log has it as call <id> | log: call <id> "
            "of bazaar.lies failed: what it returned does not fit its type: $.lines[0].price: expected "
            "float, got str"
        ),
    ),
    Row(
        "an implementation that blocks the loop",
        logged(client(hurried), "the event loop"),
        (
            "CommunicationError deadline_exceeded: bazaar.blocks was not answered within 0.5 s | log: the "
            "event loop was blocked for <some> s while bazaar.blocks ran; move blocking code to a `def` "
            "implementation, which runs in a thread, or to asyncio.to_thread"
        ),
    ),
    # --- The stream ---------------------------------------------------------------------------------------------------
    Row(
        "a wrong type over the stream",
        client(lambda bazaar: any_of(bazaar).price(7), STREAMED),
        "RemoteError invalid_argument: bazaar.price: $.args[0]: expected str, got int",
    ),
    Row(
        "a wrong type at depth over the stream",
        client(lambda bazaar: bazaar.order(Order("a", [Line("b", any_of("x"))])), STREAMED),
        "RemoteError invalid_argument: bazaar.order: $.args[0].lines[0].price: expected float, got str",
    ),
    Row(
        "a request that is larger than the server takes, over the stream",
        client(lambda bazaar: bazaar.price("x" * 2_000_000), STREAMED, max_body=10_000_000),
        (
            "LocalError resource_exhausted: bazaar-component:bazaar:price: the request is 2000007 bytes, more than the "
            "server takes, 1000000 (setting max_body there)"
        ),
    ),
    Row(
        "an implementation that returns a wrong type over the stream",
        logged(client(lying, STREAMED), "call <id>"),
        (
            "RemoteError internal: internal error; the server's log has it as call <id> | log: call <id> "
            "of bazaar.lies failed: what it returned does not fit its type: $.lines[0].price: expected "
            "float, got str"
        ),
    ),
    Row(
        "an implementation that blocks the loop, over the stream",
        logged(client(hurried, STREAMED), "the event loop"),
        (
            "CommunicationError deadline_exceeded: bazaar.blocks was not answered within 0.5 s | log: the "
            "event loop was blocked for <some> s while bazaar.blocks ran; move blocking code to a `def` "
            "implementation, which runs in a thread, or to asyncio.to_thread"
        ),
    ),
    Row(
        "a server that does not run, over the stream",
        client_of_nobody(STREAMED),
        "CommunicationError unavailable: bazaar.raises: no answer from <url>: connection refused",
    ),
    # --- The start ----------------------------------------------------------------------------------------------------
    Row(
        "a port in use",
        command("run", MODULE, "--bind", "127.0.0.1:<port>", taken=True),
        (
            "exit 2: meshcore: cannot listen at 127.0.0.1:<port>: address already in use; choose another "
            "address with --bind"
        ),
    ),
    Row(
        "a registry where nobody can write: a file is in the way",
        served("announcing bazaar-component failed", "registry=directory://<folder>/file/registry", files=["file"]),
        (
            "announcing bazaar-component failed, trying again in 0.1 s: unavailable: instance "
            "bazaar-component-<id> of bazaar-component cannot be announced: the registry's folder "
            "<folder>/file/registry cannot be used: Not a directory"
        ),
    ),
    Row(
        "the same for a client",
        command("ls", "--registry", "directory://<folder>/file/registry", files=["file"]),
        (
            "exit 3: meshcore: unavailable: no instance can be found: the registry's folder "
            "<folder>/file/registry cannot be used: Not a directory"
        ),
    ),
    Row(
        "cyclic injection",
        mesh(Circular),
        (
            "ConfigurationError failed_precondition: Circular cannot start: Chicken(egg) > Egg(chicken) > "
            "Chicken: a cycle; nothing in it can be made first"
        ),
    ),
    Row(
        "a singleton that needs what lives for one request",
        mesh(Leaking),
        (
            "ConfigurationError failed_precondition: Leaking cannot start: Shelf(session) > Session: lives "
            'for one request only, but Shelf is a singleton; give Shelf the scope "request"'
        ),
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One server for all rows: it has to survive them."""
    folder = tmp_path_factory.mktemp("bad-input")
    async with serve(folder, MODULE, env={"MESHCORE_MAX_BODY": "1000000"}) as server:
        stage = Stage(server, folder)
        assert await stage.works()
        yield stage


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what.replace(" ", "-"))
async def test_bad_input(stage: Stage, row: Row) -> None:
    """It is answered with the text, in bounded time and memory, and the next call works."""
    before, begun = stage.memory(), time.monotonic()
    text = await row.act(stage)
    assert text == row.text
    assert time.monotonic() - begun < TIME
    assert stage.memory() - before < MEMORY
    assert await stage.works()
    assert stage.server.process.returncode is None
