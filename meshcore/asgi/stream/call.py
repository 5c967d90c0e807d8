"""One call on a connection that carries many, from its request to its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from meshcore.asgi.messages import CHUNK
from meshcore.asgi.served_call import Answer
from meshcore.core.caller import Peer
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError
from meshcore.wire.errors import ErrorBody, ErrorCodec
from meshcore.wire.headers import RequestHeaders
from meshcore.wire.stream_codec import StreamCodec, encode_error, too_large


class Answers(Protocol):
    """Sends the answers of a connection's calls."""

    @property
    def longest(self) -> int:
        """The bytes of the largest answer that the client takes."""
        ...

    def find(self, path: str) -> StreamCodec:
        """The method of that name.

        Raises:
            LocalError: there is none.
        """
        ...

    def end(self, call: int, payload: bytes, *, failed: bool) -> None:
        """End a call with a result or an error. What is ended already stays as it is."""
        ...

    async def sent(self, call: int) -> None:
        """Return when the answer of a call has been written."""
        ...

    def not_read(self, call: int) -> None:
        """The answer of a call was not read in time."""
        ...


class StreamAnswer:
    """The result or the error of a call, encoded."""

    __slots__ = ("_call", "_failed", "_payload", "size")

    def __init__(self, call: int, payload: bytes, *, failed: bool) -> None:
        self._call = call
        self._payload = payload
        self._failed = failed
        self.size = len(payload)

    async def send(self, send: Answers, *, close: bool) -> None:  # noqa: ARG002 - the connection says GO_AWAY itself
        """Send it. A small one is only handed over: the connection bounds what waits, and its calls."""
        send.end(self._call, self._payload, failed=self._failed)
        self._payload = b""
        if self.size > CHUNK:
            await send.sent(self._call)


class StreamCall(msgspec.Struct, eq=False):
    """One call. A struct, since every call makes one: a class with `__init__` would take 0.5 us more.

    Attributes:
        answers: sends its answer.
        number: of the call.
        path: the name of its method, as it was sent.
        payload: the encoded arguments, until they are read.
        items: whether the caller sends items.
        headers: of the call, with those of the connection.
        peer: the client.
        codec: of the method, None as long as it is not known.
        gone: whether its caller has given up or the connection is over.
    """

    answers: Answers
    number: int
    path: str
    payload: bytes
    items: bool
    headers: RequestHeaders
    peer: Peer
    codec: StreamCodec | None = None
    gone: bool = False
    _left: asyncio.Event | None = None

    @property
    def method(self) -> Method | None:
        """What is called."""
        return None if self.codec is None else self.codec.called

    @property
    def errors(self) -> ErrorCodec | None:
        """Writes its errors."""
        return None if self.codec is None else self.codec.errors

    def leave(self) -> None:
        """Note that nobody waits for the answer any more."""
        self.gone = True
        if self._left is not None:
            self._left.set()

    async def left(self) -> None:
        """Return when the caller is gone."""
        if not self.gone:
            self._left = asyncio.Event()
            await self._left.wait()

    async def body(self) -> bytes:
        """The payload, which is complete."""
        payload, self.payload = self.payload, b""
        return payload

    def find(self, body: bytes) -> Method:  # noqa: ARG002 - its name has come before
        """What is called.

        Raises:
            LocalError: there is no such method, or it takes a stream where the call has none or the other way round.
        """
        codec = self.codec = self.answers.find(self.path)
        if self.items is not codec.takes_items:
            has, takes = ("items", "none") if self.items else ("no items", "a stream of them")
            raise LocalError(Code.INVALID_ARGUMENT, f"the call has {has}, {codec.called} takes {takes}")
        return codec.called

    def arguments(self, body: bytes) -> tuple[Any, ...]:
        """Its arguments.

        Raises:
            LocalError: they do not fit the method.
        """
        assert self.codec is not None  # noqa: S101 - it was found
        return self.codec.decode_arguments(body)

    def cut_off(self, send: Answers) -> None:
        """Deal with an answer that nobody reads."""
        send.not_read(self.number)

    async def discard(self) -> None:
        """Nothing: the request is complete, and its connection goes on."""

    def result(self, value: Any) -> Answer[Answers]:
        """The answer with a result.

        Raises:
            EncodeError: the value does not fit the method's type.
            MeshError: RESOURCE_EXHAUSTED, the answer is larger than the client takes.
        """
        assert self.codec is not None  # noqa: S101 - it was called
        return self.answer(self.codec.encode_payload(value))

    def answer(self, payload: bytes) -> StreamAnswer:
        """The answer with an encoded result.

        Raises:
            MeshError: RESOURCE_EXHAUSTED, it is larger than the client takes.
        """
        assert self.codec is not None  # noqa: S101 - as above
        if len(payload) > self.answers.longest:
            raise too_large(self.codec.called, len(payload), self.answers.longest)
        return StreamAnswer(self.number, payload, failed=False)

    def failure(self, error: Exception, told: ErrorBody) -> StreamAnswer:  # noqa: ARG002 - what is told says it all
        """The answer with an error."""
        return StreamAnswer(self.number, encode_error(told), failed=True)
