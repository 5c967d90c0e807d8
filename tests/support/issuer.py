"""An issuer of tokens: its keys, tokens of all kinds, and an HTTP server in this process with JWKS and OAuth."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://login.example", "shop"


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> Any:
    """A key; to make one takes 50 ms and more."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number: int = 0) -> Any:
    """A key of the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> Any:
    """A key of the curve Ed25519."""
    return ed25519.Ed25519PrivateKey.generate()


def public(key: Any, key_id: str | None, **more: Any) -> dict[str, Any]:
    """A key as a JWKS document has it."""
    kind = {"RSA": RSAAlgorithm, "Ell": ECAlgorithm, "ECP": ECAlgorithm, "Ed2": OKPAlgorithm}[type(key).__name__[:3]]
    made = json.loads(kind.to_jwk(key.public_key()))
    made.pop("key_ops", None)
    return {**made, **({} if key_id is None else {"kid": key_id}), **more}


def pem(key: Any) -> bytes:
    """The public key as a text, which a confused verifier takes for the secret of HS256."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def document(*keys: dict[str, Any]) -> bytes:
    """A JWKS document."""
    return json.dumps({"keys": keys}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Those of a good token; None leaves one out."""
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600, **more}
    return {name: value for name, value in made.items() if value is not None}


def sign(payload: dict[str, Any], key: Any = None, algorithm: str = "ES256", **header: Any) -> str:
    """A token, by default of the key `one`."""
    head = {"kid": "one", **header}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(payload, key or ec_key(), algorithm, headers=head)


def part(data: bytes) -> str:
    """Base64url, as the parts of a token."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(head: Any, payload: Any, signature: bytes = b"x" * 64) -> str:
    """A token that no library makes."""
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (head, payload)]
    return ".".join(map(part, [*texts, signature]))


class Issuer:
    """What the server answers, and what it was asked.

    Attributes:
        url: of the server.
        document: of `/jwks`.
        headers: of that answer.
        status: of all answers.
        seconds: the life of tokens; None to say nothing of it.
        forms: what was sent to `/token`, with the header `authorization` as `basic`.
        asked: how often `/jwks` was asked.
        answer: of `/token`, in place of a token.
        token: the function that makes the token number n.
    """

    def __init__(self) -> None:
        self.url = ""
        self.document = document(public(ec_key(), "one"))
        self.headers: dict[str, str] = {}
        self.status = 200
        self.seconds: float | None = 600
        self.forms: list[dict[str, str]] = []
        self.asked = 0
        self.answer: bytes | None = None
        self.token = lambda number: f"token-{number}"

    async def keys(self, request: web.Request) -> web.Response:
        """Answer `/jwks`."""
        self.asked += 1
        if self.status == 302:
            raise web.HTTPFound("/elsewhere")
        return web.Response(status=self.status, body=self.document, headers=self.headers)

    async def grant(self, request: web.Request) -> web.Response:
        """Answer `/token`."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append({**form, "basic": request.headers.get("authorization", "")})
        if self.answer is not None or self.status != 200:
            return web.Response(status=self.status, body=self.answer or b"{}")
        life = {} if self.seconds is None else {"expires_in": self.seconds}
        return web.json_response({"access_token": self.token(len(self.forms)), "token_type": "Bearer", **life})


@asynccontextmanager
async def issuer() -> AsyncGenerator[Issuer]:
    """Serve one while the context lasts."""
    made = Issuer()
    app = web.Application()
    app.add_routes([web.get("/jwks", made.keys), web.post("/token", made.grant)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
