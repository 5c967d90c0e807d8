"""Reads the head of a token, and verifies its signature and claims with pyjwt."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from jwt import PyJWK

_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST_HEAD = 2048
_LONGEST_ID = 256
_FAR = 1e12
"""Seconds. A time that is further off is a mistake, and may be no finite number."""
_MOST_KEYS = 4
"""Keys that are tried for one token. Each takes 30 to 100 us."""


class TokenRefused(Exception):  # noqa: N818 - a refusal, whose text is the reason for the log
    """A token is not valid. The text is the reason, and does not show the token."""


class _Head(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_read = msgspec.json.Decoder(_Head).decode


def read_header(token: str, algorithms: frozenset[str]) -> tuple[str, str | None]:
    """The algorithm of a token, and the id of its key if it names one. Nothing else in the head counts.

    Raises:
        TokenRefused: it is no JWT, or not of these algorithms.
    """
    form = _FORM.fullmatch(token)
    if form is None:
        raise TokenRefused("the token is no JWT: three parts of base64url with dots between them")
    if len(form[1]) > _LONGEST_HEAD:
        raise TokenRefused(f"the token's head is longer than {_LONGEST_HEAD} characters")
    try:
        head = _read(base64.urlsafe_b64decode(form[1] + "=" * (-len(form[1]) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenRefused("the token's head is no JSON object with alg") from None
    if head.crit is not msgspec.UNSET or head.b64 is not msgspec.UNSET:
        raise TokenRefused("the token's head has crit or b64, which is not understood")
    if head.alg not in algorithms:
        raise TokenRefused(f"the token's algorithm {head.alg[:16]!r} is not one of {', '.join(sorted(algorithms))}")
    if head.kid is not None and len(head.kid) > _LONGEST_ID:
        raise TokenRefused(f"the id of the token's key is longer than {_LONGEST_ID} characters")
    return head.alg, head.kid


class Expected(msgspec.Struct, frozen=True):
    """What a token has to say.

    Attributes:
        issuer: the claim `iss`.
        audiences: one of them has to be in the claim `aud`.
        require: claims that have to be there.
        leeway: seconds by which clocks may differ.
    """

    issuer: str
    audiences: tuple[str, ...]
    require: tuple[str, ...]
    leeway: float


def verify(token: str, keys: Sequence[PyJWK], algorithm: str, expected: Expected, now: float) -> Mapping[str, Any]:
    """The claims of a token whose signature and claims are right.

    Args:
        token: of which `read_header` has read the head.
        keys: that may have signed it.
        algorithm: of the token.
        expected: what it has to say.
        now: seconds since the epoch.

    Raises:
        TokenRefused: something is wrong with it.
    """
    claims = _signed(token, keys, algorithm)
    for name in expected.require:
        if claims.get(name) is None:
            raise TokenRefused(f"the token has no claim {name}")
    if claims["iss"] != expected.issuer:
        raise TokenRefused("the token's issuer is another one")
    if not _audiences(claims["aud"]).intersection(expected.audiences):
        raise TokenRefused("the token is for another audience")
    expiry, begin = _time(claims, "exp"), max(_time(claims, "nbf") or 0.0, _time(claims, "iat") or 0.0)
    if expiry is not None and expiry + expected.leeway <= now:
        raise TokenRefused(f"the token has expired {now - expiry:.0f} s ago")
    if begin - expected.leeway > now:
        raise TokenRefused(f"the token is valid only in {begin - now:.0f} s")
    return MappingProxyType(claims)


def _audiences(claim: object) -> set[str]:
    """Those that a claim `aud` names: one, or a list."""
    named = cast("list[object]", claim) if isinstance(claim, list) else [claim]
    return {each for each in named if isinstance(each, str)}


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """The seconds since the epoch that a claim says, None if it is not there."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FAR:
        raise TokenRefused(f"the token's claim {name} is no time")
    return float(value)


def _signed(token: str, keys: Sequence[PyJWK], algorithm: str) -> dict[str, Any]:
    import jwt

    options = {"verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
    options |= {"verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False}
    reason = ""
    for key in keys[:_MOST_KEYS]:
        try:
            return jwt.decode(token, key.key, algorithms=[algorithm], options=options)  # type: ignore[arg-type]
        except jwt.InvalidSignatureError:
            reason = "the token's signature is wrong"
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            reason = f"the token cannot be read: {type(error).__name__}"
    raise TokenRefused(reason)
