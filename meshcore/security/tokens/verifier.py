"""Verifies the tokens of served calls: JWTs (RFC 7519), against the keys of their issuer."""

from __future__ import annotations

import importlib.util
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from meshcore.core.errors import AuthorizationError, Code, ConfigurationError, MeshError
from meshcore.core.suggest import did_you_mean
from meshcore.security.tokens.jws import Expected, TokenRefused, read_header, verify
from meshcore.security.tokens.key_source import KeySource
from meshcore.security.tokens.keys import KEY_TYPES, Keys
from meshcore.security.tokens.passing import bearer_of
from meshcore.security.tokens.refusal_log import RefusalLog
from meshcore.security.tokens.verified import VerifiedTokens

log = logging.getLogger(__name__)

_NO_CLAIMS: Mapping[str, Any] = MappingProxyType({})
_KEPT = 300.0
"""Seconds for which a token without an expiry counts as verified."""


class TokenVerifier:
    """For servers: verifies the bearer token of each call, before its arguments are read.

    A module's `@create` method that returns one adds it to the mesh. The claims are in `current_call().claims`. Callers
    whose token is missing or not valid get UNAUTHENTICATED and a general text. The log has the reason.

    What was verified is remembered until the token expires, so that a repeated token costs a look into a dict. It needs
    the extra `security`.

    Args:
        jwks: the URL of the issuer's JWKS endpoint, or the path of a file with such a document. A URL must be https,
            except on this machine. The keys are fetched again ahead of the end that `Cache-Control: max-age` says, at
            the latest after an hour.
        issuer: the claim `iss` that tokens must have.
        audience: one of these must be in the claim `aud`.
        algorithms: those that tokens may have: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA.
        leeway: seconds by which clocks may differ.
        required: whether a call without a token is refused. If not, it has no claims; a token that is not valid is
            refused anyway.
        require: claims that tokens must have, beside `iss` and `aud`.
        max_token: characters of the longest token.
        max_known: tokens that are remembered.
        max_stale: seconds for which keys are used beyond their end, while no others can be had.
        refetch: seconds between two fetches because a token names a key that is not known.
        tls: trusts other roots than those of this machine, for the JWKS endpoint.
        clock: monotonic seconds.
        time_: seconds since the epoch.

    Raises:
        ConfigurationError: an argument cannot be used, or the extra is not installed.
    """

    def __init__(  # noqa: PLR0913 - all but one have names
        self,
        jwks: str | Path,
        *,
        issuer: str,
        audience: str | Sequence[str],
        algorithms: Sequence[str],
        leeway: float = 30.0,
        required: bool = True,
        require: Sequence[str] = ("exp",),
        max_token: int = 8192,
        max_known: int = 10_000,
        max_stale: float = 86_400.0,
        refetch: float = 10.0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        time_: Callable[[], float] = time.time,
    ) -> None:
        audiences = (audience,) if isinstance(audience, str) else tuple(audience)
        problems = _problems(issuer, audiences, algorithms, leeway)
        try:
            source = KeySource(jwks, frozenset(algorithms), max_stale=max_stale, interval=refetch, tls=tls, clock=clock)
        except ValueError as error:
            problems.append(str(error))
            source = None
        if problems or source is None:
            raise ConfigurationError("TokenVerifier cannot be used", problems)
        self.required = required
        self._source = source
        self._algorithms = frozenset(algorithms)
        self._expected = Expected(issuer, audiences, ("iss", "aud", *require), leeway)
        self._max_token = max_token
        self._keys: Keys | None = None
        self._verified = VerifiedTokens(max_known)
        self._refusals = RefusalLog(log, clock)
        self._time = time_

    def cached(self, header: str) -> Mapping[str, Any] | None:
        """What is known at once. None: ask `verify`.

        Args:
            header: `authorization`, empty if the call has none.
        """
        if not header:
            return None if self.required else _NO_CLAIMS
        keys = self._source.current()
        if keys is None or keys is not self._keys:  # others may have replaced the key of a token that is remembered
            return None
        return self._verified.get(header, self._time())

    async def verify(self, header: str, who: str = "", called: str = "") -> Mapping[str, Any]:
        """The claims of a token.

        Args:
            header: `authorization`, empty if the call has none.
            who: the caller, for the log.
            called: the method, for the log.

        Raises:
            AuthorizationError: UNAUTHENTICATED, there is no token that is valid.
            MeshError: UNAVAILABLE, the keys of the issuer cannot be had. Both are not processed.
        """
        token = bearer_of(header)
        if not token:
            if not self.required:  # as before: another scheme is none of ours
                return _NO_CLAIMS
            self._refuse("there is no bearer token", who, called)
        try:
            claims = await self._claims(token)
        except TokenRefused as refused:
            self._refuse(str(refused), who, called)
        self._verified.keep(header, claims, self._until(claims))
        return claims

    async def _claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > self._max_token:
            raise TokenRefused(f"the token has {len(token)} characters, more than {self._max_token}")
        algorithm, key_id = read_header(token, self._algorithms)  # before anything is fetched for it
        keys = await self._newest_keys()
        candidates = keys.find(algorithm, key_id)
        if not candidates:
            newer = await self._source.renew(keys)
            candidates = newer.find(algorithm, key_id) if newer is not None else []
            keys = self._take_over(newer or keys)
        if not candidates:
            raise TokenRefused(f"the issuer has no key {_shown(key_id)} for {algorithm}")
        return verify(token, candidates, algorithm, self._expected, self._time())

    async def _newest_keys(self) -> Keys:
        try:
            return self._take_over(await self._source.get())
        except MeshError as error:
            log.debug("a token cannot be verified: %s", error.message)  # the source has logged it, once
            text = "this instance cannot verify tokens at the moment"
            raise MeshError(Code.UNAVAILABLE, text, processed=False) from None

    def _take_over(self, keys: Keys) -> Keys:
        if keys is not self._keys:
            self._verified.clear()
            self._keys = keys
        return keys

    def _until(self, claims: Mapping[str, Any]) -> float:
        expiry = claims.get("exp")
        return self._time() + _KEPT if expiry is None else float(expiry) + self._expected.leeway

    def _refuse(self, reason: str, who: str, called: str) -> NoReturn:
        self._refusals.write(reason, who, called)
        raise AuthorizationError(
            Code.UNAUTHENTICATED, "the call needs a valid bearer token", retryable=False, processed=False
        )

    async def aclose(self) -> None:
        """Stop a fetch of keys that runs."""
        await self._source.aclose()


