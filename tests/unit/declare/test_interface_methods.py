"""Which methods of a service class are its interface: abstract ones, marked ones, and those with an empty body."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pytest

from meshcore import (
    ConfigurationError,
    Mesh,
    Policy,
    Service,
    affinity,
    describe,
    get,
    idempotency_key,
    idempotent,
    load_settings,
    post,
    raises,
    rest,
    service,
    shielded,
)
from meshcore.declare.interface_methods import has_empty_body
from meshcore.testing import memory_mesh
from tests.unit.declare.test_problems import Declared, problems_of

T = TypeVar("T")
Function = Callable[..., Any]


def traced(function: Function) -> Function:
    """A decorator of the user's."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Bodies:
    def with_pass(self) -> None:
        pass

    def in_one_line(self) -> None: ...

    def with_docstring(self, a: int = 3, *, b: str = "b") -> None:
        """Do something."""

    def with_all(self) -> None:
        """Do something."""
        ...  # noqa: PIE790
        pass  # noqa: PIE790

    def with_return(self) -> None:
        return

    async def async_pass(self) -> None:
        pass

    async def async_in_one_line(self) -> int: ...  # type: ignore[empty-body]

    async def async_docstring(self, key: T) -> T:  # type: ignore[empty-body]
        """Do something."""

    @traced
    @traced
    async def decorated(self) -> None: ...

    @staticmethod
    def static() -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    @property
    def prop(self) -> int: ...  # type: ignore[empty-body]

    def returns(self) -> int:
        return 1

    def raises(self) -> None:
        raise NotImplementedError

    def calls(self) -> None:
        self.returns()

    def keeps(self) -> None:
        self.value = None

    async def waits(self) -> None:
        await self.async_pass()

    def yields(self) -> Iterator[int]:
        yield 1

    async def yields_nothing(self) -> AsyncIterator[int]:
        if False:
            yield

    def branches(self, a: int = 0) -> None:
        if a:
            pass

    @traced
    async def decorated_body(self) -> int:
        return 1

    shortcut = lambda self: None  # noqa: E731
    builtin = len


HELPERS = (
    "returns raises calls keeps waits yields yields_nothing branches decorated_body shortcut builtin".split()  # noqa: SIM905
)


@pytest.mark.parametrize("name", [name for name in vars(Bodies) if not name.startswith("__")])
def test_empty_bodies(name: str) -> None:
    """`pass`, `...`, a docstring and a bare `return` are empty, also under decorators; what does something is not."""
    assert has_empty_body(vars(Bodies)[name]) is (name not in HELPERS)


def names_of(interface: type) -> list[str]:
    """The methods of an interface."""
    return [method.name for method in describe(interface).methods]


def test_an_interface_without_abstract_methods() -> None:  # noqa: C901 - one method for each mark
    """Empty bodies and marks make methods of an interface; a body of its own without a mark makes a helper."""

    @service()
    @rest("/api")
    class Mixed(Service):
        @get("/hello/{message}")
        def hello(self, message: str) -> str:  # type: ignore[empty-body]
            pass

        async def plain(self, count: int) -> int: ...  # type: ignore[empty-body]

        @post("/pay")
        async def pay(self, amount: int) -> int:
            return amount

        @idempotent
        async def a(self) -> None:
            raise NotImplementedError

        @raises(ValueError)
        async def b(self) -> None:
            raise NotImplementedError

        @affinity("key")
        async def c(self, key: str) -> None:
            raise NotImplementedError

        @shielded
        async def d(self) -> None:
            raise NotImplementedError

        @idempotency_key()
        async def e(self) -> None:
            raise NotImplementedError

        @Policy(timeout=1.0)
        async def f(self) -> None:
            raise NotImplementedError

        async def twice(self, count: int) -> int:
            return 2 * await self.plain(count)

        def _hook(self) -> None: ...

    assert names_of(Mixed) == ["hello", "plain", "pay", *"abcdef"]
    hello, plain = describe(Mixed).methods[:2]
    assert (hello.is_async, hello.http is not None, plain.is_async) == (False, True, True)


def test_a_decorated_async_method_is_async() -> None:
    """A decorator that is no coroutine function does not make the method a blocking one."""

    @service()
    class Traced(Service):
        @traced
        async def ask(self, text: str) -> int: ...  # type: ignore[empty-body]

    (method,) = describe(Traced).methods
    assert (method.name, method.is_async, method.returns) == ("ask", True, int)


def test_inherited_and_overridden_methods() -> None:
    """Base classes count, generic ones too. An override with a body takes a method out of the interface."""

    class Repo(Service, Generic[T]):
        async def load(self, key: str) -> T: ...  # type: ignore[empty-body]

        async def drop(self, key: str) -> None: ...

        async def keep(self, key: str) -> None: ...

    class Asked(Protocol):
        def ask(self) -> int: ...

    @service()
    class Numbers(Repo[int], Asked):
        async def drop(self, key: str) -> None:
            await self.load(key)

        async def keep(self, key: str) -> None: ...

        @abstractmethod
        async def more(self) -> int: ...

    assert names_of(Numbers) == ["ask", "load", "keep", "more"]


