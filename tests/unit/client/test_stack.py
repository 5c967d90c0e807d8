"""Which instance is asked, how often, and what its caller is told: the client stack over a channel that fails."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import time
import weakref
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from meshcore import (
    Absent,
    Bound,
    Call,
    Channel,
    ChannelAddress,
    ChannelOptions,
    Code,
    CommunicationError,
    Component,
    Endpoint,
    Failed,
    FirstURLSelector,
    Handler,
    Instance,
    LocalError,
    MeshError,
    Pending,
    RemoteError,
    Service,
    Sighting,
    component,
    idempotency_key,
    idempotent,
    service,
)
from meshcore.client.balancer import Balancer
from meshcore.client.deadline import Limit
from meshcore.client.destination import Destination
from meshcore.client.stack import client_stack
from meshcore.client.why import explain
from meshcore.core.call import ambient_attempt
from meshcore.core.description import ComponentDescription
from meshcore.core.policy import DEFAULTS, Policy, Rules, resolve
from meshcore.declare.reader import describe_component
from meshcore.ports.registry import ComponentRegistry
from meshcore.registry import LocalComponentRegistry
from meshcore.testing import run_virtually
from meshcore.traffic.instance_monitor import State
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.traffic import Traffic
from meshcore.wire.headers import IDEMPOTENCY_KEY


@service()
class Shop(Service):
    @abstractmethod
    async def buy(self) -> str: ...

    @abstractmethod
    @idempotent
    async def look(self) -> str: ...

    @abstractmethod
    @idempotency_key()
    async def order(self) -> str: ...


@component(services=[Shop])
class ShopComponent(Component): ...


SHOP: ComponentDescription = describe_component(ShopComponent, [])
BUY, LOOK, ORDER = SHOP.services[0].methods


class Refused(CommunicationError):
    """No connection: certainly not processed."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "refused", processed=False)


class Lost(CommunicationError):
    """The connection broke: perhaps processed."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "lost")


class FailingChannel(Channel):
    """Answers with the instance's id, unless told to fail there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.attempts: list[int] = []
        self.keys: list[str] = []
        self.failures: dict[str, Callable[[], Exception]] = {}
        self.closed = 0
        self.gate: asyncio.Event | None = None

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Fail or answer."""
        self.asked.append(endpoint.instance)
        self.attempts.append(call.attempt)
        self.keys.append(call.headers.get(IDEMPOTENCY_KEY, ""))
        if self.gate is not None:
            await self.gate.wait()
        failure = self.failures.get(endpoint.instance)
        if failure is not None:
            raise failure() from OSError("the cause")
        return endpoint.instance

    async def aclose(self) -> None:
        """Count it."""
        self.closed += 1


class Client:
    """A destination to the shop, and what is needed to call it.

    Attributes:
        channels: by name, as far as they were made.
    """

    def __init__(self, registry: ComponentRegistry, known: str = "one two") -> None:
        self.registry = registry
        self.channels: dict[str, FailingChannel] = {}
        self.failures: dict[str, Callable[[], Exception]] = {}
        self.preferred = ""
        self.most = 1000
        self.rules = Rules(balance="round-robin", max_ejected=0.0)
        traffic = Traffic("shop-component", self.rules, time.monotonic, random.Random(1))
        self.destination = Destination(
            SHOP, registry, frozenset(known.split()), self.make, traffic, preferred=lambda: self.preferred
        )
        self._stack = AsyncExitStack()

    async def make(self, name: str, component: ComponentDescription) -> Channel:
        """Make a channel, slowly enough that two calls could both want to."""
        await asyncio.sleep(0)
        channel = FailingChannel()
        channel.failures = self.failures
        channel.bind(component, ChannelOptions())
        assert name not in self.channels
        self.channels[name] = channel
        return channel

    def handler(self, wanted: str = "", timeout: float = 5.0) -> Handler:
        """The client stack."""
        balance = Balancer(self.destination, wanted)
        rules = msgspec.structs.replace(self.rules, timeout=timeout)
        return client_stack(
            balance,
            self.destination.traffic,
            rules={BUY: rules, LOOK: rules, ORDER: rules},
            interceptors=(),
            limit=Limit(self.most),
        )

    async def announce(self, name: str, *channels: str) -> None:
        """An instance comes; the destination knows when this returns."""
        addresses = tuple(ChannelAddress(each, f"http://{name}") for each in channels or ("one",))
        waiting = self.changed()
        await self._stack.enter_async_context(self.registry.announce(Instance(name, "shop-component", addresses)))
        await waiting

    def changed(self) -> asyncio.Future[None]:
        """Done when the destination has seen something new."""
        return asyncio.ensure_future(self.destination.wait())


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[Client]:
    """A client whose destination follows the registry."""
    async with client.registry, client._stack:
        task = asyncio.create_task(client.destination.follow())
        while isinstance(client.destination.sighting, Pending) and isinstance(client.registry, LocalComponentRegistry):
            await client.destination.wait()
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.wait([task])
            await client.destination.aclose()


@asynccontextmanager
async def of_three() -> AsyncGenerator[Client]:
    """A client of three instances."""
    async with following(Client(LocalComponentRegistry())) as made:
        for name in "abc":
            await made.announce(name)
        yield made


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The same."""
    async with of_three() as made:
        yield made


