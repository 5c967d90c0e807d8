"""What a served call passes through, at endpoints that are neither `/invoke` nor REST."""

from __future__ import annotations

import asyncio
import gc
import weakref
from abc import abstractmethod
from typing import Any

import msgspec
import pytest

from meshcore import Code, MeshError, RemoteError, Service, raises, service
from meshcore.asgi.http_call import HTTPCall
from meshcore.asgi.messages import CHUNK, PEER, Receive, Reply, Scope, Send, peer_of, read_body
from meshcore.asgi.served_call import serve
from meshcore.codec.codec import JSON, Limits
from meshcore.core.call import Call
from meshcore.core.caller import Caller, Peer, Proof
from meshcore.core.description import Method
from meshcore.core.errors import LocalError
from meshcore.declare.reader import describe
from meshcore.server.loop_lag import Lag
from meshcore.server.server import Server
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import CALLER, TIMEOUT, RequestHeaders


class Sour(Exception):
    def __init__(self, ph: int = 2) -> None:
        super().__init__(f"pH {ph}")
        self.ph = ph


@service()
class Kitchen(Service):
    @abstractmethod
    @raises(Sour)
    async def taste(self, dish: str) -> str: ...


TASTE = describe(Kitchen).methods[0]
ERRORS = ErrorCodec(JSON, TASTE, Limits())


async def cook(call: Call) -> Any:
    """Taste a dish."""
    (dish,) = call.arguments
    if dish == "lemon":
        raise Sour
    if dish == "soup":
        raise RemoteError(Code.UNAUTHENTICATED, "no soup for you")
    if dish == "stew":
        await asyncio.Event().wait()
    return f"{dish} for the {call.peer}"


@pytest.fixture
def server() -> Server:
    """Runs one call at a time."""
    return Server(cook, max_concurrency=1, request_timeout=10.0, debug=False)


class TextCall(HTTPCall):
    """The third kind of endpoint: the argument is the whole body, and answers are plain text."""

    method: Method | None = None
    errors: ErrorCodec | None = None

    def body(self):
        if self.headers.content_type != "text/plain":
            raise LocalError(Code.INVALID_ARGUMENT, "only text")
        return read_body(self.receive, 10)

    def find(self, body):
        self.method, self.errors = TASTE, ERRORS
        return TASTE

    def arguments(self, body):
        return (body.decode(),)

    def result(self, value):
        return Reply(200, value.encode(), b"text/plain")

    def failure(self, error, told):
        return Reply(Code(told.code).http_status, f"{told.type or told.code}: {told.message}".encode(), b"text/plain")