def test_what_cannot_be_called_is_reported() -> None:
    """Empty or marked members that are no public plain methods."""

    @service()
    class Odd(Service):
        async def fine(self) -> None: ...

        @staticmethod
        def static() -> None: ...

        @classmethod
        def of_class(cls) -> None: ...

        @property
        def prop(self) -> int: ...  # type: ignore[empty-body]

        async def ask(self, key: str) -> None: ...

        ask_main = functools.partialmethod(ask, "main")

        def helper(self, key: str) -> str:
            return key

        help_main = functools.partialmethod(helper, "main")

        @get("/hidden")
        def _hidden(self) -> None: ...

    with pytest.raises(ConfigurationError) as refused:
        describe(Odd)
    assert [problem.split("Odd")[-1] for problem in refused.value.problems] == [
        ".static: an interface has plain methods only, this is a staticmethod",
        ".of_class: an interface has plain methods only, this is a classmethod",
        ".prop: an interface has plain methods only, this is a property",
        ".ask_main: an interface has plain methods only, this is a partialmethod",
        "._hidden: a method of an interface must be public",
    ]


SEED = """
from dataclasses import dataclass
from meshcore import *

@dataclass
class Data:
    text: str

@service(name="test-service", description="test service")
@rest("/api")
class TestService(Service):
    @get("/hello/{message}")
    def hello(self, message: str) -> str:
        pass

    @post("/post/")
    def set_data(self, data: Body[Data]) -> Data:
        pass

    def plain(self, data: Data, count: int = 2) -> list[Data]:
        \"\"\"Neither abstract nor marked.\"\"\"

    def shout(self, message: str) -> str:
        return self.hello(message).upper()

@component(services=[TestService])
class TestComponent(Component):
    pass

@implementation()
class TestComponentImpl(AbstractComponent, TestComponent):
    def __init__(self):
        super().__init__()

@module()
class M: ...
"""


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack"])
async def test_an_interface_of_aspyx_is_called(channel: str) -> None:
    """An interface as aspyx-service declares it, without @abstractmethod, is called over a channel; helpers are not."""
    source = SEED + """
@implementation()
class TestServiceImpl(TestService):
    def __init__(self):
        pass

    def hello(self, message: str) -> str:
        return f"hello {message}"

    def set_data(self, data: Data) -> Data:
        return Data(data.text + "!")

    def plain(self, data: Data, count: int = 2) -> list[Data]:
        return [data] * count

    def shout(self, message: str) -> str:
        return "never called: the caller's helper runs"

@service()
class Asking(Service):
    async def ask(self) -> list[str]: ...

@component(services=[Asking])
class AskingComponent(Component): ...

@implementation()
class AskingComponentImpl(AbstractComponent, AskingComponent): ...

@implementation()
class AskingImpl(Asking):
    def __init__(self, service: TestService) -> None:
        self.service = service

    def ask(self) -> list[str]:
        first = self.service.set_data(Data("a"))
        return [self.service.hello("b"), first.text, str(len(self.service.plain(first))), self.service.shout("c")]
"""  # fmt: skip
    with Declared(source) as declared:
        async with memory_mesh(declared.M, channel=channel) as mesh:
            asking = await mesh.get_service(declared.Asking)
            assert await asking.ask() == ["hello b", "a!", "2", "HELLO C"]


async def test_what_an_implementation_lacks_is_reported_once() -> None:
    """Methods without @abstractmethod are missed like abstract ones, each once."""
    source = SEED + """
@service()
class Other(Service):
    @abstractmethod
    async def abstract(self) -> None: ...
    async def empty(self) -> None: ...
    async def broken(self, a) -> None: ...
    @idempotent
    async def marked(self) -> int:
        return 3

@component(services=[Other])
class OtherComponent(Component): ...

@implementation()
class OtherComponentImpl(AbstractComponent, OtherComponent): ...

@implementation()
class OtherImpl(Other): ...

@implementation()
class TestServiceImpl(TestService):
    def hello(self, message: str) -> str:
        return message
"""  # fmt: skip
    assert await problems_of("from abc import abstractmethod\n" + source) == [
        "Other.broken(a): has no type annotation",
        "OtherImpl.abstract is missing: Other declares it",
        "OtherImpl.empty is missing: Other declares it",
        "OtherImpl.broken is missing: Other declares it",
        "OtherImpl.marked is missing: Other declares it",
        "TestServiceImpl.set_data is missing: TestService declares it",
        "TestServiceImpl.plain is missing: TestService declares it",
    ]


async def test_what_an_override_lacks_is_reported_once() -> None:
    """A fake is compared with its interface, too."""
    source = SEED + """
@implementation()
class TestServiceImpl(TestService):
    def hello(self, message: str) -> str: return ""
    def set_data(self, data: Data) -> Data: return data
    def plain(self, data: Data, count: int = 2) -> list[Data]: return []

class Fake(TestService):
    def hello(self, message: str) -> str: return ""
"""  # fmt: skip
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    with Declared(source) as declared:
        mesh = Mesh(declared.M, settings=settings, overrides={declared.TestService: declared.Fake})
        with pytest.raises(ConfigurationError) as refused:
            await mesh.start()
    assert refused.value.problems == (
        "Fake.set_data is missing: TestService declares it",
        "Fake.plain is missing: TestService declares it",
    )
