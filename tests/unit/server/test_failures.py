"""What implementations raise, over every channel: whatever it is, the caller gets an error with a code."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import pytest

from meshcore import (
    AbstractComponent,
    AuthorizationError,
    Code,
    CommunicationError,
    Component,
    Mesh,
    MeshError,
    RemoteError,
    Service,
    Settings,
    client_module,
    component,
    get,
    idempotency_key,
    idempotent,
    implementation,
    module,
    post,
    raises,
    rest,
    service,
)
from meshcore.testing import memory_mesh
from meshcore.testing.servers import answering

CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest"]


@service()
class Ledger(Service):
    @abstractmethod
    async def note(self) -> None: ...


@component(name="ledger", services=[Ledger])
class LedgerComponent(Component): ...


@dataclass
class SoldOut(Exception):
    left: int

    def __post_init__(self) -> None:
        if self.left < 0:
            raise ValueError("less than nothing")


@service()
@rest("/shop")
class Shop(Service):
    @abstractmethod
    @idempotent
    @raises(SoldOut)
    @get("/{what}")
    async def fail(self, what: str) -> str: ...

    @abstractmethod
    @idempotency_key(seconds=60.0)
    @post("/orders/{what}")
    async def order(self, what: str) -> str: ...

    @abstractmethod
    @get("/executed")
    async def executed(self) -> int: ...


@service()
class Desk(Service):
    @abstractmethod
    async def refuse(self) -> str: ...


@component(name="shop", services=[Shop, Desk])
class ShopComponent(Component): ...


class Failing(Exception):
    """Is not declared."""


def raised(what: str) -> Exception:
    """What the implementation raises itself."""
    match what:
        case "surrogate":
            return MeshError(Code.NOT_FOUND, "no file caf\udce9")
        case "object":
            return MeshError(Code.NOT_FOUND, "no file", details={"where": object(), "why": "gone"})
        case "large":
            return MeshError(Code.NOT_FOUND, "no file", details={2: 2**70, "why": "gone"})
        case "no text":
            return MeshError(Code.NOT_FOUND, any_of(KeyError("file")))
        case "forbidden":
            return AuthorizationError(Code.PERMISSION_DENIED, "not yours")
        case _:
            return Failing("caf\udce9")


def any_of(value: object) -> Any:
    """The value, to use it as no type checker lets one."""
    return value


@implementation()
class ShopImpl(Shop):
    def __init__(self, ledger: Ledger, desk: Desk) -> None:
        self.ledger = ledger
        self.desk = desk
        self.count = 0

    async def executed(self) -> int:
        return self.count

    async def order(self, what: str) -> str:
        return await self.fail(what)

    async def fail(self, what: str) -> str:
        self.count += 1
        if what == "desk":
            await self.desk.refuse()
        if what == "cancelled":
            task = asyncio.create_task(asyncio.sleep(10))
            task.cancel()
            await task
        if what == "ledger":
            await self.ledger.note()
        raise raised(what)


@implementation()
class DeskImpl(Desk):
    async def refuse(self) -> str:
        raise AuthorizationError(Code.UNAUTHENTICATED, "the desk's own token is refused")


@implementation()
class ShopComponentImpl(AbstractComponent, ShopComponent): ...


@module(components=[LedgerComponent])
class ShopModule: ...


async def failure(channel: str, what: str) -> MeshError:
    """What the caller of one call sees."""
    async with memory_mesh(ShopModule, channel=channel) as mesh:
        with pytest.raises(MeshError) as caught:
            await (await mesh.get_service(Shop)).fail(what)
    return caught.value


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    ("what", "text", "details"),
    [
        ("surrogate", r"no file caf\udce9", {}),
        ("object", "no file", {"why": "gone"}),
        ("no text", "'file'", {}),
        ("forbidden", "not yours", {}),
    ],
)
async def test_an_error_arrives_whatever_it_carries(
    channel: str, what: str, text: str, details: dict[str, Any]
) -> None:
    """What no format can carry is left out or written out, and the call is not sent again for it."""
    error = await failure(channel, what)
    assert error.code is (Code.PERMISSION_DENIED if what == "forbidden" else Code.NOT_FOUND)
    assert (error.message, error.details) == (text, details)
    assert len(error.attempts) == 1


async def test_a_detail_that_one_format_cannot_carry_is_left_out_there(caplog: pytest.LogCaptureFixture) -> None:
    """And the log says which."""
    error = await failure("dispatch-msgpack", "large")
    assert error.details == {"why": "gone"}
    assert "raised an error whose detail 2 cannot be sent" in caplog.text


@pytest.mark.parametrize("channel", CHANNELS)
async def test_an_undeclared_exception_with_a_text_of_no_encoding(
    channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the server's secret, like any other."""
    caplog.set_level(logging.CRITICAL)  # the text would break the pipe between the processes of the tests
    assert (await failure(channel, "undeclared")).code is Code.INTERNAL


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_cancellation_of_its_own(channel: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has stopped the call, so it has failed; else it would go out as a cancellation of the server's task."""
    error = await failure(channel, "cancelled")
    assert (error.code, len(error.attempts)) == (Code.INTERNAL, 1)
    assert "CancelledError" in caplog.text


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_failed_call_of_its_own(channel: str, caplog: pytest.LogCaptureFixture) -> None:
    """The code says what to do about it; who was asked for what is the server's business, and in its log."""
    caplog.set_level(logging.ERROR)
    error = await failure(channel, "ledger")
    assert error.code is Code.UNAVAILABLE
    assert error.processed
    assert "ledger" not in error.message
    assert "component 'ledger' is offered by nobody" in caplog.text


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_failed_call_of_its_own_within_the_process(channel: str) -> None:
    """It makes no difference where that service is."""
    error = await failure(channel, "desk")
    assert (error.code, type(error)) == (Code.INTERNAL, RemoteError)
    assert "token" not in str(error)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    ("what", "code"), [("ledger", Code.UNAVAILABLE), ("desk", Code.INTERNAL), ("cancelled", Code.INTERNAL)]
)
async def test_a_keyed_call_that_failed_is_not_sent_again(channel: str, what: str, code: Code) -> None:
    """It is not executed again, so it can come to nothing else; who sends it again all the same hears the same code."""
    async with memory_mesh(ShopModule, channel=channel) as mesh:
        shop = await mesh.get_service(Shop)
        for count in (1, 2):  # two calls, each with a key of its own
            with pytest.raises(MeshError) as caught:
                await shop.order(what)
            assert (caught.value.code, len(caught.value.attempts)) == (code, 1)
            assert await shop.executed() == count


