"""`@allow` and `@allow_any`: what they leave, and what is refused."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pytest

from meshcore import AbstractComponent, Component, ConfigurationError, Service, allow, allow_any, component, service
from meshcore.core.settings import Settings
from meshcore.declare.injection import module
from meshcore.declare.reader import describe, describe_component
from meshcore.declare.services import implementation
from meshcore.mesh.blueprint import Blueprint


@allow("billing", "orders", "billing")
@service()
class Stock(Service):
    @abstractmethod
    async def read(self) -> int: ...

    @abstractmethod
    @allow_any
    async def count(self) -> int: ...

    @abstractmethod
    @allow("orders")
    async def reserve(self) -> int: ...


@allow_any()
@component(services=[Stock])
class StockComponent(Component): ...


def test_component_service_and_methods_keep_what_they_say():
    """Component service and methods keep what they say."""
    problems: list[str] = []
    found = describe_component(StockComponent, problems)
    (stock,) = found.services
    assert not problems
    assert found.allowed == ("*",)
    assert stock.allowed == ("billing", "orders")
    assert [each.allowed for each in stock.methods] == [None, ("*",), ("orders",)]
    assert describe(Stock).allowed == ("billing", "orders")


def misuse_without_names() -> None:
    """Misuse without names."""
    allow()


def misuse_bare() -> None:
    """Misuse bare."""

    @allow  # type: ignore[arg-type]
    async def read(self: Any) -> None: ...


def misuse_twice() -> None:
    """Misuse twice."""

    @allow("a")
    @allow_any
    async def read(self: Any) -> None: ...


def misuse_star() -> None:
    """Misuse star."""
    allow("*")


def misuse_name() -> None:
    """Misuse name."""
    allow("spiffe://mesh/svc/a")


def misuse_type() -> None:
    """Misuse type."""
    allow(Stock)  # type: ignore[arg-type]


def misuse_list() -> None:
    """Misuse list."""
    allow(["a", "b"])  # type: ignore[arg-type]


def misuse_any() -> None:
    """Misuse any."""
    allow_any("orders")


@pytest.mark.parametrize(
    ("misuse", "text"),
    [
        (misuse_without_names, "it names no component"),
        (misuse_bare, 'write @allow("orders")'),
        (misuse_twice, "@allow_any stands there, too"),
        (misuse_star, "write @allow_any for all callers"),
        (misuse_name, "cannot be the name of a component"),
        (misuse_type, 'write @allow("orders")'),
        (misuse_list, "it takes the names of components, and this is a list"),
        (misuse_any, "it takes nothing"),
    ],
)
def test_misuse_is_an_error_with_its_mend(misuse, text):
    """Misuse is an error with its mend."""
    with pytest.raises(ConfigurationError) as caught:
        misuse()
    assert text in caught.value.message


@implementation()
class StockImpl(Stock):
    async def read(self) -> int:
        return 1

    async def count(self) -> int:
        return 1

    @allow("billing")
    async def reserve(self) -> int:
        return 1


@allow("billing")
@implementation()
class StockComponentImpl(AbstractComponent, StockComponent): ...


@module()
class Misplaced: ...


def test_a_mark_on_an_implementation_has_no_effect_and_is_an_error():
    """A mark on an implementation has no effect and is an error."""
    problems = "\n".join(Blueprint(Misplaced, Settings(registry="local:"), {})._problems)
    assert "StockImpl.reserve: @allow has no effect on an implementation; put it on Stock.reserve" in problems
    assert "StockComponentImpl: @allow belongs on a @service interface, on its methods, or a @component" in problems
