"""Each kind of mistake in a declaration, with the full text that it gets; and that all are told at once."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from math import inf
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol

import msgspec
import pytest

import meshcore
from meshcore import (
    Body,
    Code,
    ConfigurationError,
    HeaderParam,
    LocalError,
    Mesh,
    MeshApp,
    MeshError,
    QueryParam,
    Service,
    affinity,
    describe,
    get,
    idempotency_key,
    load_settings,
    post,
    raises,
    service,
    shielded,
)

if TYPE_CHECKING:
    from decimal import Decimal as Unreachable

# --- One interface ----------------------------------------------------------------------------------------------------


class Coin:
    """A class that no codec knows."""


class Unannotated(Exception):
    def __init__(self, sku) -> None:
        self.sku = sku


class Variadic(Exception):
    def __init__(self, *parts: str) -> None:
        self.parts = parts


class CarriesCoin(Exception):
    def __init__(self, coin: Coin) -> None:
        self.coin = coin


class SaidAsText(Exception):
    code = "not-found"


class SaidAsStatus(Exception):
    code: ClassVar[HTTPStatus] = HTTPStatus.CONFLICT


class OfTheApplication(Exception):
    code = "E42"


class WithoutValue(Exception):
    code: ClassVar[Code]


class Misspelt(Exception):
    cod: ClassVar[Code] = Code.NOT_FOUND


class OtherName(Exception):
    status_code = 404


@dataclass(eq=False)
class CodeAsField(Exception):
    sku: str
    code: Code = Code.NOT_FOUND


class CodeAsProperty(Exception):
    @property
    def code(self) -> Code:
        return Code.NOT_FOUND


class ValueError_(Exception):  # noqa: N801
    pass


ValueError_.__name__ = "ValueError"


class Item(Protocol):
    """Stands for an object that has fields but is none to a codec."""


class NoAnnotation:
    @abstractmethod
    async def run(self, amount) -> None: ...


class NoResult:
    @abstractmethod
    async def run(self): ...


class Stars:
    @abstractmethod
    async def run(self, *items: int, **named: int) -> None: ...


class NoSelf:
    @abstractmethod
    async def run() -> None: ...  # type: ignore[misc]


class Defaults:
    @abstractmethod
    async def run(
        self,
        none: int = None,  # type: ignore[assignment]  # noqa: RUF013
        text: list[int] = ["a"],  # type: ignore[list-item]  # noqa: B006
        low: Annotated[int, msgspec.Meta(ge=1)] = 0,
        fine: float = inf,
        wide: Decimal = 1,  # type: ignore[assignment]
        here: int | msgspec.UnsetType = msgspec.UNSET,
    ) -> None: ...


class BadParameter:
    @abstractmethod
    async def run(self, coin: Coin) -> None: ...


class BadNested:
    @abstractmethod
    async def run(self, coins: dict[str, list[Coin]], call: Callable[[], int]) -> None: ...


class BadResult:
    @abstractmethod
    async def run(self) -> list[Coin]: ...


class BadKey:
    @abstractmethod
    async def run(self, counts: dict[tuple[int, int], int]) -> None: ...


class Streams:
    @abstractmethod
    async def awaited(self) -> AsyncIterator[int]: ...
    @abstractmethod
    async def two(self, ones: AsyncIterator[int], twos: AsyncIterator[str]) -> int: ...
    @abstractmethod
    async def blocking(self, items: Iterator[int]) -> int: ...
    @abstractmethod
    def not_blocking(self, items: AsyncIterator[int]) -> int: ...
    @abstractmethod
    def mixed(self, items: Iterable[int]) -> AsyncIterator[int]: ...
    @abstractmethod
    def inside(self, items: list[AsyncIterator[int]]) -> Iterator[Iterator[int]]: ...
    @abstractmethod
    def sent(self) -> AsyncGenerator[int, str]: ...
    @abstractmethod
    def of_nothing(self) -> AsyncIterator: ...  # type: ignore[type-arg]
    @abstractmethod
    def of_coins(self, coins: Iterator[Coin]) -> Generator[Coin, None, None]: ...
    @abstractmethod
    def default(self, items: Iterator[int] = iter(())) -> None: ...  # noqa: B008
    @post("/mapped")
    def mapped(self, items: AsyncIterator[int]) -> AsyncIterator[int]: ...
    @idempotency_key
    def keyed(self) -> AsyncIterator[int]: ...
    @shielded
    def shielded(self) -> AsyncIterator[int]: ...
    @affinity("items")
    def affine(self, items: Iterator[int]) -> None: ...


class MappedStreams:
    @get("/in_get")
    async def in_get(self, items: AsyncIterator[int]) -> None: ...
    @post("/as_query")
    async def as_query(self, items: QueryParam[AsyncIterator[int]]) -> None: ...
    @post("/two_bodies")
    async def two_bodies(self, items: AsyncIterator[int], more: Body[dict[str, int]]) -> None: ...
    @get("/no_content", status=204)
    def no_content(self) -> AsyncIterator[None]: ...


class PlainAwaitable:
    @abstractmethod
    def run(self) -> Awaitable[int]: ...


class Raises:
    @raises(Unannotated, Variadic, CarriesCoin)
    @abstractmethod
    async def run(self) -> None: ...


class Sold(MeshError): ...


class RaisesNoException:
    @raises(int, KeyboardInterrupt, Sold)  # type: ignore[arg-type]
    @abstractmethod
    async def run(self) -> None: ...


class RaisesWithoutCode:
    @raises(SaidAsText, SaidAsStatus, OfTheApplication, WithoutValue, Misspelt, OtherName, CodeAsField, CodeAsProperty)
    @abstractmethod
    async def run(self) -> None: ...


class RaisesTwins:
    @raises(ValueError, ValueError_)
    @abstractmethod
    async def run(self) -> None: ...


class TypeChecking:
    @abstractmethod
    async def run(self, price: Unreachable) -> None: ...


class BrokenAnnotation:
    @abstractmethod
    async def run(self, price: Path.missing) -> None: ...  # type: ignore[name-defined]


class AbstractProperty:
    @property
    @abstractmethod
    def run(self) -> int: ...


class AbstractStatic:
    @staticmethod
    @abstractmethod
    def run() -> int: ...


class AbstractPrivate:
    @abstractmethod
    async def _run(self) -> int: ...


class ProtocolProperty(Protocol):
    @property
    def run(self) -> int: ...


class ProtocolStatic(Protocol):
    @staticmethod
    def run() -> int: ...


class Empty:
    pass


class NoParameter:
    @get("/orders/{order_id}")
    @abstractmethod
    async def run(self, id: int) -> None: ...  # noqa: A002


class TwiceInPath:
    @get("/{id}/{id}")
    @abstractmethod
    async def run(self, id: int) -> None: ...  # noqa: A002


class Converter:
    @get("/{path:path}")
    @abstractmethod
    async def run(self, path: str) -> None: ...


class PathOutside:
    @get("/orders")
    @abstractmethod
    async def run(self, order_id: meshcore.PathParam[int]) -> None: ...


class BodyInPath:
    @post("/orders/{order_id}")
    @abstractmethod
    async def run(self, order_id: Body[int]) -> None: ...


class TwoBodies:
    @post("/orders")
    @abstractmethod
    async def run(self, first: Body[int], second: Body[int]) -> None: ...


class BodyOnGet:
    @get("/orders")
    @abstractmethod
    async def run(self, order: Body[int]) -> None: ...


class ObjectInQuery:
    @get("/orders")
    @abstractmethod
    async def run(self, filters: dict[str, int]) -> None: ...


class ObjectsInQuery:
    @post("/orders")
    @abstractmethod
    async def run(self, orders: list[dict[str, int]]) -> None: ...


class MistakenForText:
    @get("/a/{one}")
    @abstractmethod
    async def run(
        self,
        one: int | str,
        two: list[str | float | None],
        three: HeaderParam[bool | str],
        four: Literal[True] | None,
        fine: int | list[str] | None = None,
        also: Literal[1, "a"] = 1,
    ) -> None: ...


class AlikeInText:
    @get("/a")
    @abstractmethod
    async def run(
        self,
        two: bytes | int,
        three: list[Decimal | float],
        four: Literal[1, "1"],
        *,
        five: Literal["true", "false"] | bool,
        six: Literal["7"] | int | None,
        fine: Decimal | bool | None = None,
        also: Literal["seven"] | int = 7,
    ) -> None: ...


class Adjacent:
    @get("/{first}{second}")
    @abstractmethod
    async def run(self, first: str, second: str) -> None: ...


class QueryInPath:
    @get("/orders?id={order_id}")
    @abstractmethod
    async def run(self, order_id: str) -> None: ...


class StepInPath:
    @get("/orders/../{order_id}")
    @abstractmethod
    async def run(self, order_id: str) -> None: ...


class ListInPath:
    @get("/orders/{ids}")
    @abstractmethod
    async def run(self, ids: list[int]) -> None: ...


INTERFACES: list[tuple[type, list[str]]] = [
    (NoAnnotation, [".run(amount): has no type annotation"]),
    (NoResult, [".run: has no return annotation; write -> None if it returns nothing"]),
    (
        Stars,
        [
            ".run(items): *items cannot travel; take a list or a dict",
            ".run(named): **named cannot travel; take a list or a dict",
        ],
    ),
    (NoSelf, [".run: has no self; an interface has instance methods only"]),
    (
        Defaults,
        [
            ".run(none): the default None does not fit int; write int | None = None",
            ".run(text): the default ['a'] does not fit list[int]; $[0]: expected int, got str",
            ".run(low): the default 0 does not fit Annotated[int, msgspec.Meta(ge=1)]; expected int >= 1",
        ],
    ),
    (BadParameter, [".run(coin): Coin cannot travel; a dataclass can"]),
    (
        BadNested,
        [".run(coins): ${}[]: Coin cannot travel; a dataclass can", ".run(call): Callable cannot travel"],
    ),
    (BadResult, [".run: its result: $[]: Coin cannot travel; a dataclass can"]),
    (BadKey, [".run(counts): tuple cannot be the key of a dict: JSON has text there"]),
    (
        Streams,
        [
            (
                ".awaited: is async def and returns AsyncIterator, so callers would have to await it before they can "
                "read it; declare it with def (the implementation is an async def with yield)"
            ),
            ".two: takes several streams (ones, twos); a call has one: make it a stream of a union",
            ".blocking: takes 'items' as Iterator, but reads with async for; write AsyncIterator[...]",
            (
                ".not_blocking: takes 'items' as AsyncIterator, but reads with for; write Iterator[...], or declare "
                "the method as async (async def)"
            ),
            ".mixed: takes 'items' as Iterable, but reads with async for; write AsyncIterator[...]",
            (
                ".inside(items): a stream can only be a whole parameter or the whole result, not a part of another "
                "type; a sequence that is complete travels as list[...]"
            ),
            ".inside: its result: the items of a stream cannot be streams themselves",
            ".sent: its result: what is sent to a generator cannot travel; write AsyncIterator[...]",
            ".of_nothing: its result: AsyncIterator needs the type of its items: AsyncIterator[str]",
            ".of_coins(coins): its items: Coin cannot travel; a dataclass can",
            ".of_coins: its result: its items: Coin cannot travel; a dataclass can",
            ".default(items): a stream has no default",
            (
                ".mapped: a method that takes a stream and returns one has no HTTP mapping: one exchange of HTTP/1.1 "
                "goes one way after the other"
            ),
            ".keyed: @idempotency_key keeps the one outcome of a call, which a stream does not have",
            ".shielded: @shielded: a stream ends with its caller, who alone reads it",
            ".affine: @affinity: 'items' is a stream, whose items come after the instance is chosen",
        ],
    ),
    (PlainAwaitable, [".run: returns an awaitable; declare it with async def"]),
    (
        Raises,
        [
            ".run: @raises: Unannotated.__init__(sku): has no type annotation",
            ".run: @raises: Variadic.__init__: cannot travel with *parts; name its fields",
            ".run: @raises: CarriesCoin(coin): Coin cannot travel; a dataclass can",
        ],
    ),
    (
        RaisesNoException,
        [
            ".run: @raises: <class 'int'> is not an exception class",
            ".run: @raises: <class 'KeyboardInterrupt'> is not an exception class",
            (
                ".run: @raises: Sold derives from MeshError, which says what the mesh found and arrives as such: "
                "derive it from Exception, with a class attribute `code` if it is to have one of the codes"
            ),
        ],
    ),
    (
        RaisesWithoutCode,
        [
            f".run: @raises: {text}"
            for text in (
                ("SaidAsText.code must be a Code, got 'not-found': write code: ClassVar[Code] = Code.NOT_FOUND"),
                (
                    "SaidAsStatus.code must be a Code, got <HTTPStatus.CONFLICT: 409>: write code: ClassVar[Code] = "
                    "Code.ALREADY_EXISTS or Code.ABORTED"
                ),
                (
                    "OfTheApplication.code must be a Code, got 'E42': write code: ClassVar[Code] = Code.NOT_FOUND or "
                    "another, or give the attribute another name"
                ),
                "WithoutValue.code is declared, and has no value: write code: ClassVar[Code] = Code.NOT_FOUND",
                (
                    "Misspelt.cod is a Code, but the attribute must be called `code`: write code: ClassVar[Code] = "
                    "Code.NOT_FOUND"
                ),
                (
                    "OtherName.status_code does not set the HTTP status, its code does: write code: ClassVar[Code] = "
                    "Code.NOT_FOUND"
                ),
                (
                    "CodeAsField.code is a field, so that each error may have another code: write code: "
                    "ClassVar[Code] = Code.NOT_FOUND"
                ),
                (
                    "CodeAsProperty.code must be a Code, got a property: write code: ClassVar[Code] = Code.NOT_FOUND "
                    "or another, or give the attribute another name"
                ),
            )
        ],
    ),
    (RaisesTwins, [".run: @raises: two exceptions are called ValueError"]),
    (
        TypeChecking,
        [
            (
                f".run: annotation names 'Unreachable', which is not defined at run time in {__name__}; "
                "import it outside of TYPE_CHECKING and declare it at the module's top level"
            )
        ],
    ),
    (
        BrokenAnnotation,
        [".run: its annotations cannot be evaluated: AttributeError: type object 'Path' has no attribute 'missing'"],
    ),
    (AbstractProperty, [".run: an interface has plain methods only, this is a property"]),
    (AbstractStatic, [".run: an interface has plain methods only, this is a staticmethod"]),
    (AbstractPrivate, ["._run: a method of an interface must be public"]),
    (ProtocolProperty, [".run: an interface has plain methods only, this is a property"]),
    (ProtocolStatic, [".run: an interface has plain methods only, this is a staticmethod"]),
    (Empty, [" has no methods to call: none is abstract, decorated, or public with an empty body"]),
    (
        NoParameter,
        [".run: {order_id} in path '/orders/{order_id}' is not a parameter"],
    ),
    (TwiceInPath, [".run: path '/{id}/{id}' has the same name twice"]),
    (Converter, [".run: path '/{path:path}': a parameter is a name in braces, such as {order_id}"]),
    (PathOutside, [".run(order_id): is a path parameter, but path '/orders' has no {order_id}"]),
    (ListInPath, [".run(ids): is a list, and a path has one value in its place; take it from the query"]),
    (BodyInPath, [".run(order_id): is in path '/orders/{order_id}', but marked as body"]),
    (TwoBodies, [".run(second): a request has one body, and that is 'first'"]),
    (BodyOnGet, [".run(order): a GET request has no body"]),
    (
        ObjectInQuery,
        [
            ".run(filters): is an object, so it cannot be a query parameter; make it the Body[...] of a POST or PUT",
        ],
    ),
    (
        MistakenForText,
        [
            f".run({name}): {reason}, so it cannot be a {place} parameter; make it the Body[...] of a POST or PUT"
            for name, reason, place in (
                ("one", "is a union with str, and 1 and '1' are the same text", "path"),
                ("two", "is a union with str, and 1 and '1' are the same text", "query"),
                ("three", "is a union with str, and 1 and '1' are the same text", "header"),
                ("four", "is a Literal of bool, which is not read from text", "query"),
            )
        ],
    ),
    (
        AlikeInText,
        [
            f".run({name}): {reason}, so it cannot be a query parameter; make it the Body[...] of a POST or PUT"
            for name, reason in (
                ("two", "is a union with bytes, whose text (base64) may be that of another value"),
                ("three", "is a union of Decimal and another number, and 1 and Decimal('1') are the same text"),
                ("four", "has a value whose text may be that of another value"),
                ("five", "has a value whose text may be that of another value"),
                ("six", "has a value whose text may be that of another value"),
            )
        ],
    ),
    (
        Adjacent,
        [".run: path '/{first}{second}': nothing divides two of its parameters; put a slash between them"],
    ),
    (
        QueryInPath,
        [
            (
                ".run: path '/orders?id={order_id}': '?' and '#' end a path; parameters that are not in the path are "
                "in the query anyway"
            )
        ],
    ),
    (StepInPath, [".run: path '/orders/../{order_id}': '.' and '..' are steps to another path"]),
    (
        ObjectsInQuery,
        [
            (
                ".run(orders): dict has no form as text, so it cannot be a query parameter; "
                "make it the Body[...] of a POST or PUT"
            )
        ],
    ),
    (
        MappedStreams,
        [
            ".in_get(items): a GET request has no body",
            ".as_query(items): is a stream, so it cannot be a query parameter; make it the Body[...] of a POST or PUT",
            ".two_bodies(more): a request has one body, and that is 'items'",
            ".no_content: an answer with status 204 has no body, so the method must return None",
        ],
    ),
]


@pytest.mark.parametrize(("cls", "expected"), INTERFACES, ids=[cls.__name__ for cls, _ in INTERFACES])
def test_mistakes_in_an_interface(cls: type, expected: list[str]) -> None:
    """Each mistake is told with its place, and all that are in one method are told."""
    interface = service()(cls)
    with pytest.raises(ConfigurationError) as refused:
        describe(interface)
    assert list(refused.value.problems) == [cls.__name__ + text for text in expected]
    assert refused.value.code is Code.FAILED_PRECONDITION


def test_what_is_no_service() -> None:
    """A class without @service is not described."""
    with pytest.raises(ConfigurationError) as refused:
        describe(Coin)
    assert str(refused.value) == (
        "failed_precondition: Coin cannot be used as a service: Coin is not decorated with @service"
    )


def test_several_mistakes_are_numbered() -> None:
    """The text of the error lists all that is wrong."""

    @service()
    class Several(Service):
        @abstractmethod
        async def first(self, a) -> None: ...

        @abstractmethod
        async def second(self): ...

    with pytest.raises(ConfigurationError) as refused:
        describe(Several)
    name = Several.__qualname__
    assert refused.value.message == (
        "Several cannot be used as a service:\n"
        f"  1. {name}.first(a): has no type annotation\n"
        f"  2. {name}.second: has no return annotation; write -> None if it returns nothing"
    )


# --- A whole mesh -----------------------------------------------------------------------------------------------------

HEAD = """
from __future__ import annotations
from abc import abstractmethod
from typing import Annotated
from meshcore import *
from meshcore import Path as PathMark

