"""A service that goes on after its caller has left; served by real processes in tests."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import Annotated

from meshcore import (
    AbstractComponent,
    Component,
    Mesh,
    MeshError,
    Service,
    component,
    implementation,
    inject_service,
    module,
    on_destroy,
    service,
    shielded,
)
from meshcore.core.call import ambient_attempt


@service()
class Notes(Service):
    @abstractmethod
    async def note(self, text: str) -> None: ...

    @abstractmethod
    async def all(self) -> list[str]: ...


@service()
class Writing(Service):
    @abstractmethod
    def write(self, text: str) -> None: ...


@service()
class Outliving(Service):
    @abstractmethod
    async def start(self, text: str, seconds: float, detached: bool) -> None: ...  # noqa: FBT001

    @abstractmethod
    @shielded
    async def finish(self, text: str, seconds: float) -> None: ...

    @abstractmethod
    async def attempts(self) -> tuple[int, int]: ...


@service()
class OutlivingInThread(Service):
    @abstractmethod
    def start_thread(self, text: str, seconds: float) -> None: ...


@component(name="outliving", services=[Notes, Writing, Outliving, OutlivingInThread])
class OutlivingComponent(Component): ...


@implementation()
class NotesImpl(Notes):
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def note(self, text: str) -> None:
        self.texts.append(text)

    async def all(self) -> list[str]:
        return self.texts


@implementation()
class WritingImpl(Writing):
    def __init__(self, notes: NotesImpl) -> None:
        self.notes = notes

    async def write(self, text: str) -> None:
        await self.notes.note(text)


@implementation()
class OutlivingImpl(Outliving):
    def __init__(self, notes: Annotated[Notes, inject_service(preferred_channel="dispatch-json")]) -> None:
        self.notes = notes
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, text: str, seconds: float, detached: bool) -> None:  # noqa: FBT001
        if detached:
            with Mesh.detached():
                self.tasks.add(asyncio.create_task(self.go_on(text, seconds)))
        else:
            self.tasks.add(asyncio.create_task(self.go_on(text, seconds)))
        await asyncio.sleep(30)

    async def go_on(self, text: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self.notes.note(text)
        except MeshError as error:
            with Mesh.detached():
                await self.notes.note(f"{text}: {error.code.value}")

    async def finish(self, text: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            await self.notes.note(f"{text} finished")
        except asyncio.CancelledError:
            with Mesh.detached():
                self.tasks.add(asyncio.create_task(self.notes.note(f"{text} cancelled")))
            raise

    async def attempts(self) -> tuple[int, int]:
        outside = ambient_attempt.get()
        with Mesh.detached():
            return outside, ambient_attempt.get()

    @on_destroy
    async def stop(self) -> None:
        await asyncio.gather(*self.tasks)


@implementation()
class OutlivingInThreadImpl(OutlivingInThread):
    def __init__(self, writing: Annotated[Writing, inject_service(preferred_channel="dispatch-json")]) -> None:
        self.writing = writing

    def start_thread(self, text: str, seconds: float) -> None:
        with Mesh.detached():
            time.sleep(seconds)
            self.writing.write(text)


@implementation()
class OutlivingComponentImpl(AbstractComponent, OutlivingComponent): ...


@module()
class OutlivingModule: ...
