"""The keys that tokens are verified with: which documents are taken, and when they are fetched again."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from meshcore import AuthorizationError, Code, MeshError
from tests.support.issuer import claims, document, ec_key, issuer, public, rsa_key, sign
from tests.support.verifying import refused, verifier, verify

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", 'it is no JSON object with a list "keys"'),
        (b"[" * 100_000, 'it is no JSON object with a list "keys"'),
        (b'{"keys": {}}', 'it is no JSON object with a list "keys"'),
        (b'{"keys": []}', "it has no key for ES256"),
        (b" " * 300_000, "it is larger than 262144 bytes"),
        (document(*[public(ec_key(), str(each)) for each in range(101)]), "it has 101 keys, more than 100"),
        (document(public(ec_key(), "one", use="enc")), "key 1: it is not for signatures"),
        (document(public(ec_key(), "one", key_ops=["sign"])), "key 1: it is not for signatures"),
        (document(public(ec_key(), "one", alg="ES384")), "key 1: it is not for ES256"),
        (document(public(ec_key(), "one", d="AA")), "key 1: it is a private key"),
        (document(public(ec_key(), "one", x="AA")), "key 1: it cannot be read"),
        (document({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}), "key 1: it is not of the type EC P-256"),
        (document({"kty": 7}), "key 1: a member of it has the wrong type"),
    ],
)
async def test_documents_that_are_no_keys(data, reason, tmp_path, caplog):
    """The log says why. Callers are told that it is not their fault."""
    path = tmp_path / "jwks.json"
    path.write_bytes(data)
    made = verifier(path, algorithms=["ES256"])
    with pytest.raises(MeshError) as wrong:
        await made.verify(f"Bearer {sign(claims())}")
    assert str(wrong.value) == "unavailable: this instance cannot verify tokens at the moment"
    assert wrong.value.processed is False
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"cannot get keys from {path}: its document cannot be used: it ")
    assert reason in line


async def test_a_small_rsa_key_is_not_used(tmp_path, caplog):
    """Below 2048 bits it can be broken; keys beside it are used."""
    path = tmp_path / "jwks.json"
    path.write_bytes(document(public(rsa_key(0, 1024), "small"), public(rsa_key(), "two")))
    made = verifier(path, algorithms=["RS256"])
    token = jwt.encode(claims(), rsa_key(), "RS256", headers={"kid": "small"})
    assert await refused(made, token, caplog) == "the issuer has no key 'small' for RS256"
    assert await verify(made, sign(claims(), rsa_key(), "RS256", kid="two"))


async def test_a_new_key_is_fetched_when_a_token_names_it():
    """Once in `refetch` seconds, however many tokens name keys that are not there."""
    now = [1000.0]
    async with issuer() as server:
        made = verifier(f"{server.url}/jwks", refetch=10.0, clock=lambda: now[0])
        assert await verify(made, sign(claims()))
        old = f"Bearer {sign(claims())}"
        assert await made.verify(old)
        for number in range(20):
            with pytest.raises(AuthorizationError):
                await verify(made, sign(claims(), kid=f"unknown-{number}"))
        assert server.asked == 2
        server.document = document(public(ec_key(1), "new"))
        now[0] += 11.0
        found = await asyncio.gather(*(verify(made, sign(claims(sub=str(n)), ec_key(1), kid="new")) for n in range(9)))
        assert [each["sub"] for each in found] == list("012345678")
        assert server.asked == 3
        # The key that is gone counts no more, not even for what was verified with it.
        assert made.cached(old) is None
        with pytest.raises(AuthorizationError):
            await made.verify(old)


async def test_keys_are_fetched_ahead_of_their_end_and_used_while_the_issuer_is_away(caplog):
    """For `max_stale` seconds. Then nobody's token is believed, and that is not the callers' fault."""
    now = [1000.0]
    async with issuer() as server:
        server.headers = {"cache-control": "public, max-age=100"}
        made = verifier(f"{server.url}/jwks", max_stale=1000.0, clock=lambda: now[0])
        header = f"Bearer {sign(claims())}"
        assert await made.verify(header)
        now[0] += 69.0
        assert made.cached(header) is not None
        assert server.asked == 1
        now[0] += 22.0
        assert made.cached(header) is not None
        async with asyncio.timeout(10):
            while server.asked < 2:
                await asyncio.sleep(0.001)
        server.status = 500
        for _ in range(10):
            now[0] += 90.0
            assert made.cached(header) is not None
            await asyncio.sleep(0.02)
        assert server.asked > 2
        now[0] += 400.0
        assert made.cached(header) is None
        with pytest.raises(MeshError) as away:
            await made.verify(header)
        assert away.value.code is Code.UNAVAILABLE
        assert caplog.text.count("answered with status 500") == 1
        server.status = 200
        now[0] += 61.0
        assert await made.verify(header)


@pytest.mark.parametrize(("said", "after"), [("max-age=1", 55.0), ("max-age=999999", 3300.0), ("no-store", 275.0)])
async def test_what_the_endpoint_says_of_its_keys_is_bounded(said, after):
    """A minute to an hour, five minutes if it says nothing. Keys are fetched again after 0.7 to 0.9 of that."""
    now = [0.0]
    async with issuer() as server:
        server.headers = {"cache-control": said}
        made = verifier(f"{server.url}/jwks", clock=lambda: now[0])
        await made.verify(f"Bearer {sign(claims())}")
        now[0] = after * 0.72  # below seven tenths of the age
        made.cached("Bearer x")
        await asyncio.sleep(0.02)
        assert server.asked == 1
        now[0] = after
        made.cached("Bearer x")
        async with asyncio.timeout(10):
            while server.asked < 2:
                await asyncio.sleep(0.001)


async def test_a_redirect_of_the_endpoint_is_not_followed():
    """It could lead anywhere."""
    async with issuer() as server:
        server.status = 302
        with pytest.raises(MeshError, match="cannot verify tokens"):
            await verifier(f"{server.url}/jwks").verify(f"Bearer {sign(claims())}")


async def test_a_file_that_changes(jwks):
    """New keys are taken over within seconds; a broken file leaves the old ones."""
    now = [0.0]
    made = verifier(jwks, clock=lambda: now[0])
    assert await verify(made, sign(claims()))
    jwks.write_bytes(b"{")
    now[0] += 6.0
    assert await verify(made, sign(claims(sub="bob")))
    await asyncio.sleep(0.02)
    jwks.write_bytes(document(public(ec_key(1), "one")))
    now[0] += 6.0
    async with asyncio.timeout(10):
        while True:
            try:
                await verify(made, sign(claims(), ec_key(1)))
                break
            except AuthorizationError:
                now[0] += 6.0
                await asyncio.sleep(0.002)
    with pytest.raises(AuthorizationError):
        await verify(made, sign(claims()))
