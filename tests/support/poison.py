"""A service with calls that stop the process that serves them."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from pathlib import Path

from meshcore import (
    AbstractComponent,
    Component,
    Policy,
    Service,
    component,
    idempotent,
    implementation,
    module,
    service,
)


@service()
class Poison(Service):
    """What may be called; all of it may be repeated."""

    @abstractmethod
    @idempotent
    async def look(self) -> int:
        """Who answers."""

    @abstractmethod
    @idempotent
    async def crash(self, record: str) -> None:
        """End the process, and leave its number in a folder."""

    @abstractmethod
    @idempotent
    @Policy(timeout=3.0)
    async def block(self, record: str, seconds: float) -> None:
        """Hold the event loop, and leave the number of the process in a folder."""


@component(services=[Poison])
class PoisonComponent(Component):
    """What offers it."""


def leave_number(folder: str) -> None:
    """Leave the number of this process there."""
    Path(folder, str(os.getpid())).touch()


@implementation()
class PoisonImpl(Poison):
    async def look(self) -> int:
        """Answer."""
        return os.getpid()

    async def crash(self, record: str) -> None:
        """End, as for want of memory."""
        leave_number(record)
        os._exit(3)

    async def block(self, record: str, seconds: float) -> None:
        """Answer nothing for so long."""
        leave_number(record)
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point


@implementation()
class PoisonComponentImpl(AbstractComponent, PoisonComponent):
    """Its life."""


@module()
class PoisonModule:
    """The servers."""
