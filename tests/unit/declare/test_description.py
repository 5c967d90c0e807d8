"""What `describe` reads; what it refuses is in test_problems, string annotations in test_description_strings."""

import inspect
import sys
import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, Optional, Protocol, TypedDict, TypeVar, cast

import msgspec
import pytest
from msgspec import Meta
from typing_extensions import TypeAliasType

from meshcore import (
    Body,
    ConfigurationError,
    Content,
    Header,
    HeaderParam,
    Path,
    PathParam,
    Query,
    QueryParam,
    Service,
    delete,
    describe,
    get,
    idempotency_key,
    idempotent,
    patch,
    post,
    put,
    raises,
    rest,
    service,
    shielded,
)
from meshcore.core.description import REQUIRED, HttpMapping, Method, Parameter, Source
from meshcore.declare.hints import split_marks
from meshcore.declare.http import ParameterMark
from meshcore.declare.services import kebab_case

T = TypeVar("T")
K = TypeVar("K")


@dataclass
class Order:
    id: int


@dataclass
class Page(Generic[T]):
    items: list[T]


class Point(NamedTuple):
    x: int
    y: int


class Filter(TypedDict):
    text: str


def method_of(interface: type, name: str) -> Method:
    """One described method."""
    found = describe(interface).method(name)
    assert found is not None
    return found


def sources(interface: type, name: str) -> dict[str, str]:
    """Where a request carries each parameter of a method."""
    return {each.name: each.source.value for each in method_of(interface, name).parameters if each.source}


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Greeting", "greeting"),
        ("OrderService", "order-service"),
        ("HTTPOrderService", "http-order-service"),
        ("OrderHTTP", "order-http"),
        ("Order2Service", "order2-service"),
        ("order_service", "order-service"),
        ("X", "x"),
    ],
)
def test_kebab_case(name: str, expected: str) -> None:
    """A class name becomes words in lower case, and an abbreviation is one word."""
    assert kebab_case(name) == expected


def test_a_service_is_named_for_its_class_unless_it_says_otherwise() -> None:
    """The default name is the class's in kebab case; name and description can be given."""

    @service()
    class StockKeeping(Service):
        """Knows what is there.

        And more.
        """

        @abstractmethod
        async def count(self) -> int: ...

    @service(name="stock", description="counts")
    class Other(StockKeeping): ...

    assert (describe(StockKeeping).name, describe(StockKeeping).description) == (
        "stock-keeping",
        "Knows what is there.",
    )
    assert (describe(Other).name, describe(Other).description) == ("stock", "counts")
    assert str(method_of(Other, "count")) == "stock.count"


# --- Parameters -------------------------------------------------------------------------------------------------------


@service()
class Kinds(Service):
    @abstractmethod
    def mixed(self, first: int, /, second: str = "b", *, third: float, fourth: Order | None = None) -> None: ...

    @abstractmethod
    async def nothing(self) -> None: ...

    @abstractmethod
    async def constrained(
        self, count: Annotated[int, Meta(ge=1)], note: Annotated[str, Query(), Meta(min_length=2)]
    ) -> Annotated[int, Meta(ge=0)]: ...


def test_parameters_have_kinds_types_and_defaults() -> None:
    """Positional-only and keyword-only parameters, defaults and their absence are read from the signature."""
    mixed = method_of(Kinds, "mixed")
    assert mixed.parameters == (
        Parameter("first", int, positional_only=True),
        Parameter("second", str, default="b"),
        Parameter("third", float, keyword_only=True),
        Parameter("fourth", Order | None, keyword_only=True, default=None),
    )
    assert [each.required for each in mixed.parameters] == [True, False, True, False]
    assert mixed.parameters[0].default is REQUIRED
    assert repr(REQUIRED) == "REQUIRED"


def test_sync_and_async_methods_and_no_result() -> None:
    """It is known which methods are async, and that a method returns nothing."""
    assert method_of(Kinds, "nothing").is_async
    assert not method_of(Kinds, "mixed").is_async
    assert method_of(Kinds, "nothing").returns is None
    assert method_of(Kinds, "nothing").parameters == ()


def test_constraints_stay_and_marks_go() -> None:
    """What msgspec understands stays in the type; the mesh's own marks are taken out of it."""
    constrained = method_of(Kinds, "constrained")
    assert [each.type for each in constrained.parameters] == [
        Annotated[int, Meta(ge=1)],
        Annotated[str, Meta(min_length=2)],
    ]
    assert constrained.returns == Annotated[int, Meta(ge=0)]


