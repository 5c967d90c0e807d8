"""What else the guard asks: the token of a request before the rules, and intentions beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Self

import msgspec
import pytest

from meshcore import (
    AuthorizationError,
    Call,
    Code,
    ConfigurationError,
    Handler,
    Interceptors,
    Settings,
    create,
    module,
)
from meshcore.core.access import read_rules
from meshcore.core.caller import Caller, Peer, Proof
from meshcore.ports.intentions import Action, Intention, IntentionError, Intentions, IntentionsByDestination
from meshcore.ports.intentions import IntentionSource as IntentionSourcePort
from meshcore.security.authorization.guard import Asking, Authorization, Mode
from meshcore.security.authorization.intentions import FollowedIntentions
from meshcore.testing import MemoryMesh, memory_mesh
from tests.integration.mesh.security.test_authorization import DepotModule, describe_depot
from tests.support.vault import Vault, VaultModule

CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest", "stream-msgpack")


async def with_token(handler: Handler, call: Call) -> Any:
    """Send a token."""
    return await handler(msgspec.structs.replace(call, headers={**call.headers, "authorization": TOKEN.get()}))


class Token:
    """The token that the client sends."""

    value = ""

    def get(self) -> str:
        """The token."""
        return self.value


TOKEN = Token()


@module()
class ClientModule:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(client=[with_token])


RULES = [{"name": "owners", "methods": "*", "callers": {"claims": {"role": "owner"}}, "effect": "allow"}]


def verify_by(mesh: MemoryMesh, *, at_once: bool) -> list[str]:
    """Have the server verify tokens: `role:sub` is one. Returns what was verified for."""
    seen: list[str] = []

    def take(request: Asking) -> None:
        token = request.headers.get("authorization", "")
        if token == "forged":
            raise AuthorizationError(Code.UNAUTHENTICATED, "the token is not valid", processed=False)
        if token:
            role, _, sub = token.partition(":")
            caller = msgspec.structs.replace(request.peer.caller, claims={"role": role, "sub": sub})
            request.peer = Peer(request.peer.host, caller)

    async def take_later(request: Asking) -> None:
        await asyncio.sleep(0)
        take(request)

    def verify(request: Asking, what: Any) -> Awaitable[None] | None:
        seen.append(str(what))
        return take(request) if at_once else take_later(request)  # type: ignore[func-returns-value]

    authorization = mesh.servers[0].mesh.runtime.authorization
    assert authorization is not None
    authorization.verify = verify
    authorization.tell()
    return seen


async def read(vault: Vault) -> str:
    """A call."""
    return await vault.read()


async def read_stream(vault: Vault) -> str:
    """A stream."""
    (found,) = [each async for each in vault.all()]
    return found


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "awaited"])
@pytest.mark.parametrize("call", [read, read_stream])
@pytest.mark.parametrize("channel", CHANNELS)
async def test_claims_of_a_verified_token_are_judged_and_reach_the_implementation(channel, call, at_once):
    """On every channel and for streams; a token that is not valid is refused, as is one without the claim."""
    settings = Settings(registry="local:", rules=read_rules(RULES))
    async with memory_mesh(VaultModule, client=ClientModule, settings=settings, channel=channel) as mesh:
        seen = verify_by(mesh, at_once=at_once)
        vault = await mesh.get_service(Vault)
        TOKEN.value = "owner:ada"
        assert await call(vault) == "ada"
        for token, code in (
            ("clerk:bob", Code.PERMISSION_DENIED),
            ("forged", Code.UNAUTHENTICATED),
            ("", Code.UNAUTHENTICATED),
        ):
            TOKEN.value = token
            with pytest.raises(AuthorizationError) as caught:
                await call(vault)
            assert caught.value.code is code
            assert not caught.value.processed
        assert len(seen) == 4


class Written(IntentionSourcePort):
    """Intentions that a test writes."""

    def __init__(self, first: IntentionsByDestination | None) -> None:
        self.first = first
        self.next: asyncio.Queue[IntentionsByDestination] = asyncio.Queue()
        self.closed = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Raise."""
        raise ValueError(url)

    async def open(self, destinations: Sequence[str]) -> IntentionsByDestination:
        """The first ones."""
        assert list(destinations) == ["depot-component"]
        if self.first is None:
            raise IntentionError("the token may not read intentions")
        return self.first

    async def changes(self) -> AsyncIterator[IntentionsByDestination]:
        """The next ones."""
        while True:
            yield await self.next.get()

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


def intentions(*rules: Intention, default: Action = Action.DENY) -> IntentionsByDestination:
    """Intentions for the depot."""
    return {"depot-component": Intentions("depot-component", rules, default)}


def certain(name: str) -> Caller:
    """A caller with a certificate."""
    return Caller(f"spiffe://mesh/svc/{name}", name, Proof.CERTIFICATE)


async def test_intentions_count_beside_declarations_and_follow_their_source():
    """Both have to allow a call; a change counts at once."""
    targets, send, hours = describe_depot()
    authorization = Authorization(targets, (), Mode.ENFORCE, lambda *_: None)
    source = Written(intentions(Intention("shop", Action.ALLOW), Intention("*", Action.DENY, "default/shop")))
    told: list[bool] = []
    async with FollowedIntentions(source, ["depot-component"], authorization):
        authorization.follow(lambda: told.append(authorization.needed))
        assert authorization.explain(send, certain("shop")).allowed
        verdict = authorization.explain(hours, certain("thief"))
        assert (verdict.allowed, verdict.rule) == (False, "intention default/shop")
        assert authorization.explain(hours, Caller()).proof_helps
        await source.next.put(intentions(default=Action.ALLOW))
        async with asyncio.timeout(5):
            while len(told) < 2:
                await asyncio.sleep(0)
        assert authorization.explain(hours, certain("thief")).allowed
        assert not authorization.explain(send, certain("thief")).allowed  # its declaration does not
    assert source.closed


async def test_a_server_does_not_start_without_its_intentions():
    """It might let in who is denied."""
    targets, *_ = describe_depot()
    source = Written(None)
    with pytest.raises(ConfigurationError, match="the token may not read intentions"):
        async with FollowedIntentions(source, ["depot-component"], Authorization(targets, (), Mode.ENFORCE, print)):
            pass
    assert source.closed


async def test_the_setting_names_the_agent_of_the_intentions():
    """What cannot be one is an error of the settings."""
    settings = Settings(registry="local:", authorization="consul://[bad")
    with pytest.raises(ConfigurationError, match="setting authorization"):
        async with memory_mesh(DepotModule, settings=settings):
            pass
