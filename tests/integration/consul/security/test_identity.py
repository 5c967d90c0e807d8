"""Certificates of Consul's own authority, from real agents whose roots change, that refuse, and that are away."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshcore.ports.identity import Credentials, IdentityError
from meshcore.ports.installed import make_identity_source
from meshcore.registry.consul.identity import ConsulIdentitySource
from meshcore.testing import ConsulAgent, consul_agent
from tests.integration.consul.scene import CACHE
from tests.support.faulty import Fault, faulty
from tests.support.followed_identity import opened, until

MASTER = "11111111-2222-3333-4444-555555555555"
READER = "66666666-7777-8888-9999-000000000000"
ON = {"connect": {"enabled": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[ConsulAgent]:
    """One agent with an authority, for the tests that change nothing but its roots."""
    async with consul_agent(cache=CACHE, config=ON) as started:
        yield started
    await asyncio.get_running_loop().shutdown_default_executor()  # which has looked for the program


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[ConsulAgent]:
    """One agent that allows nothing without a token, and who has READER to read one service."""
    async with consul_agent(cache=CACHE, token=MASTER, config=ON) as started:
        policy = {"Name": "reader", "Rules": 'service "orders" { policy = "read" }'}
        await put(started, "acl/policy", policy)
        await put(started, "acl/token", {"SecretID": READER, "Policies": [{"Name": "reader"}]})
        yield started
    await asyncio.get_running_loop().shutdown_default_executor()


async def put(agent: ConsulAgent, path: str, body: object) -> None:
    """Tell the agent something, as an administrator."""
    async with (
        aiohttp.ClientSession(headers={"X-Consul-Token": MASTER}) as session,
        session.put(f"{agent.url}/v1/{path}", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def rotate(agent: ConsulAgent) -> None:
    """Give the authority a new root, which the one before it signs, too."""
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    config = {
        "PrivateKey": key.decode(),
        "LeafCertTTL": "72h",
        "RotationPeriod": "2160h",
        "IntermediateCertTTL": "8760h",
    }
    await put(agent, "connect/ca/configuration", {"Provider": "consul", "Config": config})


async def roots_of(agent: ConsulAgent) -> set[bytes]:
    """The roots that the agent tells of."""
    found = json.loads(await agent.ask("agent/connect/ca/roots"))["Roots"]
    return {fingerprint(x509.load_pem_x509_certificate(each["RootCert"].encode())) for each in found}


def fingerprint(certificate: x509.Certificate) -> bytes:
    """What tells certificates apart."""
    return certificate.fingerprint(hashes.SHA256())


def trusted(credentials: Credentials) -> set[bytes]:
    """The roots in credentials."""
    return {fingerprint(each) for each in x509.load_pem_x509_certificates(credentials.roots)}


def context(credentials: Credentials, folder: Path, side: int) -> ssl.SSLContext:
    """Made as a process does that has the credentials: both sides show a certificate."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=credentials.roots.decode())
    file = folder / f"{time.monotonic_ns()}.pem"
    file.write_bytes(credentials.chain + credentials.key)
    made.load_cert_chain(file)
    return made


