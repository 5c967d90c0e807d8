"""A real Consul agent for tests: on free ports, ready in under a second, and gone afterwards."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from meshcore.testing.consul_binary import find_consul

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

_READY = 15.0  # seconds; an agent that keeps its data takes two, a busy machine more
_STOP = 10.0
_RACES = 5  # how often another process may take a port that was free a moment ago
_CONNECTIONS = 4000
_RESERVED = 100  # the agent does not start above its own limit of open files less twenty


class ConsulAgent:
    """One agent, which is its own server. It can be stopped, killed, frozen and started again on the same address.

    Attributes:
        url: where its HTTP API is.
        process: the running agent, or the last one.
    """

    def __init__(self, binary: Path, folder: Path, *, keeps_data: bool, token: str, config: Mapping[str, Any]) -> None:
        self._binary = binary
        self._folder = folder
        self._keeps_data = keeps_data
        self._token = token
        self._more = config
        self._ports: dict[str, int] = {}
        self.url = ""
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return when it knows its leader.

        Raises:
            RuntimeError: it does not start; the text is what it says.
        """
        first = not self._ports
        for _ in range(_RACES):
            if first:
                self._choose_ports()
            await self._spawn()
            if await self._ready():
                return
            await self.kill()
            if "address already in use" not in self.output():
                break
        raise RuntimeError(f"the Consul agent does not start:\n{self.output()}")

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it without any order."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._send(signal.SIGCONT)

    def output(self) -> str:
        """All that it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._folder / "agent.log"

    def _choose_ports(self) -> None:
        self._ports = dict(zip(("http", "server", "serf_lan"), _free_ports(3), strict=True))
        self.url = f"http://127.0.0.1:{self._ports['http']}"

    def _config(self) -> dict[str, Any]:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        config: dict[str, Any] = {
            "node_name": f"node-{self._ports['http']}",
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {**self._ports, "dns": -1, "grpc": -1, "https": -1, "serf_wan": -1},
            "limits": {"http_max_conns_per_client": max(1, min(_CONNECTIONS, files - _RESERVED))},
            "connect": {"enabled": False},
            "check_update_interval": "0s",
            "disable_update_check": True,
            "log_level": "warn",
        }
        if self._keeps_data:
            config |= {
                "server": True,
                "bootstrap_expect": 1,
                "data_dir": str(self._folder / "data"),
                "performance": {"raft_multiplier": 1},
            }
        if self._token:
            config["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": self._token, "agent": self._token},
            }
        return {**config, **self._more}

    async def _spawn(self) -> None:
        file = self._folder / "config.json"
        file.write_text(json.dumps(self._config()))
        mode = () if self._keeps_data else ("-dev",)
        with self._log.open("a") as output:
            self.process = await asyncio.create_subprocess_exec(
                *(self._binary, "agent", *mode, "-config-file", file),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def _ready(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY):
                while self.process is not None and self.process.returncode is None:
                    if await self._knows_itself():
                        return True
                    await asyncio.sleep(0.02)
        return False

    async def _knows_itself(self) -> bool:
        """Whether it has a leader and finds itself healthy. By hand: one request is worth no HTTP client."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports["http"])
            try:
                headers = f"Host: localhost\r\nX-Consul-Token: {self._token}\r\nConnection: close\r\n"
                writer.write(f"GET /v1/health/service/consul?passing=1 HTTP/1.1\r\n{headers}\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        except OSError:
            return False
        return answer.startswith(b"HTTP/1.1 200") and b'"serfHealth"' in answer

    async def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self._send(number)
        self.thaw()
        try:
            async with asyncio.timeout(_STOP):
                await self.process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
            await self.process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


@asynccontextmanager
async def consul_agent(
    *, keeps_data: bool = False, cache: Path | None = None, token: str = "", config: Mapping[str, Any] | None = None
) -> AsyncGenerator[ConsulAgent, None]:
    """A running agent while the context lasts; any number of them may run at once.

    Args:
        keeps_data: whether it has its data again after a stop and a start. That takes it two seconds instead of half
            a second.
        cache: the folder for the program if it has to be fetched; default: `.cache` in the current folder.
        token: the one that may do everything, a UUID; without it nothing is allowed then. Default: all is allowed.
        config: of the agent, beside what the kit sets.

    Raises:
        RuntimeError: there is no `consul` on the PATH and none can be fetched, or the agent does not start.
    """
    binary = await asyncio.to_thread(find_consul, cache or Path(".cache"))
    with TemporaryDirectory(prefix="meshcore-consul-") as folder:
        agent = ConsulAgent(binary, Path(folder), keeps_data=keeps_data, token=token, config=config or {})
        try:
            await agent.start()
            yield agent
        finally:
            await agent.kill()


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, for TCP and for UDP: the agents gossip over both."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held += (tcp, udp)
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with suppress(OSError):
                udp.bind(("127.0.0.1", port))
                ports.append(port)
    finally:
        for each in held:
            each.close()
    return ports
