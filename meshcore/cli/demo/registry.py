"""The registry of the demo: a folder of its own, a Consul agent that it starts, or any registry by URL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from meshcore.ports.installed import make_registry
from meshcore.testing import consul_agent

OWN_CONSUL = "consul"
"""As the URL of a registry: start a Consul agent for the demo."""

_CACHE = Path(".cache")
_CONNECT = 2.0  # seconds for a server to accept a connection

_NO_CONSUL = """there is no program `consul`, neither on the PATH nor as .cache/consul/consul. One of these helps:
  - install it, with the package manager of this machine or from its makers' site
  - meshcore demo --registry consul --fetch: takes it from this machine's package mirror (apt) into .cache, nothing else
  - meshcore demo --registry consul://host:8500: uses an agent that runs already"""


OWN_IDENTITY = "dev"
"""As the source of certificates: an authority in the folder of the demo."""


class DemoError(Exception):
    """The demo cannot go on. The text is printed."""


def demo_identity(wanted: str, folder: Path) -> str:
    """The URL of the source of certificates, empty for none.

    Args:
        wanted: empty, or `dev` for an authority of the demo alone.
        folder: for its files.

    Raises:
        DemoError: it is something else.
    """
    if wanted.removesuffix(":") not in {"", OWN_IDENTITY}:
        raise DemoError(f"--identity {wanted}: the demo makes certificates of its own, with --identity {OWN_IDENTITY}")
    return f"dev:{folder}/identity" if wanted else ""


@asynccontextmanager
async def demo_registry(
    wanted: str, component: str, folder: Path, tell: Callable[[str], None], *, fetch: bool
) -> AsyncGenerator[str]:
    """Provide a registry while the context lasts, and yield its URL.

    Args:
        wanted: empty for a directory in the folder, `consul` to start a Consul agent, else the URL of a registry.
        component: the component of the demo. No other server may be announced with it.
        folder: for temporary files.
        tell: shows a line.
        fetch: whether the program `consul` may be fetched.

    Raises:
        DemoError: the registry cannot be started, or another server offers the component.
    """
    if not wanted:
        yield f"directory://{folder}/registry"
    elif wanted == OWN_CONSUL:
        if not (fetch or shutil.which("consul") or (_CACHE / "consul" / "consul").exists()):
            raise DemoError(_NO_CONSUL)
        starting = consul_agent(cache=_CACHE)
        tell("a Consul agent starts")
        try:
            agent = await starting.__aenter__()
        except RuntimeError as error:
            raise DemoError(str(error)) from error
        try:
            tell(f"the Consul agent is ready at {agent.url}")
            yield f"consul://{urlsplit(agent.url).netloc}"
        finally:
            await starting.__aexit__(None, None, None)
    else:
        await _require_alone(wanted, component)
        yield wanted


async def _require_alone(url: str, component: str) -> None:
    """Raise if another server offers the component and answers. Entries of killed servers may be there."""
    try:
        registry = make_registry(url)
    except ValueError as error:
        raise DemoError(f"--registry: {error}") from error
    async with registry:
        instances = (await registry.instances()).get(component, ())
    for address in {address.url: address for each in instances for address in each.addresses}:
        parts = urlsplit(address)
        try:
            async with asyncio.timeout(_CONNECT):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        raise DemoError(f"the registry has a component {component!r} already, at {address}; the demo would call it")
