"""Idempotency keys: executes a call once, even if it is sent several times. Repetitions get the kept outcome."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from meshcore.codec.codec import MSGPACK, Limits
from meshcore.codec.errors import EncodeError
from meshcore.core.call import Call, Handler
from meshcore.core.call_scope import failure_of
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, MeshError
from meshcore.server.outcome_store import OutcomeStore
from meshcore.server.refusals import NotBegunError
from meshcore.wire.errors import ErrorBody, ErrorCodec, mesh_error_body
from meshcore.wire.headers import IDEMPOTENCY_KEY


class _Outcome(msgspec.Struct, array_like=True):
    """A result or an error. It is kept encoded, so that its size is known and it cannot be changed."""

    result: msgspec.Raw
    error: ErrorBody | None = None


class _OutcomeCodec:
    """Encodes and decodes the outcomes of one method."""

    def __init__(self, method: Method, limits: Limits) -> None:
        self._method = method
        self._errors = ErrorCodec(MSGPACK, method, limits)
        self._write = MSGPACK.encoder(method.returns, validate=True)
        self._read = MSGPACK.decoder(method.returns, limits)

    def of_result(self, result: Any) -> bytes:
        """The encoded outcome for a result."""
        try:
            return _write(_Outcome(msgspec.Raw(self._write(result))))
        except EncodeError:  # the result does not fit the interface, so the first caller gets an error, too
            return self.lost("its result does not fit the interface")

    def of_error(self, error: Exception) -> bytes:
        """The encoded outcome for an error."""
        try:
            body = self._errors.body_of(error)
        except Exception:  # noqa: BLE001 - a declared exception without its fields; the server reports it
            body = None
        if body is None:  # not declared, so callers must not see it
            code = error.code if isinstance(error, ImplementationError) else Code.INTERNAL
            return self.lost("it failed with an error that is in the server's log", code)
        return _write(_Outcome(_NOTHING, body))

    def lost(self, reason: str, code: Code = Code.INTERNAL) -> bytes:
        """The encoded outcome in place of one that cannot be kept. It prevents a second execution."""
        text = f"{self._method} was executed by an earlier attempt: {reason}"
        return _write(_Outcome(_NOTHING, mesh_error_body(MeshError(code, text, retryable=False))))

    def replay(self, data: bytes) -> Any:
        """Return the result, or raise the error, of an encoded outcome.

        Raises:
            Exception: the kept error.
        """
        outcome = _read(data)
        if outcome.error is not None:
            raise self._errors.restore(outcome.error)
        return self._read(bytes(outcome.result))


_NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))
_write = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(_Outcome).decode


class Idempotency:
    """The interceptor that executes each call with an idempotency key once.

    It runs inside the user's interceptors: a caller that they refuse must not get a kept outcome. It knows only the
    calls of this process. A repetition that goes to another instance is executed there.

    Args:
        memory: the setting `idempotency_memory`: bytes for all outcomes.
        max_depth: the setting `max_depth`.
    """

    def __init__(self, memory: int, max_depth: int) -> None:
        self._store = OutcomeStore(memory)
        self._limits = Limits(max_depth=max_depth)
        self._codecs: dict[Method, _OutcomeCodec] = {}
        self._running: dict[tuple[Method, str], asyncio.Event] = {}

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Execute the call, or return the outcome of an earlier call with the same key.

        If that still runs, wait for it. If it is cancelled, execute this call.
        """
        seconds = call.method.idempotency_key
        key = call.headers.get(IDEMPOTENCY_KEY) if seconds is not None else None
        if seconds is None or not key:
            return await handler(call)
        codec = self._codecs.get(call.method)
        if codec is None:
            codec = self._codecs[call.method] = _OutcomeCodec(call.method, self._limits)
        place = (call.method, key)
        while True:
            data = self._store.get(place, time.monotonic())
            if data is not None:
                return codec.replay(data)
            running = self._running.get(place)
            if running is None:
                break
            await running.wait()
        ended = self._running[place] = asyncio.Event()
        try:
            result = await handler(call)
        except BaseException as error:
            failure = _failure_to_keep(error)
            if failure is not None:
                self._keep(place, codec, codec.of_error(failure), seconds)
            raise
        else:
            self._keep(place, codec, codec.of_result(result), seconds)
            return result
        finally:
            del self._running[place]
            ended.set()

    def _keep(self, place: tuple[Method, str], codec: _OutcomeCodec, data: bytes, seconds: float) -> None:
        now = time.monotonic()
        if not self._store.keep(place, data, seconds, now):
            self._store.keep(place, codec.lost("its outcome was too large to be kept"), seconds, now)


def _failure_to_keep(error: BaseException) -> Exception | None:
    """None: the call was cancelled or its implementation has not begun, so it may be executed when it is sent again."""
    if isinstance(error, NotBegunError) and not error.from_local_call:
        return None
    if isinstance(error, MeshError):
        error.processed = True  # the implementation has begun, even if the error says otherwise
    return failure_of(error)
