"""Which tokens a server believes, and what it says of others: to the log the reason, to the caller nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import jwt
import pytest

from meshcore import AuthorizationError, ConfigurationError
from tests.support.issuer import (
    by_hand,
    claims,
    ec_key,
    ed_key,
    issuer,
    part,
    pem,
    public,
    rsa_key,
    sign,
)
from tests.support.verifying import LOGGER, refused, verifier, verify

pytestmark = pytest.mark.one_python


async def test_tokens_of_every_kind_of_key(jwks):
    """The claims are those of the token; nobody can change them for others."""
    made = verifier(jwks)
    for key, algorithm, name in ((ec_key(), "ES256", "one"), (rsa_key(), "RS256", "two"), (ed_key(), "EdDSA", "three")):
        found = await verify(made, sign(claims(role="cook"), key, algorithm, kid=name))
        assert (found["sub"], found["role"]) == ("ada", "cook")
        with pytest.raises(TypeError):
            found["role"] = "owner"


async def test_a_token_need_not_name_its_key(jwks):
    """Then those count that fit its algorithm."""
    assert (await verify(verifier(jwks), sign(claims(), kid=None)))["sub"] == "ada"


async def test_what_is_verified_is_remembered_until_it_expires(jwks):
    """A bounded number of tokens; the least used goes first."""
    now = [time.time()]
    made = verifier(jwks, max_known=2, time_=lambda: now[0])
    tokens = [f"Bearer {sign(claims(sub=name, exp=int(now[0]) + 100))}" for name in "abc"]
    for header in tokens[:2]:
        assert made.cached(header) is None
        await made.verify(header)
    assert made.cached(tokens[0])["sub"] == "a"
    await made.verify(tokens[2])
    assert [made.cached(header) is not None for header in tokens] == [True, False, True]
    now[0] += 129.0  # leeway
    assert made.cached(tokens[0]) is not None
    now[0] += 2.0
    assert made.cached(tokens[0]) is None
    with pytest.raises(AuthorizationError):
        await made.verify(tokens[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "the token's issuer is another one"),
        ({"iss": None}, "the token has no claim iss"),
        ({"iss": ["https://login.example"]}, "the token's issuer is another one"),
        ({"aud": "bank"}, "the token is for another audience"),
        ({"aud": ["bank", "post"]}, "the token is for another audience"),
        ({"aud": None}, "the token has no claim aud"),
        ({"aud": {"shop": 1}}, "the token is for another audience"),
        ({"aud": [["shop"]]}, "the token is for another audience"),
        ({"exp": None}, "the token has no claim exp"),
        ({"exp": 1000}, "the token has expired"),
        ({"exp": "tomorrow"}, "the token's claim exp is no time"),
        ({"exp": 10**400}, "the token's claim exp is no time"),
        ({"exp": True}, "the token's claim exp is no time"),
        ({"nbf": 2**38}, "the token is valid only in"),
        ({"iat": 2**38}, "the token is valid only in"),
        ({"nbf": {}}, "the token's claim nbf is no time"),
    ],
)
async def test_claims_that_are_not_right(jwks, change, reason, caplog):
    """Signed by the right key, and refused."""
    payload = json.dumps(claims(**change)).encode()  # pyjwt would refuse to write some
    token = jwt.PyJWS().encode(payload, ec_key(), "ES256", {"kid": "one"})
    assert (await refused(verifier(jwks), token, caplog)).startswith(reason)


async def test_leeway(jwks):
    """Clocks may differ by it, in both directions."""
    now = int(time.time())
    for change in ({"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}):
        assert await verify(verifier(jwks), sign(claims(**change)))
        with pytest.raises(AuthorizationError):
            await verify(verifier(jwks, leeway=0), sign(claims(**change)))


async def test_claims_that_must_be_there(jwks, caplog):
    """Whoever wants tokens without an end says so; other claims can be asked for."""
    assert (await verify(verifier(jwks, require=()), sign(claims(exp=None))))["sub"] == "ada"
    made = verifier(jwks, require=["exp", "scope"])
    assert await refused(made, sign(claims()), caplog) == "the token has no claim scope"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: by_hand({"alg": "none"}, claims()), "the token's algorithm 'none' is not one of ES256, EdDSA, RS256"),
        (lambda: jwt.encode(claims(), "", "none"), "the token is no JWT"),
        (lambda: by_hand({"alg": "NoNe", "kid": "one"}, claims()), "the token's algorithm 'NoNe'"),
        (lambda: by_hand({"alg": "HS256", "kid": "two"}, claims()), "the token's algorithm 'HS256'"),
        (lambda: sign(claims(), ec_key(1)), "the token's signature is wrong"),
        (lambda: sign(claims(), kid="two"), "the issuer has no key 'two' for ES256"),
        (lambda: sign(claims(), rsa_key(), "RS256", kid="one"), "the issuer has no key 'one' for RS256"),
        (lambda: sign(claims(), rsa_key(), "PS256", kid="two"), "the token's algorithm 'PS256'"),
        (lambda: sign(claims(), rsa_key(), "RS512", kid="two"), "the token's algorithm 'RS512'"),
        (lambda: sign(claims(), crit=["exp"]), "the token's head has crit or b64"),
        (lambda: by_hand({"alg": "ES256", "kid": "one", "b64": False}, claims()), "the token's head has crit or b64"),
        (lambda: sign(claims(), kid="../../etc/passwd"), "the issuer has no key '../../etc/passwd'"),
        (lambda: sign(claims(), kid="' OR 1=1 --\n"), '"\' OR 1=1 --\\n"'),
        (lambda: sign(claims(), kid="k" * 300), "the id of the token's key is longer"),
        (lambda: by_hand({"alg": "ES256", "kid": {"one": 1}}, claims()), "the token's head is no JSON object with alg"),
        (lambda: by_hand({"alg": ["ES256"]}, claims()), "the token's head is no JSON object with alg"),
        (lambda: by_hand({"kid": "one"}, claims()), "the token's head is no JSON object with alg"),
        (lambda: by_hand(b"[" * 1000, claims()), "the token's head is no JSON object with alg"),
        (lambda: by_hand(b'{"x":' * 400 + b"1" + b"}" * 400, claims()), "the token's head"),
        (lambda: by_hand({"alg": "ES256", "x": "x" * 3000}, claims()), "the token's head is longer than 2048"),
        (lambda: sign(claims(x="x" * 9000)), "the token has 12"),
        (lambda: "a.b", "the token is no JWT"),
        (lambda: "a.b.c.d", "the token is no JWT"),
        (lambda: "..", "the token is no JWT"),
        (lambda: "a=.b=.c=", "the token is no JWT"),
        (lambda: "a.b.c", "the token's head is no JSON object with alg"),
        (lambda: "\u00e9.\u00e9.\u00e9", "the token is no JWT"),
        (lambda: ".".join([part(b'{"alg":"ES256"}'), "a", part(b"x" * 64)]), "the token cannot be read: DecodeError"),
    ],
)
async def test_tokens_that_are_no_good(jwks, make, reason, caplog):
    """Each has its reason in the log, and none of them is more than refused."""
    assert reason in await refused(verifier(jwks), make(), caplog)


async def test_a_public_key_is_no_secret(jwks, caplog):
    """HS256 with the public key as the secret, in all its forms, is refused; so is the choice of such an algorithm."""
    for secret in (pem(rsa_key()), pem(ec_key()), json.dumps(public(rsa_key(), "two")).encode()):
        head = part(json.dumps({"alg": "HS256", "kid": "two"}).encode())
        signed = f"{head}.{part(json.dumps(claims()).encode())}"
        token = f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
        assert "'HS256' is not one of" in await refused(verifier(jwks), token, caplog)
    with pytest.raises(ConfigurationError, match="algorithm HS256: whoever can verify such tokens can make them"):
        verifier(jwks, algorithms=["RS256", "HS256"])


async def test_what_a_token_says_of_its_key_does_not_count(jwks, caplog):
    """A key or its address in the token itself is never used (jwk, jku, x5u, x5c)."""
    async with issuer() as server:
        other = ec_key(1)
        for more in ({"jwk": public(other, "one")}, {"jku": f"{server.url}/jwks"}, {"x5u": f"{server.url}/jwks"}):
            reason = await refused(verifier(jwks), sign(claims(), other, **more), caplog)
            assert reason == "the token's signature is wrong"
        assert server.asked == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"algorithms": []}, 'algorithms must be a list, such as ["RS256"]'),
        ({"algorithms": "RS256"}, 'algorithms must be a list, such as ["RS256"]'),
        ({"algorithms": ["none"]}, "algorithm none: such tokens are not signed, so anybody can make them"),
        ({"algorithms": ["RS265"]}, "no algorithm 'RS265'; did you mean"),
        ({"issuer": ""}, "issuer must not be empty"),
        ({"audience": ""}, "audience must not be empty"),
        ({"audience": []}, "audience must not be empty"),
        ({"leeway": 3600.0}, "leeway must be from 0 to 300 seconds, got 3600.0"),
        ({"jwks": "http://login.example/jwks"}, "jwks must be https"),
    ],
)
def test_a_verifier_that_cannot_be_used(more, reason):
    """It is said at the start, all of it at once."""
    with pytest.raises(ConfigurationError) as wrong:
        verifier(**{"jwks": "keys.json", **more})
    assert reason in str(wrong.value)


async def test_no_token_at_all(jwks, caplog):
    """It is refused, or has no claims where tokens are optional. A bad one is refused in either case."""
    strict, mixed = verifier(jwks), verifier(jwks, required=False)
    for header in ("", "Basic abc", "Bearer", "Bearer  "):
        with pytest.raises(AuthorizationError):
            await strict.verify(header)
        assert await mixed.verify(header) == {}
    assert strict.cached("") is None
    assert mixed.cached("") == {}
    assert "the token's signature is wrong" in await refused(mixed, sign(claims(), ec_key(1)), caplog)


async def test_a_flood_of_bad_tokens_fills_no_log(jwks, caplog):
    """A hundred lines at once, ten per second; a line says how many had none."""
    now = [0.0]
    made = verifier(jwks, clock=lambda: now[0])
    for _ in range(500):
        with pytest.raises(AuthorizationError):
            await made.verify("Bearer x")
    assert len([each for each in caplog.records if each.name == LOGGER]) == 100
    now[0] += 1.0
    with pytest.raises(AuthorizationError):
        await made.verify("Bearer x")
    assert caplog.records[-1].getMessage().endswith("(and 400 calls before, without a line)")
