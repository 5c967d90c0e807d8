"""A service whose work is the processor's, on the event loop; served by real processes in tests."""

from __future__ import annotations

import time
from abc import abstractmethod

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@service()
class Burning(Service):
    @abstractmethod
    async def burn(self, seconds: float) -> None: ...


@component(name="burning", services=[Burning])
class BurningComponent(Component): ...


@implementation()
class BurningImpl(Burning):
    async def burn(self, seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


@implementation()
class BurningComponentImpl(AbstractComponent, BurningComponent): ...


@module()
class BurningModule: ...
