"""Objects of `unittest.mock` as overrides: what applications bring along from their other tests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest

from meshcore import (
    AbstractComponent,
    Component,
    ConfigurationError,
    Mesh,
    RemoteError,
    Service,
    Settings,
    component,
    implementation,
    injectable,
    module,
    raises,
    service,
)
from meshcore.testing import memory_mesh


class OutOfStock(Exception):
    def __init__(self, sku: str) -> None:
        super().__init__(sku)
        self.sku = sku


@service()
class Stock(Service):
    @abstractmethod
    @raises(OutOfStock)
    async def open(self, sku: str, *, count: int = 1) -> int: ...

    @abstractmethod
    def close(self, sku: str) -> str: ...

    async def empty(self) -> None: ...


@service()
class Other(Service):
    async def other(self) -> None: ...


@component(services=[Stock])
class StockComponent(Component): ...


class Rates:
    """Something of the user's that is no service."""

    async def rate(self, currency: str) -> float:
        raise NotImplementedError(currency)


@injectable()
class Prices:
    def __init__(self, rates: Rates) -> None:
        self.rates = rates


@implementation()
class StockImpl(Stock):
    async def open(self, sku: str, *, count: int = 1) -> int:
        raise NotImplementedError

    def close(self, sku: str) -> str:
        raise NotImplementedError

    async def empty(self) -> None:
        raise NotImplementedError


@implementation()
class StockComponentImpl(AbstractComponent, StockComponent): ...


@module()
class StockModule: ...


LOCAL = Settings(registry="local:")

MOCKS: dict[str, Callable[[], Any]] = {
    "AsyncMock": lambda: AsyncMock(spec=Stock),
    "AsyncMock of the implementation": lambda: AsyncMock(spec=StockImpl),
    "MagicMock": lambda: MagicMock(spec=Stock),
    "Mock": lambda: Mock(spec=Stock),
    "spec_set": lambda: AsyncMock(spec_set=Stock),
    "AsyncMock without spec": AsyncMock,
    "MagicMock without spec": MagicMock,
    "autospec of the class": lambda: create_autospec(Stock),
    "autospec of an object": lambda: create_autospec(Stock, instance=True),
}


@pytest.mark.parametrize("make", MOCKS.values(), ids=list(MOCKS))
async def test_a_mock_answers_calls(make: Callable[[], Any]) -> None:
    """Its results and exceptions reach the caller, and it has recorded the calls, in process and over a channel."""
    in_memory, local = make(), make()
    for fake, mesh in (
        (in_memory, memory_mesh(StockModule, overrides={Stock: in_memory, Rates: Mock()})),
        (local, Mesh(StockModule, settings=LOCAL, overrides={Stock: local, Rates: Mock()})),
    ):
        fake.open.return_value = 3
        fake.close.return_value = "closed"
        fake.empty.return_value = None
        async with mesh as running:
            stock = await running.get_service(Stock)
            assert await stock.open("a", count=2) == 3
            assert await stock.empty() is None
            fake.open.assert_called_once_with("a", count=2)
            fake.open.side_effect = OutOfStock("b")
            with pytest.raises(OutOfStock, match="b"):
                await stock.open("b")


async def test_a_mock_of_a_blocking_method_is_called_in_a_thread() -> None:
    """Like any implementation that is `def`."""
    fake = create_autospec(Stock, instance=True)
    fake.close.return_value = "closed"

    @service()
    class Asking(Service):
        async def ask(self) -> str: ...  # type: ignore[empty-body]

    @component(services=[Asking])
    class AskingComponent(Component): ...

    class AskingImpl(Asking):
        def __init__(self, stock: Stock) -> None:
            self.stock = stock

        def ask(self) -> str:  # type: ignore[override]
            return self.stock.close("a")

    class AskingComponentImpl(AbstractComponent, AskingComponent): ...

    everything = module(
        imports=[StockModule], provides=[implementation()(AskingImpl), implementation()(AskingComponentImpl)]
    )(type("Everything", (), {"__module__": "nowhere"}))
    async with memory_mesh(everything, overrides={Stock: fake, Rates: Mock()}) as mesh:
        assert await (await mesh.get_service(Asking)).ask() == "closed"
    fake.close.assert_called_once_with("a")


async def test_a_call_that_an_autospec_refuses() -> None:
    """What the mock itself raises is an error of the implementation, as it is with any other."""
    fake = create_autospec(Stock, instance=True)
    fake.open.side_effect = AssertionError("not expected")
    async with memory_mesh(StockModule, overrides={Stock: fake, Rates: Mock()}) as mesh:
        stock = await mesh.get_service(Stock)
        with pytest.raises(RemoteError):
            await stock.open("a")


@pytest.mark.parametrize("make", [AsyncMock, MagicMock])
async def test_a_mock_of_another_interface(make: Any) -> None:
    """It is told apart at the start, by what it lacks, with the mend."""
    with pytest.raises(ConfigurationError) as refused:
        await Mesh(StockModule, settings=LOCAL, overrides={Stock: make(spec=Other), Rates: Mock()}).start()
    name = make.__name__
    assert refused.value.problems == tuple(
        f"{name}.{each} is missing: Stock declares it; write {name}(spec=Stock)" for each in ("open", "close", "empty")
    )


@pytest.mark.parametrize("make", [AsyncMock, MagicMock, create_autospec])
async def test_a_mock_of_what_is_no_service(make: Any) -> None:
    """It is injected as it is."""
    rates = make(Rates)
    rates.rate.return_value = 1.5
    async with Mesh(StockModule, settings=LOCAL, overrides={Rates: rates}) as mesh:
        prices = await mesh.get(Prices)
        assert prices.rates is rates
        assert await prices.rates.rate("EUR") == 1.5
