"""Tokens of all sorts that nobody has signed: each is refused with its reason in the log, none crashes or hangs."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshcore import AuthorizationError
from meshcore.security.tokens.jws import TokenRefused, read_header
from meshcore.security.tokens.keys import KEY_TYPES
from tests.support.issuer import AUDIENCE, ISSUER, by_hand, claims, ec_key, part, public, sign
from tests.support.verifying import LOGGER, verifier

pytestmark = pytest.mark.one_python

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
HEADS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from([*KEY_TYPES, "none", "HS256", "NONE", ""]) | VALUES,
        "kid": st.sampled_from(["one", "two", "three"]) | VALUES,
        "crit": VALUES,
        "typ": VALUES,
        "jwk": st.just(public(ec_key(1), "one")) | VALUES,
    },
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.just(ISSUER) | VALUES,
        "aud": st.just(AUDIENCE) | VALUES,
        "exp": st.just(2**38) | VALUES,
        "nbf": VALUES,
        "iat": VALUES,
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(part), st.builds(by_hand, HEADS, CLAIMS)))
def test_no_bytes_are_believed(jwks, caplog, token):
    """Whatever it is: refused with a reason, never another error."""
    asyncio.run(_never(jwks, caplog, token))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CLAIMS)
def test_no_claims_are_believed_that_are_not_right(jwks, caplog, payload):
    """Signed by the right key: believed only if all of them are right."""
    token = jwt.PyJWS().encode(json.dumps(payload).encode(), ec_key(), "ES256", {"kid": "one"})
    audience, expiry = payload.get("aud"), payload.get("exp")
    meant = audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)
    lasts = isinstance(expiry, int | float) and not isinstance(expiry, bool) and time.time() - 60 < expiry < 1e12
    good = payload.get("iss") == ISSUER and meant and lasts
    if good:
        return  # whether `nbf` and `iat` are is what other tests say
    asyncio.run(_never(jwks, caplog, token))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**20), st.integers(1, 255), st.sampled_from(["flip", "cut", "double", "swap"]))
def test_no_change_of_a_good_token_is_believed(jwks, caplog, at, mask, how):
    """A byte that is another one, a token that is cut off, parts of two tokens: none is taken for the good one."""
    good, other = sign(claims(sub="ada")), sign(claims(sub="eve"), ec_key(1))
    data = bytearray(good.encode())
    if how == "flip":
        data[at % len(data)] ^= mask
    elif how == "cut":
        del data[at % len(data) :]
    elif how == "double":
        data += data[at % len(data) :]
    token = data.decode("latin-1")
    if how == "swap":
        parts = [*zip(good.split("."), other.split("."), strict=True)]
        token = ".".join(each[(mask >> n) & 1] for n, each in enumerate(parts))
    if token != good and not _same_bytes(token, good):
        asyncio.run(_never(jwks, caplog, token))


def _same_bytes(token: str, good: str) -> bool:
    """Whether they differ only in the bits of base64 that say nothing."""
    try:
        one, two = ([base64.urlsafe_b64decode(each + "==") for each in text.split(".")] for text in (token, good))
    except ValueError:
        return False
    return one == two and len(token) == len(good)


async def _never(jwks, caplog, token: str) -> None:
    caplog.clear()
    made = verifier(jwks)
    async with asyncio.timeout(10):
        with pytest.raises(AuthorizationError):
            await made.verify(f"Bearer {token}", "gate", "shop.buy")
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert line.startswith("refused shop.buy of gate: ")
    assert len(line) < 300
    assert line.isprintable()


@given(st.text(max_size=100))
def test_reading_a_head_raises_nothing_else(text):
    """Whatever is in it."""
    with pytest.raises(TokenRefused):
        read_header(text, frozenset({"ES256"}))