# --- Generics and inheritance -----------------------------------------------------------------------------------------


class Repo(Service, Generic[K, T]):
    @abstractmethod
    async def load(self, key: K) -> T: ...

    @abstractmethod
    async def page(self, after: K | None = None) -> Page[T]: ...

    @abstractmethod
    async def store(self, *, items: dict[str, list[T]], at: Annotated[K, Query("where")]) -> None: ...


class TextRepo(Repo[str, T]):
    @abstractmethod
    async def search(self, text: str) -> list[T]: ...


@service()
class OrderRepo(TextRepo[Order]):
    @abstractmethod
    async def newest(self) -> Order: ...


def test_type_variables_of_generic_bases_are_filled_in() -> None:
    """`Repo[K, T]` by way of `TextRepo[T]` as `TextRepo[Order]` speaks of str and Order, wherever they are nested."""
    found = {each.name: each for each in describe(OrderRepo).methods}
    assert list(found) == ["load", "page", "store", "search", "newest"]
    assert (found["load"].parameters[0].type, found["load"].returns) == (str, Order)
    assert (found["page"].parameters[0].type, found["page"].returns) == (str | None, Page[Order])
    assert [each.type for each in found["store"].parameters] == [dict[str, list[Order]], str]
    assert found["store"].parameters[1].description == "where"
    assert found["search"].returns == list[Order]


def test_a_type_variable_that_stands_for_nothing_is_refused() -> None:
    """A generic interface itself cannot be called."""

    @service()
    class Open(Repo[int, T]): ...

    with pytest.raises(ConfigurationError) as refused:
        describe(Open)
    assert len(refused.value.problems) == 3
    assert "type variable ~T has no type here; derive from a concrete base" in refused.value.problems[0]


def test_methods_of_bases_come_first_and_overriding_counts() -> None:
    """An interface that narrows a base's method is described by its own declaration, once."""

    class Base(Service):
        @abstractmethod
        async def load(self, key: int) -> Order | None: ...

        @abstractmethod
        async def size(self) -> int: ...

    @service()
    class Narrow(Base):
        @abstractmethod
        async def clear(self) -> None: ...

        @abstractmethod
        async def load(self, key: int, fresh: bool = False) -> Order: ...  # noqa: FBT001, FBT002

        async def size(self) -> int:
            return 3

    found = describe(Narrow)
    assert [each.name for each in found.methods] == ["load", "clear"]
    assert found.methods[0].returns is Order
    assert len(found.methods[0].parameters) == 2


def test_concrete_and_private_methods_of_an_abc_are_no_part_of_the_interface() -> None:
    """Only what is abstract can be called remotely."""

    @service()
    class Half(Service, ABC):
        limit = 3

        @abstractmethod
        async def ask(self) -> int: ...

        async def twice(self) -> int:
            return 2 * await self.ask()

        @property
        def shown(self) -> str:
            return "half"

        def _private(self) -> int:
            return 1

    assert [each.name for each in describe(Half).methods] == ["ask"]


def test_all_public_methods_of_a_protocol_are_the_interface() -> None:
    """A protocol needs no @abstractmethod, with Service as its base or without; its private methods do not count."""

    @service()
    class WithService(Service, Protocol):
        async def ask(self, text: str) -> int: ...

        def _private(self) -> int: ...

    @service()
    class Plain(Protocol):
        def ask(self) -> int: ...

    @service()
    class Derived(WithService, Protocol):
        @abstractmethod
        async def more(self) -> int: ...

    assert [each.name for each in describe(WithService).methods] == ["ask"]
    assert [(each.name, each.is_async) for each in describe(Plain).methods] == [("ask", False)]
    assert [each.name for each in describe(Derived).methods] == ["ask", "more"]


def test_a_generic_protocol() -> None:
    """A protocol may be generic, and its concrete form an interface."""

    class Source_(Protocol[T]):  # noqa: N801
        async def read(self, count: int = 1) -> list[T]: ...

    @service()
    class Numbers(Source_[int], Protocol): ...

    assert method_of(Numbers, "read").returns == list[int]


# --- HTTP -------------------------------------------------------------------------------------------------------------


