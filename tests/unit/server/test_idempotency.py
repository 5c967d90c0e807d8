"""Calls with an idempotency key, sent more than once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from meshcore import Call, Code, MeshError, RemoteError
from meshcore.codec.codec import Limits
from meshcore.core.description import Method
from meshcore.core.errors import ImplementationError
from meshcore.server.idempotency import Idempotency
from meshcore.wire.headers import IDEMPOTENCY_KEY


@dataclass
class OutOfStock(Exception):
    sku: str
    left: int


METHOD = Method("shop", "buy", (), list[str], is_async=True, idempotency_key=60.0, raises=(OutOfStock,))
UNKEYED = Method("shop", "look", (), list[str], is_async=True)


class Shop:
    """Counts what is executed; what happens then can be chosen."""

    def __init__(self, *outcomes: Any, memory: int = 100_000) -> None:
        self.idempotency = Idempotency(memory, Limits(max_depth=100))
        self.executed = 0
        self.keys: list[str | None] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._outcomes = list(outcomes)

    async def handle(self, call: Call) -> Any:
        """The implementation."""
        self.keys.append(call.headers.get(IDEMPOTENCY_KEY))
        self.executed += 1
        outcome = self._outcomes.pop(0) if self._outcomes else [f"order {self.executed}"]
        self.begun.set()
        await self.go_on.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def buy(self, key: str = "k", method: Method = METHOD, *arguments: Any, **headers: str) -> Any:
        """One attempt."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent[IDEMPOTENCY_KEY] = key
        return await self.idempotency(self.handle, Call(method, arguments, sent))


async def test_a_repetition_gets_the_first_outcome() -> None:
    """It is equal, not the same object; another key, no key, and another method are other calls."""
    shop = Shop()
    first = await shop.buy()
    again = await shop.buy()
    assert first == again == ["order 1"]
    assert first is not again
    assert await shop.buy("other") == ["order 2"]
    assert await shop.buy("") == ["order 3"]
    assert await shop.buy("k", UNKEYED) == ["order 4"]
    assert await shop.buy("k", UNKEYED) == ["order 5"]


async def test_a_repetition_waits_for_the_first() -> None:
    """While it runs nothing else is executed, and all get its outcome."""
    shop = Shop()
    shop.go_on.clear()
    calls = [asyncio.create_task(shop.buy()) for _ in range(5)]
    await shop.begun.wait()
    await asyncio.sleep(0)
    shop.go_on.set()
    assert await asyncio.gather(*calls) == [["order 1"]] * 5
    assert shop.executed == 1


async def test_who_waits_may_leave() -> None:
    """That is nothing to the first."""
    shop = Shop()
    shop.go_on.clear()
    first = asyncio.create_task(shop.buy())
    await shop.begun.wait()
    second = asyncio.create_task(shop.buy())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    shop.go_on.set()
    assert await first == ["order 1"]


