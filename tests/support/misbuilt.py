"""Modules that cannot start; each owns only what it names."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from meshcore import Service, injectable, module, service
from tests.support.bazaar import BazaarModule


@injectable()
class Chicken:
    def __init__(self, egg: Egg) -> None:
        self.egg = egg


@injectable()
class Egg:
    def __init__(self, chicken: Chicken) -> None:
        self.chicken = chicken


@injectable(scope="request")
class Session: ...


@injectable()
class Shelf:
    def __init__(self, session: Session) -> None:
        self.session = session


@service()
class Unoffered(Service):
    @abstractmethod
    async def hello(self) -> str: ...


class Plain:
    async def hello(self) -> str:
        return "hello"


def _module(name: str, *provides: type, **parts: Any) -> type:
    return module(provides=list(provides), **parts)(type(name, (), {"__module__": "tests.nowhere"}))


Circular = _module("Circular", Chicken, Egg)
Leaking = _module("Leaking", Session, Shelf)
Whole = _module("Whole", imports=[BazaarModule])
