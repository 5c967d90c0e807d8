"""The client stack of streaming calls to another process.

running > traces > deadline and limit > idle > resume > the user's interceptors > retry > traces > balancer > channel

There is no hedge: two streams of one call cannot be merged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from meshcore.client.deadline import Deadline, Limit
from meshcore.client.retry import Retry
from meshcore.client.streaming.idle import Idle
from meshcore.client.streaming.resume import Resume
from meshcore.core.call import Call, SendItem, StreamHandler, StreamInterceptor
from meshcore.core.description import Method
from meshcore.core.errors import MeshError
from meshcore.core.policy import Rules
from meshcore.core.streaming.handler import around_stream, compose_streams
from meshcore.telemetry.layers import NO_TRACES, ClientTraces
from meshcore.telemetry.tables import ClientTable
from meshcore.traffic.traffic import Traffic


def client_stream_stack(  # noqa: PLR0913 - all but two have names
    balancer: StreamHandler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    limit: Limit,
    interceptors: Sequence[StreamInterceptor],
    resilient: bool = True,
    calls: ClientTable | None = None,
    traces: ClientTraces = NO_TRACES,
) -> StreamHandler:
    """Compose the handler of streaming calls of a proxy; see `client_stack`.

    Args:
        balancer: chooses an instance and sends one attempt there.
        traffic: what all calls to the component share.
        rules: the numbers that govern each method.
        limit: of the calls of the mesh in flight.
        interceptors: of the user.
        resilient: whether calls are retried, and streams resumed.
        calls: counts them.
        traces: what is composed for traces.
    """
    return compose_streams(
        balancer,
        *map(around_stream, traces.call),
        around_stream(Deadline(rules, traffic.clock, limit, calls)),  # of the whole life, all attempts included
        Idle(rules),
        *([Resume(rules, traffic.clock, traffic.rng)] if resilient else []),
        *interceptors,  # around each part of a stream that is resumed: a token may have changed
        *([RetryBeforeItems(traffic)] if resilient else []),
        *map(around_stream, traces.attempt),
    )


class RetryBeforeItems:
    """Retries a streaming call as any other, until its first item has gone or come: then it is never sent again."""

    def __init__(self, traffic: Traffic) -> None:
        self._retry = Retry(traffic)

    async def __call__(self, handler: StreamHandler, call: Call, send: SendItem) -> Any:
        """Send the call until it has begun, or must not be retried."""
        begun = False

        async def send_first(item: Any) -> None:
            nonlocal begun
            begun = True
            await send(item)

        async def taken(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
            nonlocal begun
            async for item in items:
                begun = True
                yield item

        async def attempt(one: Call) -> Any:
            try:
                return await handler(one.with_items(taken), send_first)
            except MeshError as error:
                if begun:
                    raise _BegunError(error) from error
                raise

        try:
            return await self._retry(attempt, call)
        except _BegunError as begun_error:
            raise begun_error.error from begun_error.error.__cause__


class _BegunError(Exception):
    """Carries an error past the retries.

    Attributes:
        error: the error.
    """

    def __init__(self, error: MeshError) -> None:
        super().__init__()
        self.error = error
