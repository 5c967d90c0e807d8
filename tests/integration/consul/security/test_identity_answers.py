"""Certificates that no agent should give, from something that answers as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import aiohttp.web
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshcore.ports.identity import IdentityError
from meshcore.registry.consul.identity import ConsulIdentitySource
from tests.support.followed_identity import opened, until


def answer_of(begins: timedelta, ends: timedelta) -> tuple[dict[str, object], dict[str, str]]:
    """What an agent would say of its roots and of a certificate, which is its own root and has these dates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a root")])
    uri = x509.UniformResourceIdentifier("spiffe://a.consul/ns/default/dc/dc1/svc/orders")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now + begins, now + ends)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate = made.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    return {"Roots": [{"RootCert": certificate}]}, {"CertPEM": certificate, "PrivateKeyPEM": secret}


@asynccontextmanager
async def saying(roots: object, leaf: object) -> AsyncIterator[tuple[str, list[str]]]:
    """Something that answers as an agent with these, and the paths for which it was asked; it holds what may block."""
    asked: list[str] = []

    async def answer(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        asked.append(request.path_qs)
        if "index" in request.query:
            await asyncio.sleep(0.2)
        body = roots if request.path.endswith("roots") else leaf
        return aiohttp.web.json_response(body, headers={"X-Consul-Index": "7"})

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(answer))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port, *_ = runner.addresses[0]
        yield f"http://{host}:{port}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (timedelta(hours=-2), timedelta(hours=-1), "one that has expired at"),
        (timedelta(hours=1), timedelta(hours=2), "is valid from .*clock"),
    ],
    ids=["has expired", "is not valid yet"],
)
async def test_a_certificate_that_is_not_valid_now(begins, ends, said):
    """The text says when it is; an agent renews an expired one for a query that blocks, which it was given."""
    async with saying(*answer_of(begins, ends)) as (url, asked):
        with pytest.raises(IdentityError, match=said):
            await ConsulIdentitySource(url).open(["orders"])
        assert any("leaf/orders?index=7" in path for path in asked) == ("expired" in said)


async def test_a_certificate_that_is_not_renewed(caplog):
    """Said once, with its end; it stays in use, and the agent is asked for another one by queries that block."""
    async with (
        saying(*answer_of(timedelta(hours=-1), timedelta(seconds=1.5))) as (url, asked),
        opened(url, "orders") as (_, changes),
    ):
        following = asyncio.create_task(until(changes, bool, 60))
        async with asyncio.timeout(10):
            while "has expired at" not in caplog.text:
                await asyncio.sleep(0.05)
        asked.clear()
        await asyncio.sleep(0.5)
        assert [path for path in asked if "leaf" in path and "index=7" in path]
        assert caplog.text.count("the last known stays in use: Consul gives one that has expired at") == 1
        assert not following.done()
        following.cancel()
        await asyncio.wait([following])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda roots, leaf: leaf.update(CertPEM="nonsense"),
        lambda roots, leaf: leaf.update(
            PrivateKeyPEM=answer_of(timedelta(hours=-1), timedelta(hours=1))[1]["PrivateKeyPEM"]
        ),
        lambda roots, leaf: leaf.pop("CertPEM"),
        lambda roots, leaf: roots.update(Roots=[]),
        lambda roots, leaf: roots.update(Roots=[{"RootCert": "nonsense"}]),
        lambda roots, leaf: roots.update(answer_of(timedelta(hours=-1), timedelta(hours=1))[0]),
    ],
    ids=["no certificate", "another key", "nothing", "no root", "a root that is none", "another root"],
)
async def test_what_no_agent_should_say(spoil):
    """An error, and nothing else."""
    roots, leaf = answer_of(timedelta(hours=-1), timedelta(hours=1))
    spoil(roots, leaf)
    async with saying(roots, leaf) as (url, _):
        with pytest.raises(IdentityError, match=r"certificate|root"):
            await ConsulIdentitySource(url).open(["orders"])
