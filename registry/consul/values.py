"""The value source on Consul's key/value store."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError
from meshcore.core.instances import Failed
from meshcore.ports.values import ValueSource, View

from .api.acl import why_keys_hidden
from .api.client import ConsulClient
from .api.config import parse_config, read_config
from .machines.key_watch import KeyWatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from typing import Self

    from .api.config import ConsulConfig
    from .api.types import Pair
    from .machines.blocking_query import Query

_logger = logging.getLogger(__name__)


class ConsulValueSource(ValueSource):
    """Reads the keys below a prefix: the value `orders.currency` is the key `PREFIX/orders/currency`.

    Keys have slashes because Consul shows them as folders and grants rights by prefix. Keys with a dot are ignored.

    Each watch is one blocking query for the whole prefix, over a connection of its own. While Consul cannot be read,
    the last known values stay in use, and also when Consul has lost its data.

    Args:
        prefix: without slashes at its ends.
        address: the agent, such as `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token, which must be allowed to read the prefix. None: that of the environment.
        datacenter: the datacenter of the keys. None: the agent's own.

    Raises:
        ValueError: an argument, or a variable of the environment, is invalid.
    """

    scheme: ClassVar[str] = "consul"

    def __init__(
        self, prefix: str, address: str | None = None, *, token: str | None = None, datacenter: str | None = None
    ) -> None:
        self._use(read_config(address, {"token": token, "datacenter": datacenter}), prefix)

    def _use(self, config: ConsulConfig, prefix: str) -> None:
        if not prefix.strip("/"):
            raise ValueError(
                "consul: values need a prefix, as in consul://host:8500/my/prefix; they cannot be all keys of Consul"
            )
        self._config = config
        self._prefix = prefix.strip("/") + "/"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make a value source from `consul://host:8500/my/prefix?token=...`. The options are those of the registry."""
        parts = urlsplit(url)
        source = cls.__new__(cls)
        config = parse_config(f"consul://{parts.netloc}?{parts.query}")
        source._use(config, unquote(parts.path))  # noqa: SLF001 - our own
        return source

    async def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Yield views, each with all values.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        loop = asyncio.get_running_loop()
        watch = _Watch()
        async with ConsulClient(self._config) as client:
            while True:
                query = watch.keys.query(loop.time())
                await asyncio.sleep(max(0.0, query.at - loop.time()))
                update = await self._read(client, watch, query)
                if update is not None:
                    yield update

    async def _read(self, client: ConsulClient, watch: _Watch, query: Query) -> View | Failed | None:
        """Send one query. Returns what to yield, or None if nothing has changed."""
        loop = asyncio.get_running_loop()
        failure: MeshError
        try:
            found = await client.tree(self._prefix, index=query.index, wait=query.wait, timeout=query.timeout)
            # A token without rights gets an empty list, too. So the ACL is checked, once per time that it is empty.
            if not found.pairs and not watch.acl_checked and (why := await why_keys_hidden(client, self._prefix)):
                raise AuthorizationError(Code.PERMISSION_DENIED, why)  # noqa: TRY301 - as if Consul had answered so
            watch.acl_checked = not found.pairs
            values = watch.keys.answered(loop.time(), found.index, self._values(found.pairs), leader=found.leader)
        except MeshError as error:
            failure = error
        except Exception as error:
            _logger.exception("unexpected error in the watch of %s", self._prefix)
            failure = CommunicationError(Code.INTERNAL, repr(error))
        else:
            return None if values is None else {key: _text(value) for key, value in values.items()}
        watch.acl_checked = False
        permanent = isinstance(failure, AuthorizationError) or failure.code in _PERMANENT
        update = watch.keys.failed(loop.time(), failure.message, permanent=permanent)
        return None if update is None else Failed(failure)

    def _values(self, pairs: Iterable[Pair]) -> Mapping[str, bytes]:
        """Return the values by dotted key, without keys that have a dot and without folders."""
        found = ((pair.key.removeprefix(self._prefix), pair.value or b"") for pair in pairs)
        return {key.replace("/", "."): value for key, value in found if key and "." not in key and key[-1] != "/"}

    def __repr__(self) -> str:
        return f"ConsulValueSource({self._prefix!r}, {self._config.url!r})"


class _Watch:
    """The state of one watch.

    Attributes:
        keys: what is published.
        acl_checked: the last answer was empty, and not because the token may not read the prefix.
    """

    def __init__(self) -> None:
        self.keys = KeyWatch(random.Random())
        self.acl_checked = False


_PERMANENT = frozenset({Code.INVALID_ARGUMENT, Code.INTERNAL})


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