@pytest.mark.parametrize(
    ("left", "why"), [('"three"', "$.left: expected int, got str"), ("-1", "less than nothing")], ids=["type", "value"]
)
@pytest.mark.parametrize("channel", ["dispatch-json", "rest"])
async def test_a_declared_exception_of_another_version(channel: str, left: str, why: str) -> None:
    """What came is an answer of a mesh, to another version of the interface: no other instance would give a better."""
    fields = f'{{"left":{left}}}'
    error = f'{{"code":"not_found","message":"sold","type":"SoldOut","fields":{fields}}}'
    body = f'{{"result":null,"exception":{error}}}'
    if channel == "rest":
        body = f'{{"code":"not_found","processed":true,"exception":"SoldOut","fields":{fields}}}'
    answer = f"HTTP/1.1 404 Not Found\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    async with (
        answering([answer]) as url,
        Mesh(client_module(ShopComponent), settings=Settings(registry=f"static:shop={channel}({url})")) as mesh,
    ):
        with pytest.raises(CommunicationError) as caught:
            await (await mesh.get_service(Shop)).fail("x")
    assert caught.value.message.startswith(f"shop.fail raised SoldOut, but its fields do not fit: {why}")
    assert (caught.value.code, len(caught.value.attempts)) == (Code.INTERNAL, 1)


def starting_with(cls: type) -> type:
    """A module with another component; it is elsewhere, or it would own the component of this one as well."""
    bare = type("StartingModule", (), {"__module__": "tests.nowhere"})
    return module(provides=[ShopImpl, DeskImpl, cls], components=[LedgerComponent])(bare)


async def test_a_start_that_fails_raises_what_the_component_raised() -> None:
    """As itself, so that it can be caught; a note names the component."""

    @implementation()
    class Starting(AbstractComponent, ShopComponent):
        async def startup(self) -> None:
            raise Failing("the database is away") from OSError("no route to host")

    with pytest.raises(Failing, match="the database is away") as caught:
        async with Mesh(starting_with(Starting), settings=Settings(registry="local:")):
            pass
    assert caught.value.__notes__ == ["in startup() of component 'shop'"]
    assert str(caught.value.__cause__) == "no route to host"


async def test_a_start_that_waits_for_something_cancelled() -> None:
    """Nobody has stopped the start, so it has failed, and not ended in silence."""

    @implementation()
    class Starting(AbstractComponent, ShopComponent):
        async def startup(self) -> None:
            task = asyncio.create_task(asyncio.sleep(10))
            task.cancel()
            await task

    with pytest.raises(RuntimeError, match=r"startup\(\) of component 'shop' waited for something that was cancelled"):
        async with Mesh(starting_with(Starting), settings=Settings(registry="local:")):
            pass
