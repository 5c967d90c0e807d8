"""Calls over mutual TLS: every channel, and what becomes of connections when certificates change."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore import CommunicationError, Mesh, MeshApp, Settings, client_module
from meshcore.ports.identity import IdentitySource
from meshcore.ports.installed import make_identity_source
from meshcore.security.tls.client_tls import CUT_AFTER
from meshcore.telemetry.families import CERTIFICATE_EXPIRY
from meshcore.testing.servers import served
from tests.integration.mesh.streams.feeds import Feed, Feeds, FeedsModule, Price, prices
from tests.support.certificates import Authority
from tests.support.reference.desk import Clerk, Desk, DeskModule
from tests.support.rotating import PushedIdentity, RotatingContext, rotating, trusting

pytestmark = pytest.mark.one_python

CHANNELS = pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "stream-msgpack", "rest"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues all certificates."""
    return Authority.make()


@asynccontextmanager
async def serving(context: ssl.SSLContext, module: type = FeedsModule) -> AsyncGenerator[tuple[str, MeshApp]]:
    """A server: its URL and its application."""
    apps: list[MeshApp] = []

    def make(url: str) -> MeshApp:
        settings = Settings(registry="local:", advertise_url=url, verify_advertise=False, adaptive_limit=False)
        apps.append(MeshApp(module, settings=settings))
        return apps[0]

    async with served(make, context) as url:
        yield url, apps[0]


@asynccontextmanager
async def calling(identity: IdentitySource, address: str, **values: Any) -> AsyncGenerator[Mesh]:
    """A client with an identity, of one instance."""
    settings = Settings(registry=f"static:{address}", **values)
    module = client_module(Desk if address.startswith("desk") else Feeds)
    async with Mesh(module, settings=settings, overrides={IdentitySource: identity}) as mesh:
        yield mesh


@CHANNELS
async def test_every_channel_uses_the_identity(channel: str, authority: Authority) -> None:
    """The server requires a certificate, and the client asks for the component, not for the address."""
    identity = PushedIdentity(authority.credentials("shop"))
    async with (
        serving(rotating(authority.credentials("feeds"))) as (url, _),
        calling(identity, f"feeds={channel}({url})", connections=2) as client,
    ):
        feed = await client.get_service(Feed)
        assert [await feed.unary("text") for _ in range(5)] == ["text"] * 5
        assert [price async for price in feed.watch("tea", 3)] == [Price("tea", each) for each in range(3)]
        assert await feed.total(prices(1, 2)) == 3


