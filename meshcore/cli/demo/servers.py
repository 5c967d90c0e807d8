"""The server processes of the demo: starts them, waits for them, and stops them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meshcore.cli.demo.registry import DemoError

_START = 15.0  # seconds until a server is announced, on a busy machine
_WITHDRAWAL = 5.0  # seconds until the registry drops a server that has ended
_STOP = 5.0  # seconds for a server to stop by itself


@dataclass(eq=False)
class DemoServer:
    """A server process.

    Attributes:
        label: its name in the output.
        url: its address.
        log: the file with its output.
        process: the process.
        present: set when the registry has it.
        absent: set when the registry has dropped it.
        killed: when it was killed, on `time.monotonic()`; 0 if it was not.
        identity: the part that the instance ids of this process have in common.
    """

    label: str
    url: str
    log: Path
    process: asyncio.subprocess.Process
    present: asyncio.Event = field(default_factory=asyncio.Event)
    absent: asyncio.Event = field(default_factory=asyncio.Event)
    killed: float = 0.0
    identity: str = ""

    async def until_present(self) -> None:
        """Return when the registry has the server.

        Raises:
            DemoError: it ended before, or takes too long.
        """
        ended = asyncio.create_task(self.process.wait())
        present = asyncio.create_task(self.present.wait())
        try:
            await asyncio.wait([ended, present], timeout=_START, return_when=asyncio.FIRST_COMPLETED)
            if not present.done():
                state = (
                    f"ended with status {ended.result()}" if ended.done() else f"is not announced after {_START:g} s"
                )
                raise DemoError(f"server {self.label} {state}")
        finally:
            ended.cancel()
            present.cancel()

    async def until_absent(self) -> None:
        """Return when the registry has dropped the server.

        Raises:
            DemoError: this takes too long.
        """
        try:
            # Not wait_for: on Python 3.11 it may swallow a cancellation that comes at the same time.
            async with asyncio.timeout(_WITHDRAWAL):
                await self.absent.wait()
        except TimeoutError:
            raise DemoError(f"the registry still has {self.label} after {_WITHDRAWAL:g} s") from None


@asynccontextmanager
async def demo_server(  # noqa: PLR0913 - all of one process
    label: str,
    module: str,
    registry: str,
    folder: Path,
    tell: Callable[[str], None],
    *,
    identity: str = "",
    app: str = "meshcore.app:app",
    control: str = "",
) -> AsyncGenerator[DemoServer]:
    """Run a server process while the context lasts.

    Args:
        label: its name in the output.
        module: what it serves, as package.module:Class.
        registry: the URL of the registry.
        folder: for its database and its log.
        tell: shows a line.
        identity: the URL of the source of its certificates, empty for none.
        app: the application.
        control: the path of a socket for the live page, where it asks for servers to be killed and started.
    """
    # Bound here and inherited by the process, so that no other process can take the port in between.
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"{'https' if identity else 'http'}://127.0.0.1:{sock.getsockname()[1]}"
        environ = {key: value for key, value in os.environ.items() if not key.startswith("MESHCORE_")}
        environ |= {
            "MESHCORE_MODULE": module,
            "MESHCORE_REGISTRY": registry,
            "MESHCORE_ADVERTISE_URL": url,
            "MESHCORE_IDENTITY": identity or "none",
            "DEMO_CONTROL": control,
            # On a slow machine the limit would take other processes' load for an overload of this server. Calls that it
            # refuses are retried within the retry budget, and fail beyond that.
            "MESHCORE_ADAPTIVE_LIMIT": "false",
            "ORDERS_DATABASE": f"{folder}/orders.sqlite",
        }
        log = folder / f"{label}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                # Without workers the process itself serves. A worker would survive the SIGKILL of its parent.
                *(sys.executable, "-m", "hypercorn", "--workers", "0", "--bind", f"fd://{sock.fileno()}"),
                *(("--config", "python:meshcore.serve.tls.hypercorn") if identity else ()),
                app,
                pass_fds=[sock.fileno()],
                cwd=folder,  # away from a settings file in the user's folder
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # the terminal sends Ctrl-C to the demo only, which stops the servers
            )
    try:
        yield DemoServer(label, url, log, process)
    finally:
        try:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(_STOP):
                    await process.wait()
        except TimeoutError:
            tell(f"{label} did not stop within {_STOP:g} s and is killed")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
