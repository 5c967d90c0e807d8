"""A session of a database that lives for one call: committed if the call succeeds, else rolled back."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshcore import (
    AbstractComponent,
    Code,
    Component,
    Mesh,
    MeshError,
    Policy,
    Service,
    Settings,
    component,
    create,
    implementation,
    injectable,
    module,
    raises,
    service,
    with_policy,
)
from meshcore.testing import memory_mesh

PLAIN = Settings(registry="local:", adaptive_limit=False, resilience=False)


class NoAccountError(Exception): ...


@injectable()
class Bank:
    """What the sessions did."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.begun, self.ended = asyncio.Event(), asyncio.Event()


class Session:
    """One transaction."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Session]:
        try:
            yield self
        except BaseException as error:
            await asyncio.sleep(0)  # as a rollback does
            self.bank.log.append(f"rollback: {type(error).__name__}")
            raise
        else:
            self.bank.log.append("commit")
        finally:
            self.bank.ended.set()


@service()
class Transfers(Service):
    @abstractmethod
    @raises(NoAccountError)
    async def transfer(self, cents: int) -> str: ...

    @abstractmethod
    def transfer_in_thread(self, cents: int) -> str: ...


@component(services=[Transfers])
class TransfersComponent(Component): ...


@implementation(scope="request")
class TransfersImpl(Transfers):
    def __init__(self, session: Session) -> None:
        self.session = session

    async def transfer(self, cents: int) -> str:
        self.session.bank.begun.set()
        if cents > 100:
            raise NoAccountError
        if cents < 0:
            await asyncio.Event().wait()
        return "done"

    def transfer_in_thread(self, cents: int) -> str:
        if cents > 100:
            raise ValueError("no such account")
        return "done"


@implementation()
class TransfersComponentImpl(AbstractComponent, TransfersComponent): ...


@module()
class TransfersModule:
    @create(scope="request")
    async def session(self, bank: Bank) -> AsyncIterator[Session]:
        async with Session(bank).begin() as session:
            yield session


async def test_a_session_commits_only_what_succeeded() -> None:
    """A declared exception reaches the session as itself, and its caller too; so does an error in a thread."""
    async with memory_mesh(TransfersModule, settings=PLAIN) as mesh:
        transfers, bank = await mesh.get_service(Transfers), await mesh.get(Bank)
        assert await transfers.transfer(50) == "done"
        with pytest.raises(NoAccountError):
            await transfers.transfer(500)
        assert bank.log == ["commit", "rollback: NoAccountError"]


async def test_a_session_of_a_sync_implementation_rolls_back_too() -> None:
    """Its work is done in a thread; the session is left on the event loop."""
    async with Mesh(TransfersModule, settings=PLAIN) as mesh:
        transfers, bank = await mesh.get_service(Transfers), await mesh.get(Bank)
        assert await asyncio.to_thread(transfers.transfer_in_thread, 50) == "done"
        with pytest.raises(ValueError, match="no such account"):
            await asyncio.to_thread(transfers.transfer_in_thread, 500)
        assert bank.log == ["commit", "rollback: ValueError"]


async def test_a_deadline_rolls_back() -> None:
    """The server cancels the work of a caller that waits no longer."""
    async with memory_mesh(TransfersModule, settings=PLAIN) as mesh:
        transfers, bank = await mesh.get_service(Transfers), await mesh.get(Bank)
        with pytest.raises(MeshError) as late:
            await with_policy(transfers, Policy(timeout=0.05)).transfer(-1)
        assert late.value.code is Code.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await bank.ended.wait()
        assert bank.log == ["rollback: CancelledError"]


async def test_a_caller_that_leaves_rolls_back() -> None:
    """Its connection closes."""
    async with memory_mesh(TransfersModule, settings=PLAIN) as mesh:
        transfers, bank = await mesh.get_service(Transfers), await mesh.get(Bank)
        task = asyncio.create_task(transfers.transfer(-1))
        await bank.begun.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(5):
            await bank.ended.wait()
        assert bank.log == ["rollback: CancelledError"]


async def test_a_shutdown_rolls_back() -> None:
    """What has not ended by then is cancelled."""
    async with memory_mesh(TransfersModule, settings=PLAIN) as mesh:
        transfers, bank = await mesh.get_service(Transfers), await mesh.get(Bank)
        task = asyncio.create_task(transfers.transfer(-1))
        await bank.begun.wait()
    with pytest.raises(MeshError):
        await task
    assert bank.log == ["rollback: CancelledError"]