@pytest.mark.parametrize("names", [{"component": "feeds"}, {"addresses": ["127.0.0.1"]}])
@pytest.mark.parametrize("channel", ["dispatch-msgpack", "stream-msgpack"])
async def test_roots_alone_verify_a_server(
    channel: str, names: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    """A private authority is named by the setting `identity`, without a certificate of one's own."""
    (tmp_path / "ca.crt").write_bytes(authority.roots)
    leaf = authority.leaf(**names)
    context = rotating(msgspec.structs.replace(authority.credentials("feeds"), chain=leaf.chain, key=leaf.key))
    context.newest.verify_mode = ssl.CERT_NONE
    identity = make_identity_source(f"files:{tmp_path}")
    async with serving(context) as (url, _), calling(identity, f"feeds={channel}({url})", connections=2) as client:
        assert CERTIFICATE_EXPIRY.name not in client.metrics()
        feed = await client.get_service(Feed)
        assert [await feed.unary("text") for _ in range(3)] == ["text"] * 3
        assert [price async for price in feed.watch("tea", 3)] == [Price("tea", each) for each in range(3)]
    stranger = make_identity_source(f"files:{tmp_path}")
    (tmp_path / "ca.crt").write_bytes(Authority.make("stranger").roots)
    async with serving(context) as (url, _), calling(stranger, f"feeds={channel}({url})") as client:
        feed = await client.get_service(Feed)
        with pytest.raises(CommunicationError, match=r"is not trusted .* in the roots of the setting identity"):
            await feed.unary("text")


class CountedContext(RotatingContext):
    """Counts connections."""

    made = 0

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Make a connection."""
        self.made += 1
        return super().wrap_bio(*args, **options)


# Over dispatch each caller opens a connection for each rotation. 32 can do that as well, in 16 s of processor time.
@pytest.mark.parametrize(("channel", "callers"), [("dispatch-msgpack", 8), ("stream-msgpack", 32)])
async def test_no_call_fails_while_certificates_rotate(channel: str, callers: int) -> None:
    """100 new leaves of the server and of the client, and 5 new roots, each of which is trusted before it is used."""
    authority = Authority.make()
    server, mine, roots = authority.credentials("feeds"), authority.credentials("shop"), authority.roots
    context, identity = CountedContext(ssl.PROTOCOL_TLS_SERVER), PushedIdentity(mine)
    context.take(server)
    done, stop = 0, asyncio.Event()

    async def call(feed: Feed) -> None:
        nonlocal done
        while not stop.is_set():
            assert await feed.unary("text") == "text"
            done += 1

    async def settled(calls: int = 2 * callers) -> None:
        before, made = done, context.made
        async with asyncio.timeout(20):
            # A certificate that is replaced before the client has connected again would not be seen by anybody.
            while done < before + calls or context.made == made:
                await asyncio.sleep(0.001)

    async with (
        serving(context) as (url, _),
        # Without retries: a call that was lost once would be seen.
        calling(identity, f"feeds={channel}({url})", resilience=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        feed = await client.get_service(Feed)
        for _ in range(callers):
            tasks.create_task(call(feed))
        for turn in range(100):
            if turn % 20 == 10:
                newer = Authority.make(f"root {turn}")
                both = roots + newer.roots
                context.take(trusting(server, both))
                identity.push(trusting(mine, both))
                await settled()
                authority, roots = newer, both
            server, mine = authority.credentials("feeds"), authority.credentials("shop")
            context.take(trusting(server, roots))
            identity.push(trusting(mine, roots))
            await settled(2 * callers if turn % 20 == 10 else 8)
            if turn % 20 == 10:
                roots = authority.roots
                context.take(server)
                identity.push(mine)
                await settled()
        stop.set()
    assert context.made > 100


@pytest.mark.parametrize("channel", ["dispatch-msgpack", "stream-msgpack"])
async def test_what_rests_on_a_removed_root_is_cut(channel: str) -> None:
    """A call that is under way gets little time to end, and no new one begins."""
    old, new = Authority.make("old"), Authority.make("new")
    identity = PushedIdentity(trusting(old.credentials("shop"), old.roots, new.roots))
    async with (
        serving(rotating(old.credentials("desk")), DeskModule) as (url, app),
        calling(identity, f"desk={channel}({url})", resilience=False) as client,
        asyncio.timeout(10),
    ):
        clerk = await client.get_service(Clerk)
        waiting = asyncio.create_task(clerk.wait(60.0))
        while not (await app.report())["active"]:
            await asyncio.sleep(0.01)
        identity.push(trusting(old.credentials("shop"), new.roots))
        with pytest.raises(CommunicationError):
            await waiting
        with pytest.raises(CommunicationError, match=r"is not trusted .*issued by old"):
            await clerk.wait(0.0)
    assert CUT_AFTER < 1.0


async def test_a_root_that_is_issued_again_cuts_nothing(authority: Authority) -> None:
    """It has the same name and key, and other dates. New connections are verified by it as well."""
    mine = authority.credentials("shop")
    identity = PushedIdentity(mine)
    async with (
        serving(rotating(authority.credentials("desk")), DeskModule) as (url, app),
        calling(identity, f"desk=stream-msgpack({url})", resilience=False) as client,
        asyncio.timeout(20),
    ):
        clerk = await client.get_service(Clerk)
        waiting = asyncio.create_task(clerk.wait(2 * CUT_AFTER))
        while not (await app.report())["active"]:
            await asyncio.sleep(0.01)
        identity.push(trusting(mine, authority.issued_again().roots))
        await waiting
        await clerk.wait(0.0)


@pytest.mark.parametrize("channel", ["dispatch-msgpack", "stream-msgpack"])
async def test_a_connection_ends_with_its_certificate(channel: str, authority: Authority) -> None:
    """New calls take another connection, and a stream on the old one goes on."""
    context = CountedContext(ssl.PROTOCOL_TLS_SERVER)
    context.take(authority.credentials("feeds", ends=2.0))
    identity = PushedIdentity(authority.credentials("shop"))
    async with serving(context) as (url, _), calling(identity, f"feeds={channel}({url})") as client:
        feed = await client.get_service(Feed)
        prices = feed.watch("tea", 2_000)
        await anext(prices)
        assert await feed.unary("text") == "text"
        before = context.made
        context.take(authority.credentials("feeds"))  # which does not concern open connections
        async with asyncio.timeout(10):
            while context.made == before:
                assert await feed.unary("text") == "text"
                await asyncio.sleep(0.05)
        assert len([each async for each in prices]) == 1_999


def test_on_uvloop() -> None:
    """The same objects of `ssl` check the server, and are replaced."""
    uvloop = pytest.importorskip("uvloop")
    authority = Authority.make()

    async def main() -> None:
        context = rotating(authority.credentials("feeds"))
        identities = [PushedIdentity(authority.credentials("shop")) for _ in range(2)]
        async with (
            serving(context) as (url, _),
            calling(identities[0], f"feeds=stream-msgpack({url})", connections=2) as streamed,
            calling(identities[1], f"feeds=dispatch-msgpack({url})", resilience=False) as dispatched,
        ):
            feeds = [await client.get_service(Feed) for client in (streamed, dispatched)]
            for _ in range(3):
                context.take(authority.credentials("feeds"))
                for identity in identities:
                    identity.push(authority.credentials("shop"))
                for feed in feeds * 5:
                    assert await feed.unary("text") == "text"
            context.take(authority.credentials("billing"))
            identities[1].push(authority.credentials("shop"))

            async def until_it_fails() -> None:
                while True:
                    await feeds[1].unary("text")

            with pytest.raises(CommunicationError, match=r"proven to be spiffe://dev\.mesh/svc/billing"):
                await asyncio.wait_for(until_it_fails(), 10)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