class Client:
    """Sends one request to that endpoint."""

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes], content_type: bytes = b"text/plain") -> None:
        self.scope: Scope = {"headers": [(b"content-type", content_type), *headers], "client": ("guest", 1)}
        self.told = [{"type": "http.request", "body": body}]
        self.received = 0
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        """Of ASGI."""
        self.received += 1
        return self.told.pop(0) if self.told else {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Of ASGI."""
        self.sent.append(message)

    async def ask(self, server: Server) -> tuple[int, str]:
        """Status and text of the answer."""
        await endpoint(server, self.scope, self.receive, self.send)
        start, body = self.sent
        return start["status"], body["body"].decode()


def endpoint(server: Server, scope: Scope, receive: Receive, send: Send):
    """Serve one request."""
    return serve(server, TextCall(RequestHeaders(scope["headers"]), peer_of(scope), receive), send)


async def test_a_call_is_read_run_and_answered(server):
    """The endpoint says how the body is read and the answer written, nothing else."""
    assert await Client(b"bread").ask(server) == (200, "bread for the guest")
    assert server.active == 0


async def test_errors_are_written_by_the_endpoint(server):
    """Declared ones and others; the method's own error codec tells them apart."""
    assert await Client(b"lemon").ask(server) == (400, "Sour: pH 2")
    assert await Client(b"soup").ask(server) == (401, "unauthenticated: no soup for you")


async def test_what_the_access_log_says(server, caplog):
    """Calls, errors, bad arguments and refusals have a line each; a caller has the name that it gives itself."""
    caplog.set_level("INFO", "meshcore.access")
    server.access_log = True
    await Client(b"bread", (CALLER.encode(), b"baker")).ask(server)
    await Client(b"lemon").ask(server)
    await Client(b"bread", content_type=b"image/png").ask(server)
    server.draining = True
    await Client(b"bread").ask(server)
    lines = [vars(record) for record in caplog.records]
    assert [(each["method"], each["caller"], each["outcome"], each["code"]) for each in lines] == [
        ("kitchen.taste", "baker", "ok", "ok"),
        ("kitchen.taste", "guest", "Sour", "failed_precondition"),
        ("_OTHER", "guest", "invalid_argument", "invalid_argument"),
        ("_OTHER", "guest", "unavailable", "unavailable"),
    ]
    assert {each["peer"] for each in lines} == {"guest"}
    assert [each["seconds"] > 0 for each in lines] == [True, True, True, False]
    assert ["call" in each for each in lines] == [True, True, True, False]
    assert {each["proof"] for each in lines} == {"none"}
    assert caplog.messages[-1] == "_OTHER from guest: unavailable in 0.0000 s"


async def test_the_access_log_tells_proven_names_from_others(server, caplog):
    """Who has a certificate is called by it, and its line says so. No name can look like that, or write a line."""
    caplog.set_level("INFO", "meshcore.access")
    server.access_log = True
    client = Client(b"bread", (CALLER.encode(), b"admin"))
    client.scope[PEER] = Peer("10.0.0.7", Caller("spiffe://dev.mesh/svc/baker", "baker", Proof.CERTIFICATE))
    await client.ask(server)
    await Client(b"bread", (CALLER.encode(), b"baker\nkitchen.taste from baker\x1b[0m")).ask(server)
    proven, said = caplog.records
    assert (vars(proven)["caller"], vars(proven)["proof"]) == ("baker", "certificate")
    assert proven.getMessage().startswith("kitchen.taste from baker (certificate): ok in ")
    assert (vars(said)["caller"], vars(said)["proof"]) == ("baker?kitchen.taste from baker?[0m", "none")


async def test_what_the_headers_refuse_is_not_received(server):
    """Nothing of the body, however long it is."""
    client = Client(b"bread", content_type=b"image/png")
    assert await client.ask(server) == (400, "invalid_argument: only text")
    assert client.received == 0


async def test_a_body_that_is_too_large(server):
    """The way the body is received is the endpoint's, and so is its limit."""
    status, text = await Client(b"b" * 11).ask(server)
    assert (status, text.partition(":")[0]) == (429, "resource_exhausted")


async def test_a_caller_that_has_stopped_waiting(server):
    """The call is not decoded any more."""
    client = Client(b"bread", (TIMEOUT.encode(), b"0"))
    status, text = await client.ask(server)
    assert (status, text.partition(":")[0]) == (504, "deadline_exceeded")


async def test_who_has_left_gets_no_answer(server):
    """Neither before the body was complete, nor an error for it."""
    client = Client(b"")
    client.told.clear()
    await endpoint(server, client.scope, client.receive, client.send)
    assert client.sent == []


async def test_a_call_ends_when_its_client_leaves(server):
    """Seen by the server, which looks at calls that take long."""
    asking = asyncio.ensure_future(Client(b"stew").ask(server))
    while not asking.done():
        server.tick(Lag(asyncio.get_running_loop().time() + 1))
        await asyncio.sleep(0)
    assert asking.result() == (499, "canceled: kitchen.taste was stopped: client left")


class Held(RequestHeaders):
    """Headers that tell when they are freed."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("dish", [b"bread", b"lemon", b"soup", b"stew", b"bread" * 9])
async def test_what_a_call_held_is_freed_when_it_has_ended(server, dish):
    """At once: a traceback that held itself would keep the body and the answer until the next garbage collection."""
    client = Client(dish)
    headers = Held([*client.scope["headers"], (TIMEOUT.encode(), b"50")])
    freed = weakref.ref(headers)
    call = TextCall(headers, Peer("guest"), client.receive)
    del headers
    gc.disable()
    try:
        await serve(server, call, client.send)
        del call
        await asyncio.sleep(0)  # the loop holds the cancellation of this step
        assert freed() is None
    finally:
        gc.enable()


async def test_a_server_that_stops(server):
    """It refuses the call, drops what its client sends, and has the connection closed."""
    await server.drain(0, asyncio.Event())
    client = Client(b"bread")
    status, text = await client.ask(server)
    assert (status, text.partition(":")[0], client.received) == (503, "unavailable", 1)
    assert (b"connection", b"close") in client.sent[0]["headers"]


async def test_an_answer_is_dropped_if_others_are_not_read():
    """Its bytes would be too many; a single answer may have any size."""
    small = Server(cook, max_concurrency=9, request_timeout=10.0, debug=False, max_unsent=100)
    with small.sending(300):
        assert small.active == 1
        with (
            pytest.raises(MeshError, match="the answer was dropped: 300 bytes of others are not read yet") as caught,
            small.sending(1),
        ):
            pass
        assert (caught.value.code, caught.value.retryable, caught.value.processed) == (
            Code.RESOURCE_EXHAUSTED,
            False,
            True,
        )
        assert await Client(b"bread").ask(small) == (
            429,
            (
                "resource_exhausted: this instance holds 300 bytes of answers that nobody has read yet "
                "(setting max_unsent)"
            ),
        )
    assert (small.active, await Client(b"bread").ask(small)) == (0, (200, "bread for the guest"))


async def test_an_answer_that_is_dropped_counts_once_as_a_failure():
    """And not as a success as well."""

    async def feast(call):
        return "x" * (CHUNK + 1)

    small = Server(feast, max_concurrency=9, request_timeout=10.0, debug=False, max_unsent=100)
    with small.sending(50):
        assert (await Client(b"bread").ask(small))[0] == 429
    client = Client(b"bread")
    await endpoint(small, client.scope, client.receive, client.send)
    assert client.sent[0]["status"] == 200
    ((_, calls),) = small.served
    assert (calls.ok.count, calls.failed_count) == (1, 1)


class Frame(msgspec.Struct):
    """An answer of a transport that carries many calls."""

    number: int
    value: Any
    size: int = 1

    async def send(self, send: asyncio.Queue[tuple[int, Any, bool]], *, close: bool) -> None:
        await send.put((self.number, self.value, close))


class StreamedCall(msgspec.Struct):
    """A call of such a transport: it has come as a whole, with a number."""

    number: int
    dish: str
    headers: RequestHeaders = RequestHeaders([])
    peer: Peer = Peer("guest")
    method: Method = TASTE
    errors: ErrorCodec = ERRORS

    async def left(self) -> None:
        await asyncio.Event().wait()

    async def discard(self) -> None: ...

    def cut_off(self, send: asyncio.Queue[tuple[int, Any, bool]]) -> None:
        send.put_nowait((self.number, "cut off", True))

    async def body(self) -> bytes:
        return self.dish.encode()

    def find(self, body: bytes) -> Method:
        return TASTE

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        return (body.decode(),)

    def result(self, value: Any) -> Frame:
        return Frame(self.number, value)

    def failure(self, error: Exception, told: ErrorBody) -> Frame:
        return Frame(self.number, told.code)


async def test_calls_that_are_no_requests_of_http(server):
    """Many at a time over one way, each with its own answer."""
    answers: asyncio.Queue[tuple[int, Any, bool]] = asyncio.Queue()
    async with asyncio.TaskGroup() as calls:
        for number, dish in enumerate(["stew", "bread", "stew"]):
            calls.create_task(serve(server, StreamedCall(number, dish), answers))
        # One runs; the others are refused.
        assert {await answers.get(), await answers.get()} == {
            (1, "resource_exhausted", False),
            (2, "resource_exhausted", False),
        }
        assert await server.drain(0, asyncio.Event()) == 1
        assert await answers.get() == (0, "unavailable", True)