@service()
class Greeting(Service):
    @abstractmethod
    async def hello(self, message: str, times: int = 1) -> str: ...

@component(services=[Greeting])
class GreetingComponent(Component): ...
"""

IMPL = """
@implementation()
class GreetingImpl(Greeting):
    async def hello(self, message: str, times: int = 1) -> str:
        return message * times
"""

HOST = """
@implementation()
class GreetingComponentImpl(AbstractComponent, GreetingComponent): ...
"""

MODULE = """
@module()
class M: ...
"""


def _impl(signature: str) -> str:
    return f"\n@implementation()\nclass GreetingImpl(Greeting):\n    async def {signature}: ...\n"


class Declared:
    """A Python module made of source text, importable while the context lasts."""

    count = 0

    def __init__(self, source: str) -> None:
        Declared.count += 1
        self.module = ModuleType(f"declared_{Declared.count}_{id(self)}")
        self.source = source

    def __enter__(self) -> ModuleType:
        sys.modules[self.module.__name__] = self.module
        exec(compile(self.source, self.module.__name__, "exec", dont_inherit=True), vars(self.module))
        return self.module

    def __exit__(self, *unused: object) -> None:
        del sys.modules[self.module.__name__]


async def problems_of(source: str, **settings: object) -> list[str]:
    """What a mesh of the module `M` in the source says when it is entered; it must say something."""
    loaded = load_settings({"registry": "local:", **settings}, environ={}, directory=Path("/nonexistent"))
    with Declared(source) as declared, pytest.raises(ConfigurationError) as refused:
        async with Mesh(declared.M, settings=loaded):
            pass
    name = f"{declared.__name__}."
    return [problem.replace(name, "") for problem in refused.value.problems]


STREAMING = (
    IMPL
    + """
