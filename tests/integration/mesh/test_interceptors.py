"""The interceptors of the examples, and the current call: in this process, and over every channel to a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from examples.interceptors import AuditLog, BearerToken, ResultCache, VerifyToken
from meshcore import (
    AuthorizationError,
    Call,
    Interceptor,
    Interceptors,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    Policy,
    Settings,
    create,
    current_call,
    module,
    with_policy,
)
from meshcore.testing.servers import served
from tests.integration.mesh.current import (
    Counters,
    CountersImpl,
    Denied,
    InRequest,
    InThread,
    Looking,
    LookingComponent,
    LookingModule,
)

CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest"]
EVERYWHERE = ["local", *CHANNELS]


def module_with(name: str, interceptors: Interceptors, **parts: Any) -> type:
    """A module of its own, with interceptors."""

    def provide(self: object) -> Interceptors:
        return interceptors

    return module(**parts)(type(name, (), {"interceptors": create()(provide), "__module__": "tests.nowhere"}))


@asynccontextmanager
async def both(
    channel: str, *, client: list[Interceptor] | None = None, server: list[Interceptor] | None = None, **values: Any
) -> AsyncIterator[tuple[Mesh, Mesh]]:
    """A client's mesh and a server's: one and the same if the channel is local, else with HTTP between them."""
    if channel == "local":
        whole = module_with("Whole", Interceptors(client or [], server or []), imports=[LookingModule])
        async with Mesh(whole, settings=Settings(registry="local:", **values)) as mesh:
            yield mesh, mesh
        return
    serving = module_with("Serving", Interceptors(server=server or []), imports=[LookingModule])
    calling = module_with("Calling", Interceptors(client=client or []), components=[LookingComponent])
    apps: list[MeshApp] = []

    def make(url: str) -> MeshApp:
        settings = Settings(registry="local:", advertise_url=url, drain=1.0, adaptive_limit=False)
        apps.append(MeshApp(serving, settings=settings))
        return apps[0]

    async with served(make) as url:
        settings = Settings(registry=f"static:looking={channel}({url})", **values)
        async with Mesh(calling, settings=settings) as mesh:
            yield mesh, apps[0].mesh


def token_of(user: str) -> BearerToken:
    """Adds the token of a user, the same for ever."""

    async def fetch() -> str:
        return f"token of {user}"

    return BearerToken(fetch)


def user_of(token: str) -> str | None:
    """Knows tokens by their text."""
    return token.removeprefix("token of ") if token.startswith("token of ") else None


# --- The current call -------------------------------------------------------------------------------------------------


def test_nothing_is_served_outside_of_a_call() -> None:
    """Code that serves no call is told so."""
    with pytest.raises(LocalError) as outside:
        current_call()
    assert str(outside.value) == (
        "failed_precondition: current_call() was called outside of a call: "
        "it works only in an implementation and in what that calls"
    )


@pytest.mark.parametrize("channel", EVERYWHERE)
async def test_the_current_call(channel: str) -> None:
    """An implementation, its tasks, threads, `def` methods and request-scoped objects know the call they serve."""
    async with both(channel, client=[token_of("ada")], server=[VerifyToken(user_of)], timeout=5.0) as (mesh, _):
        looking = await mesh.get_service(Looking, channel)
        in_thread = await mesh.get_service(InThread, channel)
        peer = "local" if channel == "local" else "127.0.0.1"
        here, task = await looking.here(), await looking.task()
        assert (here.method, here.user, here.peer, here.component) == ("looking.here", "ada", peer, "looking")
        assert (task.method, task.user, task.thread) == ("looking.task", "ada", True)
        assert here.bounded is (channel != "local")
        if channel != "local":
            assert 0 < here.seconds <= 5.0
        threaded, detached = await asyncio.to_thread(in_thread.here)
        assert (threaded.method, threaded.user, threaded.peer, threaded.thread) == ("in-thread.here", "ada", peer, True)
        assert (detached.user, detached.bounded) == ("ada", False)
        in_request = await (await mesh.get_service(InRequest, channel)).here()
        assert (in_request.method, in_request.user) == ("in-request.here", "ada")
        with pytest.raises(LocalError):
            current_call()


@pytest.mark.parametrize("channel", EVERYWHERE)
async def test_a_call_below_is_the_current_one_until_it_ends(channel: str) -> None:
    """A call within the process is one of its own, with the deadline of the one that it is made for."""
    async with both(channel, timeout=5.0) as (mesh, _):
        before, below, after = await (await mesh.get_service(Looking, channel)).below()
        assert (before.method, below.method, after.method) == ("looking.below", "in-request.here", "looking.below")
        assert (below.peer, below.component) == ("local", "looking")
        assert before.bounded is below.bounded is (channel != "local")
        if channel == "local":
            looking = with_policy(await mesh.get_service(Looking), Policy(timeout=3.0))
            assert 0 < (await looking.here()).seconds <= 3.0


@pytest.mark.parametrize("channel", EVERYWHERE)
async def test_detached_work_knows_what_it_is_for(channel: str) -> None:
    """Its current call is the one that began it, and bounds it no more."""
    async with both(channel, client=[token_of("ada")], server=[VerifyToken(user_of)]) as (mesh, _):
        detached = await (await mesh.get_service(Looking, channel)).detached()
        assert (detached.method, detached.user, detached.bounded) == ("looking.detached", "ada", False)


# --- Tokens -----------------------------------------------------------------------------------------------------------


class Tokens:
    """Issues tokens that are good until the next is issued; slow enough that callers meet."""

    def __init__(self) -> None:
        self.issued = 0
        self.fails = False
        self.revoked: set[str] = set()

    async def fetch(self) -> str:
        await asyncio.sleep(0.01)
        self.issued += 1
        if self.fails:
            raise ConnectionError("the token server is down")
        return f"token {self.issued}"

    def user_of(self, token: str) -> str | None:
        return "ada" if token == f"token {self.issued}" and token not in self.revoked else None


@pytest.mark.parametrize("channel", EVERYWHERE)
async def test_a_refused_token_is_replaced_once_for_all(channel: str) -> None:
    """However many calls are refused at once, one new token is fetched, and each call is sent once more."""
    tokens = Tokens()
    async with both(channel, client=[BearerToken(tokens.fetch)], server=[VerifyToken(tokens.user_of)]) as (mesh, _):
        looking = await mesh.get_service(Looking, channel)
        assert {(await looking.here()).user} == {"ada"}
        assert tokens.issued == 1
        tokens.revoked.add("token 1")
        seen = await asyncio.gather(*(looking.here() for _ in range(20)))
        assert {each.user for each in seen} == {"ada"}
        assert tokens.issued == 2


async def test_a_token_that_nobody_accepts() -> None:
    """A call that is refused with a new token, too, fails: it is not sent a third time."""
    tokens = Tokens()
    asked: list[str] = []

    def refuse(token: str) -> str | None:
        asked.append(token)
        return None

    async with both("dispatch-json", client=[BearerToken(tokens.fetch)], server=[VerifyToken(refuse)]) as (mesh, _):
        looking = await mesh.get_service(Looking, "dispatch-json")
        with pytest.raises(AuthorizationError) as refused:
            await looking.here()
        assert str(refused.value) == "unauthenticated: the bearer token is not valid, or not any more"
        assert asked == ["token 1", "token 2"]


async def test_a_token_server_that_is_down() -> None:
    """All calls that wait for a token get the one failure, and the next one tries anew."""
    tokens = Tokens()
    async with both("local", client=[BearerToken(tokens.fetch)], server=[VerifyToken(tokens.user_of)]) as (mesh, _):
        looking = await mesh.get_service(Looking)
        tokens.fails = True
        results = await asyncio.gather(*(looking.here() for _ in range(9)), return_exceptions=True)
        assert [type(each) for each in results] == [ConnectionError] * 9
        assert tokens.issued == 1
        tokens.fails = False
        assert (await looking.here()).user == "ada"


async def test_who_fetches_may_be_cancelled() -> None:
    """When the caller that fetches a token leaves, another one fetches it."""
    tokens = Tokens()
    async with both("local", client=[BearerToken(tokens.fetch)], server=[VerifyToken(tokens.user_of)]) as (mesh, _):
        looking = await mesh.get_service(Looking)
        first, second = asyncio.create_task(looking.here()), asyncio.create_task(looking.here())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).user == "ada"
        assert first.cancelled()


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_user_cannot_be_claimed(channel: str) -> None:
    """What a client says of its user is replaced by what its token says; without a token it is refused."""

    async def claim(handler: Any, call: Any) -> Any:
        return await handler(Call(call.method, call.arguments, {**call.headers, "x-user": "root"}, call.deadline))

    for client, user in (([claim, token_of("ada")], "ada"), ([claim], None)):
        async with both(channel, client=client, server=[VerifyToken(user_of)]) as (mesh, _):
            looking = await mesh.get_service(Looking, channel)
            if user:
                assert (await looking.here()).user == user
            else:
                with pytest.raises(AuthorizationError, match=r"looking\.here needs a bearer token"):
                    await looking.here()


# --- Audit ------------------------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.method  # type: ignore[attr-defined]  # a field of its own, for logs in JSON
        self.lines.append(record.getMessage())


def audit(name: str) -> tuple[AuditLog, list[str]]:
    """An audit log by a clock that adds a quarter of a second at each look, and what it says."""
    logger, lines = logging.Logger(name), Lines()  # noqa: LOG001 - the test's own, so that no handlers pile up
    logger.addHandler(lines)
    clock = iter(range(10_000))
    return AuditLog(logger, lambda: next(clock) / 4), lines.lines


@pytest.mark.parametrize("channel", EVERYWHERE)
async def test_the_audit_log_of_both_sides(channel: str) -> None:
    """One function, on the client and on the server: a line per call, whatever becomes of it."""
    (at_client, here), (at_server, there) = audit("client"), audit("server")
    server = [VerifyToken(user_of), at_server]
    async with both(channel, client=[at_client, token_of("ada")], server=server) as (mesh, _):
        counters = await mesh.get_service(Counters, channel)
        assert await counters.add("a") == 1
        outcomes = ["ok"]
        if channel != "rest":
            with pytest.raises(MeshError):
                await counters.deny("b")
            with pytest.raises(Denied):
                await counters.refuse("c")
            outcomes += ["not_found", "Denied"]
    methods = ["counters.add", "counters.deny", "counters.refuse"]
    peer = "local" if channel == "local" else "127.0.0.1"
    ends = [f"{outcome} in 0.250 s, attempts 1" for outcome in outcomes]
    assert there == [f"{method} from {peer} by ada: {end}" for method, end in zip(methods, ends, strict=False)]
    assert here == [f"{method} from local by -: {end}" for method, end in zip(methods, ends, strict=False)]


async def test_the_audit_log_of_a_cancelled_call() -> None:
    """A call whose caller leaves is noted as such, and stays cancelled."""
    log, lines = audit("cancelled")
    reached = asyncio.Event()

    async def hang(handler: Any, call: Any) -> Any:
        reached.set()
        await asyncio.sleep(60)

    async with both("local", client=[log, hang]) as (mesh, _):
        task = asyncio.create_task((await mesh.get_service(Looking)).here())
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert lines == ["looking.here from local by -: canceled in 0.250 s, attempts 1"]


# --- The cache --------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("channel", EVERYWHERE)
@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_result_is_kept_for_a_while(channel: str, side: str) -> None:
    """One function, on the client or on the server: the second call is answered without the implementation."""
    clock = Clock()
    cache = ResultCache(10.0, clock=clock)
    async with both(channel, **{side: [cache]}) as (mesh, server):
        counters, implementation = await mesh.get_service(Counters, channel), await server.get(CountersImpl)
        first = await counters.read("a")
        first.append(7)  # his own: nobody else sees that
        assert await counters.read("a") == [0]
        assert (cache.hits, implementation.reads) == (1, 1)
        assert await counters.read("a", 2) == await counters.read("b") == [0]
        assert (cache.hits, implementation.reads) == (1, 3)
        assert [await counters.add("a"), await counters.add("a")] == [1, 2]  # PUT: idempotent, but it does something
        clock.now = 9.9
        assert await counters.read("a") == [0]
        clock.now = 10.0
        assert await counters.read("a") == [2]
        if channel != "rest":
            for _ in range(2):
                with pytest.raises(MeshError):
                    await counters.deny("a")  # an error is not kept
            assert implementation.reads == 6


async def test_users_do_not_share_results() -> None:
    """What one user was told is not told to another."""
    cache = ResultCache(10.0)
    server = [VerifyToken(user_of), cache]
    user = "ada"

    async def as_user(handler: Any, call: Any) -> Any:
        return await token_of(user)(handler, call)

    async with both("local", client=[as_user], server=server) as (mesh, _):
        counters, implementation = await mesh.get_service(Counters), await mesh.get(CountersImpl)
        for user in ("ada", "bob", "ada", "bob"):  # noqa: B007 - the interceptor reads it
            await counters.read("a")
        assert (cache.hits, implementation.reads) == (2, 2)


async def test_the_cache_is_bounded() -> None:
    """The oldest results go first, and what is too large for all of the memory is not kept."""
    clock = Clock()
    cache = ResultCache(10.0, memory=6000, clock=clock)
    async with both("local", client=[cache]) as (mesh, _):
        counters = await mesh.get_service(Counters)
        for number in range(100):
            await counters.read(f"name-{number}")
            assert cache.size <= 6000
        await counters.read("name-99")
        await counters.read("name-0")
        assert cache.hits == 1
        await counters.read("x" * 7000)
        assert cache.size <= 6000
        clock.now = 10.0
        await counters.read("last")
        assert cache.size < 600  # what is over is gone
