"""Tokens of OAuth's client credentials (RFC 6749, 4.4): a service proves itself to a token endpoint."""

from __future__ import annotations

import base64
import random
import re
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote_plus

import msgspec

from meshcore.security.tokens.endpoint import EndpointError, ask, check_endpoint, refused
from meshcore.security.tokens.renewal import Renewal
from meshcore.security.tokens.renewed import Fetched, Renewed
from meshcore.security.tokens.sources import RenewedToken, why_no_token

_LARGEST = 2**17
"""Bytes of an answer of the token endpoint."""
_LIFE = 300.0
"""Seconds that a token is used if the endpoint does not say."""
_LONGEST_LIFE = 86_400.0 * 365
_MARGIN = 0.05
"""The part of a token's life that is left for the way to the server and for clocks that differ."""
_CODE = re.compile(r"[a-z_]{1,40}")


class _Granted(msgspec.Struct):
    """The answer of a token endpoint (RFC 6749, 5.1 and 5.2)."""

    access_token: str = ""
    token_type: str = ""
    expires_in: float | str | None = None
    error: str = ""


_read = msgspec.json.Decoder(_Granted).decode


class ClientCredentials(RenewedToken):
    """A token of an OAuth token endpoint, fetched when it is first needed and again ahead of its expiry.

    One request is made for all calls that wait. While the endpoint cannot be reached, the old token is used as long as
    it is valid, and the endpoint is asked again after 1 s, 2 s, up to 60 s. If a server refuses a token, another one is
    fetched, at most once in 10 s.

    Args:
        url: of the token endpoint. It must be https, except on this machine.
        client_id: of this service.
        secret: of this service.
        secret_file: has the secret instead; it is read for each request, so the secret can be replaced.
        scope: what the token shall be good for: a text with spaces, or a list.
        audience: for whom the token shall be, where the endpoint wants to know.
        in_body: whether id and secret are sent in the form, and not by HTTP Basic.
        tls: trusts other roots than those of this machine.
        clock: monotonic seconds.

    Raises:
        ValueError: an argument cannot be used.
    """

    def __init__(  # noqa: PLR0913 - all but two have names
        self,
        url: str,
        client_id: str,
        *,
        secret: str = "",
        secret_file: str | Path | None = None,
        scope: str | Sequence[str] = "",
        audience: str = "",
        in_body: bool = False,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = check_endpoint(url, "the URL of the token endpoint")
        if not client_id:
            raise ValueError("client_id must not be empty")
        if bool(secret) == (secret_file is not None):
            raise ValueError("give either secret or secret_file")
        self._client_id, self._secret = client_id, secret
        self._secret_file = None if secret_file is None else Path(secret_file)
        form = {"grant_type": "client_credentials"}
        if scope:
            form["scope"] = scope if isinstance(scope, str) else " ".join(scope)
        if audience:
            form["audience"] = audience
        self._form = form
        self._in_body = in_body
        self._tls = tls
        renewal = Renewal(random.Random())
        self._renewed = Renewed(
            self._fetch, renewal, f"a token for {client_id} from {self._url.with_query(None)}", clock
        )

    async def aclose(self) -> None:
        """Stop a request that runs."""
        await self._renewed.aclose()

    async def _fetch(self) -> Fetched[str]:
        secret = self._secret if self._secret_file is None else _read_secret(self._secret_file)
        form, headers = self._form, dict[str, str]()
        if self._in_body:
            form = {**form, "client_id": self._client_id, "client_secret": secret}
        else:  # both encoded as in a form (RFC 6749, 2.3.1)
            pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        answer = await ask(self._url, limit=_LARGEST, form=form, headers=headers, tls=self._tls)
        try:
            granted = _read(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            granted = None
        code = granted.error if granted is not None and _CODE.fullmatch(granted.error) else ""
        if (error := refused(self._url, answer, code)) is not None:
            raise error
        if granted is None:
            raise EndpointError(f"the answer of {self._url.with_query(None)} is no JSON of a token", transient=False)
        if granted.token_type.lower() != "bearer":
            raise EndpointError("the token endpoint gave a token that is not a bearer token", transient=False)
        if reason := why_no_token(granted.access_token):
            raise EndpointError(f"the token of the token endpoint cannot be sent: {reason}", transient=False)
        return Fetched(granted.access_token, _life(granted.expires_in) * (1 - _MARGIN))

    def __repr__(self) -> str:
        return f"ClientCredentials({str(self._url.with_query(None))!r}, {self._client_id!r})"


def _life(seconds: float | str | None) -> float:
    """Some endpoints write the number as a text."""
    try:
        life = _LIFE if seconds is None else float(seconds)
    except ValueError:
        return _LIFE
    return min(life, _LONGEST_LIFE) if life > 0 else 0.0


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            secret = file.read(_LARGEST).decode().strip()
    except OSError as error:
        raise EndpointError(f"the secret in {path} cannot be read: {error.strerror}", transient=False) from None
    except UnicodeDecodeError:
        raise EndpointError(f"the secret in {path} is no text", transient=False) from None
    if not secret:
        raise EndpointError(f"the secret in {path} is empty", transient=False)
    return secret