def shake_hands(server: Credentials, client: Credentials, folder: Path) -> str:
    """Who the server takes the client for, after a handshake in memory in which each verifies the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = context(server, folder, ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True)
    other = context(client, folder, ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server)
    waiting = [other, one]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    found: Any = one.getpeercert()
    return dict(found["subjectAltName"])["URI"]


async def test_each_component_has_a_certificate_and_all_trust_each_other(agent, tmp_path):
    """It names the component, has its key and dates, and mutual TLS works with it; openssl says so, too."""
    async with opened(agent.url, "orders", "stock") as ((orders, stock), _):
        assert orders.names == ("orders",)
        assert stock.names == ("stock",)
        assert orders.identity.startswith("spiffe://")
        assert orders.identity.endswith("/svc/orders")
        assert orders.begins < time.time() < orders.ends
        assert "consul.ca" in orders.issuer
        assert "PRIVATE" not in repr(orders)
        assert trusted(orders) == trusted(stock) == await roots_of(agent)
        assert shake_hands(orders, stock, tmp_path) == stock.identity
        for name, content in {"leaf": orders.chain, "roots": orders.roots}.items():
            (tmp_path / name).write_bytes(content)
        command = ["openssl", "verify", "-CAfile", "roots", "-untrusted", "leaf", "leaf"]
        await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, check=True, capture_output=True)


async def test_a_new_root_is_trusted_at_once_beside_the_old_one(agent, tmp_path):
    """Who got a certificate before and who got one after still trust each other, as the new root has both names."""
    async with opened(agent.url, "before") as ((before,), changes):
        await rotate(agent)
        (now,) = await until(changes, lambda found: trusted(found[0]) > trusted(before))
        assert trusted(now) == await roots_of(agent)
        async with opened(agent.url, "after") as ((after,), _):
            assert after.issuer != before.issuer
            assert after.chain.count(b"BEGIN") == 2  # with the new root as the old one has signed it
            assert shake_hands(now, after, tmp_path) == after.identity
            assert shake_hands(after, now, tmp_path) == now.identity
            # A process that has not heard of the new root yet.
            assert shake_hands(before, after, tmp_path) == after.identity


@pytest.mark.long
async def test_the_certificate_is_renewed_after_a_new_root(tmp_path):
    """The agent takes up to half a minute for it, so that not all services ask at once."""
    async with consul_agent(cache=CACHE, config=ON) as own, opened(own.url, "orders") as ((before,), changes):
        await rotate(own)
        (after,) = await until(changes, lambda found: found[0].issuer != before.issuer, 60)
        assert shake_hands(before, after, tmp_path) == after.identity
        assert shake_hands(after, before, tmp_path) == before.identity


async def test_a_root_that_consul_drops_is_dropped(caplog, tmp_path):
    """An agent that comes back with another authority: its root and certificate replace all that was before."""
    async with consul_agent(cache=CACHE, config=ON) as own, opened(own.url, "orders") as ((before,), changes):
        following = asyncio.create_task(until(changes, lambda found: found[0].issuer != before.issuer))
        await asyncio.sleep(0.1)
        await own.kill()
        async with asyncio.timeout(10):
            while "the last known stays in use" not in caplog.text:
                await asyncio.sleep(0.01)
        await own.start()
        (after,) = await following
        assert trusted(after) == await roots_of(own)
        assert not trusted(after) & trusted(before)
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(after, before, tmp_path)
        said = [
            each.message for each in caplog.records if "stays in use" in each.message and "Consul at" in each.message
        ]
        assert len(said) == 2, said  # once for the roots and once for the certificate, however often it was tried


async def test_a_flaky_agent_ends_nothing(agent):
    """Answers that break off, are garbage or do not come: the next root is seen all the same."""
    async with faulty(agent.url) as proxy, opened(proxy.url, "orders") as ((before,), changes):
        following = asyncio.create_task(until(changes, lambda found: trusted(found[0]) > trusted(before)))
        for fault in (Fault.NOT_HTTP, Fault.TRUNCATED, Fault.RESET_AT_ONCE):
            proxy.suffer(fault)
            await asyncio.sleep(0.1)
            proxy.recover()
        await rotate(agent)
        await following


async def test_an_agent_that_is_away_at_the_start():
    """The text says where it was looked for, and nothing of the token."""
    source = make_identity_source(f"consul://127.0.0.1:1?token={MASTER}")
    with pytest.raises(IdentityError, match=r"no certificate from http://127.0.0.1:1: .*onnect") as caught:
        await source.open(["orders"])
    assert MASTER not in str(caught.value) + repr(source)


async def test_an_authority_that_is_switched_off():
    """The text says what to set."""
    async with consul_agent(cache=CACHE) as own:
        with pytest.raises(IdentityError, match=r"switched off .*connect \{ enabled = true \}"):
            await ConsulIdentitySource(own.url).open(["orders"])


@pytest.mark.parametrize("token", [READER, ""], ids=["one that may only read", "none"])
async def test_a_token_without_the_right(guarded, token):
    """The text names the right and the service; the right token gets its certificate."""
    with pytest.raises(IdentityError, match=r"may not write the service 'orders' .*service \"orders\" write"):
        await ConsulIdentitySource(guarded.url, token=token).open(["orders"])


async def test_a_token_that_is_unknown(guarded):
    """Consul's own words, without the token."""
    unknown = "99999999-8888-7777-6666-555555555555"
    with pytest.raises(IdentityError, match=r"ca/leaf/orders with 403: ACL not found") as caught:
        await ConsulIdentitySource(guarded.url, token=unknown).open(["orders"])
    assert unknown not in str(caught.value)


async def test_a_token_of_the_url(guarded):
    """The options are those of the registry, whose URL `consul:` alone means."""
    source = make_identity_source("consul:", f"{guarded.url.replace('http', 'consul')}?token={MASTER}&check=ttl")
    (found,) = await source.open(["orders"])
    assert found.names == ("orders",)
    await source.aclose()


async def test_a_name_that_consul_has_no_certificates_for(agent):
    """It would have to be written in another way, and nobody would know the component by it. Capitals are right."""
    with pytest.raises(IdentityError, match=r"'all orders'.*of letters, digits"):
        await ConsulIdentitySource(agent.url).open(["all orders"])
    async with opened(agent.url, "ShopModule") as ((shop,), _):
        assert shop.names == ("ShopModule",)


@pytest.mark.parametrize(
    ("registry", "expected"),
    [("consul://other:1", "http://other:1"), ("directory:", "http://host:2"), ("", "http://host:2")],
)
def test_a_scheme_alone_means_the_agent_of_the_registry(monkeypatch, registry, expected):
    """Without one the environment says which."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "host:2")
    assert repr(make_identity_source("consul:", registry)) == f"ConsulIdentitySource('{expected}')"
    assert repr(make_identity_source("consul://own:3", registry)) == "ConsulIdentitySource('http://own:3')"