def _problems(issuer: str, audiences: Sequence[str], algorithms: Sequence[str], leeway: float) -> list[str]:
    problems: list[str] = []
    if importlib.util.find_spec("jwt") is None or importlib.util.find_spec("cryptography") is None:
        problems.append("it needs the packages pyjwt and cryptography: install meshcore-runtime[security]")
    if not issuer:
        problems.append("issuer must not be empty")
    if not audiences or not all(audiences):
        problems.append("audience must not be empty")
    if isinstance(algorithms, str) or not algorithms:
        problems.append('algorithms must be a list, such as ["RS256"]')
    else:
        problems += [_why_not(each) for each in algorithms if each not in KEY_TYPES]
    if not 0 <= leeway <= _KEPT:
        problems.append(f"leeway must be from 0 to {_KEPT:.0f} seconds, got {leeway!r}")
    return problems


def _why_not(algorithm: str) -> str:
    if algorithm.lower() == "none":
        return "algorithm none: such tokens are not signed, so anybody can make them"
    if algorithm.upper().startswith("HS"):
        return f"algorithm {algorithm}: whoever can verify such tokens can make them, so no public keys fit"
    return f"no algorithm {algorithm!r}{did_you_mean(algorithm, KEY_TYPES)}"


def _shown(key_id: str | None) -> str:
    return "" if key_id is None else repr(key_id[:64])
