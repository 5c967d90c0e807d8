"""The connector of aiohttp for connections that are replaced when certificates change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from meshcore.security.tls.client_connection import ClientConnection

RequestOptions: TypeAlias = Callable[[str, URL], dict[str, Any]]


class TLSConnector(aiohttp.TCPConnector):
    """Makes connections that can be retired: an idle one is closed, another one as soon as its request has ended.

    Args:
        request_options: of a request to a component at a URL.
        options: of `aiohttp.TCPConnector`.
    """

    def __init__(self, request_options: RequestOptions, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] - a tuple of any length
        self.request_options = request_options

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        protocol = await super()._create_connection(*args, **options)
        transport = protocol.transport
        secured = None if transport is None else transport.get_extra_info("ssl_object")
        if transport is not None and isinstance(secured, ClientConnection):
            secured.cut = transport.abort
            if secured.stale:
                protocol.force_close()  # after this request
            else:
                secured.on_stale(partial(self._retire, protocol))
        return protocol

    def _retire(self, protocol: ResponseHandler) -> None:
        protocol.force_close()
        if protocol not in self._acquired:
            protocol.close()
