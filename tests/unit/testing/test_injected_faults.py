"""Injected faults: what they do is what the real ones do, chance is seeded, and the data plane copes as it promises."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.greeting import Greeting, GreetingComponent
from meshcore import (
    Code,
    CommunicationError,
    ConfigurationError,
    LocalError,
    Mesh,
    MeshError,
    Policy,
    RemoteError,
    Settings,
    load_settings,
    module,
    with_policy,
)
from meshcore.testing import Fault, Faults, memory_mesh, run_virtually, with_faults
from meshcore.testing.servers import answering, refusing
from tests.support.wares import Ledger, SoldOut, Wares, WaresModule

NONE, REFUSE, DROP, ERROR, GARBAGE = Fault.NONE, Fault.REFUSE, Fault.DROP, Fault.ERROR, Fault.GARBAGE
PLAIN = Settings(registry="local:", adaptive_limit=False, resilience=False)
SHARES = st.tuples(*[st.floats(0, 0.25)] * 4)


@given(st.integers(), SHARES)
def test_the_same_seed_has_the_same_course(seed: int, shares: tuple[float, ...]) -> None:
    """Two with equal numbers do the same to every attempt."""
    numbers = dict(zip(["refuse", "drop", "error", "garbage"], shares, strict=True))
    one, other = (Faults(seed, latency=(0.1, 0.2), **numbers) for _ in range(2))
    course = [one.next() for _ in range(50)]
    assert course == [other.next() for _ in range(50)]
    assert all(0.1 <= wait <= 0.2 for wait, _ in course)
    assert one.happened == [fault for _, fault in course]


def test_the_shares_are_kept() -> None:
    """Each fault befalls its share of the attempts; the same attempts, if another share is turned off."""
    faults = Faults("a seed", refuse=0.1, drop=0.2, error=0.05, garbage=0.15)
    found = Counter(faults.next()[1] for _ in range(10_000))
    for fault, share in ((REFUSE, 0.1), (DROP, 0.2), (ERROR, 0.05), (GARBAGE, 0.15), (NONE, 0.5)):
        assert found[fault] / 10_000 == pytest.approx(share, abs=0.02)
    less = Faults("a seed", refuse=0.1)
    refused = [less.next()[1] is REFUSE for _ in range(10_000)]
    assert refused == [fault is REFUSE for fault in faults.happened]


@pytest.mark.parametrize("shares", [{"refuse": -0.1}, {"drop": 0.6, "error": 0.6}, {"garbage": 1.1}])
def test_shares_that_cannot_be(shares: dict[str, float]) -> None:
    """Shares below zero, and those of more than all, are refused with what was said."""
    with pytest.raises(ValueError, match="the shares of faults must be from 0 to 1 together"):
        Faults(**shares)


def test_only_faults_befall_attempts() -> None:
    """Whoever writes something else is told what was meant, and nothing befalls anybody."""
    faults = Faults()
    with pytest.raises(TypeError, match=r"^'drop' is not a member of Fault; did you mean Fault\.DROP\?$"):
        faults.then(REFUSE, "drop")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^5 is not a member of Fault$"):
        faults.then(5)  # type: ignore[arg-type]
    assert faults.next() == (0.0, NONE)


async def test_faults_of_a_channel_that_there_is_not() -> None:
    """A name that is misspelt is no reason to fear nothing."""
    with pytest.raises(ConfigurationError) as found:
        async with memory_mesh(WaresModule, faults={"dispatch-jsn": Faults(), "rest": Faults()}):
            raise AssertionError("it must not start")
    assert found.value.problems == ("there is no channel 'dispatch-jsn'; did you mean 'dispatch-json'?",)


async def test_a_refused_call_never_arrives_and_goes_elsewhere() -> None:
    """Whatever its method, a call that was refused is sent to the other instance, and processed once."""
    faults = Faults()
    async with memory_mesh(WaresModule, instances=2, faults=faults) as mesh:
        wares = await mesh.get_service(Wares)
        faults.then(REFUSE)
        assert await wares.buy("apple") == 5
        assert faults.happened == [REFUSE, NONE]
        assert mesh.requests == 1
        faults.refuse = 1.0
        with pytest.raises(CommunicationError) as found:
            await wares.buy("apple")
        assert not found.value.processed
        assert {attempt.outcome for attempt in found.value.attempts} == {"unavailable"}
        assert len({attempt.instance for attempt in found.value.attempts}) == 2
        assert mesh.requests == 1


@pytest.mark.parametrize("fault", [DROP, GARBAGE])
async def test_a_lost_answer_is_asked_for_again_only_where_that_is_allowed(fault: Fault) -> None:
    """A plain call fails and is not repeated, an idempotent one is, and one with a key is executed once."""
    faults = Faults()
    async with memory_mesh(WaresModule, instances=2, faults=faults) as mesh:
        wares = await mesh.get_service(Wares)
        ledgers = [await mesh.get(Ledger, number) for number in (0, 1)]

        def sold() -> list[str]:
            return [ware for ledger in ledgers for ware in ledger.sold]

        faults.then(fault)
        with pytest.raises(CommunicationError) as found:
            await wares.buy("once")
        assert found.value.processed
        assert (sold(), faults.happened) == (["once"], [fault])

        faults.then(fault)
        assert await wares.reserve("again") == 5
        assert (sold().count("again"), faults.happened[1:]) == (2, [fault, NONE])

        faults.then(fault)
        assert await wares.look("get") == 3  # GET is idempotent by itself
        assert (sold().count("get"), faults.happened[3:]) == (2, [fault, NONE])

        if fault is DROP:
            faults.then(fault)
            assert await wares.pay("keyed") == 5
            assert (sold().count("keyed"), faults.happened[5:]) == (1, [fault, NONE])


async def test_a_lost_exception_is_lost_too() -> None:
    """A declared exception is an answer like any other; what never left is no answer."""
    faults = Faults(drop=1.0)
    async with memory_mesh(WaresModule, faults=faults, settings=PLAIN) as mesh:
        wares = await mesh.get_service(Wares)
        with pytest.raises(CommunicationError, match="the connection broke"):
            await wares.look("unicorn")
        with pytest.raises(LocalError, match="complex cannot travel"):
            await wares.buy(3 + 4j)
        faults.drop = 0.0
        with pytest.raises(SoldOut):
            await wares.look("unicorn")


async def test_an_error_comes_without_processing() -> None:
    """The server's answer is the error of that code; it is repeated or not as the code says."""
    faults = Faults(error=1.0, code=Code.FAILED_PRECONDITION)
    async with memory_mesh(WaresModule, instances=2, faults=faults) as mesh:
        wares = await mesh.get_service(Wares)
        with pytest.raises(RemoteError) as found:
            await wares.reserve("apple")
        assert (found.value.code, mesh.requests, len(faults.happened)) == (Code.FAILED_PRECONDITION, 0, 1)
        faults.code = Code.UNAVAILABLE
        with pytest.raises(RemoteError):
            await wares.reserve("apple")
        assert len(faults.happened) == 1 + 3
        with pytest.raises(RemoteError):
            await wares.buy("apple")
        assert (len(faults.happened), mesh.requests) == (5, 0)


