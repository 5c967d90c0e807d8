"""A mesh in memory does what one over the network does, and needs no socket for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
import yarl

from meshcore import (
    Call,
    Code,
    CommunicationError,
    ConfigurationError,
    Handler,
    Interceptors,
    LocalError,
    Mesh,
    MeshError,
    Policy,
    Settings,
    advice,
    create,
    health_checks,
    module,
    with_policy,
)
from meshcore.serve.mesh_app import MeshApp
from meshcore.testing import memory_mesh, run_virtually
from meshcore.testing.kits.channel_clauses import (
    CLAUSES,
    broken_connections,
    dead_endpoints,
    endless_answers,
    strange_answers,
)
from meshcore.testing.kits.channel_kit import client_module
from meshcore.testing.kits.channel_setup import Setup
from meshcore.testing.kits.conformance import Conformance
from meshcore.testing.kits.conformance_server import ConformanceImpl, ConformanceModule
from meshcore.testing.loopback import Loopback, LoopbackAdvice
from tests.support.wares import Ledger, Prices, SoldOut, Wares, WaresImpl, WaresModule

CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest"]
URL = "http://conformance.memory"
PLAIN = Settings(registry="local:", adaptive_limit=False, resilience=False)


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects or listens fails."""

    async def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("create_connection", "create_server", "sock_connect"):
        monkeypatch.setattr(asyncio.BaseEventLoop, name, refuse, raising=False)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.usefixtures("no_sockets")
async def test_a_call_takes_the_whole_way_without_a_socket(channel: str) -> None:
    """Results are decoded from bytes, exceptions arrive as their class, the server has an injector of its own."""
    async with memory_mesh(WaresModule, channel=channel) as mesh:
        wares = await mesh.get_service(Wares)
        assert await wares.look("apple") == 5
        with pytest.raises(SoldOut) as found:
            await wares.look("unicorn")
        assert found.value == SoldOut("unicorn")
        assert (await mesh.get(Ledger)).sold == ["apple", "unicorn"]
        assert mesh.requests == 2
        with pytest.raises(LocalError, match=r"not implemented in this process"):
            await mesh.get_service(Wares, "local")


# Those of other servers than ours open sockets, in memory as well: `check_channel` holds the channels to them.
OTHERS = {broken_connections, dead_endpoints, endless_answers, strange_answers}
OF_OURS = [each for each in CLAUSES if each not in OTHERS]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_channels_conform_in_memory(channel: str) -> None:
    """Each clause of the contract of channels holds in memory too: errors, deadlines, headers, cancellation, sizes."""
    async with setup(channel) as on:
        for clause in OF_OURS:
            try:
                await clause(on)
            except Exception as error:
                error.add_note(f"clause: {clause.__doc__}")
                raise


@asynccontextmanager
async def setup(channel: str) -> AsyncIterator[Setup]:
    """The setup of the conformance kit, in memory."""
    loopback = Loopback()
    max_body = 64 * 1024

    @module()
    class InMemory:
        @create()
        def loopback(self) -> Loopback:
            return loopback

    client = client_module([LoopbackAdvice], imports=[InMemory])

    @asynccontextmanager
    async def calling(url: str) -> AsyncIterator[Conformance]:
        settings = Settings(registry=f"static:conformance={channel}({url})", timeout=10.0, max_body=max_body)
        async with Mesh(client, settings=settings) as mesh:
            yield await mesh.get_service(Conformance, channel)

    settings = Settings(registry="local:", advertise_url=URL, max_body=max_body, adaptive_limit=False)
    app = MeshApp(ConformanceModule, settings=settings)
    async with app.running(), calling(URL) as service:
        loopback.serve(URL, app)
        yield Setup(service, await app.mesh.get(ConformanceImpl), calling, max_body, 10.0)
        app.hurry()
    await loopback.aclose()


class FakePrices(Prices):
    """What a test puts in the place of a service."""

    async def price(self, ware: str) -> int:
        return 42


class MisfitPrices(Prices):
    """A fake that has grown apart from its interface."""

    async def price(self, ware: bytes, currency: str) -> int:
        return 0


class Book(Ledger):
    """What a test puts in the place of an injectable."""


async def test_overrides_take_the_place_of_services_and_injectables() -> None:
    """A whole service and an injectable are replaced by objects, classes or functions, for all who use them."""
    book = Book()
    overrides: dict[type, object] = {Prices: FakePrices, Ledger: book}
    async with memory_mesh(WaresModule, overrides=overrides) as mesh:
        assert await (await mesh.get_service(Wares)).buy("apple") == 42  # who has it injected
        assert await (await mesh.get_service(Prices)).price("apple") == 42  # and who calls it from outside
    assert book.sold == ["apple"]


