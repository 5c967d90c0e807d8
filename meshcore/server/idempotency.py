"""Idempotency keys: executes a call once, even if it is sent several times. Repetitions get the kept outcome.

A key counts for one caller, one method and one list of arguments. Sent with another caller or other arguments, it is
refused: nobody gets the outcome of somebody else's call, and a call with a key is executed or answered, never mistaken.
"""

from __future__ import annotations

import asyncio
import pickle
import re
import time
from typing import Any, TypeAlias

import msgspec

from meshcore.codec.codec import MSGPACK, Limits
from meshcore.codec.errors import EncodeError
from meshcore.core.call import CALLER_KEY, Call, Handler, why_no_key
from meshcore.core.context.call_scope import failure_of
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, MeshError
from meshcore.server.fingerprint import SIZE, digest_of, fingerprint
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


_Place: TypeAlias = tuple[Method, str]
"""Method and key."""

_LARGE = 4096
"""Bytes of arguments."""
_USER, _AUTHORIZATION = "x-user", "authorization"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

_NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))
_write = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(_Outcome).decode
_write_any = MSGPACK.encoder(Any)


class Idempotency:
    """The interceptor that executes each call with an idempotency key once.

    It runs inside the user's interceptors: a caller that they refuse must not get a kept outcome. It knows only the
    calls of this process. A repetition that goes to another instance is executed there.

    The caller is what the server knows of it: the subject of its token, if that was verified; else the header `x-user`
    if there is one, which interceptors set; else the header `authorization`. So callers without any are one caller, and
    the address that a call comes from does not count: a job that runs again may do so on another host.

    Args:
        memory: the setting `idempotency_memory`: bytes for all outcomes.
        limits: for arguments and outcomes that are read back.
    """

    def __init__(self, memory: int, limits: Limits) -> None:
        self._store = OutcomeStore(memory)
        self._limits = limits
        self._codecs: dict[Method, _OutcomeCodec] = {}
        self._running: dict[_Place, tuple[asyncio.Event, bytes]] = {}

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Execute the call, or return the outcome of an earlier call with the same key.

        If that still runs, wait for it. If it is cancelled, execute this call.

        Raises:
            MeshError: INVALID_ARGUMENT, this is no key; ALREADY_EXISTS, it was used for another call.
        """
        seconds = call.method.idempotency_key
        key = None if seconds is None else _key_of(call)
        if seconds is None or key is None:
            return await handler(call)
        codec = self._codec_of(call.method)
        place, print_ = (call.method, key), _fingerprint_of(call)
        while True:
            data = self._store.get(place, time.monotonic())
            if data is not None:
                _check_same(call, data[:SIZE], print_)
                return codec.replay(data[SIZE:])
            running = self._running.get(place)
            if running is None:
                break
            _check_same(call, running[1], print_)
            await running[0].wait()
        if call.headers.get(IDEMPOTENCY_KEY) != key:  # where the implementation finds it
            call = msgspec.structs.replace(call, headers={**call.headers, IDEMPOTENCY_KEY: key})
        ended = asyncio.Event()
        self._running[place] = ended, print_
        try:
            result = await handler(call)
        except BaseException as error:
            data = _failure_to_keep(error, codec)
            if data is not None:
                self._keep(place, codec, print_, data, seconds)
            raise
        else:
            self._keep(place, codec, print_, codec.of_result(result), seconds)
            return result
        finally:
            del self._running[place]
            ended.set()

    def _codec_of(self, method: Method) -> _OutcomeCodec:
        codec = self._codecs.get(method)
        if codec is None:
            codec = self._codecs[method] = _OutcomeCodec(method, self._limits)
        return codec

    def _keep(self, place: _Place, codec: _OutcomeCodec, print_: bytes, data: bytes, seconds: float) -> None:
        now, size = time.monotonic(), len(place[1])
        if not self._store.keep(place, print_ + data, seconds, now, size):
            lost = codec.lost("its outcome was too large to be kept")
            self._store.keep(place, print_ + lost, seconds, now, size)


def _failure_to_keep(error: BaseException, codec: _OutcomeCodec) -> bytes | None:
    """The encoded outcome of a call that failed.

    None: it was cancelled or its implementation has not begun, so it may be executed when it is sent again.
    """
    if isinstance(error, NotBegunError) and not error.from_local_call:
        return None
    if isinstance(error, MeshError):
        error.processed = True  # the implementation has begun, even if the error says otherwise
    failure = failure_of(error)
    return None if failure is None else codec.of_error(failure)


def _key_of(call: Call) -> str | None:
    """The idempotency key of a call, None if it has none. A key that its caller has chosen counts before the mesh's.

    Raises:
        MeshError: INVALID_ARGUMENT.
    """
    own = call.headers.get(CALLER_KEY)
    key = call.headers.get(IDEMPOTENCY_KEY) if own is None else _unquoted(own)
    if key is not None and (reason := why_no_key(key)):
        text = f"{call.method}: header {CALLER_KEY if own is not None else IDEMPOTENCY_KEY!r}: {reason}"
        raise MeshError(Code.INVALID_ARGUMENT, text, retryable=False, processed=False)
    return key


def _unquoted(key: str) -> str:
    """A key without the quotes of RFC 9651, 3.3.3: many clients send it without them."""
    quoted = _QUOTED.fullmatch(key)
    return key if quoted is None else _ESCAPE.sub(r"\1", quoted[1])


def _fingerprint_of(call: Call) -> bytes:
    """The fingerprint of a call's caller and arguments.

    Raises:
        MeshError: INVALID_ARGUMENT, the arguments are no values.
    """
    headers = call.headers
    claims = call.caller.claims
    if "sub" in claims:  # what is proven counts before what a client may write into a header
        caller: tuple[object, ...] = ("subject", claims.get("iss"), claims["sub"])
    else:
        caller = ("user", headers[_USER]) if _USER in headers else ("token", headers.get(_AUTHORIZATION))
    try:
        written = _write_any(call.arguments)
        # Of many values only the bytes are compared: looking at each of them would take too long.
        equal = digest_of(written) if len(written) > _LARGE else fingerprint(call.arguments)
        return fingerprint((caller, equal))
    except (EncodeError, TypeError, RecursionError, AttributeError, pickle.PicklingError) as error:
        text = f"{call.method} has an idempotency key, but its arguments cannot be compared: {error}"
        raise MeshError(Code.INVALID_ARGUMENT, text, retryable=False, processed=False) from error


def _check_same(call: Call, kept: bytes, print_: bytes) -> None:
    if kept != print_:
        text = f"{call.method}: this idempotency key was used for a call with other arguments, or by another caller"
        raise MeshError(Code.ALREADY_EXISTS, text, retryable=False, processed=False)
