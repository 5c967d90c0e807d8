"""A real Consul agent for tests: on free ports, ready within a second, and removed afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import socket
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from meshcore.testing.consul.binary import find_consul

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

ADDRESS = "127.0.0.1"
"""The address at which agents listen."""

_PORTS = ("http", "server", "serf_lan")
_READY = 15.0  # seconds; an agent that keeps its data takes two, and longer on a busy machine
_STOP = 10.0
_ATTEMPTS = 5  # to start: another process may take a port that was free a moment ago
_CONNECTIONS = 4000
_RESERVED = 100  # open files; the agent does not start with a limit of connections above that of files less twenty
_ANSWER = 2.0  # seconds; a frozen agent accepts connections and does not answer
_LOWEST = 15000  # port of an agent
_EPHEMERAL = 32768  # the first port of outgoing connections on Linux; elsewhere it is higher

# Test runners seed the global generator, in all their processes alike, so all would try the same ports.
_chance = random.SystemRandom()


class ConsulAgent:
    """One agent, which is its own server. It can be stopped, killed, frozen, and started again at the same address.

    Attributes:
        url: the URL of its HTTP API.
        process: the process of the agent, also after its end.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        keeps_data: bool = False,
        token: str = "",
        address: str = ADDRESS,
        ports: Mapping[str, int] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._keeps_data = keeps_data
        self._token = token
        self._address = address
        self._given = ports is not None
        self._more = config or {}
        self._frozen = False
        self.url = ""
        self.process: asyncio.subprocess.Process | None = None
        self._use(ports or {})

    async def start(self) -> None:
        """Start the agent, and return when it has a leader.

        Raises:
            RuntimeError: it does not start; with its output.
        """
        first = self.process is None and not self._given
        for _ in range(_ATTEMPTS):
            if first:
                self._use(free_ports())
            await self._spawn()
            if await self._ready():
                return
            await self.kill()
            if self._given or not self.port_was_taken:
                break
        raise RuntimeError(f"the Consul agent does not start:\n{self.output()}")

    async def stop(self) -> None:
        """Stop the agent gracefully."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill the agent."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Freeze the agent: it keeps its connections, and does not answer."""
        self._frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen agent go on."""
        self._frozen = False
        self._send(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        """Whether the agent is neither stopped nor frozen."""
        return self.process is not None and self.process.returncode is None and not self._frozen

    def output(self) -> str:
        """Return the output of the agent."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def ask(self, path: str) -> bytes:
        """Send a GET of `/v1/PATH`. Returns the body; empty if the status is not 200, or without an answer in time."""
        # Without an HTTP client: its import takes longer than these few small requests.

        try:
            async with asyncio.timeout(_ANSWER):
                reader, writer = await asyncio.open_connection(self._address, self._ports["http"])
                try:
                    headers = f"Host: localhost\r\nX-Consul-Token: {self._token}\r\nConnection: close\r\n"
                    writer.write(f"GET /v1/{path} HTTP/1.0\r\n{headers}\r\n".encode())
                    answer = await reader.read()
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            return b""
        head, _, body = answer.partition(b"\r\n\r\n")
        return body if b" 200 " in head.partition(b"\r\n")[0] else b""

    @property
    def port_was_taken(self) -> bool:
        """Whether the agent did not start because another process has its port."""
        return "address already in use" in self.output()

    @property
    def _log(self) -> Path:
        return self._folder / "agent.log"

    def _use(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports)
        if ports:
            self.url = f"http://{self._address}:{ports['http']}"

    def _config(self) -> dict[str, Any]:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        config: dict[str, Any] = {
            "node_name": f"node-{self._ports['http']}",
            "bind_addr": self._address,
            "client_addr": self._address,
            "ports": {**self._ports, "dns": -1, "grpc": -1, "https": -1, "serf_wan": -1},
            "limits": {"http_max_conns_per_client": max(1, min(_CONNECTIONS, files - _RESERVED))},
            "connect": {"enabled": False},
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
                start_new_session=True,  # Ctrl-C must not end it: the test may need it to clean up
            )

    async def _ready(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY):
                while self.runs:
                    if await self._has_leader():
                        return True
                    await asyncio.sleep(0.02)
        return False

    async def _has_leader(self) -> bool:
        """Return whether it has a leader, and the check of its own server passes."""
        return b'"serfHealth"' in await self.ask("health/service/consul?passing=1")

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
            # Not `send_signal`: before Python 3.13.2 it reaps a process that has just died, and a task that waits for
            # the process gets a warning about an unknown child (python/cpython#127049).
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


@asynccontextmanager
async def consul_agent(
    *,
    keeps_data: bool = False,
    cache: Path | None = None,
    token: str = "",
    address: str = ADDRESS,
    config: Mapping[str, Any] | None = None,
) -> AsyncGenerator[ConsulAgent, None]:
    """Run an agent while the context lasts. Several may run at the same time.

    Args:
        keeps_data: whether the agent keeps its data over a restart. Then a start takes two seconds instead of half a
            second.
        cache: the folder for the program if it has to be fetched. Default: `.cache` in the current folder.
        token: a UUID, the token that is allowed everything. Without the token nothing is allowed then. Default: no ACL.
        address: the address at which it listens.
        config: more configuration of the agent.

    Raises:
        RuntimeError: there is no `consul` on the PATH and none can be fetched, or the agent does not start.
    """
    binary = await asyncio.to_thread(find_consul, cache or Path(".cache"))
    with TemporaryDirectory(prefix="meshcore-consul-") as folder:
        agent = ConsulAgent(binary, Path(folder), keeps_data=keeps_data, token=token, address=address, config=config)
        try:
            await agent.start()
            yield agent
        finally:
            await agent.kill()


def free_ports() -> dict[str, int]:
    """Return ports for one agent that were free a moment ago, for TCP and for UDP: agents gossip over both.

    They are below the ports of outgoing connections: one of those could take a port while its agent is stopped.
    """
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < len(_PORTS):
            tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held += (tcp, udp)
            port = _chance.randrange(_LOWEST, _EPHEMERAL)
            with suppress(OSError):
                tcp.bind((ADDRESS, port))
                udp.bind((ADDRESS, port))
                ports.append(port)
    finally:
        for each in held:
            each.close()
    return dict(zip(_PORTS, ports, strict=True))