async def test_a_fake_must_fit_its_interface() -> None:
    """A fake that does not is found at the start, by method and parameter, and nothing is left behind."""
    with pytest.raises(ConfigurationError, match=r"MisfitPrices\.price") as found:
        async with memory_mesh(WaresModule, overrides={Prices: MisfitPrices()}):
            raise AssertionError("it must not start")
    assert "currency" in found.value.message


class Ledgers:
    """What nobody asks for."""


async def test_overrides_that_replace_nothing() -> None:
    """They are mistakes, and named."""
    with pytest.raises(ConfigurationError) as found:
        async with memory_mesh(WaresModule, overrides={Ledgers: Ledgers(), Ledger: Book()}):
            raise AssertionError("it must not start")
    assert found.value.problems == ("the override of Ledgers replaces nothing; did you mean 'Ledger'?",)


class Audited(Interceptors):
    """Found by what it is."""


@advice()
class Watched:
    """The same."""


@health_checks()
class Checked:
    """The same."""


async def test_overrides_that_nothing_asks_for_but_that_are_found() -> None:
    """Interceptors, advice and health checks count though nobody has them injected."""
    found: Mapping[type, object] = {Audited: Audited(), Watched: Watched(), Checked: Checked()}
    async with memory_mesh(WaresModule, overrides=found) as mesh:
        assert await (await mesh.get_service(Wares)).look("apple") == 5


async def test_instances_that_there_are_not() -> None:
    """Each way to name one says how many there are."""
    with pytest.raises(ValueError, match=r"^instances=0: must be 1 or more$"):
        async with memory_mesh(WaresModule, instances=0):
            raise AssertionError("it must not start")
    async with memory_mesh(WaresModule, instances=2) as mesh:
        for number in (7, 2, -1):
            text = f"^there is no instance {number}: there are 2, and the first is 0$"
            with pytest.raises(IndexError, match=text):
                mesh.refuse(number)
            with pytest.raises(IndexError, match=text):
                mesh.accept(number)
            with pytest.raises(IndexError, match=text):
                await mesh.get(Ledger, number)


async def test_the_deadline_of_the_caller_reaches_the_server() -> None:
    """It travels in a header as what is left of it, and nothing else of the caller's context does."""
    async with memory_mesh(WaresModule) as mesh:
        wares = await mesh.get_service(Wares)
        left = await with_policy(wares, Policy(timeout=5.0)).wait(0.0) - time.monotonic()
        assert 4.0 < left <= 5.0
        with pytest.raises(MeshError) as late:
            await with_policy(wares, Policy(timeout=0.05)).wait(30.0)
        assert late.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("fast", [False, True])
def test_a_caller_that_would_wait_for_ever(channel: str, *, fast: bool) -> None:
    """Its calls are calls as any other: results come, and declared exceptions; also if a server grants as much."""

    async def main() -> None:
        settings = msgspec.structs.replace(PLAIN, timeout=math.inf, request_timeout=math.inf, resilience=True)
        async with memory_mesh(WaresModule, channel=channel, settings=settings) as mesh:
            patient = await mesh.get_service(Wares)
            for wares in (patient, *(with_policy(patient, Policy(timeout=each)) for each in (1.1e7, 1e12, 1e300))):
                assert await wares.look("apple") == 5
                with pytest.raises(SoldOut):
                    await wares.look("unicorn")

    factory = pytest.importorskip("uvloop").new_event_loop if fast else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


async def test_a_caller_that_leaves_is_noticed() -> None:
    """The server sees the connection close, as over the network: its work is cancelled, the next call works."""
    async with memory_mesh(WaresModule) as mesh:
        wares, ledger = await mesh.get_service(Wares), await mesh.get(Ledger)
        task = asyncio.create_task(wares.linger())
        await ledger.begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        async with asyncio.timeout(5):
            await ledger.cancelled.wait()
        assert await wares.buy("apple") == 5


