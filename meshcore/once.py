"""Executes a call with an idempotency key once, however often it is sent: repetitions get the first one's outcome."""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import Any

import msgspec

from meshcore.call import Call, Handler
from meshcore.codec import MSGPACK, EncodeError, Limits
from meshcore.envelope import ErrorBody, ErrorCodec, arguments_type, mesh_error_body
from meshcore.errors import Code, MeshError, RemoteError, is_of_a_call
from meshcore.headers import IDEMPOTENCY_KEY
from meshcore.interface import Method
from meshcore.replay import Replay


class _Answer(msgspec.Struct, array_like=True):
    """An outcome as it is kept: encoded, so that its size is known and nobody changes it.

    Attributes:
        call: a digest of the arguments.
    """

    call: bytes
    result: msgspec.Raw
    error: ErrorBody | None = None


class _Outcomes:
    """Outcomes of one method to and from their form in the store."""

    def __init__(self, method: Method, limits: Limits) -> None:
        self._method = method
        self._errors = ErrorCodec(MSGPACK, method, limits)
        self._write = MSGPACK.encoder(method.returns, validate=True)
        self._read = MSGPACK.decoder(method.returns, limits)
        self._write_arguments = MSGPACK.encoder(arguments_type(method))

    def digest_of(self, arguments: tuple[Any, ...]) -> bytes:
        """What tells the arguments from others; nothing if an interceptor has put in what cannot be encoded."""
        try:
            return blake2b(self._write_arguments(arguments), digest_size=16).digest()
        except EncodeError:
            return b""

    def of_result(self, digest: bytes, result: Any) -> bytes:
        """What is kept of a result."""
        try:
            return _write(_Answer(digest, msgspec.Raw(self._write(result))))
        except EncodeError:  # it does not fit the interface: its caller gets an error as well
            return self.lost(digest, "its result did not fit the interface")

    def of_error(self, digest: bytes, error: Exception) -> bytes:
        """What is kept of an error."""
        try:
            # How a call of its own ended is none of the caller's, like whatever is not declared.
            hidden = isinstance(error, MeshError) and is_of_a_call(error)
            body = None if hidden else self._errors.body_of(error)
        except Exception:  # noqa: BLE001 - a declared exception that does not keep its fields: the server reports it
            body = None
        if body is None:  # so it is the server's secret
            return self.lost(digest, "it failed with an internal error, which is in the server's log")
        return _write(_Answer(digest, _NOTHING, body))

    def lost(self, digest: bytes, reason: str) -> bytes:
        """What is kept of an outcome that cannot be kept: the call must not be executed again all the same."""
        text = f"{self._method} was executed when it was sent before: {reason}"
        return _write(_Answer(digest, _NOTHING, mesh_error_body(MeshError(Code.INTERNAL, text))))

    def replay(self, digest: bytes, data: bytes) -> Any:
        """Return or raise what the first call did.

        Raises:
            RemoteError: INVALID_ARGUMENT, that was another call.
            Exception: the implementation's.
        """
        answer = _read(data)
        if answer.call != digest:
            text = f"{self._method}: another call, with other arguments, was sent with this idempotency key before"
            raise RemoteError(Code.INVALID_ARGUMENT, text)
        if answer.error is not None:
            raise self._errors.restore(answer.error)
        return self._read(bytes(answer.result))


_NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))
_write = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(_Answer).decode


class Once:
    """An interceptor, inside of the user's own: whoever may not call must not get a kept outcome either.

    It knows what this process executed; a repetition that goes to another instance is executed there.

    Args:
        memory: bytes for outcomes.
        max_depth: the setting.
    """

    def __init__(self, memory: int, max_depth: int) -> None:
        self._replay = Replay(memory)
        self._limits = Limits(max_depth=max_depth)
        self._outcomes: dict[Method, _Outcomes] = {}
        self._running: dict[tuple[Method, str], asyncio.Event] = {}

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Execute the call, or answer it with the outcome of the one that was sent before with its key.

        That must have been the same call: a key that is used for another one is a mistake, and what came of that may be
        none of this caller's business (draft-ietf-httpapi-idempotency-key-header, 2.6).

        While that runs, wait for it. If it is cancelled, execute this one.
        """
        key = call.headers.get(IDEMPOTENCY_KEY) if call.method.idempotency_key is not None else None
        if not key:
            return await handler(call)
        outcomes = self._outcomes.get(call.method)
        if outcomes is None:
            outcomes = self._outcomes[call.method] = _Outcomes(call.method, self._limits)
        place, digest = (call.method, key), outcomes.digest_of(call.arguments)
        while True:
            data = self._replay.get(place, time.monotonic())
            if data is not None:
                return outcomes.replay(digest, data)
            running = self._running.get(place)
            if running is None:
                break
            await running.wait()
        ended = self._running[place] = asyncio.Event()
        try:
            result = await handler(call)
        except Exception as error:
            # Whatever a call that the implementation made says of itself, this one has begun.
            if isinstance(error, MeshError):
                error.processed = True
            self._keep(place, outcomes, digest, outcomes.of_error(digest, error))
            raise
        else:
            self._keep(place, outcomes, digest, outcomes.of_result(digest, result))
            return result
        finally:
            del self._running[place]
            ended.set()

    def _keep(self, place: tuple[Method, str], outcomes: _Outcomes, digest: bytes, data: bytes) -> None:
        seconds, now = place[0].idempotency_key or 0.0, time.monotonic()
        if not self._replay.keep(place, data, seconds, now):
            self._replay.keep(place, outcomes.lost(digest, "its outcome was too large to keep it"), seconds, now)