@service()
@rest("/api/")
class Mapped(Service):
    @get("orders/{order_id}", summary="Find one", description="By its id.", tags=["orders", "read"])
    @abstractmethod
    async def find(self, order_id: int, detail: bool = False) -> Order:  # noqa: FBT001, FBT002
        """From the docstring."""

    @get("/")
    @abstractmethod
    async def root(self) -> int: ...

    @post("/orders")
    @abstractmethod
    async def add(self, note: str, order: Order, other: list[str]) -> int: ...

    @put("/orders/{order_id}")
    @abstractmethod
    async def marked(  # noqa: D417 - so that some have no text
        self,
        order_id: PathParam[int],
        quantities: Body[dict[str, int]],
        limit: QueryParam[int] = 10,
        sort: Annotated[str | None, Query(description="by which field", example="id")] = None,
    ) -> int:
        """Change it.

        Args:
            order_id: which one.
            sort: not this text.
        """

    @patch("/orders/{order_id}/{line}")
    @abstractmethod
    async def change(
        self, line: Annotated[int, Path("which line")], order_id: int, content: Annotated[str, Content("the new text")]
    ) -> None: ...

    @delete("/orders/{order_id}")
    @abstractmethod
    async def remove(self, order_id: int) -> None: ...

    @abstractmethod
    async def unmapped(self, order: Order) -> None: ...


def test_paths_have_the_prefix_and_one_slash_between() -> None:
    """However prefix and path are written, they are joined by one slash; a slash at the end stays."""
    paths = {each.name: each.http.path for each in describe(Mapped).methods if each.http}
    assert paths["find"] == "/api/orders/{order_id}"
    assert paths["root"] == "/api/"
    assert method_of(Mapped, "find").http == HttpMapping("GET", "/api/orders/{order_id}", ("orders", "read"))
    assert method_of(Mapped, "unmapped").http is None
    assert method_of(Mapped, "unmapped").parameters[0].source is None


def test_without_a_prefix_the_path_is_the_method_s() -> None:
    """@rest is not needed, and an empty path is the root."""

    @service()
    class Bare(Service):
        @get("")
        @abstractmethod
        async def root(self) -> int: ...

    http = method_of(Bare, "root").http
    assert http is not None
    assert http.path == "/"


def test_where_a_request_carries_what() -> None:
    """Names in the path first, the first object of a body verb is the body, the rest is the query; marks win."""
    assert sources(Mapped, "find") == {"order_id": "path", "detail": "query"}
    assert sources(Mapped, "add") == {"note": "query", "order": "body", "other": "query"}
    assert sources(Mapped, "marked") == {"order_id": "path", "quantities": "body", "limit": "query", "sort": "query"}
    assert sources(Mapped, "change") == {"line": "path", "order_id": "path", "content": "body"}
    assert sources(Mapped, "remove") == {"order_id": "path"}
    assert [each.type for each in method_of(Mapped, "marked").parameters] == [int, dict[str, int], int, str | None]


Tenant = TypeAliasType("Tenant", Annotated[str, Header(description="whose books")])
Maybe = TypeAliasType("Maybe", HeaderParam[T] | None, type_params=(T,))


@pytest.mark.parametrize(
    ("hint", "type_", "source"),
    [
        (HeaderParam[str] | None, str | None, "header"),
        (Optional[Annotated[int, Query(alias="n")]], int | None, "query"),  # noqa: UP045 - the old spelling has to work
        (Body[list[int]] | None, list[int] | None, "body"),
        (HeaderParam[float] | HeaderParam[int], float | int, "header"),
        (Annotated[HeaderParam[int] | None, Meta(title="n")], Annotated[int | None, Meta(title="n")], "header"),
        (Annotated[HeaderParam[int] | None, Query()], int | None, "query"),
        (Tenant, str, "header"),
        (Tenant | None, str | None, "header"),
        (Maybe[int], int | None, "header"),
    ],
    ids=str,
)
def test_a_mark_counts_in_a_union_and_in_an_alias(hint: Any, type_: Any, source: str) -> None:
    """`HeaderParam[str] | None` is an optional header, and a mark that has a name is written once for many methods."""

    async def add(self: object, item: Any) -> None: ...

    add.__annotations__["item"] = hint
    cls = type("Adding", (Service,), {"add": post("/")(abstractmethod(add))})
    (item,) = method_of(service()(cls), "add").parameters
    assert (item.type, item.source, item.description) == (
        type_,
        Source(source),
        "whose books" if "Tenant" in str(hint) else "",
    )


