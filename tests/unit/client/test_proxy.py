"""Proxies as their callers see them: Python's own signatures, types and errors."""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from meshcore import Call, LocalError, Policy, Service, describe, idempotency_key, service, with_key, with_policy
from meshcore.client.bridge import Bridge
from meshcore.client.proxy import ProxyClass, redirect
from meshcore.core.call import Handler


@service()
class Shop(Service):
    """Sells."""

    currency = "EUR"

    @abstractmethod
    async def buy(self, sku: str, count: int = 1, *, gift: bool = False, note: str | None = None) -> str:
        """Buy something."""

    @abstractmethod
    async def at(self, x: int, y: int = 2, /, z: int = 3) -> str: ...

    @abstractmethod
    async def only(self, *, a: int, b: int) -> str: ...

    @abstractmethod
    async def none(self) -> None: ...

    @abstractmethod
    def count(self, sku: str, _method: int = 0, _Call: int = 0, handler: int = 0) -> int: ...  # noqa: N803

    @abstractmethod
    def odd(this, self: int, method: int) -> int: ...  # noqa: N805

    async def buy_two(self, sku: str) -> str:
        return await self.buy(sku, 2) + self.currency

    @property
    def label(self) -> str:
        return f"shop in {self.currency}"


@service()
class Plain(Protocol):
    async def ask(self, text: str, default: list[int] | None = None) -> int: ...


async def echo(call: Call) -> Any:
    """Answer with the arguments, as text where the method promises text."""
    return call.arguments


class Blocked(Bridge):
    """A bridge that calls at once, on any loop."""

    def __call__(self, handler: Handler, call: Call) -> Any:
        """Run the call of a `def` proxy."""
        with pytest.raises(StopIteration) as stopped:
            handler(call).send(None)  # type: ignore[attr-defined]
        return stopped.value.value


def bridge() -> Bridge:
    """One to the running loop."""
    return Blocked(asyncio.get_running_loop())


def make(interface: Callable[..., Any]) -> Any:
    """A proxy that answers with the arguments it was called with."""
    description = describe(interface)  # type: ignore[arg-type]
    return ProxyClass(description).make(echo, bridge(), "over nothing")


async def test_arguments_are_bound_and_defaults_filled_in() -> None:
    """A call carries one argument per parameter, in the signature's order, however it was written."""
    shop = make(Shop)
    assert await shop.buy("a") == ("a", 1, False, None)
    assert await shop.buy(count=3, note="x", sku="b") == ("b", 3, False, "x")
    assert await shop.at(1) == (1, 2, 3)
    assert await shop.at(5, 6, z=7) == (5, 6, 7)
    assert await shop.only(b=1, a=2) == (2, 1)
    assert await shop.none() == ()
    assert await make(Plain).ask("x") == ("x", None)


async def test_names_that_the_generated_source_uses_itself() -> None:
    """Parameters may have any name."""
    assert make(Shop).count("a", 1, 2, 3) == ("a", 1, 2, 3)
    assert make(Shop).odd(1, method=2) == (1, 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda shop: shop.buy(), "Shop.buy() missing 1 required positional argument: 'sku'"),
        (lambda shop: shop.buy("a", colour=1), "Shop.buy() got an unexpected keyword argument 'colour'"),
        (lambda shop: shop.buy("a", 1, 2), "Shop.buy() takes from 2 to 3 positional arguments but 4 were given"),
        (lambda shop: shop.buy("a", sku="b"), "Shop.buy() got multiple values for argument 'sku'"),
        (
            lambda shop: shop.at(x=1),
            "Shop.at() got some positional-only arguments passed as keyword arguments: 'x'",
        ),
        (lambda shop: shop.only(a=1), "Shop.only() missing 1 required keyword-only argument: 'b'"),
        (lambda shop: shop.only(1, 2), "Shop.only() takes 1 positional argument but 3 were given"),
        (lambda shop: shop.count(), "Shop.count() missing 1 required positional argument: 'sku'"),
    ],
)
async def test_wrong_arguments_are_a_type_error_with_the_method_s_name(call: Callable[[Any], Any], text: str) -> None:
    """Python refuses what does not fit the signature, when the method is called and not when it is awaited."""
    with pytest.raises(TypeError) as refused:
        call(make(Shop))
    assert str(refused.value) == text


