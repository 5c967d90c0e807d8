"""A cache of results: who asks again within some seconds gets the answer that was given before."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from meshcore import Call, Handler, Method
from meshcore.codec.codec import MSGPACK
from meshcore.codec.errors import EncodeError

_WRITES = frozenset({"PUT", "DELETE"})
_OVERHEAD = 500
"""Bytes of an entry beside its key and its result."""


class _Entry(msgspec.Struct, frozen=True):
    data: bytes
    until: float
    size: int


class ResultCache:
    """For clients and servers alike: keeps results of methods that are marked `@idempotent`, or are GET of REST.

    PUT and DELETE may be repeated as well, but they change something: they always go through. Errors are never kept.
    Results are kept as bytes: so their size is known, and nobody who changes what he got changes it for others.

    Args:
        seconds: for which a result is good.
        memory: bytes for all results; the oldest go first.
        vary: headers that make a difference. What one user was told must not be told to another: on a server, that is
            the header that the check of its token sets, so the cache stands inside of that check.
        clock: monotonic seconds.

    Attributes:
        size: bytes in use.
        hits: calls that were answered from here.
    """

    def __init__(
        self,
        seconds: float,
        *,
        memory: int = 16 * 2**20,
        vary: tuple[str, ...] = ("authorization", "x-user"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._memory = memory
        self._vary = vary
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}  # in the order in which they were kept, so in that of their end
        self._codecs: dict[Method, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {}
        self._write = MSGPACK.encoder(Any)
        self.size = 0
        self.hits = 0

    async def __call__(self, handler: Handler, call: Call) -> object:
        """Answer from the cache, or else keep what the call returns."""
        method = call.method
        if not method.idempotent or (method.http is not None and method.http.verb in _WRITES):
            return await handler(call)
        try:
            arguments = self._write(call.arguments)
        except EncodeError:  # whoever encodes it next says what is wrong with it
            return await handler(call)
        key = (method, arguments, *(call.headers.get(name) for name in self._vary))
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry.until:
            self.hits += 1
            return self._codec(method)[1](entry.data)
        result = await handler(call)
        self._keep(key, method, len(arguments), result)
        return result

    def _codec(self, method: Method) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        found = self._codecs.get(method)
        if found is None:
            found = MSGPACK.encoder(method.returns, validate=True), MSGPACK.decoder(method.returns)
            self._codecs[method] = found
        return found

    def _keep(self, key: Hashable, method: Method, size: int, result: object) -> None:
        try:
            data = self._codec(method)[0](result)
        except EncodeError:  # it does not fit the interface: its caller will be told
            return
        now = self._clock()
        self._drop(key)
        entry = self._entries[key] = _Entry(data, now + self._seconds, len(data) + size + _OVERHEAD)
        self.size += entry.size
        while self._entries:
            oldest = next(iter(self._entries))
            if self.size <= self._memory and now < self._entries[oldest].until:
                break
            self._drop(oldest)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size