async def test_a_cancelled_first_is_not_kept() -> None:
    """The repetition that waited for it is executed itself, and of several only one."""
    shop = Shop()
    shop.go_on.clear()
    first = asyncio.create_task(shop.buy())
    await shop.begun.wait()
    others = [asyncio.create_task(shop.buy()) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    shop.go_on.set()
    assert await asyncio.gather(*others) == [["order 2"]] * 3
    assert first.cancelled()


async def test_a_declared_exception_is_kept() -> None:
    """It comes again as the same class with the same fields."""
    shop = Shop(OutOfStock("unicorn", 2))
    for _ in range(2):
        with pytest.raises(OutOfStock) as error:
            await shop.buy()
        assert error.value == OutOfStock("unicorn", 2)
    assert shop.executed == 1


async def test_errors_of_the_mesh_are_kept() -> None:
    """Also that of a call of the implementation's own that was not processed: this one has begun all the same."""
    shop = Shop(MeshError(Code.ABORTED, "conflict"), MeshError(Code.UNAVAILABLE, "no", processed=False))
    for key, text in (("k", "conflict"), ("other", "no")):
        for _ in range(2):
            with pytest.raises(MeshError, match=text) as error:
                await shop.buy(key)
            assert error.value.processed
    assert shop.executed == 2


@pytest.mark.parametrize(
    "outcome",
    [RuntimeError("secret"), ImplementationError("secret"), "no list", ["x" * 2000]],
    ids=["crash", "mistake", "unfit", "large"],
)
async def test_what_cannot_be_kept_is_not_executed_again(outcome: Any) -> None:
    """A crash, a wrong call of its own, a result of the wrong type or too large a one: it hears so, and no more."""
    shop = Shop(outcome, memory=1500)
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            await shop.buy()
    else:
        assert await shop.buy() == outcome
    with pytest.raises(RemoteError, match=r"shop\.buy was executed by an earlier attempt") as error:
        await shop.buy()
    assert "secret" not in str(error.value)
    assert shop.executed == 1


USED = r"shop\.buy: this idempotency key was used for a call with other arguments, or by another caller"


async def test_a_key_counts_for_its_arguments() -> None:
    """Other arguments are another call, and it is refused; equal ones that are written otherwise are the same call."""
    shop = Shop()
    assert await shop.buy("k", METHOD, Decimal("1.0"), {"a", "b"}) == ["order 1"]
    assert await shop.buy("k", METHOD, Decimal("1.00"), {"b", "a"}) == ["order 1"]
    for arguments in ((Decimal(2), {"a", "b"}), (Decimal(1), {"a"}), ()):
        with pytest.raises(MeshError, match=USED) as error:
            await shop.buy("k", METHOD, *arguments)
        assert (error.value.code, error.value.retryable, error.value.processed) == (Code.ALREADY_EXISTS, False, False)
    assert shop.executed == 1


async def test_a_key_counts_for_large_arguments() -> None:
    """Of these the bytes are compared."""
    shop = Shop()
    assert await shop.buy("k", METHOD, "x" * 100_000) == ["order 1"]
    assert await shop.buy("k", METHOD, "x" * 100_000) == ["order 1"]
    with pytest.raises(MeshError, match=USED):
        await shop.buy("k", METHOD, "x" * 99_999 + "y")


async def test_a_key_counts_for_its_caller() -> None:
    """Nobody gets what another one was told, nor executes it under his key. Who has a name may have another token."""
    shop = Shop()
    assert await shop.buy("k", authorization="Bearer ada") == ["order 1"]
    for headers in ({}, {"authorization": "Bearer bob"}, {"authorization": "Bearer ada", "x_user": "Bearer ada"}):
        with pytest.raises(MeshError, match=USED):
            await shop.buy("k", METHOD, **headers)
    assert await shop.buy("k", authorization="Bearer ada") == ["order 1"]
    assert await shop.buy("l", authorization="Bearer old", x_user="ada") == ["order 2"]
    assert await shop.buy("l", authorization="Bearer new", x_user="ada") == ["order 2"]
    assert shop.executed == 2


async def test_while_the_first_runs_another_call_is_refused() -> None:
    """It does not wait for an outcome that is not its own."""
    shop = Shop()
    shop.go_on.clear()
    first = asyncio.create_task(shop.buy("k", METHOD, 1))
    await shop.begun.wait()
    with pytest.raises(MeshError, match=USED):
        await shop.buy("k", METHOD, 2)
    shop.go_on.set()
    assert await first == ["order 1"]


async def test_the_usual_header_is_a_key_of_the_callers_own() -> None:
    """With the quotes of RFC 9651 or without, it counts before the mesh's; implementations find it in either."""
    shop = Shop()
    assert await shop.buy("one", idempotency_key="order-7") == ["order 1"]
    assert await shop.buy("two", idempotency_key='"order-7"') == ["order 1"]
    assert await shop.buy("order-7") == ["order 1"]
    assert await shop.buy("", idempotency_key=r'"a\\b\""') == ["order 2"]
    assert shop.keys == ["order-7", r'a\b"']


@pytest.mark.parametrize("key", ["k" * 256, "k\x00", "gr\xfc\xdfe", '""'], ids=["long", "control", "latin", "empty"])
async def test_what_is_no_key(key: str) -> None:
    """It is refused before anything is executed, and not shown."""
    shop = Shop()
    with pytest.raises(MeshError, match=r"shop\.buy: header 'idempotency-key': a key ") as error:
        await shop.buy("", idempotency_key=key)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert key not in error.value.message
    assert shop.executed == 0
    assert await shop.buy("k" * 255) == ["order 1"]


async def test_keys_count_in_the_memory() -> None:
    """Of each outcome the key counts, too."""
    shop = Shop(memory=2000)
    for key in ("a" * 255, "b" * 255, "c" * 255):
        await shop.buy(key)
    assert await shop.buy("a" * 255) == ["order 4"]


async def test_arguments_that_are_no_values() -> None:
    """A call in this process may have any; with a key it is refused."""
    shop = Shop()
    with pytest.raises(MeshError, match=r"shop\.buy has an idempotency key, but its arguments cannot be compared"):
        await shop.buy("k", METHOD, lambda: None)
    assert shop.executed == 0
