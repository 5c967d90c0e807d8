"""Executes a call with an idempotency key once, however often it is sent: repetitions get the first one's outcome."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from meshcore.codec.codec import MSGPACK, Limits
from meshcore.codec.errors import EncodeError
from meshcore.core.call import Call, Handler
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, MeshError
from meshcore.server.replay import Replay
from meshcore.wire.errors import ErrorBody, ErrorCodec, mesh_error_body
from meshcore.wire.headers import IDEMPOTENCY_KEY


class _Answer(msgspec.Struct, array_like=True):
    """An outcome as it is kept: encoded, so that its size is known and nobody changes it."""

    result: msgspec.Raw
    error: ErrorBody | None = None


class _Outcomes:
    """Outcomes of one method to and from their form in the store."""

    def __init__(self, method: Method, limits: Limits) -> None:
        self._method = method
        self._errors = ErrorCodec(MSGPACK, method, limits)
        self._write = MSGPACK.encoder(method.returns, validate=True)
        self._read = MSGPACK.decoder(method.returns, limits)

    def of_result(self, result: Any) -> bytes:
        """What is kept of a result."""
        try:
            return _write(_Answer(msgspec.Raw(self._write(result))))
        except EncodeError:  # it does not fit the interface: its caller gets an error as well
            return self.lost("its result did not fit the interface")

    def of_error(self, error: Exception) -> bytes:
        """What is kept of an error."""
        try:
            body = self._errors.body_of(error)
        except Exception:  # noqa: BLE001 - a declared exception that does not keep its fields: the server reports it
            body = None
        if body is None:  # undeclared, so it is the server's secret
            code = error.code if isinstance(error, ImplementationError) else Code.INTERNAL
            return self.lost("it failed with an error that is in the server's log", code)
        return _write(_Answer(_NOTHING, body))

    def lost(self, reason: str, code: Code = Code.INTERNAL) -> bytes:
        """What is kept of an outcome that cannot be kept: the call must not be executed again all the same."""
        text = f"{self._method} was executed when it was sent before: {reason}"
        return _write(_Answer(_NOTHING, mesh_error_body(MeshError(code, text, retryable=False))))

    def replay(self, data: bytes) -> Any:
        """Return or raise what the first call did.

        Raises:
            Exception: the implementation's.
        """
        answer = _read(data)
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

        While that runs, wait for it. If it is cancelled, execute this one.
        """
        seconds = call.method.idempotency_key
        key = call.headers.get(IDEMPOTENCY_KEY) if seconds is not None else None
        if seconds is None or not key:
            return await handler(call)
        outcomes = self._outcomes.get(call.method)
        if outcomes is None:
            outcomes = self._outcomes[call.method] = _Outcomes(call.method, self._limits)
        place = (call.method, key)
        while True:
            data = self._replay.get(place, time.monotonic())
            if data is not None:
                return outcomes.replay(data)
            running = self._running.get(place)
            if running is None:
                break
            await running.wait()
        ended = self._running[place] = asyncio.Event()
        try:
            result = await handler(call)
        except Exception as error:
            if isinstance(error, MeshError):
                error.processed = True  # whatever it says: the implementation has begun
            self._keep(place, outcomes, outcomes.of_error(error), seconds)
            raise
        else:
            self._keep(place, outcomes, outcomes.of_result(result), seconds)
            return result
        finally:
            del self._running[place]
            ended.set()

    def _keep(self, place: tuple[Method, str], outcomes: _Outcomes, data: bytes, seconds: float) -> None:
        now = time.monotonic()
        if not self._replay.keep(place, data, seconds, now):
            self._replay.keep(place, outcomes.lost("its outcome was too large to keep it"), seconds, now)