def test_an_alias_without_a_mark_stays_and_counts_as_what_it_stands_for() -> None:
    """Its description, and so the contract, is what it was; that of an object is a body."""
    alias = TypeAliasType("alias", dict[str, int])
    assert split_marks(alias) == (alias, None)
    assert split_marks(int | None) == (int | None, None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="codecs know no aliases before there is a statement for them")
def test_an_alias_of_an_object_is_a_body() -> None:
    """What a `type` alias stands for counts."""

    async def add(self: object, item: Any) -> None: ...

    add.__annotations__["item"] = cast("Any", typing).TypeAliasType("Alias", Order)
    cls = type("Adding", (Service,), {"add": post("/")(abstractmethod(add))})
    assert sources(service()(cls), "add") == {"item": "body"}
    names: dict[str, Any] = {}
    exec("type Broken = Nowhere | None", names)
    add.__annotations__["item"] = names["Broken"]
    with pytest.raises(
        ConfigurationError, match="add: the alias Broken cannot be evaluated: NameError: name 'Nowhere' is not defined"
    ):
        describe(service()(cls))


def test_a_value_of_any_type_is_a_body_if_there_is_no_object() -> None:
    """Only the body tells 1 and "1" apart."""

    @service()
    class Untyped(Service):
        @post("/one")
        @abstractmethod
        async def one(self, count: int, value: Any) -> None: ...

        @post("/two")
        @abstractmethod
        async def two(self, value: Annotated[Any, "a note"]) -> None: ...

        @post("/three")
        @abstractmethod
        async def three(self, value: str, item: Order) -> None: ...

    assert sources(Untyped, "one") == {"count": "query", "value": "body"}
    assert sources(Untyped, "two") == {"value": "body"}
    assert sources(Untyped, "three") == {"value": "query", "item": "body"}


def test_a_mark_that_means_nothing_is_reported() -> None:
    """One that stands deeper says nothing of the parameter, and two that contradict each other do not either."""

    @service()
    class Wrong(Service):
        @get("/a")
        @abstractmethod
        async def a(self, tags: list[HeaderParam[str]], ids: HeaderParam[int] | QueryParam[str], n: int = 0) -> str: ...

        @abstractmethod
        async def b(self, deep: dict[str, tuple[Body[int], ...]]) -> str: ...

    with pytest.raises(ConfigurationError) as error:
        describe(Wrong)
    place = Wrong.__qualname__
    text = "mark inside of its type has no effect; mark the whole type"
    assert list(error.value.problems) == [
        f"{place}.a(tags): a header {text}: HeaderParam[...]",
        f"{place}.a(ids): a header {text}: HeaderParam[...]",
        f"{place}.b(deep): a body {text}: Body[...]",
    ]


class Struct(msgspec.Struct):
    id: int


@pytest.mark.parametrize(
    "kind",
    [
        Order,
        Struct,
        Page[Order],
        Point,
        Filter,
        dict[str, int],
        Order | None,
        Annotated[Order, Meta(description="an order")],
    ],
    ids=str,
)
def test_what_counts_as_an_object(kind: Any) -> None:
    """Dataclasses, generic ones too, structs, named tuples, typed and plain dicts, and optional ones, are a body."""

    async def add(self: object, item: Any) -> None: ...

    add.__annotations__["item"] = kind
    cls = type("Adding", (Service,), {"add": post("/")(abstractmethod(add))})
    assert sources(service()(cls), "add") == {"item": "body"}


