"""The client stack: the layers of a call to another process.

proxy > limit and deadline > the user's interceptors > hedge > retry > balancer > channel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshcore.client.deadline import Deadline, Limit
from meshcore.client.hedge import Hedge
from meshcore.client.retry import Retry
from meshcore.core.call import Handler, Interceptor, compose
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.telemetry.tables import ClientTable
from meshcore.traffic.traffic import Traffic


def client_stack(
    balancer: Handler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    interceptors: Sequence[Interceptor],
    limit: Limit,
    resilient: bool = True,
    calls: ClientTable | None = None,
) -> Handler:
    """Compose the handler of a proxy.

    Args:
        balancer: chooses an instance and sends one attempt there.
        traffic: what all calls to the component share.
        rules: the numbers that govern each method.
        interceptors: of the user.
        limit: of the calls in flight, shared by the whole mesh.
        resilient: whether calls are retried and hedged.
        calls: counts them.
    """
    attempts: list[Interceptor] = []
    if resilient:
        attempts = [
            Hedge(traffic, limit.hedges),  # around the retries: their pauses count when a call is slow
            Retry(traffic),  # around the balancer: each attempt chooses an instance
        ]
    return compose(
        balancer,
        Deadline(rules, traffic.clock, limit, calls),  # covers all attempts and the time that interceptors take
        *interceptors,  # see a call once, not each attempt; `call.trail` lists the attempts
        *attempts,
    )