# --- Who is asked again -----------------------------------------------------------------------------------------------


async def test_calls_go_to_the_instances_in_turn(client: Client) -> None:
    """Three calls reach three instances."""
    handler = client.handler()
    assert sorted([await handler(Call(BUY)) for _ in range(3)]) == ["a", "b", "c"]


async def test_what_was_refused_goes_to_each_other_instance(client: Client) -> None:
    """A call that was certainly not processed is sent until somebody takes it, to everybody before anybody twice."""
    client.failures |= {"a": Refused, "b": Refused}
    assert await client.handler()(Call(BUY)) == "c"
    assert client.channels["one"].asked == ["a", "b", "c"]
    assert client.channels["one"].attempts == [1, 2, 3]


async def test_what_may_have_begun_is_not_sent_again(client: Client) -> None:
    """A call that is not idempotent and may have been processed fails as it is."""
    client.failures |= {"a": Lost}
    with pytest.raises(Lost) as lost:
        await client.handler()(Call(BUY))
    assert lost.value.instance == "a"
    assert client.channels["one"].asked == ["a"]


async def test_what_may_have_begun_is_sent_again_if_it_is_idempotent(client: Client) -> None:
    """An idempotent call is tried elsewhere."""
    client.failures |= {"a": Lost, "b": Refused}
    assert await client.handler()(Call(LOOK)) == "c"


async def test_an_idempotent_call_has_a_bound(client: Client) -> None:
    """What may have begun is sent three times in all, and to two instances, however many are left."""
    for name in "de":
        await client.announce(name)
    client.failures |= dict.fromkeys("abcde", Lost)
    with pytest.raises(Lost):
        await client.handler()(Call(LOOK))
    assert client.channels["one"].asked == ["a", "b", "a"]
    assert DEFAULTS.attempts == 3


@pytest.mark.parametrize("method", [BUY, LOOK])
async def test_the_last_real_error_is_raised_when_nobody_is_left(client: Client, method: Any) -> None:
    """Not that nobody is left, but what the last one said; its own cause stays with it."""

    def full_for_a_minute() -> Exception:
        return RemoteError(Code.RESOURCE_EXHAUSTED, "c is full", processed=False, retry_after=60.0)

    client.failures |= {"a": Refused, "b": Refused, "c": full_for_a_minute}
    with pytest.raises(RemoteError, match="c is full") as full:
        await client.handler()(Call(method))
    assert full.value.instance == "c"
    assert isinstance(full.value.__cause__, OSError)
    assert client.channels["one"].asked == ["a", "b", "c"]


@pytest.mark.parametrize(
    "failure",
    [
        lambda: RemoteError(Code.NOT_FOUND, "no"),
        lambda: RemoteError(Code.NOT_FOUND, "no", processed=False),
        lambda: CommunicationError(Code.INTERNAL, "no", retryable=False),
        lambda: LocalError(Code.INVALID_ARGUMENT, "no"),
        lambda: ValueError("no"),
    ],
)
async def test_what_would_fail_again_is_not_sent_again(client: Client, failure: Callable[[], Exception]) -> None:
    """An answer that no other instance would better, and any exception that is not the mesh's, is final."""
    client.failures |= dict.fromkeys("abc", failure)
    with pytest.raises(Exception, match="no"):
        await client.handler()(Call(LOOK))
    assert client.channels["one"].asked == ["a"]


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.UNAVAILABLE])
@pytest.mark.parametrize("call", [Call(BUY), Call(LOOK)], ids=["write", "read"])
async def test_an_error_is_freed_with_what_its_caller_held(client: Client, call: Call, code: Code) -> None:
    """At once: an error whose traceback holds itself would keep the arguments and the frames of its caller."""
    freed: list[weakref.ref[Exception]] = []

    def failure() -> Exception:
        error = RemoteError(code, "no")
        freed.append(weakref.ref(error))
        return error

    client.failures |= dict.fromkeys("abc", failure)
    gc.disable()
    try:
        with suppress(RemoteError):
            await client.handler()(call)
        assert freed
        assert {each() for each in freed} == {None}
    finally:
        gc.enable()