async def test_another_instance_takes_the_calls_of_one_that_crashed() -> None:
    """Calls are balanced between instances; what nobody listens for is sent elsewhere, idempotent or not."""
    async with memory_mesh(WaresModule, instances=2) as mesh:
        wares = await mesh.get_service(Wares)
        ledgers = [await mesh.get(Ledger, number) for number in (0, 1)]
        for _ in range(40):
            await wares.buy("apple")
        assert all(ledger.sold for ledger in ledgers)
        before = len(ledgers[1].sold)
        mesh.refuse(0)
        for _ in range(10):
            await wares.buy("pear")
        assert len(ledgers[1].sold) == before + 10
        mesh.refuse(1)
        with pytest.raises(CommunicationError, match="connection refused") as found:
            await wares.buy("plum")
        assert not found.value.processed
        mesh.accept(0)
        assert await wares.buy("plum") == 4


seen: list[str] = []


async def note(handler: Handler, call: Call) -> Any:
    """A client's interceptor."""
    seen.append(str(call.method))
    return await handler(call)


def calling_module() -> type:
    """A client's module: made here, so that it does not contain the fakes above."""

    class Calling:
        @create()
        def interceptors(self) -> Interceptors:
            return Interceptors(client=[note])

    Calling.__module__ = "nowhere"
    return module()(Calling)


async def test_the_client_has_a_module_of_its_own() -> None:
    """Its interceptors see the calls."""
    seen.clear()
    async with memory_mesh(WaresModule, client=calling_module()) as mesh:
        await (await mesh.get_service(Wares)).buy("apple")
    assert seen == ["wares.buy"]


def test_hours_pass_in_no_time() -> None:
    """In virtual time the whole mesh waits by the virtual clock, deadlines on both sides too."""

    async def scenario() -> tuple[float, float]:
        async with memory_mesh(WaresModule) as mesh:
            wares = await mesh.get_service(Wares)
            begun = time.monotonic()
            patient = with_policy(wares, Policy(timeout=50.0))
            left = await patient.wait(30.0) - time.monotonic()
            with pytest.raises(MeshError) as late:
                await wares.linger()
            assert late.value.code is Code.DEADLINE_EXCEEDED
            return left, time.monotonic() - begun

    begun = time.monotonic()
    left, passed = run_virtually(scenario())
    assert left == pytest.approx(20.0, abs=0.01)
    # The caller waits for ten minutes; the server grants no more than the setting `request_timeout`, one.
    assert passed == pytest.approx(90.0, abs=0.1)
    assert time.monotonic() - begun < 10.0


class SlowWares(WaresImpl):
    """Works in a thread."""

    def look(self, ware: str) -> int:  # type: ignore[override]
        time.sleep(0.02)
        return len(ware)


def test_virtual_time_waits_for_implementations_in_threads() -> None:
    """A `def` implementation is no reason to jump to the deadline of its call."""

    async def scenario() -> tuple[list[int], float]:
        async with memory_mesh(WaresModule, overrides={Wares: SlowWares}) as mesh:
            wares = await mesh.get_service(Wares)
            return [await wares.look(each) for each in ("apple", "pear")], asyncio.get_running_loop().time()

    found, passed = run_virtually(scenario())
    assert found == [5, 4]
    assert passed < 1.0


@pytest.mark.parametrize("begun", [True, False])
async def test_a_call_that_the_end_overtakes_fails(begun: bool) -> None:  # noqa: FBT001
    """Whoever still waits when the mesh ends hears of it, whether the server had begun with the call or not."""
    async with memory_mesh(WaresModule, settings=PLAIN) as mesh:
        wares, ledger = await mesh.get_service(Wares), await mesh.get(Ledger)
        task = asyncio.create_task(wares.linger())
        while not mesh.requests:
            await asyncio.sleep(0)
        if begun:
            await ledger.begun.wait()
    with pytest.raises(MeshError):
        await asyncio.wait_for(task, 5)


async def test_errors_of_an_application_are_those_of_a_server() -> None:
    """An application that fails answers 500, one that ends without an answer has closed the connection."""
    loopback = Loopback()
    url = yarl.URL("http://app.memory/a%20path?a=%26")
    told: list[Any] = []

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        told.append((scope["path"], scope["query_string"], (await receive())["body"]))
        raise RuntimeError("broken")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    loopback.serve("http://app.memory", failing)
    answer = await loopback.transmit("POST", url, {"a": "b"}, b"body")
    assert answer.status == 500
    assert told == [("/a path", b"a=%26", b"body")]
    loopback.serve("http://app.memory", silent)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await loopback.transmit("GET", url, {}, None)
    with pytest.raises(ValueError, match="control characters"):
        await loopback.transmit("GET", url, {"a": "b\r\nc: d"}, None)
    await loopback.aclose()
