"""The keys of a JWKS document (RFC 7517) with which tokens are verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from jwt import PyJWK

LARGEST_DOCUMENT = 2**18
"""Bytes of a JWKS document."""
_MOST_KEYS = 100
_SMALLEST_RSA = 2048
_LONGEST_ID = 256

KEY_TYPES: dict[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that can be chosen, each with the type and the curve of its keys. All have a private and a public key:
where both sides have the same key (HS256), whoever verifies tokens could make them."""


class KeysError(Exception):
    """A document has no keys that can be used. The text says why."""


class _Key(msgspec.Struct, rename={"key_id": "kid", "key_type": "kty", "algorithm": "alg", "curve": "crv"}):
    key_type: str = ""
    key_id: str | None = None
    algorithm: str | None = None
    curve: str = ""
    use: str | None = None
    key_ops: list[str] | None = None


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


class Keys:
    """The keys of one document, ready for use.

    Args:
        document: of JSON.
        algorithms: those that tokens may have.

    Attributes:
        document: as it was read; two that are equal have the same keys.

    Raises:
        KeysError: it is no such document, or has no key for the algorithms.
    """

    def __init__(self, document: bytes, algorithms: frozenset[str]) -> None:
        if len(document) > LARGEST_DOCUMENT:
            raise KeysError(f"it is larger than {LARGEST_DOCUMENT} bytes")
        try:
            read = msgspec.json.decode(document, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise KeysError('it is no JSON object with a list "keys"') from None
        if len(read.keys) > _MOST_KEYS:
            raise KeysError(f"it has {len(read.keys)} keys, more than {_MOST_KEYS}")
        self.document = document
        self._keys: list[tuple[str | None, str, PyJWK]] = []
        reasons: list[str] = []
        for number, raw in enumerate(read.keys, 1):
            for algorithm in sorted(algorithms):
                try:
                    key_id, made = _made(raw, algorithm)
                except KeysError as error:
                    reasons.append(f"key {number}: {error}")
                else:
                    self._keys.append((key_id, algorithm, made))
        if not self._keys:
            more = f" ({'; '.join(list(dict.fromkeys(reasons))[:5])})" if reasons else ""
            raise KeysError(f"it has no key for {', '.join(sorted(algorithms))}{more}")

    def find(self, algorithm: str, key_id: str | None) -> list[PyJWK]:
        """The keys that may have signed a token. A token that names no key may be of any that fits its algorithm."""
        return [
            key for found, fits, key in self._keys if fits == algorithm and (key_id is None or found in {key_id, None})
        ]


def _made(raw: dict[str, Any], algorithm: str) -> tuple[str | None, PyJWK]:
    """The id of a key and the key, for an algorithm.

    Raises:
        KeysError: it is not for that.
    """
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = msgspec.convert(raw, _Key)
    except msgspec.ValidationError:
        raise KeysError("a member of it has the wrong type") from None
    key_type, curve = KEY_TYPES[algorithm]
    if key.key_type != key_type or (curve and key.curve != curve):
        raise KeysError(f"it is not of the type {key_type}{f' {curve}' if curve else ''} that {algorithm} needs")
    if key.algorithm is not None and key.algorithm != algorithm:
        raise KeysError(f"it is not for {algorithm}")
    if (key.use or "sig") != "sig" or (key.key_ops is not None and "verify" not in key.key_ops):
        raise KeysError("it is not for signatures")
    if key.key_id is not None and len(key.key_id) > _LONGEST_ID:
        raise KeysError(f"its id is longer than {_LONGEST_ID} characters")
    if "d" in raw:
        raise KeysError("it is a private key")
    try:
        made = jwt.PyJWK(raw, algorithm)
        size = made.key.key_size if isinstance(made.key, RSAPublicKey) else _SMALLEST_RSA
    except Exception as error:  # noqa: BLE001 - pyjwt and cryptography raise many kinds for numbers that are none
        raise KeysError(f"it cannot be read: {type(error).__name__}") from None
    if size < _SMALLEST_RSA:
        raise KeysError(f"it has {size} bits, fewer than {_SMALLEST_RSA}")
    return key.key_id, made
