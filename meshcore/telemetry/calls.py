"""The calls of one method: how long they took, how they ended, and what clients did for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from meshcore.core.attempt import Attempt
from meshcore.core.description import Method
from meshcore.core.errors import Code, MeshError
from meshcore.telemetry import conventions
from meshcore.telemetry.conventions import CANCELED, OK, OTHER
from meshcore.telemetry.histogram import BOUNDS, Histogram, packed, unpacked

MOST_FAILURES: Final = 40
"""Kinds of failures that are told apart for one method: the codes, and the names of exceptions."""

_LONGEST_TEXT = 200


def method_name(method: Method) -> str:
    """The name of a method as the conventions want it: `service/method`."""
    return conventions.method_name(method.service, method.name)


class Failures(Histogram):
    """The calls that failed in one way.

    Attributes:
        last: the text of the last error, cut; empty for a declared exception, whose text may be personal data.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        super().__init__()
        self.last = ""


class Calls:
    """The calls of one method, on one side.

    Attributes:
        component: who offers the method.
        method: its name, as `service/method`.
        ok: those that succeeded.
        failures: the others, by status and the type of the error.
        sent: the items of streams that went to the other side.
        received: those that came from there.
    """

    __slots__ = ("component", "failures", "method", "ok", "received", "sent")

    def __init__(self, component: str, method: str) -> None:
        self.component = component
        self.method = method
        self.ok = Histogram()
        self.failures: dict[tuple[str, str], Failures] = {}
        self.sent = 0
        self.received = 0

    @property
    def count(self) -> int:
        """How many calls have ended."""
        return self.ok.count + sum(failed.count for failed in self.failures.values())

    @property
    def failed_count(self) -> int:
        """How many of them failed. What its caller canceled did not, such as a stream that it left."""
        return sum(failed.count for (status, _), failed in self.failures.items() if status != CANCELED)

    def latencies(self) -> Sequence[int]:
        """The latencies of all of them, by bucket."""
        return unpacked(self.packed())

    def packed(self) -> int:
        """The same as one number, see `histogram.packed`."""
        return packed(self.ok.counts) + sum(packed(failed.counts) for failed in self.failures.values())

    def fail(self, status: str, kind: str, seconds: float, text: str) -> None:
        """Count a call that failed.

        Args:
            status: the code.
            kind: the type of the error: the name of a declared exception, else the code.
            seconds: how long it took.
            text: of the error.
        """
        found = self.failures.get((status, kind))
        if found is None:
            if len(self.failures) >= MOST_FAILURES:
                status = kind = OTHER
            found = self.failures.get((status, kind)) or self.new_failures(status, kind)
            self.failures[status, kind] = found
        found.observe(seconds)
        found.last = text[:_LONGEST_TEXT]

    def new_failures(self, status: str, kind: str) -> Failures:  # noqa: ARG002 - others need to know
        """For the calls that fail in a way that no other did."""
        return Failures()


class ClientCalls(Calls):
    """Those that this process made.

    Attributes:
        attempts: by outcome, those of calls that did not take exactly one attempt that succeeded.
        irregular: the calls among these that succeeded.
        retries: attempts that followed another one of their call.
        hedges: attempts that began while another one of their call was under way.
    """

    __slots__ = ("attempts", "hedges", "irregular", "retries")

    def __init__(self, component: str, method: str) -> None:
        super().__init__(component, method)
        self.attempts: dict[str, int] = {}
        self.irregular = 0
        self.retries = 0
        self.hedges = 0

    def succeed(self, seconds: float, trail: Sequence[Attempt]) -> None:
        """Count a call that succeeded. Nearly all have one attempt, which succeeded, and cost 0.2 us."""
        ok = self.ok
        ok.counts[bisect_left(BOUNDS, seconds)] += 1  # as `observe` does; to call it would take 0.06 us
        ok.sum += seconds
        if len(trail) != 1 or trail[0].outcome != OK:
            self.irregular += 1
            self._attempted(trail)

    def failed(self, error: BaseException, method: Method, seconds: float, trail: Sequence[Attempt]) -> None:
        """Count a call that failed with an error."""
        self.fail(*kind_of(error, method), seconds, error.message if isinstance(error, MeshError) else "")
        self._attempted(trail)

    def outcomes(self) -> dict[str, int]:
        """How many attempts there were, by outcome."""
        found = dict(self.attempts)
        found[OK] = found.get(OK, 0) + self.ok.count - self.irregular
        return found

    def _attempted(self, trail: Sequence[Attempt]) -> None:
        until = -1.0  # when the last of the attempts so far ended
        for at, attempt in enumerate(trail):
            outcome = attempt.outcome or "given up"
            if outcome not in self.attempts and len(self.attempts) >= MOST_FAILURES:
                outcome = OTHER
            self.attempts[outcome] = self.attempts.get(outcome, 0) + 1
            if at:
                hedged = attempt.began < until
                self.hedges += hedged
                self.retries += not hedged
            until = max(until, attempt.began + (attempt.seconds or 0.0))


class Series(msgspec.Struct, frozen=True):
    """What makes the series of a recorder. Others than these also tell somebody else what they count.

    Attributes:
        client: of a component's method, on the side of who calls.
        served: the same on the other side.
        lag: of the event loop.
    """

    client: Callable[[str, str], ClientCalls] = ClientCalls
    served: Callable[[str, str], Calls] = Calls
    lag: Callable[[], Histogram] = Histogram


def kind_of(error: BaseException, method: Method) -> tuple[str, str]:
    """The status of a call that ended with an error, and the type of that."""
    if isinstance(error, MeshError):
        return error.code.value, error.code.value
    if not isinstance(error, Exception):  # cancelled, mostly
        return Code.CANCELED.value, Code.CANCELED.value
    for cls in type(error).__mro__:
        if cls in method.raises:
            code = getattr(cls, "code", None)
            return (code if isinstance(code, Code) else Code.FAILED_PRECONDITION).value, cls.__name__
    return Code.UNKNOWN.value, type(error).__name__