from collections.abc import AsyncIterator, Iterator

@service()
class Feed(Service):
    @abstractmethod
    def one(self) -> AsyncIterator[int]: ...
    @abstractmethod
    def two(self) -> AsyncIterator[int]: ...
    @abstractmethod
    async def three(self, items: AsyncIterator[int]) -> int: ...
    @abstractmethod
    def four(self) -> AsyncIterator[int]: ...
    @abstractmethod
    def five(self) -> AsyncIterator[int]: ...

@implementation()
class FeedImpl(Feed):
    async def one(self) -> AsyncIterator[int]: ...
    def two(self) -> list[int]: ...
    async def three(self, items: list[int]) -> int: ...
    async def four(self) -> AsyncIterator[str]:
        yield ""
    def five(self) -> Iterator[int]:
        yield 5

@component(services=[Feed])
class FeedComponent(Component): ...
"""
)

MESHES: dict[str, tuple[str, list[str]]] = {
    "yields where the interface promises one value": (
        """
@implementation()
class GreetingImpl(Greeting):
    async def hello(self, message: str, times: int = 1):
        yield message
""",
        ["GreetingImpl.hello: yields items, but the interface promises one value"],
    ),
    "implementations of streams": (
        STREAMING,
        [
            "FeedImpl.one: is async def without yield, but the interface promises AsyncIterator: yield the items",
            "FeedImpl.two: returns list, but the interface promises AsyncIterator: yield the items",
            "FeedImpl.three: takes 'items' as list[int], but the interface declares a stream",
            "FeedImpl.four: yields str, but the interface promises int",
        ],
    ),
    "a parameter is missing": (
        _impl("hello(self, times: int = 1) -> str"),
        ["GreetingImpl.hello: lacks the parameter 'message' of the interface"],
    ),
    "another order": (
        _impl("hello(self, times: int, message: str) -> str"),
        ["GreetingImpl.hello: has its parameters in another order than the interface: message, times"],
    ),
    "its own first": (
        _impl("hello(self, loud: bool = False, message: str = '', times: int = 1) -> str"),
        ["GreetingImpl.hello: has its own parameters before those of the interface: message, times"],
    ),
    "another type": (
        _impl("hello(self, message: int, times: int = 1) -> str"),
        ["GreetingImpl.hello: takes 'message' as int, but the interface declares str"],
    ),
    "a constraint of its own": (
        "import annotated_types, msgspec\n"
        + _impl("hello(self, message: Annotated[str, annotated_types.MinLen(1)], times: int = 1) -> str"),
        ["GreetingImpl.hello: takes 'message' with a constraint, which is not enforced: write it in the interface"],
    ),
    "a constraint of msgspec of its own": (
        "import annotated_types, msgspec\n"
        + _impl("hello(self, message: str, times: Annotated[int, msgspec.Meta(gt=0)] = 1) -> str"),
        ["GreetingImpl.hello: takes 'times' with a constraint, which is not enforced: write it in the interface"],
    ),
    "by name only": (
        _impl("hello(self, message: str, *, times: int = 1) -> str"),
        ["GreetingImpl.hello: takes 'times' by name only, the interface by position too"],
    ),
    "an extra one": (
        _impl("hello(self, message: str, times: int, loud: bool) -> str"),
        ["GreetingImpl.hello: has a parameter 'loud' that the interface does not declare; give it a default"],
    ),
    "another result": (
        _impl("hello(self, message: str, times: int = 1) -> int"),
        ["GreetingImpl.hello: returns int, but the interface promises str"],
    ),
    "no result": (
        _impl("hello(self, message: str, times: int = 1) -> None"),
        ["GreetingImpl.hello: returns None, but the interface promises str"],
    ),
    "a missing method": (
        "\n@implementation()\nclass GreetingImpl(Greeting): ...\n",
        ["GreetingImpl.hello is missing: Greeting declares it"],
    ),
    "a static method": (
        "\n@implementation()\nclass GreetingImpl(Greeting):\n    @staticmethod\n    def hello(message): ...\n",
        ["GreetingImpl.hello must be a plain method, it is a staticmethod"],
    ),
    "no interface": (
        IMPL + "\n@implementation()\nclass Alone:\n    pass\n",
        ["Alone is an @implementation, but none of its bases is a @service or @component"],
    ),
    "two implementations": (
        IMPL + "\n@implementation()\nclass Second(GreetingImpl): ...\n",
        ["Greeting has two implementations: GreetingImpl and Second"],
    ),
    "two of a component": (
        IMPL + "\n@implementation()\nclass Second(AbstractComponent, GreetingComponent): ...\n",
        ["GreetingComponent has two implementations: Second and GreetingComponentImpl"],
    ),
    "nobody implements it": (
        "",
        [
            ("component 'greeting-component' is implemented by GreetingComponentImpl, but nothing here implements its "
            "service Greeting")
        ],
    ),
    "in no component": (
        IMPL
        + """
