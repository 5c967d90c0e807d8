"""Faults of a network, injected into the calls of a channel: seeded, so that a run can be repeated.

They stand below the balancer, so retries, hedges, ejection and idempotency see each attempt as they would see it in
production, and do what they do there.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
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
    """What befalls one attempt."""

    NONE = "none"

    REFUSE = "refuse"
    """Nobody listens: the call certainly never arrived."""

    DROP = "drop"
    """The call is processed, and its answer lost with the connection: its caller cannot tell."""

    ERROR = "error"
    """The server answers with an error of the mesh; the implementation is not asked."""

    GARBAGE = "garbage"
    """The call is processed, and what arrives is no answer."""


class Faults:
    """What befalls the attempts that are sent over a channel. Everything may be changed while it is in use.

    The n-th attempt suffers the same whenever the seed and the shares are the same.

    Args:
        seed: of chance.
        latency: seconds before each attempt is sent, or from and to how many.
        refuse: share of the attempts, from 0 to 1, that are refused; see `Fault`.
        drop: share whose answers are lost.
        error: share that are answered with the error.
        garbage: share whose answers cannot be read.
        code: of the error.

    Attributes:
        happened: what befell each attempt so far.

    Raises:
        ValueError: the shares are not from 0 to 1 together.
    """

    def __init__(
        self,
        seed: object = 0,
        *,
        latency: float | tuple[float, float] = 0.0,
        refuse: float = 0.0,
        drop: float = 0.0,
        error: float = 0.0,
        garbage: float = 0.0,
        code: Code = Code.UNAVAILABLE,
    ) -> None:
        self.latency = latency
        self.refuse = refuse
        self.drop = drop
        self.error = error
        self.garbage = garbage
        self.code = code
        self.happened: list[Fault] = []
        self._rng = random.Random(str(seed))
        self._queue: deque[Fault] = deque()
        self._shares()

    def then(self, *faults: Fault) -> None:
        """Let this befall the next attempts, one each, before chance decides again.

        Raises:
            TypeError: it is no member of `Fault`.
        """
        for each in cast("tuple[object, ...]", faults):
            if not isinstance(each, Fault):
                meant = closest(str(each).upper(), Fault.__members__)
                raise TypeError(f"{each!r} is no member of Fault" + (f"; did you mean Fault.{meant}?" if meant else ""))
        self._queue.extend(faults)

    def next(self) -> tuple[float, Fault]:
        """The seconds by which the next attempt is held up, and what befalls it then."""
        # Both are drawn for each attempt, so that the n-th has the same luck whatever the others were told to suffer.
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
    """Whose calls suffer what: by the name of a channel, "" for all that are not named."""

    by_name: Mapping[str, Faults]

    def of(self, channel: Channel) -> Faults | None:
        """The faults of a channel."""
        mark = find_mark(type(channel), ChannelMark)
        return self.by_name.get(mark.name if mark else "") or self.by_name.get("")


@advice
class FaultsAdvice:
    """Stands around every channel's `invoke`. A client's module provides it; see `with_faults`."""

    def __init__(self, faulty: FaultyChannels) -> None:
        self._faulty = faulty

    @around(methods().named("invoke").of_type(Channel))
    async def invoke(self, invocation: Invocation) -> Any:
        """In place of the channel's own."""
        channel, call, _ = invocation.args
        faults = self._faulty.of(channel)
        if faults is None:
            return await invocation.proceed()
        wait, fault = faults.next()
        if wait > 0:
            await asyncio.sleep(wait)
        return await _suffer(fault, faults.code, call, invocation)


async def _suffer(fault: Fault, code: Code, call: Call, invocation: Invocation) -> Any:
    """Raise what the channels of the distribution raise for the real thing."""
    match fault:
        case Fault.NONE:
            return await invocation.proceed()
        case Fault.REFUSE:
            text = f"{call.method}: injected fault: connection refused"
            raise CommunicationError(Code.UNAVAILABLE, text, processed=False)
        case Fault.ERROR:
            text = f"{call.method}: injected fault"
            retryable = MeshError(code, text).retryable  # as the code says
            raise restore_error(code.value, text, {}, retryable=retryable, processed=True)
        case Fault.DROP | Fault.GARBAGE:
            try:
                await invocation.proceed()
            except MeshError as error:
                if not error.processed:  # there is no answer to spoil
                    raise
            except Exception:  # noqa: BLE001, S110 - a declared exception is an answer, and is lost like any other
                pass
            if fault is Fault.GARBAGE:
                raise unfit_answer(call.method, DecodeError("$", "injected fault: garbage"), readable=False)
            raise CommunicationError(Code.UNAVAILABLE, f"{call.method}: injected fault: the connection broke")


def with_faults(module_: type, faults: Faults | Mapping[str, Faults]) -> type:
    """The module of a client, with faults in its calls: `Mesh(with_faults(Client, {"rest": Faults(drop=0.1)}))`.

    Args:
        module_: a class decorated with `@module`.
        faults: of all channels, or by the name of each; with the name of one that there is not it does not start.
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
                raise ConfigurationError("faults have no channel to befall", texts)
            return FaultyChannels(by_name)

    return Faulty
