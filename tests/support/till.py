"""A service whose executions are counted outside of its process, so that chaos tests can prove what ran how often."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod

from meshcore import (
    AbstractComponent,
    Component,
    Service,
    component,
    get,
    health,
    implementation,
    inject_value,
    module,
    post,
    rest,
    service,
)


@service()
@rest("/till")
class Till(Service):
    @abstractmethod
    @get("/look/{number}")
    async def look(self, number: int, padding: str = "") -> list[int]: ...

    @abstractmethod
    @post("/sell/{number}")
    async def sell(self, number: int) -> list[int]: ...


@component(name="till", services=[Till])
class TillComponent(Component): ...


@implementation()
class TillImpl(Till):
    """Answers with its process id and the number, so that a caller knows an answer for another's."""

    @inject_value("till.journal", default="")
    def set_journal(self, path: str) -> None:
        self.journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else -1

    async def look(self, number: int, padding: str = "") -> list[int]:
        await asyncio.sleep(0)
        return [os.getpid(), number]

    async def sell(self, number: int) -> list[int]:
        # One write, which the kernel appends as a whole: what was begun is on record whatever becomes of the process.
        os.write(self.journal, b"%d\n" % number)
        return [os.getpid(), number]


@implementation()
@health("/till-health")
class TillComponentImpl(AbstractComponent, TillComponent): ...


@module()
class TillModule: ...
