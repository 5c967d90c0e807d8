"""Sends one attempt of a call to an instance that is worth asking: the innermost part of the client stack."""

from __future__ import annotations

from typing import Any

from meshcore.client.destination import Destination
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call
from meshcore.core.errors import MeshError
from meshcore.traffic.outcome import Outcome, outcome_of

_LONGEST_REST = 300.0
"""Seconds; an instance that asks for time looks that slow, so that others are asked, but no slower; Linkerd's."""


class Balancer:
    """Has the destination choose channel and instance, sends, and reports the outcome to all that learn from it.

    Args:
        destination: the component that is called.
        wanted: the channel that must be used, empty for any.
    """

    def __init__(self, destination: Destination, wanted: str) -> None:
        self._destination = destination
        self._wanted = wanted

    async def __call__(self, call: Call) -> Any:
        """Choose and send.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, `instance` None: no instance is left to ask.
        """
        destination, wanted = self._destination, self._wanted
        while (choice := destination.choose(call, wanted)) is None:
            await destination.prepare(wanted)
        name, channel, endpoint, begin = choice
        traffic, selector, instance = destination.traffic, channel.selector, endpoint.instance
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
