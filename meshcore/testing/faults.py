"""Injects network faults into the calls of a channel. They are seeded, so that a run can be repeated.

Faults are injected below the balancer. So retries, hedges, ejection and idempotency work as in production.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, cast

import msgspec

from meshcore.codec.errors import DecodeError
from meshcore.core.call import Call
from meshcore.core.errors import Code, CommunicationError, ConfigurationError, MeshError
from meshcore.core.marks import find_mark
from meshcore.core.suggest import closest, did_you_mean
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.declare.injection import create, module
from meshcore.declare.services import ChannelMark
from meshcore.inject.modules import describe_modules
from meshcore.ports.channel import Channel
from meshcore.ports.installed import installed_channels
from meshcore.wire.errors import restore_error, unfit_answer


class Fault(Enum):
    """A fault of one attempt."""

    NONE = "none"

    REFUSE = "refuse"
    """The connection is refused: the call is not sent."""

    DROP = "drop"
    """The call is processed, and the connection breaks before the answer arrives; a stream breaks after some items."""

    ERROR = "error"
    """The server answers with an error of the mesh, without calling the implementation."""

    GARBAGE = "garbage"
    """The call is processed, and the answer is malformed; of a stream, the item after some others."""


class Faults:
    """The faults of the attempts over a channel. All arguments are attributes, too, and may be changed at any time.

    With the same seed and the same shares, the n-th attempt always has the same fault.

    Args:
        seed: of the random generator.
        latency: seconds before each attempt is sent; or a range, as a pair.
        refuse: the share of attempts, from 0 to 1, whose connections are refused; see `Fault`.
        drop: the share whose answers are lost.
        error: the share that is answered with an error.
        garbage: the share whose answers are malformed.
        code: the code of the error.
        items: the items of a stream that arrive before it is dropped or malformed: of the result; of the caller, if the
            result is no stream.
        item_latency: seconds before each item of a stream, in both directions. The writer sees a slow reader.

    Attributes:
        happened: the fault of each attempt so far.

    Raises:
        ValueError: a share is negative, or their sum is greater than 1.
    """

    def __init__(  # noqa: PLR0913 - each says of one kind of fault how often it happens
        self,
        seed: object = 0,
        *,
        latency: float | tuple[float, float] = 0.0,
        refuse: float = 0.0,
        drop: float = 0.0,
        error: float = 0.0,
        garbage: float = 0.0,
        code: Code = Code.UNAVAILABLE,
        items: int = 1,
        item_latency: float = 0.0,
    ) -> None:
        self.latency = latency
        self.refuse = refuse
        self.drop = drop
        self.error = error
        self.garbage = garbage
        self.code = code
        self.items = items
        self.item_latency = item_latency
        self.happened: list[Fault] = []
        self._rng = random.Random(str(seed))
        self._queue: deque[Fault] = deque()
        self._shares()

    def then(self, *faults: Fault) -> None:
        """Set the faults of the next attempts, one each. The attempts after them have random faults again.

        Raises:
            TypeError: an argument is not a member of `Fault`.
        """
        for each in cast("tuple[object, ...]", faults):
            if not isinstance(each, Fault):
                meant = closest(str(each).upper(), Fault.__members__)
                raise TypeError(
                    f"{each!r} is not a member of Fault" + (f"; did you mean Fault.{meant}?" if meant else "")
                )
        self._queue.extend(faults)

    def next(self) -> tuple[float, Fault]:
        """Draw the latency and the fault of the next attempt."""
        # Both are drawn for each attempt, also if `then` has set its fault, so that later attempts stay the same.
        wait, luck = self._rng.random(), self._rng.random()
        least, most = self.latency if isinstance(self.latency, tuple) else (self.latency, self.latency)
        fault = Fault.NONE
        for each, share in self._shares().items():
            if 0 <= luck < share:
                fault = each
            luck -= share
        if self._queue:
            fault = self._queue.popleft()
        self.happened.append(fault)
        return least + wait * (most - least), fault

    def _shares(self) -> dict[Fault, float]:
        shares = {
            Fault.REFUSE: self.refuse,
            Fault.DROP: self.drop,
            Fault.ERROR: self.error,
            Fault.GARBAGE: self.garbage,
        }
        if min(shares.values()) < 0 or sum(shares.values()) > 1 + 1e-9:
            told = ", ".join(f"{fault.value}={share:g}" for fault, share in shares.items())
            raise ValueError(f"the shares of faults must be from 0 to 1 together, got {told}")
        return shares


class FaultyChannels(msgspec.Struct, frozen=True):
    """Faults by the name of the channel; "" stands for all other channels."""

    by_name: Mapping[str, Faults]

    def of(self, channel: Channel) -> Faults | None:
        """Return the faults of a channel."""
        mark = find_mark(type(channel), ChannelMark)
        return self.by_name.get(mark.name if mark else "") or self.by_name.get("")


@advice
class FaultsAdvice:
    """Advice around the calls of every channel. The module of a client provides it; see `with_faults`."""

    def __init__(self, faulty: FaultyChannels) -> None:
        self._faulty = faulty

    @around(methods().named("invoke").of_type(Channel))
    async def invoke(self, invocation: Invocation) -> Any:
        """Wait, and inject the fault."""
        channel, call, _ = invocation.args
        faults = self._faulty.of(channel)
        if faults is None:
            return await invocation.proceed()
        wait, fault = faults.next()
        if wait > 0:
            await asyncio.sleep(wait)
        return await _inject(fault, faults.code, call, invocation.proceed)

    @around(methods().named("invoke_stream").of_type(Channel))
    async def invoke_stream(self, invocation: Invocation) -> Any:
        """Wait, and inject the fault; in mid-stream, if it is one of the answer."""
        channel, call, endpoint, send = invocation.args
        faults = self._faulty.of(channel)
        if faults is None:
            return await invocation.proceed()
        wait, fault = faults.next()
        if wait > 0:
            await asyncio.sleep(wait)
        breaks = fault is Fault.DROP or (fault is Fault.GARBAGE and call.method.yields)
        left = faults.items

        async def take(*, counts: bool) -> None:
            nonlocal left
            if faults.item_latency > 0:
                await asyncio.sleep(faults.item_latency)
            if counts and breaks and left <= 0:
                raise _lost(fault, call)
            left -= counts

        async def send_item(item: Any) -> None:
            await take(counts=True)
            await send(item)

        async def items(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for item in source:
                await take(counts=not call.method.yields)
                yield item

        def proceed() -> Any:
            return invocation.proceed(call.with_items(items), endpoint, send_item)

        return await _inject(fault, faults.code, call, proceed)


async def _inject(fault: Fault, code: Code, call: Call, proceed: Callable[[], Awaitable[Any]]) -> Any:
    """Raise what the channels of meshcore raise for the real fault."""
    match fault:
        case Fault.NONE:
            return await proceed()
        case Fault.REFUSE:
            text = f"{call.method}: injected fault: connection refused"
            raise CommunicationError(Code.UNAVAILABLE, text, processed=False)
        case Fault.ERROR:
            text = f"{call.method}: injected fault"
            retryable = MeshError(code, text).retryable  # the default of the code
            raise restore_error(code.value, text, {}, retryable=retryable, processed=True)
        case Fault.DROP | Fault.GARBAGE:
            try:
                await proceed()
            except MeshError as error:
                if not error.processed:  # there is no answer to lose
                    raise
            except Exception:  # noqa: BLE001, S110 - a declared exception is an answer, which is lost
                pass
            raise _lost(fault, call)


def _lost(fault: Fault, call: Call) -> CommunicationError:
    """The error of an answer that does not arrive as it was sent."""
    if fault is Fault.GARBAGE:
        return unfit_answer(call.method, DecodeError("$", "injected fault: garbage"), readable=False)
    return CommunicationError(Code.UNAVAILABLE, f"{call.method}: injected fault: the connection broke")


def with_faults(module_: type, faults: Faults | Mapping[str, Faults]) -> type:
    """Add faults to the calls of a client: `Mesh(with_faults(Client, {"rest": Faults(drop=0.1)}))`.

    Args:
        module_: the module of the client, a class decorated with `@module`.
        faults: the faults of all channels, or by the name of each. With the name of an unknown channel the mesh does
            not start.

    Returns:
        The module with the faults.
    """
    by_name = {"": faults} if isinstance(faults, Faults) else faults

    @module(imports=[module_], provides=[FaultsAdvice])
    class Faulty:
        @create()
        def faults(self) -> FaultyChannels:
            classes = (cls for each in describe_modules(module_) for cls in each.classes)
            marks = (find_mark(cls, ChannelMark) for cls in classes)
            known = {*installed_channels(), *(mark.name for mark in marks if mark)}
            unknown = by_name.keys() - known - {""}
            if unknown:
                texts = [f"there is no channel {name!r}{did_you_mean(name, known)}" for name in sorted(unknown)]
                raise ConfigurationError("faults name unknown channels", texts)
            return FaultyChannels(by_name)

    return Faulty
