"""Who may call: the same on every channel and in every shape, decided before arguments are decoded."""

from __future__ import annotations

import asyncio
import json
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from yarl import URL

from meshcore import (
    AbstractComponent,
    AuthorizationError,
    Caller,
    Code,
    Component,
    ConfigurationError,
    Mesh,
    Proof,
    Service,
    Settings,
    ValueSource,
    allow,
    allow_any,
    component,
    current_call,
    get,
    implementation,
    module,
    post,
    service,
)
from meshcore.core.access import read_rules
from meshcore.core.description import Method
from meshcore.declare.reader import describe_component
from meshcore.security.authorization.guard import Authorization, Mode
from meshcore.security.authorization.operators import operators_of
from meshcore.security.authorization.rules import Target, targets_of
from meshcore.testing import MemoryMesh, MemoryValueSource, memory_mesh
from meshcore.testing.loopback import Loopback

CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack")


@dataclass
class Parcel:
    """An argument that notes when one is made of what came over the wire."""

    weight: int
    made: ClassVar[list[int]] = []

    def __post_init__(self) -> None:
        self.made.append(self.weight)


@service()
class Depot(Service):
    @post("/send")
    @abstractmethod
    @allow("shop")
    async def send(self, parcel: Parcel) -> str: ...

    @post("/watch")
    @abstractmethod
    @allow("shop")
    def watch(self, parcel: Parcel) -> AsyncIterator[int]: ...

    @post("/fill")
    @abstractmethod
    @allow("shop")
    async def fill(self, parcels: AsyncIterator[Parcel]) -> int: ...

    @abstractmethod
    @allow("shop")
    def sort(self, parcels: AsyncIterator[Parcel]) -> AsyncIterator[int]: ...

    @get("/hours")
    @abstractmethod
    @allow_any
    async def hours(self) -> str: ...

    @get("/secret")
    @abstractmethod
    async def secret(self) -> str: ...


@component(services=[Depot])
class DepotComponent(Component): ...


@implementation()
class DepotImpl(Depot):
    def __init__(self) -> None:
        self.ran: list[str] = []

    async def send(self, parcel: Parcel) -> str:
        self.ran.append("send")
        return repr(current_call().caller)

    async def watch(self, parcel: Parcel) -> AsyncIterator[int]:
        self.ran.append("watch")
        yield parcel.weight

    async def fill(self, parcels: AsyncIterator[Parcel]) -> int:
        self.ran.append("fill")
        return sum([each.weight async for each in parcels])

    async def sort(self, parcels: AsyncIterator[Parcel]) -> AsyncIterator[int]:
        self.ran.append("sort")
        async for each in parcels:
            yield each.weight

    async def hours(self) -> str:
        return "always"

    async def secret(self) -> str:
        self.ran.append("secret")
        return "42"


@implementation()
class DepotComponentImpl(AbstractComponent, DepotComponent): ...


@module()
class DepotModule: ...


async def parcels() -> AsyncIterator[Parcel]:
    """A stream of arguments."""
    yield Parcel(1)
    yield Parcel(2)


async def send(depot: Depot) -> Any:
    """Call with an argument."""
    return await depot.send(Parcel(3))


async def watch(depot: Depot) -> Any:
    """Call for a stream."""
    async with aclosing(depot.watch(Parcel(3))) as items:  # type: ignore[type-var]
        return [each async for each in items]


async def fill(depot: Depot) -> Any:
    """Call with a stream."""
    return await depot.fill(parcels())


async def sort(depot: Depot) -> Any:
    """Call with a stream for a stream."""
    async with aclosing(depot.sort(parcels())) as items:  # type: ignore[type-var]
        return [each async for each in items]


SHAPES = [
    *((channel, call) for channel in CHANNELS for call in (send, watch, fill)),
    ("stream-msgpack", sort),
]


def describe_depot() -> tuple[dict[Method, Target], Method, Method]:
    """What is declared of the depot, and two of its methods."""
    found = describe_component(DepotComponent, [])
    methods = {method.name: method for method in found.services[0].methods}
    return targets_of([found]), methods["send"], methods["hours"]


def denials(mesh: MemoryMesh) -> dict[tuple[str, str, str], int]:
    """What the server has counted."""
    return mesh.servers[0].mesh.runtime.recorder.served.denied