async def test_a_channel_at_a_loss_is_a_failing_instance() -> None:
    """What is neither the mesh's nor declared says that this instance cannot be asked: others get the calls."""
    async with following(Client(LocalComponentRegistry())) as client:
        client.rules = Rules(balance="round-robin", max_ejected=0.5)
        client.destination.traffic = Traffic("shop-component", client.rules, time.monotonic, random.Random(1))
        for name in "ab":
            await client.announce(name)
        client.failures["a"] = lambda: ValueError("no")
        handler = client.handler()
        answers = await asyncio.gather(*(handler(Call(BUY)) for _ in range(12)), return_exceptions=True)
        assert [type(each) for each in answers].count(ValueError) == DEFAULTS.consecutive_failures == 5
        assert client.destination.traffic.ejection["a"].state is State.EJECTED
        assert [await handler(Call(BUY)) for _ in range(4)] == ["b"] * 4


async def test_an_instance_that_was_tried_over_one_channel_is_not_tried_over_another(client: Client) -> None:
    """It is the instance that failed, so only instances that were not asked are asked over the next channel."""
    await client.announce("d", "two", "one")
    await client.announce("e", "two")
    client.failures |= dict.fromkeys("abcd", Refused)
    assert await client.handler()(Call(BUY)) == "e"
    asked = client.channels["one"].asked + client.channels["two"].asked
    assert sorted(asked) == ["a", "b", "c", "d", "e"]


async def test_a_sole_instance_gets_a_second_chance() -> None:
    """When all were tried, they are asked again after a pause, three times in all; then its error is the call's."""
    async with following(Client(LocalComponentRegistry())) as client:
        await client.announce("a")
        answers = iter([Refused, Lost])

        def failure() -> Exception:
            for kind in answers:
                if kind is Lost:
                    del client.failures["a"]
                return kind()
            raise AssertionError

        client.failures["a"] = failure
        assert await client.handler()(Call(LOOK)) == "a"
        client.failures["a"] = Refused
        with pytest.raises(Refused):
            await client.handler()(Call(BUY))
        assert client.channels["one"].attempts == [1, 2, 3, 1, 2, 3]
        client.failures["a"] = Lost
        with pytest.raises(Lost):
            await client.handler()(Call(BUY))


async def test_when_the_last_instance_leaves_its_error_is_the_call_s() -> None:
    """A call whose only instance failed and is then withdrawn fails with that error, without waiting for another."""
    async with following(Client(Script())) as client:
        await client.registry.say(client, Bound((A,)))

        def failure() -> Exception:
            client.destination.update(Absent())
            return Refused()

        client.failures["a"] = failure
        with pytest.raises(Refused):
            await client.handler(timeout=60)(Call(BUY))
        assert client.channels["one"].asked == ["a"]


# --- Channels ---------------------------------------------------------------------------------------------------------


async def test_the_channel_that_is_used(client: Client) -> None:
    """The one asked for, else the preferred one if it is offered, else the first that an instance offers."""
    await client.announce("d", "unknown", "two", "one")
    assert client.destination.offered_channels() == ("one", "two")
    assert await client.handler()(Call(BUY)) == "a"
    assert await client.handler("two")(Call(BUY)) == "d"
    client.preferred = "two"
    assert client.destination.offered_channels() == ("two", "one", "two")
    assert await client.handler()(Call(BUY)) == "d"
    client.preferred = "unknown"
    assert client.destination.offered_channels() == ("one", "two")


async def test_a_channel_is_made_once(client: Client) -> None:
    """Calls that are the first at the same time share one channel."""
    handler = client.handler()
    answers = await asyncio.gather(*(handler(Call(BUY)) for _ in range(30)))
    assert sorted(answers) == sorted("abc" * 10)


