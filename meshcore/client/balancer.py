"""The innermost layer of the client stack: sends one attempt of a call to the endpoint that the destination chooses."""

from __future__ import annotations

from typing import Any

from meshcore.client.destination import Destination
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call
from meshcore.core.description import Method
from meshcore.core.errors import CommunicationError, LocalError, MeshError
from meshcore.traffic.outcome import Outcome, outcome_of
from meshcore.traffic.peak_ewma import LONG

EARLY = 0.001
"""Seconds by which the timer of a deadline may fire too early, and more: the clocks of event loops are coarse."""

LONGEST_RETRY_AFTER = 300.0
"""Seconds. The URL selector counts a `Retry-After` as latency, so that others are asked. Linkerd has the same bound."""


_SUCCEEDED = Outcome.SUCCEEDED


class Balancer:
    """Sends an attempt, and reports its outcome to the URL selector, the ejection and the call's trail.

    Args:
        destination: the component that is called; chooses channel and endpoint.
        required: the channel that must be used, empty for any.
    """

    def __init__(self, destination: Destination, required: str) -> None:
        self._destination = destination
        self._required = required

    async def __call__(self, call: Call) -> Any:
        """Choose an endpoint and send the attempt there.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, with `instance` None: no instance is left to ask.
        """
        destination, required = self._destination, self._required
        while (choice := destination.choose(call, required)) is None:
            await destination.prepare(required)
        name, channel, endpoint, begin = choice
        traffic, selector, instance = destination.traffic, channel.selector, endpoint.instance
        ejection = traffic.ejection
        attempt = Attempt(instance, name, begin, url=endpoint.url)
        call.trail.append(attempt)
        # A user's own selector may raise. So it is told first here and last below: then the ejection's count is right.
        selector.begin(endpoint)
        probe = ejection.begin(instance)
        try:
            result = await channel.invoke(call, endpoint)
        except BaseException as error:
            outcome, answered, pause = self._fail(attempt, call, error)
            end = traffic.clock()
            attempt.seconds = end - begin
            traffic.end(instance, outcome, end, probe=probe, answered=answered)
            selector.end(endpoint, outcome, max(attempt.seconds - attempt.connecting, pause), end)
            raise
        end = traffic.clock()
        attempt.seconds = seconds = end - begin
        attempt.outcome, attempt.unanswered = "ok", False
        if probe or not ejection.succeed(instance, end):
            traffic.end(instance, _SUCCEEDED, end, probe=probe, answered=True)
        if attempt.connecting:  # a new connection says nothing of the instance: others of its latency have none
            seconds = max(seconds - attempt.connecting, 0.0)
        selector.end(endpoint, _SUCCEEDED, seconds, end)
        return result

    def _fail(self, attempt: Attempt, call: Call, error: BaseException) -> tuple[Outcome, bool, float]:
        """Note in the record of an attempt that it has ended with an error.

        Returns:
            What that says of the instance, whether it has answered, and the seconds for which it wants no calls.
        """
        traffic = self._destination.traffic
        outcome, answered, pause = note_failure(attempt, call.method, error)
        if outcome is Outcome.IGNORABLE and not isinstance(error, MeshError):
            # A cancelled attempt counts as a failure if its deadline has passed or if the instance hangs. Calls to an
            # instance that hangs are hedged, and cancelled, long before their deadline. Without the second rule such an
            # instance would never be ejected.
            late = traffic.clock() >= call.deadline - EARLY
            if late or attempt.hangs:
                outcome, attempt.outcome = Outcome.FAILED, "deadline_exceeded" if late else "hung"
                traffic.ejection.doubt(attempt.instance, attempt.began)
            else:
                attempt.outcome = "given up"
                if traffic.clock() - attempt.began > LONG:
                    traffic.ejection.doubt(attempt.instance, attempt.began)
        return outcome, answered, pause


def note_failure(attempt: Attempt, method: Method, error: BaseException) -> tuple[Outcome, bool, float]:
    """Note in the record of an attempt with what it has ended; see `Balancer`. A cancelled one needs another look."""
    outcome = outcome_of(error, method)
    if isinstance(error, MeshError):
        error.instance = attempt.instance
        answered = not isinstance(error, CommunicationError | LocalError)
        attempt.unanswered = error.processed and not answered
        attempt.outcome = error.code.value
        return outcome, answered, min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
    attempt.outcome = type(error).__name__
    answered = outcome is Outcome.SUCCEEDED  # a declared exception
    attempt.unanswered = not answered
    return outcome, answered, 0.0
