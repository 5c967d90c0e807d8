"""The source of values in Consul's key/value store."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

from meshcore.core.errors import AuthorizationError, Code, CommunicationError, MeshError
from meshcore.core.instances import Failed
from meshcore.ports.values import ValueSource, View

from .api.client import ConsulClient
from .api.config import parse_config, read_config
from .api.rights import why_keys_hidden
from .machines.key_watch import KeyWatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from typing import Self

    from .api.config import ConsulConfig
    from .api.types import Pair
    from .machines.cursor import Query

_logger = logging.getLogger(__name__)


class ConsulValueSource(ValueSource):
    """The keys below a prefix: the value `orders.currency` is the key `PREFIX/orders/currency`.

    Slashes, since Consul shows keys as folders and gives rights by prefix. So a key with a dot in it is none of ours.

    Each watch is one blocking query for the whole prefix, over a connection of its own. While Consul is away what is
    known stays; so does what a Consul no longer has that came back without its data.

    Args:
        prefix: without slashes at its ends.
        address: as in `http://127.0.0.1:8500`. None: CONSUL_HTTP_ADDR, else Consul's default.
        token: the ACL token; it must be allowed to read the prefix. None: as the environment says.
        datacenter: whose keys. None: the agent's own.

    Raises:
        ValueError: something of it, or of the environment, does not fit.
    """

    scheme: ClassVar[str] = "consul"

    def __init__(
        self, prefix: str, address: str | None = None, *, token: str | None = None, datacenter: str | None = None
    ) -> None:
        self._use(read_config(address, {"token": token, "datacenter": datacenter}), prefix)

    def _use(self, config: ConsulConfig, prefix: str) -> None:
        if not prefix.strip("/"):
            raise ValueError(
                "consul: values need a prefix, as in consul://host:8500/my/prefix; all keys of a Consul are too many"
            )
        self._config = config
        self._prefix = prefix.strip("/") + "/"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`consul://host:8500/my/prefix?token=...`, with the options of the registry; `consul:///my/prefix`."""
        parts = urlsplit(url)
        source = cls.__new__(cls)
        config = parse_config(f"consul://{parts.netloc}?{parts.query}")
        source._use(config, unquote(parts.path))  # noqa: SLF001 - our own
        return source

    async def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Full views of all values.

        Raises:
            CommunicationError: a file for TLS cannot be used.
        """
        loop = asyncio.get_running_loop()
        watch = _Watch()
        async with ConsulClient(self._config) as client:
            while True:
                query = watch.machine.query(loop.time())
                await asyncio.sleep(max(0.0, query.at - loop.time()))
                news = await self._ask(client, watch, query)
                if news is not None:
                    yield news

    async def _ask(self, client: ConsulClient, watch: _Watch, query: Query) -> View | Failed | None:
        """One query, and what is to be told of it."""
        loop = asyncio.get_running_loop()
        failure: MeshError
        try:
            found = await client.tree(self._prefix, index=query.index, wait=query.wait, timeout=query.timeout)
            # No keys are what a token without the right gets, too. Asked once, each time that all are gone.
            if not found.pairs and not watch.believed and (why := await why_keys_hidden(client, self._prefix)):
                raise AuthorizationError(Code.PERMISSION_DENIED, why)  # noqa: TRY301 - as if Consul had said so
            watch.believed = not found.pairs
            values = watch.machine.answered(loop.time(), found.index, self._values(found.pairs), leader=found.leader)
        except MeshError as error:
            failure = error
        except Exception as error:
            _logger.exception("a mistake in the watch of %s", self._prefix)
            failure = CommunicationError(Code.INTERNAL, repr(error))
        else:
            return None if values is None else {key: _text(value) for key, value in values.items()}
        watch.believed = False
        refused = isinstance(failure, AuthorizationError) or failure.code in _HOPELESS
        lost = watch.machine.failed(loop.time(), failure.message, refused=refused)
        return None if lost is None else Failed(failure)

    def _values(self, pairs: Iterable[Pair]) -> Mapping[str, bytes]:
        """By dotted key; what has a dot, or is a folder only, is left out."""
        found = ((pair.key.removeprefix(self._prefix), pair.value or b"") for pair in pairs)
        return {key.replace("/", "."): value for key, value in found if key and "." not in key and key[-1] != "/"}

    def __repr__(self) -> str:
        return f"ConsulValueSource({self._prefix!r}, {self._config.url!r})"


class _Watch:
    """One watch.

    Attributes:
        machine: what is believed.
        believed: that there is no key, as the token would see them.
    """

    def __init__(self) -> None:
        self.machine = KeyWatch(random.Random())
        self.believed = False


_HOPELESS = frozenset({Code.INVALID_ARGUMENT, Code.INTERNAL})


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
