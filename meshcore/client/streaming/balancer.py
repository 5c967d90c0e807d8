"""The innermost layer of the client stack of streams: sends one attempt to the endpoint that was chosen for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from meshcore.client.balancer import EARLY, note_failure
from meshcore.client.destination import Destination
from meshcore.core.attempt import Attempt
from meshcore.core.call import Call, SendItem
from meshcore.core.description import Method
from meshcore.core.errors import Code, CommunicationError, MeshError
from meshcore.core.instances import Endpoint, Pending
from meshcore.ports.channel import Channel
from meshcore.telemetry.calls import Calls
from meshcore.telemetry.tables import ClientTable
from meshcore.traffic.outcome import Outcome


class StreamBalancer:
    """Sends an attempt of a streaming call, and reports its outcome as `Balancer` does.

    A stream counts once: with its first item it has succeeded, and the time to that is its latency, since all further
    time may be its reader's. If it breaks later, that is a failure of its instance.

    Args:
        destination: the component that is called; chooses channel and endpoint.
        required: the channel that must be used, empty for any.
        carriers: gives the names of the channels that carry the calls of a method.
        calls: counts the items.
    """

    def __init__(
        self,
        destination: Destination,
        required: str,
        carriers: Callable[[Method], Sequence[str]],
        calls: ClientTable | None = None,
    ) -> None:
        self._calls = ClientTable("") if calls is None else calls
        self._destination = destination
        self._required = required
        self._carriers = carriers

    async def __call__(self, call: Call, send: SendItem) -> Any:
        """Choose an endpoint and send the attempt there.

        Raises:
            CommunicationError: UNAVAILABLE or RESOURCE_EXHAUSTED, with `instance` None: no instance is left to ask.
        """
        destination = self._destination
        while isinstance(destination.sighting, Pending):
            await destination.wait()
        required = self._required or self._offered(call)
        while (choice := destination.choose(call, required)) is None:
            await destination.prepare(required)
        name, channel, endpoint, begun = choice
        attempt = Attempt(endpoint.instance, name, begun, url=endpoint.url)
        call.trail.append(attempt)
        sending = _Sending(destination, channel, endpoint, attempt, self._calls[call.method])
        return await sending.run(call, send)

    def _offered(self, call: Call) -> str:
        """The first channel that instances offer and that carries the stream; empty if nobody offers any."""
        offered = self._destination.offered_channels()
        able = self._carriers(call.method)
        found = next((name for name in offered if name in able), "")
        if offered and not found:
            text = f"{call.method} is a {call.method.shape.value}, which none of the offered channels carries: "
            text += f"{', '.join(offered)}; these do: {', '.join(able)}"
            raise CommunicationError(Code.UNIMPLEMENTED, text, retryable=False, processed=False)
        return found


class _Sending:
    """One attempt under way."""

    def __init__(
        self, destination: Destination, channel: Channel, endpoint: Endpoint, attempt: Attempt, calls: Calls
    ) -> None:
        self._calls = calls
        self._traffic = destination.traffic
        self._channel = channel
        self._endpoint = endpoint
        self._attempt = attempt
        self._probe = False
        self._settled = False  # whether the instance is known to serve the stream
        self._counted = False  # and it was counted as a success
        self._retry_after = 0.0

    async def run(self, call: Call, send: SendItem) -> Any:
        traffic, attempt, endpoint = self._traffic, self._attempt, self._endpoint
        self._channel.selector.begin(endpoint)
        self._probe = traffic.ejection.begin(endpoint.instance)
        outcome, attempt.outcome, answered = Outcome.SUCCEEDED, "ok", True

        async def send_item(item: Any) -> None:
            self._settle(Outcome.SUCCEEDED)
            self._calls.received += 1
            await send(item)

        try:
            result = await self._channel.invoke_stream(self._watched(call), endpoint, send_item)
            attempt.unanswered = False
            return result  # noqa: TRY300 - what is no error ends here
        except BaseException as error:
            outcome, answered, self._retry_after = note_failure(attempt, call.method, error)
            if not isinstance(error, MeshError):
                attempt.unanswered = not (answered or self._settled)
                if outcome is Outcome.IGNORABLE:  # cancelled: its reader has left, or its time is over
                    late = not self._settled and traffic.clock() >= call.deadline - EARLY
                    outcome, attempt.outcome = (Outcome.FAILED, "deadline_exceeded") if late else (outcome, "given up")
            raise
        finally:
            self._end(outcome, answered=answered)

    def _watched(self, call: Call) -> Call:
        """The call, whose items settle it: they are taken when there is a connection."""

        async def items(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for item in source:
                self._settle(Outcome.IGNORABLE)
                self._calls.sent += 1
                yield item

        return call.with_items(items)

    def _settle(self, outcome: Outcome) -> None:
        """Report the attempt before its end. What follows says nothing of the instance's latency."""
        if self._settled:
            return
        self._settled, self._counted = True, outcome is Outcome.SUCCEEDED
        now, instance = self._traffic.clock(), self._endpoint.instance
        self._traffic.end(instance, outcome, now, probe=self._probe, answered=True)
        self._channel.selector.end(self._endpoint, outcome, now - self._attempt.began, now)
        self._probe = self._traffic.ejection.begin(instance)

    def _end(self, outcome: Outcome, *, answered: bool) -> None:
        now, instance = self._traffic.clock(), self._endpoint.instance
        self._attempt.seconds = now - self._attempt.began
        if self._counted and outcome is not Outcome.FAILED:
            outcome = Outcome.IGNORABLE
        self._traffic.end(instance, outcome, now, probe=self._probe, answered=answered)
        if not self._settled:
            self._channel.selector.end(self._endpoint, outcome, max(self._attempt.seconds, self._retry_after), now)
