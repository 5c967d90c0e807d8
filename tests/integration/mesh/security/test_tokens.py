"""Tokens on their whole way: from a client over each channel to the claims of a call, and to the next hop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore import (
    AuthorizationError,
    BearerToken,
    Call,
    ClientCredentials,
    Code,
    ConfigurationError,
    Handler,
    Mesh,
    MeshApp,
    Settings,
    TokenVerifier,
    client_module,
)
from meshcore.testing.memory import memory_mesh
from meshcore.testing.servers import served
from tests.integration.mesh.security.tokens import Gate, GateComponent, with_parts
from tests.integration.mesh.security.tokens_gate import GateModule
from tests.integration.mesh.security.tokens_vault import VaultModule
from tests.support.issuer import claims, document, ec_key, issuer, public, sign
from tests.support.verifying import LOGGER, verifier

pytestmark = pytest.mark.one_python

CHANNELS = ["dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack"]
NOT_VALID = "unauthenticated: the call needs a valid bearer token"


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    """A file with one key."""
    path = tmp_path / "jwks.json"
    path.write_bytes(document(public(ec_key(), "one")))
    return path


@asynccontextmanager
async def gate(
    made: TokenVerifier, channel: str = "", *, client: Any = (), settings: Settings | None = None
) -> AsyncIterator[Gate]:
    """A gate that verifies tokens, called over a channel in memory."""
    caller = with_parts([client_module(GateComponent)], client=client)
    chosen = settings or Settings(registry="local:", adaptive_limit=False)
    served_ = with_parts([GateModule, VaultModule], made)
    async with memory_mesh(served_, client=caller, channel=channel, settings=chosen) as mesh:
        yield await mesh.get_service(Gate)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_the_claims_of_a_token(channel: str, jwks: Path) -> None:
    """They are those of the call, and the token proves no component."""
    async with gate(verifier(jwks), channel, client=[BearerToken(sign(claims()))]) as called:
        for _ in range(2):  # verified, and then remembered
            found = await called.who()
            assert (found["subject"], found["component"]) == ("ada", "")


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("make", "reason"), [("", "there is no bearer token"), ("x.y.z", "the token's head is no")])
async def test_who_has_no_valid_token(
    channel: str, make: str, reason: str, jwks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Is refused before arguments are read: it does not learn whether these are right. The log has the reason."""
    client = [BearerToken(make)] if make else []
    async with gate(verifier(jwks), channel, client=client) as called:
        for argument in (1, "no number"):
            with pytest.raises(AuthorizationError) as refused:
                await called.add(argument)  # type: ignore[arg-type]
            assert str(refused.value) == NOT_VALID
            assert refused.value.processed is False
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert [line.partition(": ")[2].startswith(reason) for line in lines] == [True, True]


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack"])
async def test_streams_need_a_token_too(channel: str, jwks: Path) -> None:
    """In both directions, before the first item."""
    async with gate(verifier(jwks), channel, client=[BearerToken(sign(claims()))]) as called:
        assert [each async for each in called.count(2)] == ["0 for ada", "1 for ada"]
        assert await called.total(numbers(3)) == 3
    async with gate(verifier(jwks), channel) as called:
        with pytest.raises(AuthorizationError, match="needs a valid bearer token"):
            [each async for each in called.count(2)]
        with pytest.raises(AuthorizationError, match="needs a valid bearer token"):
            await called.total(numbers(3))


async def numbers(end: int) -> AsyncIterator[int]:
    """Of a stream."""
    for number in range(end):
        yield number


async def test_tokens_may_be_optional(jwks: Path) -> None:
    """Callers without one have no claims. A bad one is refused."""
    made = verifier(jwks, required=False)
    async with gate(made) as called:
        assert (await called.who())["subject"] == ""
    async with gate(made, client=[BearerToken(sign(claims(), ec_key(1)))]) as called:
        with pytest.raises(AuthorizationError):
            await called.who()


@pytest.mark.parametrize("authorization", ["off", "audit", "enforce"])
async def test_tokens_are_verified_whatever_is_said_of_rules(authorization: str, jwks: Path) -> None:
    """An audit of rules lets nobody in without a token."""
    settings = Settings(registry="local:", adaptive_limit=False, authorization=authorization)
    async with gate(verifier(jwks), settings=settings) as called:
        with pytest.raises(AuthorizationError) as refused:
            await called.who()
        assert refused.value.code is Code.UNAUTHENTICATED


async def test_two_verifiers_are_a_mistake(jwks: Path) -> None:
    """It would be open which one counts."""
    both = with_parts([GateModule, VaultModule], verifier(jwks), verifier(jwks))
    with pytest.raises(ConfigurationError, match="2 modules have a TokenVerifier"):
        async with Mesh(both, settings=Settings(registry="local:")):
            pass


async def test_a_refused_token_is_renewed_once() -> None:
    """A token of client credentials that the server does not take any more, on the way from the issuer to the call."""
    async with issuer() as server:
        server.token = lambda number: sign(claims(sub=f"orders-{number}", exp=1000 if number == 1 else 2**32))
        source = ClientCredentials(f"{server.url}/token", "orders", secret="s")
        made = verifier(f"{server.url}/jwks")
        async with gate(made, client=[BearerToken(source)]) as called:
            assert (await called.who())["subject"] == "orders-2"
            assert (await called.who())["subject"] == "orders-2"
            server.token = lambda number: "nonsense"
            made._expected = msgspec.structs.replace(made._expected, issuer="another")
            made._verified.clear()
            for _ in range(5):
                with pytest.raises(AuthorizationError):
                    await called.who()
        assert len(server.forms) == 2  # asked for again only after 10 s


