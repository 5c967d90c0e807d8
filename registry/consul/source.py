"""What the sources of certificates and of intentions have in common: the agent that they ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from .api.client import ConsulClient
from .api.config import parse_config, read_config

if TYPE_CHECKING:
    from typing import Self

    from .api.config import ConsulConfig


class ConsulSource:
    """A source that reads from an agent.

    Args:
        address: the agent, such as `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token. None: that of the environment.

    Raises:
        ValueError: an argument, or a variable of the environment, is invalid.
    """

    scheme: ClassVar[str] = "consul"

    def __init__(self, address: str | None = None, *, token: str | None = None) -> None:
        self._use(read_config(address, {"token": token}))

    def _use(self, config: ConsulConfig) -> None:
        self._config = config
        self._client = ConsulClient(config)
        self._changed = asyncio.Event()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a source from `consul://host:8500?token=...`. The options are those of the registry."""
        source = cls.__new__(cls)
        source._use(parse_config(url))  # noqa: SLF001 - our own
        return source

    async def aclose(self) -> None:
        """Close the connections to the agent."""
        await self._client.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._config.url!r})"
