"""A component whose health is what a file says, as the test likes."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from pathlib import Path

from meshcore import (
    AbstractComponent,
    Component,
    HealthCheckManager,
    HealthStatus,
    Service,
    component,
    health,
    health_check,
    health_checks,
    implementation,
    module,
    service,
)


def mood() -> str:
    """What the file says."""
    return Path(os.environ["MOOD"]).read_text().strip()


@service()
class Moody(Service):
    @abstractmethod
    async def hold(self, seconds: float) -> None: ...


@component(name="moody", services=[Moody])
class MoodyComponent(Component): ...


@implementation()
class MoodyImpl(Moody):
    async def hold(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@health_checks()
class MoodyChecks:
    @health_check()
    async def feel(self, result: HealthCheckManager.Result) -> None:
        while mood() == "hang":
            await asyncio.sleep(0.05)
        result.set_status(HealthStatus(mood()), "as the file says")


@implementation()
@health("/moody-health")
class MoodyComponentImpl(AbstractComponent, MoodyComponent): ...


@module()
class MoodyModule: ...
