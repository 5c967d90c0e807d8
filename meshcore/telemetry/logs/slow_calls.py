"""Logs the calls that take very long, with what is known of the reason."""

from __future__ import annotations

import logging
from math import inf

from meshcore.core.attempt import Attempt
from meshcore.core.call import Call
from meshcore.core.description import Method
from meshcore.telemetry.calls import ClientCalls
from meshcore.telemetry.histogram import quantile, unpacked
from meshcore.telemetry.tables import ClientTable

log = logging.getLogger(__name__)

_USUAL = 0.99
_FACTOR = 5.0
_SHORTEST = 0.1
"""Without a policy, a call is slow if it takes five times the 99th percentile of its method, and 0.1 s: what takes a
millisecond takes five now and then."""

_REFRESH = 5.0
"""Seconds for which that percentile is used."""

_LEAST = 100
"""Calls that tell it. With fewer since the last time, that one stays."""

_PAUSE = 1.0
"""Seconds between two lines. A server that hangs makes all its calls slow."""


class SlowLines:
    """How often a mesh writes such a line."""

    def __init__(self) -> None:
        self._next = -inf
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """How many lines were left out since the last one; None if this one is left out, too."""
        if now < self._next:
            self._left_out += 1
            return None
        self._next, left_out, self._left_out = now + _PAUSE, self._left_out, 0
        return left_out


class SlowCalls:
    """Tells which calls of a proxy are slow.

    Args:
        calls: of the component, counted before a call is looked at here.
        lines: of the mesh.
    """

    def __init__(self, calls: ClientTable, lines: SlowLines) -> None:
        self._calls = calls
        self._lines = lines
        self._known: dict[Method, _Pace] = {}

    def ended(self, call: Call, begun: float, now: float) -> None:
        """Look at a call that has ended."""
        seconds = now - begun
        pace = self._known.get(call.method)
        if pace is None:
            pace = self._known[call.method] = _Pace(self._calls[call.method])
        if now >= pace.until:
            pace.update(now)
        if seconds > (call.rules.slow or pace.after) and (left_out := self._lines.take(now)) is not None:
            _write(call, begun, now, pace.usual, left_out)


class _Pace:
    """When a call of a method is slow, by what is counted of its calls anyway.

    Args:
        calls: of the method.

    Attributes:
        usual: the seconds within which nearly all calls end, None if that is not known.
        after: the seconds after which one is slow.
        until: when this must be worked out anew.
    """

    def __init__(self, calls: ClientCalls) -> None:
        self._calls = calls
        self._before = 0  # what was counted when this was last worked out
        self.usual: float | None = None
        self.after = inf
        self.until = -inf

    def update(self, now: float) -> None:
        self.until = now + _REFRESH
        packed = self._calls.packed()
        since = unpacked(packed - self._before)
        if sum(since) >= _LEAST:
            self._before = packed
            self.usual = quantile(since, _USUAL) or 0.0
            self.after = max(_FACTOR * self.usual, _SHORTEST)


def _write(call: Call, begun: float, now: float, usual: float | None, left_out: int) -> None:
    trail = call.trail
    queued = (trail[0].began if trail else now) - begun
    parts = [f"a call of {call.method} took {now - begun:.3g} s"]
    if usual is not None:
        parts.append(f"nearly all take less than {usual:.3g} s")
    parts.append(f"it waited {queued:.3g} s before its first attempt")
    parts.append(f"{max(call.deadline - now, 0.0):.3g} s were left")
    tried = "; ".join(map(_told, trail)) or "no instance was asked"
    more = f" ({left_out} more since the last such line)" if left_out else ""
    extra = {
        "method": str(call.method),
        "seconds": round(now - begun, 6),
        "queued": round(queued, 6),
        "left": round(max(call.deadline - now, 0.0), 6) if call.deadline < inf else None,
        "attempts": [
            {
                "instance": each.instance,
                "channel": each.channel,
                "outcome": each.outcome,
                "seconds": each.seconds,
                "connecting": each.connecting,
            }
            for each in trail
        ],
    }
    log.warning("%s: %s%s", ", ".join(parts), tried, more, extra=extra)


def _told(attempt: Attempt) -> str:
    return f"{attempt}, {attempt.connecting:.3g} s of it connecting" if attempt.connecting else str(attempt)
