"""Where the servers of the demonstration are announced: in a folder of its own, in a Consul agent, or as one says."""

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
"""Stands for an agent that the demonstration starts for itself."""

_CACHE = Path(".cache")
_ANSWERS = 2.0  # seconds in which a server accepts a connection, if there is one

_NO_CONSUL = """there is no program `consul`, neither on the PATH nor as .cache/consul/consul. One of these helps:
  - install it, with the package manager of this machine or from its makers' site
  - meshcore demo --registry consul --fetch: takes it from this machine's package mirror (apt) into .cache, nothing else
  - meshcore demo --registry consul://host:8500: uses an agent that runs already"""


class DemoError(Exception):
    """Something did not go as it should; the text is for whoever watches."""


@asynccontextmanager
async def demo_registry(
    wanted: str, component: str, folder: Path, tell: Callable[[str], None], *, fetch: bool
) -> AsyncGenerator[str]:
    """The URL of a registry that is there while the context lasts.

    Args:
        wanted: empty for a directory in the folder, `consul` for an agent of one's own, else the URL of any registry.
        component: the one that will be announced there; nobody else may offer it.
        folder: for temporary files.
        tell: shows a line.
        fetch: whether the program `consul` may be fetched.

    Raises:
        DemoError: it cannot be had, or the component is offered by somebody else.
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
    """Refuse to call somebody else's servers. What a killed process left behind may be there: nobody answers."""
    try:
        registry = make_registry(url)
    except ValueError as error:
        raise DemoError(f"--registry: {error}") from error
    async with registry:
        instances = (await registry.instances()).get(component, ())
    for address in {address.url: address for each in instances for address in each.addresses}:
        parts = urlsplit(address)
        try:
            async with asyncio.timeout(_ANSWERS):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        raise DemoError(
            f"the registry has a component {component!r} already, at {address}; the demonstration would call it"
        )