@pytest.mark.parametrize(("channel", "call"), SHAPES)
async def test_a_denied_call_is_neither_decoded_nor_run_nor_sent_again(
    channel: str, call: Callable[[Depot], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A denied call is neither decoded nor run nor sent again."""
    async with memory_mesh(DepotModule, caller="thief", channel=channel, instances=2) as mesh:
        depot = await mesh.get_service(Depot)
        Parcel.made.clear()
        with pytest.raises(AuthorizationError) as caught:
            await call(depot)
        ran = [name for number in range(2) for name in (await mesh.get(DepotImpl, number)).ran]
        counted = {
            key: count for each in mesh.servers for key, count in each.mesh.runtime.recorder.served.denied.items()
        }
    assert caught.value.code is Code.PERMISSION_DENIED
    assert not caught.value.processed
    assert not caught.value.retryable
    assert caught.value.message == f"thief may not call depot.{call.__name__}"
    assert len(caught.value.attempts) <= 1
    assert ran == []
    assert Parcel.made == ([3] if call in {send, watch} else [1, 2][: len(Parcel.made)])  # those that the client made
    assert counted == {(f"depot/{call.__name__}", "depot-component", "enforce"): 1}
    lines = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert lines == [
        f"depot.{call.__name__}: denied to spiffe://memory.mesh/svc/thief: @allow of depot.{call.__name__}"
    ]


@pytest.mark.parametrize(("channel", "call"), SHAPES)
async def test_who_is_allowed_is_served_and_known(channel: str, call: Callable[[Depot], Awaitable[Any]]) -> None:
    """Who is allowed is served and known."""
    async with memory_mesh(DepotModule, caller="shop", channel=channel) as mesh:
        found = await call(await mesh.get_service(Depot))
        assert (await mesh.get(DepotImpl)).ran == [call.__name__]
        assert denials(mesh) == {}
    caller = "Caller('spiffe://memory.mesh/svc/shop', component='shop', proof=certificate, claims=[])"
    assert found == {send: caller, watch: [3], fill: 3, sort: [1, 2]}[call]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_who_has_proven_nothing_is_asked_for_a_proof_where_one_would_help(channel: str) -> None:
    """Who has proven nothing is asked for a proof where one would help."""
    async with memory_mesh(DepotModule, channel=channel) as mesh:
        depot = await mesh.get_service(Depot)
        assert await depot.hours() == "always"
        with pytest.raises(AuthorizationError, match="needs a proven identity or a token") as caught:
            await send(depot)
        assert caught.value.code is Code.UNAUTHENTICATED
        with pytest.raises(AuthorizationError, match=r"may not call depot\.secret") as caught:
            await depot.secret()
        assert caught.value.code is Code.PERMISSION_DENIED


async def test_calls_within_the_process_are_always_allowed() -> None:
    """Calls within the process are always allowed."""
    async with Mesh(DepotModule, settings=Settings(registry="local:")) as mesh:
        depot = await mesh.get_service(Depot)
        assert await depot.secret() == "42"
        assert "proof=process" in await send(depot)


async def test_audit_counts_and_logs_and_lets_pass(caplog: pytest.LogCaptureFixture) -> None:
    """Audit counts and logs and lets pass."""
    settings = Settings(registry="local:", authorization="audit")
    async with memory_mesh(DepotModule, settings=settings) as mesh:
        depot = await mesh.get_service(Depot)
        assert [await depot.secret() for _ in range(3)] == ["42"] * 3
        assert denials(mesh) == {("depot/secret", "depot-component", "audit"): 3}
    assert "depot.secret: would be denied to memory, who has proven nothing: no rule allows it" in caplog.messages


async def test_off_judges_nothing() -> None:
    """Off judges nothing."""
    async with memory_mesh(DepotModule, settings=Settings(registry="local:", authorization="off")) as mesh:
        assert await (await mesh.get_service(Depot)).secret() == "42"


async def test_a_second_name_in_a_body_is_not_called_by_who_may_call_the_first() -> None:
    """The guard judges one name, so that the call must not be of another."""
    head = '{"method":"depot-component:depot:hours","args":[],"method":"depot-component:depot:secret"}'
    async with memory_mesh(DepotModule) as mesh:
        for body in (head, head.replace('"args":[]', '"args" : []'), head.replace(",", ', "x": 1,', 1)):
            status, _ = await request(mesh, "POST", "/invoke", body.encode(), "application/json")
            assert status in {200, 400, 403}
        assert (await mesh.get(DepotImpl)).ran == []


async def test_bad_arguments_of_a_denied_call_are_not_looked_at() -> None:
    """Bad arguments of a denied call are not looked at."""
    async with memory_mesh(DepotModule, caller="thief") as mesh:
        body = b'{"method":"depot-component:depot:send","args":[{"weight":"much"}]}'
        _, answer = await request(mesh, "POST", "/invoke", body, "application/json")
        assert b"may not call" in answer
        status, answer = await request(mesh, "POST", "/send", b"no json", "text/plain")
        assert status == 403
        assert b"may not call" in answer


async def request(
    mesh: MemoryMesh, verb: str, path: str, body: bytes = b"", content_type: str = ""
) -> tuple[int, bytes]:
    """What the first server answers to a request."""
    network: Loopback = mesh._loopback
    headers = {"content-type": content_type} if content_type else {}
    answer = await network.transmit(verb, URL(f"http://instance-0.memory{path}"), headers, body)
    return answer.status, answer.body


RULE = {"name": "clerks", "methods": "depot.secret", "callers": {"components": "clerk"}, "effect": "allow"}


async def test_live_rules_are_taken_over_as_a_whole_and_the_last_good_ones_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Live rules are taken over as a whole and the last good ones stay."""
    source = MemoryValueSource({"authorization.rules": json.dumps([RULE])})
    settings = Settings(registry="local:", rules_key="authorization.rules")
    overrides = {ValueSource: source}
    async with memory_mesh(DepotModule, settings=settings, overrides=overrides, caller="clerk") as mesh:
        depot = await mesh.get_service(Depot)
        assert await depot.secret() == "42"
        served = mesh.servers[0].mesh.runtime.recorder.served

        async def changed(text: str | None, *, refused: int) -> None:
            authorization = mesh.servers[0].mesh.runtime.authorization
            assert authorization is not None
            before = authorization.judge
            if text is None:
                source.delete("authorization.rules")
            else:
                source.set("authorization.rules", text)
            async with asyncio.timeout(5):
                while served.rules_refused == refused - 1 if refused else authorization.judge is before:
                    await asyncio.sleep(0)

        await changed('[{"name"', refused=1)
        assert await depot.secret() == "42"
        await changed(json.dumps([{**RULE, "callers": {"component": "x"}}]), refused=2)
        assert await depot.secret() == "42"
        assert "no field 'component'; did you mean 'components'?" in caplog.text
        await changed(json.dumps([{**RULE, "callers": {"components": "other"}}]), refused=0)
        with pytest.raises(AuthorizationError):
            await depot.secret()
        await changed(json.dumps([RULE]), refused=0)
        assert await depot.secret() == "42"
        await changed(None, refused=0)
        with pytest.raises(AuthorizationError):
            await depot.secret()


async def test_a_mesh_does_not_start_without_the_rules_that_it_was_told_to_follow() -> None:
    """A mesh does not start without the rules that it was told to follow."""
    settings = Settings(registry="local:", rules_key="authorization.rules")
    silent, bad = MemoryValueSource(), MemoryValueSource({"authorization.rules": '[{"name":"x"}]'})
    silent.fail(AuthorizationError(Code.PERMISSION_DENIED, "the token may not read it"))
    for source, text in (
        (silent, "the token may not read it"),
        (bad, "methods is missing"),
        (None, r"set value_source"),
    ):
        overrides: dict[type, object] = {} if source is None else {ValueSource: source}
        with pytest.raises(ConfigurationError, match=text):
            await Mesh(DepotModule, settings=settings, overrides=overrides).__aenter__()


RULES = read_rules(
    [
        {"name": "p", "methods": ["/metrics", "/report"], "callers": {"components": "prometheus"}, "effect": "allow"},
        {"name": "e", "methods": "/*", "callers": {"identities": "spiffe://evil/**"}, "effect": "deny"},
        {"name": "all", "methods": "*", "callers": {"components": "prometheus"}, "effect": "deny"},
    ]
)
OPERATORS = ("/report", "/report/summary", "/metrics", "/openapi.json", "/docs", "/mesh")
EVIL = Caller("spiffe://evil/svc/depot-component", "depot-component", Proof.CERTIFICATE)


@asynccontextmanager
async def operated(access: str, caller: Caller | str | None) -> AsyncIterator[Callable[..., Awaitable[list[int]]]]:
    """A server, and what gives the statuses of its answers."""
    settings = Settings(registry="local:", operators=access, page="full", rules=RULES)
    async with memory_mesh(DepotModule, settings=settings, caller=caller) as mesh:

        async def get(*paths: str) -> list[int]:
            return [(await request(mesh, "GET", path))[0] for path in paths]

        yield get


@pytest.mark.parametrize(
    ("access", "caller", "operators", "contract"),
    [
        ("", None, [200] * 6, 200),
        ("open", "thief", [200] * 6, 200),
        ("proven", None, [401] * 6, 200),
        ("proven", "thief", [200] * 6, 200),
        ("proven", "prometheus", [200] * 6, 200),
        ("proven", Caller(claims={"sub": "somebody"}), [403] * 6, 200),  # a token proves no process
        ("closed", None, [401] * 6, 200),  # one method is for everybody
        ("closed", "thief", [403] * 6, 200),
        ("closed", "prometheus", [403] * 6, 403),  # it may call nothing
        ("closed", "depot-component", [200] * 6, 200),
        ("closed", EVIL, [200] * 6, 200),  # rules do not count
        ("rules", "prometheus", [200, 403, 200, 403, 403, 403], 403),
        ("rules", "depot-component", [200] * 6, 200),
        ("rules", EVIL, [403] * 6, 200),
        ("rules", None, [401] * 6, 200),
    ],
)
async def test_who_may_read_the_endpoints_of_operators(
    access: str, caller: Caller | str | None, operators: list[int], contract: int
) -> None:
    """Who may read the endpoints of operators."""
    async with operated(access, caller) as get:
        assert await get(*OPERATORS) == operators
        assert await get("/contract") == [contract]
        assert await get("/livez", "/readyz") == [200, 200]  # probes are for everybody
        if 200 not in operators:
            assert await get("/report/calls") == operators[:1]


@pytest.mark.parametrize(("caller", "status"), [("thief", 403), (None, 401), ("depot-component", 400)])
async def test_nobody_else_tries_calls_out_in_the_name_of_a_process(caller: str | None, status: int) -> None:
    """To have proven another name is enough for reading, and not for calls that the process makes itself.

    Who is let in gets 400: in the registry of one process there is nobody whom the page could call.
    """
    body = b'{"component": "depot-component", "method": "depot/send", "arguments": {"parcel": {"weight": 1}}}'
    settings = Settings(registry="local:", operators="proven", page="full")
    async with memory_mesh(DepotModule, settings=settings, caller=caller) as mesh:
        assert (await request(mesh, "POST", "/mesh/call", body, "application/json"))[0] == status


async def test_the_endpoints_are_not_open_with_an_identity_unless_a_setting_says_so() -> None:
    """The endpoints are not open with an identity unless a setting says so."""
    authorization = Authorization({}, (), Mode.ENFORCE, print)
    for access, admits in (("", False), ("proven", False), ("closed", False), ("rules", False), ("open", True)):
        found = operators_of(Settings(operators=access), ["depot"], authorization, identity=True)
        assert (found is None) is admits
    assert operators_of(Settings(), ["depot"], authorization, identity=False) is None
    with pytest.raises(ConfigurationError, match='"rules" needs the setting authorization'):
        operators_of(Settings(operators="rules", authorization="off"), ["depot"], None, identity=False)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_of_a_browser_can_send_is_no_call(content_type: str) -> None:
    """A page of another site may send these without asking first (CORS), and there is no answer that would let it."""
    body = b'{"method":"depot-component:depot:send","args":[{"weight":1}]}'
    async with memory_mesh(DepotModule, caller="shop") as mesh:
        for path in ("/invoke", "/invoke/stream"):
            status, answer = await request(mesh, "POST", path, body, content_type)
            assert status in {400, 415}
            assert b"content type must be" in answer
        answer = await mesh._loopback.transmit(
            "OPTIONS", URL("http://instance-0.memory/invoke"), {"origin": "https://evil.example"}, b""
        )
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert (await mesh.get(DepotImpl)).ran == []
