"""The client stack: the layers of a call to another process.

proxy > limit > deadline > the user's interceptors > hedge > retry > balancer > channel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshcore.client.deadline import Deadline
from meshcore.client.hedge import Hedge
from meshcore.client.retry import Retry
from meshcore.core.call import Call, Handler, Interceptor, compose
from meshcore.core.description import Method
from meshcore.core.errors import Code, LocalError
from meshcore.core.policy import Rules
from meshcore.traffic.traffic import Traffic


def client_stack(
    balancer: Handler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    interceptors: Sequence[Interceptor],
    limit: Limit,
    resilient: bool = True,
) -> Handler:
    """Compose the handler of a proxy.

    Args:
        balancer: chooses an instance and sends one attempt there.
        traffic: what all calls to the component share.
        rules: the numbers that govern each method.
        interceptors: of the user.
        limit: of the calls in flight, shared by the whole mesh.
        resilient: whether calls are retried and hedged.
    """
    attempts: list[Interceptor] = []
    if resilient:
        attempts = [
            Hedge(traffic),  # around the retries: their pauses count when a call is slow
            Retry(traffic),  # around the balancer: each attempt chooses an instance
        ]
    return compose(
        balancer,
        limit,  # outermost: a refused call costs nothing
        Deadline(rules, traffic.clock),  # covers all attempts and the time that interceptors take
        *interceptors,  # see a call once, not each attempt; `call.trail` lists the attempts
        *attempts,
    )


class Limit:
    """Refuses calls when very many are in flight: otherwise calls to a server that hangs would fill the memory.

    Args:
        calls: that may be in flight at once.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._in_flight = 0

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call if there are not too many.

        Raises:
            LocalError: RESOURCE_EXHAUSTED.
        """
        if self._in_flight >= self._calls:
            text = f"{call.method}: {self._calls} calls of this mesh are in flight already (setting max_calls)"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        self._in_flight += 1
        try:
            return await handler(call)
        finally:
            self._in_flight -= 1
