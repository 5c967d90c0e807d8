"""Streaming calls of the channel `stream-msgpack`, on the client's side."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from meshcore.codec.errors import DecodeError
from meshcore.core.call import SendItem
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.streaming.item_buffer import StreamClosedError
from meshcore.stream.driver import Driver
from meshcore.stream.items import ReceivedItems, SentItems
from meshcore.wire.errors import unfit_answer
from meshcore.wire.stream.events import Answered, Ended, Erred, Lost, Refused
from meshcore.wire.streaming.item_codec import ItemCodec

Outcome: TypeAlias = Answered | Ended | Erred | Refused | Lost
"""How a call has ended."""


class StreamingCall:
    """One streaming call that has begun.

    Args:
        driver: of its connection.
        number: of the call.

    Attributes:
        number: of the call.
        outcome: how it has ended, None as long as it has not.
    """

    def __init__(self, driver: Driver, number: int) -> None:
        self.number = number
        self.outcome: Outcome | None = None
        self.received = ReceivedItems(driver, number)
        self.sent = SentItems(driver, number)

    def end(self, outcome: Outcome) -> None:
        """Record how it has ended. Its reader gets the items that are left first."""
        self.outcome = outcome
        self.sent.close()
        self.received.end()

    async def run(self, codec: ItemCodec, items: AsyncIterator[Any] | None, send: SendItem, limit: int) -> Outcome:
        """Send the caller's items and pass on those that come, until the call has ended.

        Args:
            codec: of the method.
            items: of the caller, None if it streams none.
            send: gets each item of the result.
            limit: the bytes of the largest item that the server takes.

        Raises:
            CommunicationError: what comes does not fit the interface.
            Exception: what the caller's items have raised, or `send`.
        """
        if items is None:
            return await self._receive(codec, send)
        upload = asyncio.create_task(self._upload(codec, items, limit), name="meshcore.channels.stream.items")
        try:
            return await self._receive(codec, send)
        finally:
            upload.cancel()
            await asyncio.wait([upload])

    async def _receive(self, codec: ItemCodec, send: SendItem) -> Outcome:
        received = self.received
        while payloads := await received.next_all():
            if not codec.method.yields:
                raise unfit(codec.method, "items came, where a result was expected")
            for payload in payloads:
                await send(codec.decode_received(payload))
                received.consumed(payload)
        assert self.outcome is not None  # noqa: S101 - that has ended the items
        return self.outcome

    async def _upload(self, codec: ItemCodec, items: AsyncIterator[Any], limit: int) -> None:
        try:
            async for item in items:
                payload = codec.encode_sent(item)
                if len(payload) > limit:
                    raise codec.sent_too_large(len(payload), limit)  # noqa: TRY301 - as what the items raise
                await self.sent.send(payload)
            self.sent.end()
        except StreamClosedError:
            return  # the server needs no more
        except Exception as error:  # noqa: BLE001 - raised by the call
            self.received.end(error)
        finally:
            if inspect.isasyncgen(items):
                await items.aclose()


def unfit(method: Method, text: str) -> CommunicationError:
    """The error of an answer of another kind than that of the method."""
    return unfit_answer(method, DecodeError("$", text), readable=True)


def no_stream(method: Method, server: str, why: str) -> LocalError:
    """The error of a call that only a stream can carry, where there is none. Other instances may have one."""
    text = f"{method} is a {method.shape.value}, which needs a stream, and there is none to {server}: {why}"
    error = LocalError(Code.UNIMPLEMENTED, text)
    error.retryable = True
    return error