async def test_a_channel_that_is_not_offered(client: Client) -> None:
    """The text says what is offered instead."""
    with pytest.raises(CommunicationError) as nobody:
        await client.handler("two")(Call(BUY))
    assert (nobody.value.code, nobody.value.processed) == (Code.UNAVAILABLE, False)
    assert nobody.value.message == (
        "component 'shop-component' is offered, but not over channel 'two'; its instances offer: one"
    )


async def test_no_channel_that_is_known_here() -> None:
    """The text says so if all that is offered needs a channel that is not installed."""
    async with following(Client(LocalComponentRegistry(), "three")) as client:
        await client.announce("a", "one", "two")
        with pytest.raises(CommunicationError) as nobody:
            await client.handler()(Call(BUY))
        assert nobody.value.message == (
            "component 'shop-component' is offered, but not over a channel that is known here; "
            "its instances offer: one, two"
        )


# --- What the registry says -------------------------------------------------------------------------------------------


class Script(ComponentRegistry):
    """Says what it is told to."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Sighting | Exception] = asyncio.Queue()

    def announce(self, instance: Instance) -> Any:
        """Not needed."""
        raise NotImplementedError

    async def watch(self, component: str) -> AsyncGenerator[Sighting, None]:
        """What it is told."""
        while True:
            said = await self.said.get()
            if isinstance(said, Exception):
                raise said
            yield said

    async def instances(self) -> dict[str, tuple[Instance, ...]]:
        """Not needed."""
        raise NotImplementedError

    async def say(self, client: Client, *sightings: Sighting | Exception) -> None:
        """Say something and return when the destination has seen it."""
        for sighting in sightings:
            waiting = client.changed()
            await asyncio.sleep(0)
            self.said.put_nowait(sighting)
            await waiting


A = Instance("a", "shop-component", (ChannelAddress("one", "http://a"),))


@pytest.fixture
async def scripted() -> AsyncIterator[Client]:
    """A client whose registry says what it is told to."""
    async with following(Client(Script())) as made:
        yield made


async def test_while_nothing_is_known_a_call_waits(scripted: Client) -> None:
    """A call before the first sighting is sent as soon as an instance is there."""
    call = asyncio.ensure_future(scripted.handler()(Call(BUY)))
    await asyncio.sleep(0)
    assert not call.done()
    await scripted.registry.say(scripted, Bound((A,)))
    assert await call == "a"


async def test_waiting_ends_at_the_deadline(scripted: Client) -> None:
    """If the registry never says anything the call fails when its time is up."""
    begun = time.monotonic()
    with pytest.raises(CommunicationError) as late:
        await scripted.handler(timeout=0.05)(Call(BUY))
    assert late.value.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("sighting", "wanted", "text"),
    [
        (Absent(), "", "component 'shop-component' is offered by nobody, says Script()"),
        (Absent(), "one", "component 'shop-component' is offered by nobody over channel 'one', says Script()"),
        (
            Failed(OSError("no destination to host")),
            "",
            "component 'shop-component' cannot be looked up: Script(): no destination to host",
        ),
        (
            Failed(OSError("no destination to host")),
            "one",
            "component 'shop-component' cannot be looked up over channel 'one': Script(): no destination to host",
        ),
    ],
)
async def test_without_instances_a_call_fails_fast(
    scripted: Client, sighting: Sighting, wanted: str, text: str
) -> None:
    """When the registry says that nobody is there, or that it cannot tell, a call fails at once and says so."""
    await scripted.registry.say(scripted, sighting)
    with pytest.raises(CommunicationError) as nobody:
        await scripted.handler(wanted)(Call(BUY))
    assert nobody.value.message == text
    assert (nobody.value.code, nobody.value.processed, nobody.value.instance) == (Code.UNAVAILABLE, False, None)


async def test_what_is_known_stays_in_use_when_the_registry_fails(scripted: Client) -> None:
    """The registry's trouble is not the instances'; only when it says that they are gone they are."""
    await scripted.registry.say(scripted, Bound((A,)))
    scripted.registry.said.put_nowait(Failed(OSError("gone")))
    while not scripted.registry.said.empty():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert scripted.destination.sighting == Bound((A,))
    assert await scripted.handler()(Call(BUY)) == "a"
    await scripted.registry.say(scripted, Absent())
    with pytest.raises(MeshError, match="offered by nobody"):
        await scripted.handler()(Call(BUY))
    await scripted.registry.say(scripted, Failed(OSError("gone")), Bound((A,)))
    assert await scripted.handler()(Call(BUY)) == "a"


async def test_a_watch_that_breaks_is_a_failed_sighting(scripted: Client, caplog: pytest.LogCaptureFixture) -> None:
    """An adapter that raises does not end the following: it is logged, and watched again."""
    await scripted.registry.say(scripted, RuntimeError("a mistake"))
    assert isinstance(scripted.destination.sighting, Failed)
    assert "watching shop-component failed" in caplog.text
    await scripted.registry.say(scripted, Bound((A,)))
    assert await scripted.handler()(Call(BUY)) == "a"


class Picky(FirstURLSelector):
    """Does not know what to do with as many endpoints as the test says."""

    def __init__(self, *wrong: int) -> None:
        super().__init__()
        self.wrong = wrong

    def update(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Take them over or fail."""
        if len(endpoints) in self.wrong:
            raise ZeroDivisionError("a mistake")
        super().update(endpoints, now)


