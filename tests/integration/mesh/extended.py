"""A client that changes what the mesh does by itself: advice, a channel of its own, what it injects."""

from __future__ import annotations

from typing import Annotated, Any, cast

from meshcore import (
    Call,
    Channel,
    Endpoint,
    Invocation,
    advice,
    around,
    channel,
    inject_service,
    inject_value,
    injectable,
    methods,
    module,
)
from meshcore.channels.http import HTTPChannel
from tests.support.probe import Probe, ProbeComponent


@advice
class ChooseFirst:
    @around(methods().named("customize").of_type(Channel))
    def customize(self, invocation: Invocation) -> Any:
        cast("Channel", invocation.instance).select_first_url()
        return invocation.proceed()


@advice
class AddToken:
    def __init__(self, token: Annotated[str, inject_value("client.token", default="secret")]) -> None:
        self.token = token

    @around(methods().named("make_session").of_type(HTTPChannel))
    def make_session(self, invocation: Invocation) -> Any:
        return invocation.proceed(headers={"authorization": f"Bearer {self.token}"})


@injectable()
class Wire:
    """What the fancy channel sends over."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[Any, ...], str]] = []
        self.closed = 0


@channel("fancy")
class FancyChannel(Channel):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        self.wire.sent.append((str(call.method), call.arguments, endpoint.url))
        return f"fancy {call.arguments[0]}"

    async def aclose(self) -> None:
        self.wire.closed += 1


@injectable()
class Shopper:
    def __init__(
        self,
        probe: Probe,
        limit: Annotated[int, inject_value("shopper.limit")],
        over_json: Annotated[Probe, inject_service("dispatch-json")],
    ) -> None:
        self.probe = probe
        self.limit = limit
        self.over_json = over_json
        self.fancy: Probe | None = None
        self.colour = ""

    @inject_service(preferred_channel="fancy")
    def set_fancy(self, probe: Probe) -> None:
        self.fancy = probe

    @inject_value("shopper.colour", default="red")
    def set_colour(self, colour: str) -> None:
        self.colour = colour


@module(components=[ProbeComponent])
class ExtendedClient: ...
