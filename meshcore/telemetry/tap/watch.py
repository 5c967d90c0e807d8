"""`CallWatch`: where both stacks show the calls that have ended, while anybody wants to see them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from meshcore.core.call import Call
from meshcore.core.caller import Peer
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError, MeshError
from meshcore.core.policy import Rules
from meshcore.telemetry.calls import Calls, kind_of, method_name
from meshcore.telemetry.conventions import OK
from meshcore.telemetry.tap.seen_call import SeenCall, Side, seen_attempts, shown_arguments, shown_text
from meshcore.telemetry.tap.tap import Tap, Wanted

MOST_TAPS: Final = 8
"""Readers at once."""


class CallerHeaders(Protocol):
    """What the headers of a request say of its caller."""

    @property
    def caller(self) -> str:
        """What it calls itself."""
        ...

    attempt: int


class CallWatch:
    """Remembers the last calls of methods, and shows calls to those who tap them.

    While nobody wants that, a call costs one look at `on`.

    Attributes:
        on: whether anybody wants to see calls.
        caller: what this process calls itself.
        hosted: the components that it serves.
        arguments: whether arguments may be shown.
    """

    def __init__(self) -> None:
        self.on = False
        self.caller = ""
        self.hosted: frozenset[str] = frozenset()
        self.arguments = False
        self._rings: dict[tuple[Side, str, str], deque[SeenCall]] = {}
        self._taps: list[Tap] = []

    def remember(self, side: Side, component: str, rules: Mapping[Method, Rules]) -> None:
        """Keep the last calls of the methods whose rules say so. Of several numbers for one method, the largest counts.

        Args:
            side: those that this process makes, or serves.
            component: that offers the methods.
            rules: of each method.
        """
        for method, each in rules.items():
            key = side, component, method_name(method)
            ring = self._rings.get(key)
            if each.remember > (0 if ring is None else ring.maxlen or 0):
                self._rings[key] = deque(ring or (), each.remember)
        self._update()

    def last(self) -> tuple[SeenCall, ...]:
        """The calls that are remembered, in the order in which they began."""
        return tuple(sorted((call for ring in self._rings.values() for call in ring), key=lambda call: call.at))

    def tap(self, wanted: Wanted, ready: Callable[[], None]) -> Tap:
        """Begin to show calls to a reader. It ends with `untap`.

        Raises:
            LocalError: RESOURCE_EXHAUSTED, there are `MOST_TAPS` readers already.
        """
        self.check_room()
        tap = Tap(wanted, ready, hosted=wanted.component in self.hosted)
        self._taps.append(tap)
        self._update()
        return tap

    def check_room(self) -> None:
        """Refuse one more reader if there are `MOST_TAPS`.

        Raises:
            LocalError: RESOURCE_EXHAUSTED.
        """
        if len(self._taps) >= MOST_TAPS:
            text = f"{MOST_TAPS} readers tap the calls of this process already"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)

    def untap(self, tap: Tap) -> None:
        """Show nothing more to a reader."""
        self._taps.remove(tap)
        self._update()

    def _update(self) -> None:
        self.on = bool(self._rings or self._taps)

    def made(self, calls: Calls, call: Call, begun: float, seconds: float, error: BaseException | None) -> None:
        """Show a call that this process has made.

        Args:
            calls: the series of its method.
            call: with its attempts.
            begun: when it began, on the clock of its attempts.
            seconds: that it took.
            error: with which it failed, None if it succeeded.
        """
        ring, taps = self._readers("made", calls, seconds, failed=error is not None)
        if ring is None and not taps:
            return
        code, outcome = (OK, OK) if error is None else kind_of(error, call.method)
        seen = SeenCall(
            side="made",
            component=calls.component,
            method=calls.method,
            caller=self.caller,
            outcome=outcome,
            code=code,
            at=time.time() - seconds,
            seconds=seconds,
            text=shown_text(error.message) if isinstance(error, MeshError) else "",
            attempts=seen_attempts(call.trail, begun),
        )
        self._show(seen, ring, taps, call.method, call.arguments)

    def served(  # noqa: PLR0917 - all that is known of a call
        self,
        calls: Calls,
        headers: CallerHeaders,
        peer: Peer,
        seconds: float,
        method: Method | None,
        arguments: Sequence[Any] | None,
        failure: tuple[str, str, str] | None = None,
    ) -> None:
        """Show a call that this process has served, or refused.

        Args:
            calls: the series of its method.
            headers: of the request; they know its caller and its attempt.
            peer: the caller.
            seconds: that it took.
            method: None if it is not known.
            arguments: None if they were not read.
            failure: code, type and text of the error, None if it succeeded.
        """
        ring, taps = self._readers("served", calls, seconds, failed=failure is not None)
        if ring is None and not taps:
            return
        code, outcome, text = failure or (OK, OK, "")
        seen = SeenCall(
            side="served",
            component=calls.component,
            method=calls.method,
            caller=peer.name(headers.caller),
            proven=bool(peer.caller.component),
            outcome=outcome,
            code=code,
            at=time.time() - seconds,
            seconds=seconds,
            text=shown_text(text),
            attempt=headers.attempt,
            peer=peer.host,
        )
        self._show(seen, ring, taps, method, arguments)

    def _readers(
        self, side: Side, calls: Calls, seconds: float, *, failed: bool
    ) -> tuple[deque[SeenCall] | None, list[Tap]]:
        ring = self._rings.get((side, calls.component, calls.method))
        if not self._taps:
            return ring, []
        now = time.monotonic()
        return ring, [tap for tap in self._taps if tap.takes(calls, seconds, now, failed=failed)]

    def _show(
        self,
        seen: SeenCall,
        ring: deque[SeenCall] | None,
        taps: Sequence[Tap],
        method: Method | None,
        arguments: Sequence[Any] | None,
    ) -> None:
        full = seen
        asked = ring is not None or any(tap.wanted.arguments for tap in taps)
        if self.arguments and asked and method is not None and arguments is not None:
            full = msgspec.structs.replace(seen, arguments=shown_arguments(method, arguments))
        if ring is not None:
            ring.append(full)
        for tap in taps:
            tap.show(full if tap.wanted.arguments else seen)
