"""Sends one attempt of a call to an instance that is worth asking: the innermost part of the client stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshcore.client.destination import Destination
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call
from meshcore.core.errors import MeshError
from meshcore.core.instances import Endpoint, Pending
from meshcore.ports.channel import Channel
from meshcore.traffic.outcome import Outcome, outcome_of

_LONGEST_REST = 300.0
"""Seconds; an instance that asks for time looks that slow, so that others are asked, but no slower; Linkerd's."""


class Balancer:
    """Chooses channel and instance, sends, and learns from what comes of it.

    Args:
        destination: the way to the component.
        wanted: the channel that must be used, empty for any.
        preferred: the mesh's preference, used if it is offered.
    """

    def __init__(self, destination: Destination, wanted: str, preferred: Callable[[], str]) -> None:
        self._destination = destination
        self._wanted = wanted
        self._preferred = preferred

    async def __call__(self, call: Call) -> Any:
        """Choose and send.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, `instance` None: there is nobody left to ask.
        """
        destination = self._destination
        while isinstance(destination.sighting, Pending):
            await destination.wait()
        ejection = destination.traffic.ejection
        avoided = ejection.avoided
        # Better one that failed than nobody, if nobody else is left; but what is full stays full.
        passes = (avoided.union(call.tried), ejection.full.union(call.tried)) if avoided else (call.tried,)
        for but in passes:
            for name in (self._wanted,) if self._wanted else destination.candidates(self._preferred()):
                channel = destination.channels.get(name) or await destination.open_channel(name)
                if name in destination.broken:
                    continue
                now = destination.traffic.clock()
                endpoint = destination.to_probe(name, call, now) if avoided else None
                endpoint = endpoint or channel.selector.select(call, but, now)
                if endpoint is not None:
                    return await self._send(call, name, channel, endpoint, now)
        raise destination.unavailable(self._wanted, full=bool(ejection.full.difference(call.tried)))

    async def _send(self, call: Call, name: str, channel: Channel, endpoint: Endpoint, begin: float) -> Any:
        traffic = self._destination.traffic
        selector, instance = channel.selector, endpoint.instance
        attempt = Attempt(instance, name, begin)
        call.trail.append(attempt)
        selector.begin(endpoint)  # before the count, and its end after that: it may be somebody's own, and raise
        probe = traffic.ejection.begin(instance)
        outcome = Outcome.SUCCEEDED
        rest = 0.0
        attempt.outcome = "ok"
        try:
            return await channel.invoke(call, endpoint)
        except MeshError as error:
            error.instance = instance
            outcome, attempt.outcome = outcome_of(error, call.method), error.code.value
            rest = min(error.retry_after or 0.0, _LONGEST_REST)
            raise
        except BaseException as error:
            outcome, attempt.outcome = outcome_of(error, call.method), type(error).__name__
            if outcome is Outcome.IGNORABLE:
                # Given up because another was faster or the caller left says nothing. Given up at the deadline does:
                # this instance did not answer in time. So does one that hung: else nobody would ever eject an instance
                # that hangs, as its calls are overtaken long before their deadline.
                late = traffic.clock() >= call.deadline
                if late or attempt.hangs:
                    outcome, attempt.outcome = Outcome.FAILED, "deadline_exceeded" if late else "hung"
                else:
                    attempt.outcome = "given up"
            raise
        finally:
            end = traffic.clock()
            attempt.seconds = end - begin
            traffic.end(instance, outcome, end, probe=probe)
            selector.end(endpoint, outcome, max(attempt.seconds, rest), end)