def test_pydantic_models_count_as_objects() -> None:
    """A pydantic model is a body too."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", id=(int, ...))

    async def add(self: object, item: Any) -> None: ...

    add.__annotations__["item"] = model
    cls = type("Adding", (Service,), {"add": post("/")(abstractmethod(add))})
    assert sources(service()(cls), "add") == {"item": "body"}


def test_idempotent_by_verb_or_by_mark() -> None:
    """GET, PUT and DELETE may be executed again, POST and PATCH not, unless @idempotent says so."""

    @service()
    class Verbs(Service):
        @post("/a")
        @idempotent
        @abstractmethod
        async def marked(self) -> None: ...

        @abstractmethod
        @idempotent
        async def unmapped(self) -> None: ...

        @abstractmethod
        async def plain(self) -> None: ...

    expected = {"find": True, "root": True, "add": False, "marked": True, "change": False, "remove": True}
    found = {each.name: each.idempotent for each in describe(Mapped).methods if each.http}
    assert found == expected
    assert [each.idempotent for each in describe(Verbs).methods] == [True, True, False]


def test_what_a_server_does_with_repetitions_and_leaving_callers() -> None:
    """Marks on a method say it; by default nothing."""

    @service()
    class Writes(Service):
        @abstractmethod
        @shielded
        @idempotency_key(seconds=5)
        async def both(self) -> None: ...

        @abstractmethod
        @idempotency_key()
        async def keyed(self) -> None: ...

        @abstractmethod
        async def neither(self) -> None: ...

    found = [(each.shielded, each.idempotency_key, each.idempotent) for each in describe(Writes).methods]
    assert found == [(True, 5, False), (True, 600.0, False), (False, None, False)]

    @service()
    class Never(Service):
        @abstractmethod
        @idempotency_key(seconds=0)
        async def buy(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Never\.buy: @idempotency_key\(seconds=0\): must be a number"):
        describe(Never)


# --- Exceptions and texts ---------------------------------------------------------------------------------------------


@dataclass
class OutOfStock(Exception):
    sku: str
    left: int


class Unknown(Exception):
    pass


def test_declared_exceptions() -> None:
    """All exceptions of all @raises of a method are declared, the innermost decorator's first."""

    @service()
    class Raising(Service):
        @raises(OutOfStock)
        @raises(Unknown, ValueError)
        @abstractmethod
        async def take(self) -> None: ...

    assert method_of(Raising, "take").raises == (Unknown, ValueError, OutOfStock)


def test_texts_come_from_the_decorator_else_from_the_docstring() -> None:
    """Summary, description and the texts of parameters; what a mark says of a parameter wins."""
    find, marked = method_of(Mapped, "find"), method_of(Mapped, "marked")
    assert (find.summary, find.description) == ("Find one", "By its id.")
    assert [each.description for each in marked.parameters] == ["which one.", "", "", "by which field"]
    assert marked.parameters[3].example == "id"


def test_google_style_docstrings() -> None:
    """The first paragraph is the summary, what follows up to the first section the description; Args may wrap."""

    @service()
    class Documented(Service):
        @abstractmethod
        async def search(self, text: str, limit: int = 3, *, colour: str = "", note: str = "") -> list[Order]:  # noqa: D417
            """Search for orders,
            newest first.

            It never waits.

            Nor fails: never.

            Args:
                text: What to look for:
                    several words, or
                    one.
                limit (int): How many
                    at most.
                colour:
                    Of the paper.

            Returns:
                note: the orders.

            Raises:
                ValueError: never.
            """  # noqa: D205

    found = method_of(Documented, "search")
    assert found.summary == "Search for orders, newest first."
    assert found.description == "It never waits.\n\nNor fails: never."
    assert {each.name: each.description for each in found.parameters} == {
        "text": "What to look for: several words, or one.",
        "limit": "How many at most.",
        "colour": "Of the paper.",
        "note": "",
    }


# --- The description itself -------------------------------------------------------------------------------------------


def test_a_description_is_immutable() -> None:
    """Nothing in a description can be assigned, and its collections are tuples."""
    description = describe(Mapped)
    method = description.methods[0]
    for target in (description, method, method.parameters[0], method.http):
        assert target is not None
        with pytest.raises(AttributeError):
            target.name = "other"
    assert isinstance(description.methods, tuple)
    assert isinstance(method.parameters, tuple)


def test_describing_leaves_the_interface_as_it_was() -> None:
    """Decorators return the class itself, and describing it twice gives equal but distinct methods."""
    before = dict(vars(Mapped))
    first, second = describe(Mapped), describe(Mapped)
    assert dict(vars(Mapped)) == before
    assert first.methods[0] is not second.methods[0]
    assert first.methods[0].parameters == second.methods[0].parameters
    assert inspect.isabstract(Mapped)
    assert first.method("missing") is None


def test_the_aliases_are_annotated_types() -> None:
    """`QueryParam[int]` is `Annotated[int, ...]` at run time."""
    assert QueryParam[int] == Annotated[int, ParameterMark(Source.QUERY)]
    assert PathParam[int] == Annotated[int, ParameterMark(Source.PATH)]
    assert Body[Order] == Annotated[Order, ParameterMark(Source.BODY)]