B = Instance("b", "shop-component", (ChannelAddress("one", "http://b"), ChannelAddress("two", "http://b")))


async def test_a_selector_that_fails(scripted: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Its channel is not used, with a code and a reason, until it takes over what is there; all else goes on."""
    await scripted.registry.say(scripted, Bound((A, B)))
    assert await scripted.handler("two")(Call(BUY)) == "b"
    assert await scripted.handler("one")(Call(BUY)) == "a"
    scripted.channels["one"].select(Picky(0, 2))
    await scripted.registry.say(scripted, Absent())
    assert "did not take over the instances of shop-component" in caplog.text
    with pytest.raises(CommunicationError, match="offered by nobody over channel 'one', says Script"):
        await scripted.handler("one")(Call(BUY))
    await scripted.registry.say(scripted, Bound((A, B)))
    with pytest.raises(CommunicationError) as broken:
        await scripted.handler("one")(Call(BUY))
    text = (
        "component 'shop-component' is offered; its instances offer: one, two; "
        "channel 'one' cannot choose one: Picky.update raised ZeroDivisionError: a mistake"
    )
    assert (broken.value.message, broken.value.code, broken.value.processed) == (text, Code.UNAVAILABLE, False)
    assert explain(scripted.destination, BUY, resolve([]), "one").problem == text
    assert await scripted.handler()(Call(BUY)) == "b"
    await scripted.registry.say(scripted, Bound((A,)))
    assert await scripted.handler("one")(Call(BUY)) == "a"


async def test_a_selector_that_fails_from_the_start(scripted: Client) -> None:
    """The channel is made once, and used as soon as it can be."""
    made = scripted.make

    async def make(name: str, of: ComponentDescription) -> Channel:
        channel = await made(name, of)
        channel.select(Picky(1))
        return channel

    scripted.destination._make = make
    await scripted.registry.say(scripted, Bound((A,)))
    for _ in range(2):
        with pytest.raises(CommunicationError, match="a mistake"):
            await scripted.handler()(Call(BUY))
    await scripted.registry.say(scripted, Bound((A, B)))
    assert await scripted.handler("one")(Call(BUY)) == "a"


async def test_a_selector_that_fails_at_a_call(client: Client) -> None:
    """Whether at its begin or at its end, no instance is taken for one that has a call in hand."""

    class Clumsy(FirstURLSelector):
        def begin(self, endpoint: Endpoint) -> None:
            raise ZeroDivisionError("begin")

    class Forgetful(FirstURLSelector):
        def end(self, endpoint: Endpoint, outcome: Outcome, seconds: float, now: float) -> None:
            raise ZeroDivisionError("end")

    handler = client.handler()
    await handler(Call(BUY))
    for selector in (Clumsy(), Forgetful()):
        client.channels["one"].select(selector)
        client.destination.update(client.destination.sighting)
        with pytest.raises(ZeroDivisionError):
            await handler(Call(BUY))
    assert [client.destination.traffic.ejection[name].pending for name in "abc"] == [0, 0, 0]


# --- The end ----------------------------------------------------------------------------------------------------------


async def test_closing_tells_whoever_waits() -> None:
    """A call that waits for a first sighting fails when the mesh stops, and so does one that would need a channel."""
    client = Client(Script())
    handler = client.handler()
    waiting = asyncio.ensure_future(handler(Call(BUY)))
    await asyncio.sleep(0)
    await client.destination.aclose()
    with pytest.raises(LocalError, match="component 'shop-component': the mesh has stopped"):
        await waiting
    client.destination.update(Bound((A,)))
    with pytest.raises(LocalError, match="the mesh has stopped"):
        await handler(Call(BUY))
    assert client.channels == {}


async def test_all_channels_are_closed(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """One that fails to close is logged and keeps none of the others open."""
    await client.announce("d", "two")
    assert await client.handler("one")(Call(BUY)) == "a"
    assert await client.handler("two")(Call(BUY)) == "d"

    async def fail() -> None:
        raise OSError("cannot close")

    client.channels["one"].aclose = fail  # type: ignore[method-assign]
    await client.destination.aclose()
    assert client.channels["two"].closed == 1
    assert "cannot close" in caplog.text


# --- What is not asked, and what is told ------------------------------------------------------------------------------


async def test_an_instance_that_fails_is_left_alone(client: Client) -> None:
    """Five failures in a row, and it is not asked any more; `why` says so, and when it will be."""
    client.destination.traffic = Traffic(
        "shop-component", Rules(balance="round-robin"), time.monotonic, random.Random(1)
    )
    client.destination.update(client.destination.sighting)
    handler = client.handler()
    client.failures["b"] = Lost
    for _ in range(15):
        with suppress(MeshError):
            await handler(Call(BUY))
    asked = client.channels["one"].asked
    assert asked.count("b") == 5
    del asked[:]
    for _ in range(9):
        await handler(Call(BUY))
    assert set(asked) == {"a", "c"}
    resolved = resolve([("call", Policy(balance="round-robin"))])
    found = explain(client.destination, BUY, resolved, "")
    assert (found.channel, found.choice) == ("one", "the instances in turn, by weight")
    assert found.rules["balance"] == ("round-robin", "call")
    assert [(each.instance, each.state) for each in found.instances] == [
        ("a", "admitted"),
        ("b", "ejected"),
        ("c", "admitted"),
    ]
    assert found.instances[1].remark.startswith("is probed in ")


async def test_all_instances_are_full(client: Client) -> None:
    """With as many calls in hand as they may have the next is refused here, and was not processed."""
    rules = Rules(balance="round-robin", concurrency=2)
    client.destination.traffic = Traffic("shop-component", rules, time.monotonic, random.Random(1))
    client.destination.update(client.destination.sighting)
    handler = client.handler()
    await handler(Call(BUY))
    gate = client.channels["one"].gate = asyncio.Event()
    calls = [asyncio.ensure_future(handler(Call(BUY))) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(CommunicationError) as full:
        await handler(Call(BUY))
    assert (full.value.code, full.value.processed) == (Code.RESOURCE_EXHAUSTED, False)
    assert "has 2 calls of this mesh in flight" in full.value.message
    gate.set()
    assert sorted(await asyncio.gather(*calls)) == ["a", "a", "b", "b", "c", "c"]
    await handler(Call(BUY))


async def test_a_mesh_has_so_many_calls_under_way(client: Client) -> None:
    """Beyond that a call is refused before anything is done, and there is room again when one has ended."""
    client.most = 1
    rules = {BUY: client.rules, LOOK: client.rules}
    limit = Limit(1)
    balance = Balancer(client.destination, "")
    handler = client_stack(balance, client.destination.traffic, rules=rules, interceptors=(), limit=limit)
    await handler(Call(BUY))
    gate = client.channels["one"].gate = asyncio.Event()
    first = asyncio.ensure_future(handler(Call(BUY)))
    await asyncio.sleep(0)
    with pytest.raises(LocalError, match="1 calls of this mesh are in flight already"):
        await handler(Call(BUY))
    gate.set()
    await first
    await handler(Call(BUY))


async def test_an_error_tells_what_was_tried(client: Client) -> None:
    """Instances, channel and outcome of each attempt, on the error and in its traceback."""
    handler = client.handler()
    client.failures = dict.fromkeys("abc", Lost)
    with pytest.raises(MeshError) as lost:
        await handler(Call(LOOK))
    attempts = lost.value.attempts
    assert [(each.instance, each.channel, each.outcome) for each in attempts] == [
        (name, "one", "unavailable") for name in "aba"
    ]
    assert all(each.seconds is not None for each in attempts)
    assert "".join(lost.value.__notes__).startswith("tried: a over one: unavailable after ")


async def test_a_call_below_a_retry_is_not_retried(client: Client) -> None:
    """What may have begun is not sent again by a call that serves a second attempt; what was refused still is."""
    handler = client.handler()
    token = ambient_attempt.set(2)
    try:
        client.failures = {"a": Lost}
        with pytest.raises(Lost):
            await handler(Call(LOOK))
        client.failures.update(b=Refused)
        assert await handler(Call(LOOK)) == "c"
    finally:
        ambient_attempt.reset(token)


async def test_retries_are_bounded_by_a_budget(client: Client) -> None:
    """When everything fails, a thousand calls are not three thousand: a fifth more, and what the reserve grants."""
    client.failures = dict.fromkeys("abc", Lost)
    handler = client.handler()
    for _ in range(1000):
        with pytest.raises(Lost):
            await handler(Call(LOOK))
    assert 1000 + 200 <= len(client.channels["one"].asked) <= 1000 + 200 + 100 + 1


class Busy(RemoteError):
    """Too much to do."""

    def __init__(self) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, "busy", processed=False)
        self.retry_after = 0.2


def test_who_asks_for_time_gets_it() -> None:
    """The others are asked at once; the same ones only after the time that they asked for, as long as there is time."""

    async def scenario() -> None:
        async with of_three() as client:
            client.failures = dict.fromkeys("abc", Busy)
            handler = client.handler(timeout=0.5)
            begin = time.monotonic()
            with pytest.raises(Busy) as busy:
                await handler(Call(LOOK))
            asked = [attempt.began - begin for attempt in busy.value.attempts]
            assert len(asked) > 3
            assert asked[2] < 0.2 <= asked[3]
            handler = client.handler(timeout=0.15)
            begin = time.monotonic()
            with pytest.raises(Busy):  # and nobody waits for a time that will not come
                await handler(Call(LOOK))
            assert time.monotonic() - begin < 0.15

    run_virtually(scenario())


async def test_a_write_with_a_key_is_sent_again_to_where_it_may_have_begun(client: Client) -> None:
    """To no other instance, and with the same key; what certainly did not begin may go anywhere."""
    client.failures["a"] = Lost
    handler = client.handler()
    with pytest.raises(Lost) as error:
        await handler(Call(ORDER))
    assert [attempt.instance for attempt in error.value.attempts] == ["a", "a", "a"]
    client.failures["b"] = iter([Lost(), Refused(), Refused()]).__next__
    with pytest.raises(Lost) as error:  # not `Refused`: it may have begun
        await handler(Call(ORDER))
    assert [attempt.instance for attempt in error.value.attempts] == ["b", "b", "b"]
    client.failures.clear()
    client.failures["c"] = Refused
    assert await handler(Call(ORDER)) == "a"
    assert client.channels["one"].asked[-2:] == ["c", "a"]
    keys = client.channels["one"].keys
    assert len(keys) == 8
    assert len({*keys[:3]}) == len({*keys[3:6]}) == len({*keys[6:]}) == 1
    assert len(set(keys)) == 3


async def test_interceptors_see_the_attempts(client: Client) -> None:
    """A user's interceptor stands outside of retries: it sees a call once, and afterwards what was tried."""
    seen: list[list[str]] = []

    async def watch(handler: Handler, call: Call) -> Any:
        try:
            return await handler(call)
        finally:
            seen.append([f"{attempt.instance} {attempt.outcome}" for attempt in call.trail])

    client.failures["a"] = Refused
    balance = Balancer(client.destination, "")
    rules = {BUY: client.rules}
    handler = client_stack(balance, client.destination.traffic, rules=rules, interceptors=[watch], limit=Limit(9))
    assert await handler(Call(BUY)) == "b"
    assert seen == [["a unavailable", "b ok"]]


async def test_a_cancelled_attempt_says_nothing_and_frees_what_it_held(client: Client) -> None:
    """However many are cancelled: no failure is counted, and nothing stays in hand."""
    client.destination.traffic = Traffic(
        "shop-component", Rules(balance="round-robin"), time.monotonic, random.Random(1)
    )
    client.destination.update(client.destination.sighting)
    handler = client.handler()
    await handler(Call(BUY))
    client.channels["one"].gate = asyncio.Event()
    calls = [asyncio.ensure_future(handler(Call(BUY))) for _ in range(60)]
    await asyncio.sleep(0)
    ejection = client.destination.traffic.ejection
    assert [ejection[name].pending for name in "abc"] == [20, 20, 20]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    assert [ejection[name].pending for name in "abc"] == [0, 0, 0]
    assert not ejection.avoided


async def test_the_log_says_who_is_left_alone_and_when_that_stops_helping(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """An ejection is a warning; more failing instances than may be ejected are an error, said once."""
    client.destination.traffic = Traffic(
        "shop-component", Rules(balance="round-robin"), time.monotonic, random.Random(1)
    )
    client.destination.update(client.destination.sighting)
    client.failures = dict.fromkeys("abc", Lost)
    handler = client.handler()
    for _ in range(40):
        with pytest.raises(Lost):
            await handler(Call(BUY))
    said = [record.getMessage() for record in caplog.records if record.name == "meshcore.traffic.traffic"]
    assert re.fullmatch(r"shop-component: instance [abc] fails and is ejected for [\d.]+ s", said[0])
    assert said[1:] == [
        "shop-component: too many instances fail, so no further one is ejected; the cause may not be the instances"
    ]


async def test_of_very_many_instances_a_hundred_are_used() -> None:
    """The same ones by the same client each time, others by another."""
    instances = tuple(
        Instance(f"i{number:03}", "shop-component", (ChannelAddress("one", f"http://h{number}"),))
        for number in range(250)
    )
    used = []
    for name in ("one", "one", "other"):
        client = Client(LocalComponentRegistry())
        client.destination = Destination(
            SHOP, client.registry, frozenset({"one"}), client.make, client.destination.traffic, name
        )
        client.destination.update(Bound(instances))
        used.append({instance.id for instance in client.destination.instances})
    assert [len(each) for each in used] == [100, 100, 100]
    assert used[0] == used[1] != used[2]


# --- Weights and shares -----------------------------------------------------------------------------------------------


async def test_an_instance_of_weight_0_gets_no_new_calls(scripted: Client) -> None:
    """Under every selector, also a user's own; hedges leave it out; `why` says so; alone, nobody is asked."""
    idle = msgspec.structs.replace(B, weight=0)
    await scripted.registry.say(scripted, Bound((A, idle)))
    handler = scripted.handler("one")
    assert {await handler(Call(BUY)) for _ in range(20)} == {"a"}
    scripted.channels["one"].select(Picky())
    await scripted.registry.say(scripted, Bound((A, idle)))
    assert not scripted.destination.traffic.ejection.has_other(("a",))
    found = explain(scripted.destination, BUY, resolve([]), "one")
    assert [each.remark for each in found.instances] == ["", "has the weight 0, so it gets no new calls"]
    await scripted.registry.say(scripted, Bound((idle,)))
    with pytest.raises(CommunicationError) as nobody:
        await handler(Call(BUY))
    assert (nobody.value.code, nobody.value.processed) == (Code.UNAVAILABLE, False)
    assert nobody.value.message == (
        "component 'shop-component': every instance over channel 'one' has the weight 0, so none takes new calls "
        "(setting weight)"
    )


def test_why_says_what_bends_a_share() -> None:
    """A rest after a failure, a silence, a latency; and the share by weight beside it."""

    async def scenario() -> None:
        async with following(Client(Script())) as client:
            names = "abcd"
            address = (ChannelAddress("one", "http://one"),)
            weights = {"a": 1, "b": 2, "c": 3, "d": 4}
            all_of_them = tuple(Instance(name, SHOP.name, address, weight=weights[name]) for name in names)
            client.destination.traffic.clock = asyncio.get_running_loop().time
            await client.registry.say(client, Bound(all_of_them))
            await client.handler()(Call(BUY))
            channel = client.channels["one"]
            endpoints = {name: Endpoint(name, "http://one", weight=weights[name]) for name in names}
            for name, seconds in {"a": 0.01, "b": 0.5, "c": 0.01, "d": 0.01}.items():
                for _ in range(5):
                    channel.selector.begin(endpoints[name])
                    channel.selector.end(endpoints[name], Outcome.SUCCEEDED, seconds, 0.0)
            channel.selector.begin(endpoints["c"])
            await asyncio.sleep(1.0)
            channel.selector.end(endpoints["d"], Outcome.FAILED, 0.0, 1.0)
            found = explain(client.destination, BUY, resolve([]), "")
            assert [each.share for each in found.instances] == [0.1, 0.2, 0.3, 0.4]
            assert [each.remark for each in found.instances] == [
                "",
                "is slower than another one and gets fewer calls",
                "has answered nothing for 1.0 s and gets fewer calls",
                "rests for 0.5 s, as a call failed",
            ]

    run_virtually(scenario())
