"""The client stack: the layers of a call to another process.

proxy > traces > limit and deadline > the user's interceptors > hedge > retry > traces > balancer > channel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshcore.client.deadline import Deadline, Limit
from meshcore.client.hedge import Hedge
from meshcore.client.retry import Retry
from meshcore.core.call import Handler, Interceptor, compose
from meshcore.core.description import Method
from meshcore.core.policy import Rules
from meshcore.telemetry.layers import NO_TRACES, ClientTraces
from meshcore.telemetry.logs.slow_calls import SlowCalls
from meshcore.telemetry.tables import ClientTable
from meshcore.traffic.traffic import Traffic


def client_stack(  # noqa: PLR0913 - all but one have names
    balancer: Handler,
    traffic: Traffic,
    *,
    rules: Mapping[Method, Rules],
    interceptors: Sequence[Interceptor],
    limit: Limit,
    resilient: bool = True,
    calls: ClientTable | None = None,
    traces: ClientTraces = NO_TRACES,
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
        traces: what is composed for traces.
    """
    calls = ClientTable("") if calls is None else calls
    attempts: list[Interceptor] = []
    if resilient:
        attempts = [
            Hedge(traffic, limit.hedges),  # around the retries: their pauses count when a call is slow
            Retry(traffic),  # around the balancer: each attempt chooses an instance
        ]
    return compose(
        balancer,
        *traces.call,  # outermost: also of calls that are refused here, and of the time that all layers take
        # Covers all attempts and the time that interceptors take.
        Deadline(rules, traffic.clock, limit, calls, SlowCalls(calls, limit.slow_lines).ended),
        *interceptors,  # see a call once, not each attempt; `call.trail` lists the attempts
        *attempts,
        *traces.attempt,
    )
