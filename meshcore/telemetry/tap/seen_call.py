"""What is told of one call that has ended, and of its attempts."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.masking import HIDDEN, has_secret

Side = Literal["made", "served"]

_LONGEST_TEXT = 200
_LONGEST_ARGUMENT = 200

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _LONGEST_ARGUMENT
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 10


class SeenAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt of a call.

    Attributes:
        instance: the id of the instance that was asked.
        channel: the name of the channel.
        outcome: as in `Attempt`; empty while it runs, such as that of a hedged call that another attempt has ended.
        after: seconds from the begin of the call to that of the attempt.
        seconds: that it took, None while it runs.
        connecting: seconds of these until there was a connection, 0 if that is unknown.
    """

    instance: str
    channel: str
    outcome: str
    after: float
    seconds: float | None = None
    connecting: float = 0.0

    def __str__(self) -> str:
        took = "under way" if self.seconds is None else f"{self.outcome} after {self.seconds * 1000:.3g} ms"
        return f"{self.instance} over {self.channel}: {took}"


class SeenCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call that has ended. A stream is one call, which ends with it.

    Attributes:
        side: whether this process has made or served it.
        component: that offers the method; empty if the caller asked for something unknown.
        method: as `service/method`, `_OTHER` if there is none of that name.
        caller: the name of the calling process, empty if it does not say one.
        outcome: "ok", the name of a declared exception, or the code.
        code: "ok", or the code of the error.
        at: when it began, in seconds since 1970.
        seconds: that it took; 0 if it was refused before it began.
        text: of the error, cut; empty for a declared exception, whose text may be personal data.
        attempt: of a served call: which attempt of its caller it was.
        peer: of a served call: the address of the caller's host.
        proven: of a served call: whether its caller has proven its name by a certificate.
        attempts: of a call that was made, oldest first. None: it was refused here, or an interceptor has answered it.
        arguments: by parameter, as texts that are cut. None unless the setting `show_arguments` allows it. Parameters
            that are marked `Secret` are hidden.
    """

    side: Side
    component: str
    method: str
    caller: str
    outcome: str
    code: str
    at: float
    seconds: float
    text: str = ""
    attempt: int = 1
    peer: str = ""
    proven: bool = False
    attempts: tuple[SeenAttempt, ...] = ()
    arguments: dict[str, str] | None = None


def shown_text(text: str) -> str:
    """The text of an error, cut."""
    return text[:_LONGEST_TEXT]


def seen_attempts(trail: Iterable[Attempt], begun: float) -> tuple[SeenAttempt, ...]:
    """The attempts of a call.

    Args:
        trail: its attempts.
        begun: when the call began, on their clock.
    """
    return tuple(
        SeenAttempt(
            each.instance,
            each.channel,
            each.outcome,
            max(each.began - begun, 0.0),
            each.seconds,
            each.connecting,
        )
        for each in trail
    )


def shown_arguments(method: Method, values: Sequence[Any]) -> dict[str, str]:
    """The arguments of a call as short texts, without what is secret."""
    hidden = _hidden(method)
    return {
        parameter.name: HIDDEN if parameter.name in hidden else "<stream>" if parameter.stream else _repr.repr(value)
        for parameter, value in zip(method.parameters, values, strict=False)
    }


@lru_cache(1024)
def _hidden(method: Method) -> frozenset[str]:
    return frozenset(each.name for each in method.parameters if has_secret(each.type))