def test_latency_passes_in_virtual_time() -> None:
    """Each attempt is held up; what is too slow for its deadline fails by it."""

    async def scenario() -> float:
        faults = Faults(latency=3.0)
        async with memory_mesh(WaresModule, faults=faults) as mesh:
            wares = await mesh.get_service(Wares)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert await wares.buy("apple") == 5
            faults.latency = (100.0, 200.0)
            with pytest.raises(CommunicationError, match=r"within 2 s"):
                await with_policy(wares, Policy(timeout=2.0)).buy("apple")
            assert mesh.requests == 1
            return loop.time() - begun

    assert run_virtually(scenario()) == pytest.approx(5.0, abs=0.01)


def test_calls_survive_a_bad_network() -> None:
    """With a tenth of the attempts refused or dropped, nearly all idempotent calls succeed, and none takes for long."""

    async def scenario() -> None:
        faults = Faults(seed=7, latency=(0.001, 0.05), refuse=0.05, drop=0.05)
        failed = 0
        async with memory_mesh(WaresModule, instances=3, faults=faults) as mesh:
            wares = await mesh.get_service(Wares)
            loop = asyncio.get_running_loop()
            for _ in range(200):
                begun = loop.time()
                try:
                    await wares.reserve("apple")
                except MeshError:
                    failed += 1
                assert loop.time() - begun < 1.0
            assert mesh.requests == sum(fault is not REFUSE for fault in faults.happened)
        assert failed <= 4
        assert 210 < len(faults.happened) < 260

    run_virtually(scenario())


@module(components=[GreetingComponent])
class Client: ...


async def failure(url: str, faults: Faults | None, channel: str) -> MeshError:
    """The error of a call without retries to a URL, over a real network."""
    text = f"static:greeting-component={channel}({url})"
    settings = load_settings({"registry": text, "resilience": False}, environ={})
    client = Client if faults is None else with_faults(Client, {channel: faults})
    async with Mesh(client, settings=settings) as mesh:
        with pytest.raises(MeshError) as found:
            await (await mesh.get_service(Greeting)).hello("you")
    return found.value


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack"])
async def test_injected_faults_look_like_real_ones(channel: str) -> None:
    """Class, code, whether to repeat it and whether it was processed are those of sockets that do the same."""

    def look(error: MeshError) -> tuple[object, ...]:
        return type(error), error.code, error.retryable, error.processed

    nothing = [b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\ngarbage"]
    fine = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull"]
    async with refusing() as url:
        real = await failure(url, None, channel)
    async with answering(fine) as url:
        assert look(await failure(url, Faults(refuse=1.0), channel)) == look(real)
    async with answering([], reset=True) as url:
        real = await failure(url, None, channel)
        assert look(await failure(url, Faults(drop=1.0), channel)) == look(real)
    async with answering(nothing) as url:
        real = await failure(url, None, channel)
        assert look(await failure(url, Faults(garbage=1.0), channel)) == look(real)


async def test_only_the_channels_that_are_named_suffer() -> None:
    """Faults go by the channel's name; the others go on."""
    faults = Faults(refuse=1.0)
    async with memory_mesh(WaresModule, faults={"rest": faults}, settings=PLAIN) as mesh:
        assert await (await mesh.get_service(Wares, "dispatch-json")).look("apple") == 5
        assert faults.happened == []
        with pytest.raises(CommunicationError):
            await (await mesh.get_service(Wares, "rest")).look("apple")