@service()
class Lonely(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@implementation()
class LonelyImpl(Lonely):
    async def ask(self) -> int: ...
""",
        ["LonelyImpl implements Lonely, which is in no component; add it to a @component(services=[...])"],
    ),
    "two components of one name": (
        IMPL
        + """
@component(name="greeting-component", services=[Greeting])
class Twin(Component): ...

@implementation()
class TwinImpl(AbstractComponent, Twin): ...
""",
        ["two components are called 'greeting-component': Twin and GreetingComponent"],
    ),
    "two services of one name": (
        IMPL
        + """
@service(name="greeting")
class Second(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@implementation()
class SecondImpl(Second):
    async def ask(self) -> int: ...

@component(services=[Greeting, Second])
class Both(Component): ...

@implementation()
class BothImpl(AbstractComponent, Both): ...
""",
        ["component 'both': two of its services are called 'greeting'"],
    ),
    "a component without services": (
        IMPL
        + "\n@component()\nclass Hollow(Component): ...\n"
        + "@implementation()\nclass HollowImpl(AbstractComponent, Hollow): ...\n",
        ["component 'hollow' (Hollow) names no services: @component(services=[...])"],
    ),
    "no service in a component": (
        IMPL
        + "\n@component(services=[int])\nclass Wrong(Component): ...\n"
        + "@implementation()\nclass WrongImpl(AbstractComponent, Wrong): ...\n",
        ["int is not decorated with @service"],
    ),
    "two channels of one name": (
        IMPL
        + """
@channel("fancy")
class First(Channel):
    async def invoke(self, call: Call, endpoint: Endpoint) -> None: ...

@channel("fancy")
class Second(Channel):
    async def invoke(self, call: Call, endpoint: Endpoint) -> None: ...
""",
        ["two channels are called 'fancy': First and Second"],
    ),
    "what is no channel": (
        IMPL + '\n@channel("fancy")\nclass Fancy: ...\n',
        ["Fancy is decorated with @channel, but does not derive from Channel"],
    ),
    "an abstract channel": (
        IMPL + '\n@channel("fancy")\nclass Fancy(Channel): ...\n',
        ["Fancy: is abstract, it has no instances; implement invoke"],
    ),
    "what a channel asks for": (
        IMPL
        + """
class Token: ...

@channel("fancy")
class Fancy(Channel):
    def __init__(self, token: Token) -> None: ...
    async def invoke(self, call: Call, endpoint: Endpoint) -> None: ...
""",
        ["Fancy(token): nothing provides Token; add @injectable to it, or a @create method to a module"],
    ),
    "health in the wrong place": (
        IMPL + '\n@health("/health")\nclass Somewhere: ...\n',
        ["Somewhere: @health belongs on a component's @implementation"],
    ),
    "a health path without a slash": (
        IMPL
        + """
@component(services=[Greeting])
class Second(Component): ...

@implementation()
@health("health")
class SecondImpl(AbstractComponent, Second): ...
""",
        ["@health of SecondImpl: path 'health' has to begin with a slash"],
    ),
    "a missing injectable": (
        IMPL
        + """
class Database: ...

@injectable()
class Store:
    def __init__(self, database: Database) -> None: ...
""",
        ["Store(database): nothing provides Database; add @injectable to it, or a @create method to a module"],
    ),
    "an injected service that nobody offers": (
        IMPL
        + """
@service()
class Lonely(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@injectable()
class Client:
    def __init__(self, lonely: Lonely) -> None: ...
""",
        ["Client(lonely): no component offers Lonely; name the one that does: @module(components=[...])"],
    ),
    "an injected service that several offer": (
        IMPL
        + """
@service()
class Shared(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@component(services=[Shared])
class First(Component): ...

@component(services=[Shared])
class Second(Component): ...

@injectable()
class Client:
    def __init__(self, shared: Shared) -> None: ...
""",
        [("Client(shared): several components offer Shared: First, Second; name the one to call: "
         "@module(components=[...])")],
    ),
    "an injected service that cannot be called": (
        IMPL
        + """
@service()
class Broken(Service):
    @abstractmethod
    async def ask(self, question) -> int: ...

@component(services=[Broken])
class BrokenComponent(Component): ...

@injectable()
class Client:
    def __init__(self, broken: Broken) -> None: ...
""",
        ["Client(broken): Broken.ask(question): has no type annotation"],
    ),
    "an injected service over an unknown channel": (
        IMPL
        + """
@injectable()
class Client:
    @inject_service(preferred_channel="dispatch-jason")
    def set_greeting(self, greeting: Greeting) -> None: ...
""",
        ["Client.set_greeting(greeting): no channel 'dispatch-jason'; did you mean 'dispatch-json'?"],
    ),
    "an injected service that is not here": (
        """
class Elsewhere: ...

@service()
class Far(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@component(services=[Far])
class FarComponent(Component): ...

@injectable()
class Client:
    def __init__(self, far: Annotated[Far, inject_service("local")]) -> None: ...
"""
        + IMPL,
        ["Client(far): Far is not implemented in this process, so there is no channel 'local' to it"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), MESHES.values(), ids=list(MESHES))
async def test_mistakes_in_a_mesh(source: str, expected: list[str]) -> None:
    """Each mistake in how things fit together is told when the mesh is entered, and nothing else is."""
    assert await problems_of(HEAD + source + HOST + MODULE) == expected


REST_HEAD = HEAD.replace("@service()\nclass Greeting", '@service()\n@rest("/api")\nclass Greeting')

PATHS: dict[str, tuple[str, str, list[str]]] = {
    "two GETs on one path": (
        '@get("/{message}")',
        (
            '@get("/{other}/")\n    @abstractmethod\n    async def second(self, other: str) -> str: ...\n'
            '    @get("/{other}")\n    @abstractmethod\n    async def third(self, other: str) -> str: ...'
        ),
        ["Greeting.third: GET /api/{other} is taken by Greeting.hello"],
    ),
    "the health path": (
        '@get("/health")',
        "",
        ["@health of GreetingComponentImpl: GET /api/health is taken by Greeting.hello"],
    ),
}


@pytest.mark.parametrize(("mapping", "more", "expected"), PATHS.values(), ids=list(PATHS))
async def test_two_owners_of_a_path(mapping: str, more: str, expected: list[str]) -> None:
    """Two things that answer the same request are named."""
    head = REST_HEAD.replace("@abstractmethod\n", f"{mapping}\n    @abstractmethod\n")
    head = head.replace("-> str: ...", f"-> str: ...\n    {more}", 1)
    impl = (
        IMPL + "    async def second(self, other: str) -> str: ...\n    async def third(self, other: str) -> str: ...\n"
    )
    host = HOST.replace("@implementation()", '@implementation()\n@health("/api/health")')
    assert await problems_of(head + impl + host + MODULE) == expected


@pytest.mark.parametrize(
    ("mapping", "path"),
    [
        ('@get("/livez")', "GET /livez"),
        ('@get("/readyz")', "GET /readyz"),
        ('@get("/report")', "GET /report"),
        ('@post("/invoke")', "POST /invoke"),
    ],
)
async def test_paths_of_the_server_itself(mapping: str, path: str) -> None:
    """What the server answers by itself cannot be mapped."""
    head = HEAD.replace("@abstractmethod\n", f"{mapping}\n    @abstractmethod\n")
    assert await problems_of(head + IMPL + HOST + MODULE) == [f"Greeting.hello: {path} is taken by the server itself"]


async def test_a_class_that_is_no_module() -> None:
    """A class without @module is told once."""
    assert await problems_of(HEAD + IMPL + HOST + "class M: ...") == [
        "M: is used as a module, but is not decorated with @module"
    ]


async def test_a_component_that_is_used_as_a_module() -> None:
    """It is told what makes a module of it, and nothing about its abstract methods."""
    assert await problems_of(HEAD + "M = GreetingComponent") == [
        (
            "GreetingComponent: is used as a module, but is not decorated with @module; to call its services, use "
            "client_module(GreetingComponent)"
        )
    ]


async def test_unannotated_and_variadic_implementations_are_fine() -> None:
    """An implementation need not repeat the annotations, may promise more, and may have parameters of its own."""
    signatures = (
        "hello(self, message, times=1)",
        "hello(self, message: Any, times: Any = 1) -> Any",
        "hello(self, message: object, times: float = 1, loud: bool = False) -> Shout",
        "hello(self, *args: object, **more: object) -> str",
        "hello(self, message: str, /, times: int) -> str",
    )
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    for signature in signatures:
        source = HEAD + "from typing import Any\nclass Shout(str): ...\n" + _impl(signature) + HOST + MODULE
        with Declared(source) as declared:
            async with Mesh(declared.M, settings=settings):
                pass


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"preferred_channel": "dispatch-msgpak"},
            "setting preferred_channel: no channel 'dispatch-msgpak'; did you mean 'dispatch-msgpack'?",
        ),
        (
            {"registry": "consule://localhost"},
            "setting registry: no registry 'consule' for 'consule://localhost'",
        ),
        ({"registry": "static:"}, "setting registry: "),
        ({"registry": "local:somewhere"}, "setting registry: local: takes nothing after the colon"),
    ],
)
async def test_mistakes_in_the_settings(settings: dict[str, object], expected: str) -> None:
    """A channel that nobody knows and a registry that cannot be made are told with the name of the setting."""
    (problem,) = await problems_of(HEAD + IMPL + HOST + MODULE, **settings)
    assert problem.startswith(expected)


SHARED = (
    HEAD
    + IMPL
    + """
@service()
class Shared(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@component(services=[Shared])
class First(Component): ...

@component(services=[Shared])
class Second(Component): ...

@service()
class Lonely(Service):
    @abstractmethod
    async def ask(self) -> int: ...

@service()
class Broken(Service):
    @abstractmethod
    async def ask(self, question) -> int: ...
    @abstractmethod
    async def fine(self) -> int: ...

@component(services=[Broken])
class BrokenComponent(Component): ...
"""
    + HOST
    + MODULE
)


async def test_mistakes_of_whoever_asks_for_a_service() -> None:
    """`get_service` says at once, and every time, why a service cannot be called."""
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    with Declared(SHARED) as declared:
        async with Mesh(declared.M, settings=settings) as mesh:
            for _ in range(2):
                for name, channel, expected in (
                    ("Shared", "", ("Shared cannot be called: several components offer Shared: First, Second; "
                                   "name the one to call: @module(components=[...])")),
                    ("Lonely", "", ("Lonely cannot be called: no component offers Lonely; "
                                   "name the one that does: @module(components=[...])")),
                    ("Broken", "", "Broken cannot be called: Broken.ask(question): has no type annotation"),
                    ("Greeting", "rst", "no channel 'rst'; did you mean 'rest'?"),
                    ("GreetingComponent", "",
                     "GreetingComponent is no service interface; ask for Greeting"),
                    ("GreetingImpl", "", "GreetingImpl is no service interface; ask for Greeting"),
                    ("M", "", "M is no service interface; decorate it with @service()"),
                ):  # fmt: skip
                    with pytest.raises(LocalError) as refused:
                        await mesh.get_service(getattr(declared, name), channel)
                    assert refused.value.message == expected
            with pytest.raises(LocalError, match="no channel 'dispatch'"):
                mesh.set_preferred_channel("dispatch")


async def test_a_channel_that_no_component_can_have() -> None:
    """An application does not come up when `get_addresses` names a channel that nobody knows."""
    source = HEAD + IMPL + HOST.replace(
        "...",
        "\n    def get_addresses(self, base_url: str) -> list[ChannelAddress]:\n"
        '        return [ChannelAddress("rset", base_url)]',
    )  # fmt: skip
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    with Declared(source + MODULE) as declared, pytest.raises(ConfigurationError) as refused:
        async with MeshApp(declared.M, settings=settings).lifespan():
            pass
    assert refused.value.problems == ("GreetingComponentImpl.get_addresses: no channel 'rset'; did you mean 'rest'?",)


async def test_a_url_that_nobody_can_ask() -> None:
    """An application does not come up when `get_addresses` names a URL that is none; other schemes need no host."""
    source = HEAD + IMPL + HOST.replace(
        "...",
        "\n    def get_addresses(self, base_url: str) -> list[ChannelAddress]:\n"
        '        urls = ["h1:8000", "localhost", "http://h1:99999", "http://", "http://[::1", "unix:///s", base_url]\n'
        '        return [ChannelAddress("rest", url) for url in urls]',
    )  # fmt: skip
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    with Declared(source + MODULE) as declared, pytest.raises(ConfigurationError) as refused:
        async with MeshApp(declared.M, settings=settings).lifespan():
            pass
    place = "GreetingComponentImpl.get_addresses: channel 'rest' of component 'greeting-component': "
    assert refused.value.problems == (
        f"{place}'h1:8000' has no scheme and host, as http://host:8000 has",
        f"{place}'localhost' has no scheme and host, as http://host:8000 has",
        f"{place}'http://h1:99999' is no URL: Port out of range 0-65535",
        f"{place}'http://' has no scheme and host, as http://host:8000 has",
        f"{place}'http://[::1' is no URL: Invalid IPv6 URL",
    )


# --- All at once ------------------------------------------------------------------------------------------------------

STARTED: list[str] = []


class Trace:
    """Notes whatever is made of it or called."""

    def __init__(self) -> None:
        STARTED.append(type(self).__name__)


TEN = (
    HEAD
    + """
from tests.unit.declare.test_problems import Trace
class Opaque: ...

@service()
class Careless(Service):
    @abstractmethod
    async def unannotated(self, a) -> None: ...
    @abstractmethod
    async def opaque(self, a: Opaque) -> None: ...
    @abstractmethod
    async def stars(self, *a: int) -> None: ...
    @get("/livez")
    @abstractmethod
    async def livez(self) -> None: ...
    @get("/{missing}")
    @abstractmethod
    async def path(self) -> None: ...

@component(services=[Careless])
class CarelessComponent(Component): ...

@implementation()
class CarelessComponentImpl(AbstractComponent, CarelessComponent): ...

@implementation()
class GreetingImpl(Trace, Greeting):
    async def hello(self, message: bytes) -> str: ...

@implementation()
class Alone: ...

@channel("fancy")
class Fancy: ...

@injectable()
class Store(Trace):
    def __init__(self, opaque: Opaque) -> None: ...
"""
    + HOST
    + """
@module()
class M(Trace):
    @create()
    def broken(self): ...
"""
)


async def test_everything_is_told_at_once_and_nothing_is_started() -> None:
    """More than ten mistakes of all kinds are told in one error; no object of the user's is made."""
    STARTED.clear()
    problems = await problems_of(TEN, preferred_channel="rst", registry="nowhere:")
    assert problems == [
        "Careless.unannotated(a): has no type annotation",
        "Careless.opaque(a): Opaque cannot travel; a dataclass can",
        "Careless.stars(a): *a cannot travel; take a list or a dict",
        "Careless.path: {missing} in path '/{missing}' is not a parameter",
        "Fancy is decorated with @channel, but does not derive from Channel",
        "GreetingImpl.hello: lacks the parameter 'times' of the interface",
        "GreetingImpl.hello: takes 'message' as bytes, but the interface declares str",
        "Alone is an @implementation, but none of its bases is a @service or @component",
        (
            "component 'careless-component' is implemented by CarelessComponentImpl, but nothing here implements its "
            "service Careless"
        ),
        "Careless.livez: GET /livez is taken by the server itself",
        "setting registry: no registry 'nowhere' for 'nowhere:'; there is 'consul', 'directory', 'local', 'static'",
        "Store(opaque): nothing provides Opaque; add @injectable to it, or a @create method to a module",
        "M.broken: needs a type as its return annotation, which says what it provides; None is not provided",
        "setting preferred_channel: no channel 'rst'; did you mean 'rest'?",
    ]
    assert STARTED == []
