"""What the live page shows: the mesh as this process finds it, looked at only while somebody asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp
import msgspec

from meshcore.asgi.page.routes import TriedCall
from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.connections.sessions import open_session
from meshcore.client.contract_fetch import StatusError, fetch_component, fetch_document
from meshcore.client.overview.look import Looker
from meshcore.client.overview.trial import fields
from meshcore.contract.contract import MethodContract, ServiceContract
from meshcore.core.errors import Code, LocalError
from meshcore.core.instances import Instance
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.mesh.runtime import Runtime
from meshcore.ports.identity import IdentitySource
from meshcore.ports.registry import ComponentRegistry
from meshcore.security.shared import SharedIdentity
from meshcore.serve.live_page.trial import Trials
from meshcore.telemetry.overview.overview import Look, Overview, server_of
from meshcore.telemetry.overview.state import MeshState
from meshcore.wire.endpoints import CONTRACT, PAGE, REPORT

_FRESH = 0.8
"""Seconds for which a look is shown to all who ask. The page asks once a second."""

_HISTORY_FRESH = 5.0
"""The same for the last minutes, which have steps of ten seconds."""

ServerControl: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Kills or starts a server: "kill" or "start", and the id of an instance. It raises LocalError if that fails."""


class PageState(MeshState, frozen=True, kw_only=True):
    """What the page is told.

    Attributes:
        served_by: the process that serves the page.
        also_at: where else the page is.
        read_only: whether calls are not to be tried.
        demo: whether servers may be killed and started.
    """

    served_by: str
    also_at: tuple[str, ...]
    read_only: bool
    demo: bool


class LivePage:
    """Answers what the page asks, see `asgi.page.routes.PageSource`. It is an async context manager.

    Args:
        runtime: of the mesh that serves it.
        settings: with the URL that is advertised.
        control: kills and starts servers. Only the demonstration has one, and passes it in code: no setting can.
    """

    def __init__(self, runtime: Runtime, settings: Settings, control: ServerControl | None = None) -> None:
        self._runtime = runtime
        self._settings = settings
        self._control = control
        self._trials = Trials(_shared(runtime), msgspec.structs.replace(settings, module=""))
        self._overview = Overview()
        self._session: aiohttp.ClientSession | None = None
        self._looker: Looker | None = None
        self._look: Look | None = None
        self._state = self._history = b""
        self._history_until = 0.0
        self._looking = asyncio.Lock()
        self.read_only = settings.page == "read-only"
        self.demo = control is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._trials.__aexit__(kind, error, traceback)
        if self._session is not None:
            await self._session.close()

    async def state(self) -> bytes:
        """The mesh as it is now, as JSON. All who ask within a second get the same."""
        async with self._looking:
            if self._look is None or time.monotonic() - self._look.clock >= _FRESH:
                await self._look_again()
            return self._state

    async def _look_again(self) -> None:
        if self._looker is None:
            self._looker = Looker(self._runtime.registry, self._opened(), history=True)
        self._look = await self._looker.look()
        self._state = msgspec.json.encode(self._shown(self._overview.update(self._look), self._look))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._runtime.tls, limit=0)
        return self._session

    def _shown(self, state: MeshState, look: Look) -> PageState:
        own = self._settings.advertise_url.rstrip("/")
        shown = without_secrets(own)
        return PageState(
            **msgspec.structs.asdict(state),
            served_by=f"{shown}, process {self._runtime.identity}",
            also_at=tuple(
                without_secrets(url) + PAGE
                for url, summaries in look.summaries.items()
                if url != own and summaries and summaries[0].about.page
            ),
            read_only=self.read_only,
            demo=self.demo,
        )

    async def history(self) -> bytes:
        """The last 15 minutes of each method, as JSON."""
        async with self._looking:
            if time.monotonic() >= self._history_until:
                if self._look is None or time.monotonic() - self._look.clock >= _FRESH:
                    await self._look_again()
                self._history = msgspec.json.encode(self._overview.histories())
                self._history_until = time.monotonic() + _HISTORY_FRESH
            return self._history

    async def of_instance(self, instance: str, what: str) -> bytes:
        """The report or the contract of an instance.

        Raises:
            LocalError: there is no such instance, or it does not answer.
        """
        found = next((each for each in await self._instances() if each.id == instance), None)
        if found is None or not (url := server_of(found)):
            raise LocalError(Code.NOT_FOUND, f"no instance {instance!r} is announced that is reached over HTTP")
        url += {"report": REPORT, "contract": CONTRACT}[what]
        shown = without_secrets(url)
        try:
            return await fetch_document(self._opened(), url, self._settings.max_body, component=found.component)
        except StatusError as error:
            raise LocalError(Code.UNAVAILABLE, f"{shown}: {error.why}") from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise LocalError(Code.UNAVAILABLE, f"{shown}: {why_no_answer(error)}") from None

    async def _instances(self) -> list[Instance]:
        await self.state()
        return [] if self._look is None else [each for some in self._look.announced.values() for each in some]

    async def fields(self, component: str, method: str) -> bytes:
        """The fields of a form for a method, as JSON.

        Raises:
            LocalError: there is no such method, or nobody tells its contract.
        """
        return msgspec.json.encode(fields(*await self._contract(component, method)))

    async def _contract(self, component: str, method: str) -> tuple[ServiceContract, MethodContract]:
        service_name, _, method_name = method.rpartition("/")
        reason = f"component {component!r} is not announced"
        for instance in await self._instances():
            if instance.component != component:
                continue
            try:
                found = await fetch_component(self._opened(), instance, self._settings.max_body)
            except ValueError as error:
                reason = str(error)
                continue
            for service in found.services:
                for each in service.methods:
                    if (service.name, each.name) == (service_name, method_name):
                        return service, each
            reason = f"its contract has no {method!r}"
        raise LocalError(Code.NOT_FOUND, f"{component} {method}: {reason}")

    async def call(self, tried: TriedCall) -> bytes:
        """The outcome of a call as JSON, also if it failed.

        Raises:
            LocalError: it cannot be made.
        """
        service, method = await self._contract(tried.component, tried.method)
        return await self._trials.call(tried, service, method)

    async def act(self, what: str, instance: str) -> bytes:
        """Ask the demonstration to kill or to start a server.

        Raises:
            LocalError: it has ended, or there is no such server.
        """
        if self._control is None:
            raise LocalError(Code.FAILED_PRECONDITION, "only the demonstration kills and starts servers")
        await self._control(what, instance)
        return b"{}"


def _shared(runtime: Runtime) -> dict[type, object]:
    """What the clients of tried calls share with the mesh of this process: where instances are, and who it is."""
    shared: dict[type, object] = {ComponentRegistry: runtime.registry}
    if runtime.certificates is not None:
        shared[IdentitySource] = SharedIdentity(runtime.certificates)
    return shared
