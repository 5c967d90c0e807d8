"""A service with answers of any size, for clients that do not read them."""

from __future__ import annotations

from abc import abstractmethod

from meshcore import AbstractComponent, Component, Service, component, get, implementation, module, rest, service


@service()
@rest("/library")
class Library(Service):
    @abstractmethod
    @get("/books/{size}")
    async def book(self, size: int) -> str: ...


@component(services=[Library])
class LibraryComponent(Component): ...


@implementation()
class LibraryImpl(Library):
    async def book(self, size: int) -> str:
        return "x" * size


@implementation()
class LibraryComponentImpl(AbstractComponent, LibraryComponent): ...


@module()
class LibraryModule: ...
