"""What a client puts around its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from meshcore import Call, Handler, Interceptor, Interceptors, create, module


def header(name: str, value: str) -> Interceptor:
    """Adds a header to each call."""

    async def add_header(handler: Handler, call: Call) -> Any:
        return await handler(msgspec.structs.replace(call, headers={**call.headers, name: value}))

    return add_header


def shout(what: Callable[[Any], Any]) -> Interceptor:
    """Changes each result."""

    async def change(handler: Handler, call: Call) -> Any:
        return what(await handler(call))

    return change


@module()
class ClientInterceptors:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(client=[shout(lambda texts: [*texts, "outer"]), shout(lambda texts: [*texts, "inner"]),
                                    header("x-user", "ada")])  # fmt: skip