async def test_a_proxy_is_an_instance_of_its_interface() -> None:
    """`isinstance` holds, for abstract classes and for protocols; the class is concrete."""
    shop, plain = make(Shop), make(Plain)
    assert isinstance(shop, Shop)
    assert Plain in type(plain).__mro__
    assert not inspect.isabstract(type(shop))
    assert type(shop).__name__ == "ShopProxy"
    assert type(shop).__module__ == __name__


async def test_repr_says_where_it_leads() -> None:
    """A proxy shows its service and its target."""
    assert repr(make(Shop)) == "<proxy of shop over nothing>"


async def test_concrete_members_of_the_interface_work() -> None:
    """Helper methods, properties and constants that the interface implements itself run here, over the proxy."""
    shop = ProxyClass(describe(Shop)).make(lambda call: shown(call), bridge(), "")  # noqa: PLW0108

    async def shown(call: Call) -> str:
        return f"{call.method.name}{call.arguments[:2]}"

    assert await shop.buy_two("a") == "buy('a', 2)EUR"
    assert shop.label == "shop in EUR"
    assert not hasattr(shop, "sell")


async def test_the_kind_of_each_method_is_the_interface_s() -> None:
    """`async def` methods are coroutine functions, `def` methods are not; signature and texts are the original's."""
    shop = make(Shop)
    assert inspect.iscoroutinefunction(shop.buy)
    assert not inspect.iscoroutinefunction(shop.count)
    assert inspect.signature(shop.buy) == inspect.signature(Shop.buy.__get__(shop))
    assert shop.buy.__doc__ == "Buy something."
    assert shop.buy.__name__ == "buy"
    assert not getattr(shop.buy, "__isabstractmethod__", False)


async def test_methods_of_two_proxies_do_not_mix() -> None:
    """Each proxy has its own handler, although they share one class."""
    cls = ProxyClass(describe(Shop))

    async def other(call: Call) -> Any:
        return call.method.name

    first, second = cls.make(echo, bridge(), "first"), cls.make(other, bridge(), "second")
    assert type(first) is type(second)
    assert await first.none() == ()
    assert await second.none() == "none"


async def test_a_key_of_the_callers_own_goes_with_calls() -> None:
    """Of methods that take one; a mesh that redirects its proxy redirects that with the key as well."""

    @service()
    class Till(Service):
        @abstractmethod
        @idempotency_key()
        def pay(self, cents: int) -> Any: ...

        @abstractmethod
        def look(self) -> Any: ...

    async def first(call: Call) -> Any:
        return "first", dict(call.headers)

    async def second(call: Call) -> Any:
        return "second", dict(call.headers)

    def variant(_: Policy) -> Till:
        made: Till = ProxyClass(describe(Till)).make(second, bridge(), "elsewhere", variant)
        return made

    proxy: Till = ProxyClass(describe(Till)).make(first, bridge(), "somewhere", variant)
    keyed = with_key(proxy, "order-7")
    assert repr(keyed) == "<proxy of till somewhere with an idempotency key>"
    assert keyed.pay(1) == ("first", {"idempotency-key": "order-7"})
    assert proxy.pay(1) == ("first", {})
    redirect(proxy, second)
    assert keyed.pay(1) == ("second", {"idempotency-key": "order-7"})
    assert with_policy(keyed, Policy(timeout=1.0)).pay(1) == ("second", {"idempotency-key": "order-7"})
    assert with_key(keyed, "order-8").pay(1) == ("second", {"idempotency-key": "order-8"})
    with pytest.raises(LocalError, match=r"till\.look takes no idempotency key, so it would be executed each time"):
        keyed.look()


async def test_what_takes_no_key() -> None:
    """An object that is no proxy, and a text that is no key, which is not shown."""
    proxy = ProxyClass(describe(Plain)).make(echo, bridge(), "somewhere", lambda _: None)
    with pytest.raises(LocalError, match="object is no proxy of a service, so no key goes with calls to it"):
        with_key(object(), "k")
    for key in ("", "x" * 256, " secret", "secret\n", "gr\xfc\xdfe"):
        with pytest.raises(LocalError, match="with_key: a key ") as refused:
            with_key(proxy, key)
        assert "secret" not in str(refused.value)
    number: Any = 7
    with pytest.raises(LocalError, match=r"with_key: a key is a text, and this is of type int: write str\(\.\.\.\)"):
        with_key(proxy, number)
