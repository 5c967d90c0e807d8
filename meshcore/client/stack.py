"""The client stack: what a call to another process passes through, outermost first.

proxy > limit > deadline > the user's interceptors > hedge > retry > balance > channel
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
    balance: Handler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    interceptors: Sequence[Interceptor],
    limit: Limit,
    resilient: bool = True,
) -> Handler:
    """The handler under a proxy.

    Args:
        balance: chooses an instance and sends one attempt there.
        traffic: what the component's calls share.
        rules: the numbers that govern each method.
        interceptors: the user's own.
        limit: of all calls of the mesh.
        resilient: whether to repeat what failed or is slow.
    """
    again: list[Interceptor] = []
    if resilient:
        again = [
            Hedge(traffic),  # outside of retry: a slow call is slow with its retries and pauses
            Retry(traffic),  # outside of balance, so that each attempt chooses anew
        ]
    return compose(
        balance,
        limit,  # outermost: what is refused costs nothing
        Deadline(rules, traffic.clock),  # its time covers all attempts, and whatever the interceptors wait for
        *interceptors,  # see a call once, however often it is sent; `call.trail` shows the attempts
        *again,
    )


class Limit:
    """Refuses calls when the mesh has very many under way: else those that are not answered pile up in memory.

    Args:
        calls: that may be under way at once.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._under_way = 0

    async def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call if there is room.

        Raises:
            LocalError: RESOURCE_EXHAUSTED.
        """
        if self._under_way >= self._calls:
            text = f"{call.method}: {self._calls} calls of this mesh are under way already (setting max_calls)"
            raise LocalError(Code.RESOURCE_EXHAUSTED, text)
        self._under_way += 1
        try:
            return await handler(call)
        finally:
            self._under_way -= 1