async def test_a_stream_to_the_server_is_not_sent_twice(jwks: Path) -> None:
    """Its items are gone with the first attempt."""
    tokens = iter([sign(claims(), ec_key(1)), sign(claims())])
    sent: list[int] = []

    async def fetch() -> str:
        return next(tokens)

    async def noted() -> AsyncIterator[int]:
        async for number in numbers(3):
            sent.append(number)
            yield number

    async with gate(verifier(jwks), "stream-msgpack", client=[BearerToken(fetch)]) as called:
        with pytest.raises(AuthorizationError):
            await called.total(noted())
        assert len(sent) <= 3


# --- The next hop -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def two_hops(
    channel: str, front: TokenVerifier, back: TokenVerifier, *, of_user: list[Any], of_gate: list[Any]
) -> AsyncIterator[Gate]:
    """A user, a gate and a vault, each in a mesh of its own."""

    def app(module: type, url: str, registry: str = "local:") -> MeshApp:
        settings = Settings(registry=registry, advertise_url=url, adaptive_limit=False, drain=1.0)
        return MeshApp(module, settings=settings)

    front_module = with_parts([GateModule], front, client=of_gate)
    vault = with_parts([VaultModule], back)
    async with served(partial(app, vault)) as vault_url:
        registry = f"static:vault-component={channel}({vault_url})"
        async with served(partial(app, front_module, registry=registry)) as gate_url:
            user = with_parts([client_module(GateComponent)], client=of_user)
            settings = Settings(registry=f"static:gate-component={channel}({gate_url})")
            async with Mesh(user, settings=settings) as mesh:
                yield await mesh.get_service(Gate)


async def tenant(handler: Handler, call: Call) -> Any:
    """A header of the user's."""
    return await handler(msgspec.structs.replace(call, headers={**call.headers, "x-tenant": "red"}))


@pytest.mark.parametrize("channel", ["dispatch-json", "stream-msgpack"])
async def test_a_token_goes_on_only_where_a_method_says_so(channel: str, jwks: Path) -> None:
    """And no other header does."""
    token = sign(claims())
    front, back = verifier(jwks), verifier(jwks, required=False)
    async with two_hops(channel, front, back, of_user=[tenant, BearerToken(token)], of_gate=[]) as called:
        found = await called.who()
        assert (found["subject"], found["tenant"]) == ("ada", "red")
        mine, plain, streamed = await called.below()
    assert mine == streamed == {"subject": "ada", "token": f"Bearer {token}", "tenant": "", "component": ""}
    assert plain == {"subject": "", "token": "", "tenant": "", "component": ""}


async def test_the_gates_own_token_never_stands_for_the_user(jwks: Path) -> None:
    """Where the user's token is meant, that of the gate does not go, even if the user has none."""
    own = sign(claims(sub="gate"))
    mixed = verifier(jwks, required=False)
    for of_user, expected in (([BearerToken(sign(claims()))], "ada"), ([], "")):
        async with two_hops("dispatch-json", mixed, mixed, of_user=of_user, of_gate=[BearerToken(own)]) as called:
            mine, plain, streamed = await called.below()
        assert (mine["subject"], plain["subject"], streamed["subject"]) == (expected, "gate", expected)


async def test_a_token_goes_only_to_those_for_whom_it_is_meant(jwks: Path) -> None:
    """Components and methods that are not named do not see it."""
    own = sign(claims(sub="gate"))
    mixed = verifier(jwks, required=False)
    for options, expected in (
        ({"components": ["vault-component"], "methods": ["vault.pl*"]}, "gate"),
        ({"components": ["gate-component"]}, ""),
    ):
        of_gate = [BearerToken(own, **options)]
        async with two_hops("dispatch-json", mixed, mixed, of_user=[], of_gate=of_gate) as called:
            assert (await called.below())[1]["subject"] == expected


async def test_within_a_process_the_claims_go_with_the_token(jwks: Path) -> None:
    """A call of the same process is not verified again."""
    token = sign(claims())
    async with gate(verifier(jwks), client=[BearerToken(token)]) as called:
        mine, plain, streamed = await called.below()
    assert mine == streamed == {"subject": "ada", "token": f"Bearer {token}", "tenant": "", "component": ""}
    assert (plain["subject"], plain["token"]) == ("", "")


def test_the_components_of_a_token() -> None:
    """The mesh asks once for each component; without a list it is all of them."""
    some, everyone = BearerToken("t", components=["orders", "stock"]), BearerToken("t")
    assert [some.for_component(name) is some for name in ("orders", "stock", "order", "")] == [True, True, False, False]
    assert everyone.for_component("order") is everyone


def test_a_list_of_names_is_a_list() -> None:
    """A text would be taken for its characters."""
    with pytest.raises(TypeError, match="are lists of names"):
        BearerToken("t", components="orders")
