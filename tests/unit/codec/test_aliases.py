"""Aliases travel, those that contain themselves too, in the same way on every version of Python."""

import sys
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from meshcore import (
    AbstractComponent,
    Body,
    Component,
    ConfigurationError,
    MeshError,
    QueryParam,
    Service,
    component,
    describe,
    get,
    implementation,
    module,
    post,
    service,
)
from meshcore.asgi.openapi.openapi import openapi
from meshcore.codec.aliases import without_aliases
from meshcore.codec.codec import JSON, MSGPACK, Codec, Limits
from meshcore.codec.errors import DecodeError, EncodeError, TravelError
from meshcore.codec.wire_types import why_not_type
from meshcore.testing import memory_mesh

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
T = TypeVar("T")


class Model(pydantic.BaseModel):
    number: int


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | float | int | bool | None")
Numbers = TypeAliasType("Numbers", "dict[int, Numbers] | list[int]")
Nest = TypeAliasType("Nest", "list[Nest[T]] | T", type_params=(T,))
Models = TypeAliasType("Models", "list[Models] | dict[str, Model]")
Plain = TypeAliasType("Plain", "list[Positive]")
Positive = TypeAliasType("Positive", Annotated[int, msgspec.Meta(gt=0)])
Search = TypeAliasType("Search", QueryParam[str])
Tree = Union[dict[str, "Tree"], list["Tree"], str, int, None]  # noqa: UP007 - not the same at run time
Twig = dict[str, "Twig"] | list["Twig"] | str | int | None
Lost = TypeAliasType("Lost", "list[Nowhere]")  # type: ignore[name-defined] # noqa: F821
Itself = TypeAliasType("Itself", "Itself")

ALIASES: list[tuple[Any, Any, Any]] = [
    (Json, {"a": [1, 2.5, None, {"b": [True, "x", []]}]}, {"a": [{"b": [b""]}]}),
    (pydantic.JsonValue, {"a": [1, 2.5, None, {"b": [True, "x", []]}]}, ["x", {"a": b""}]),
    (Tree, {"a": ["x", {"b": [1, None]}]}, {"a": [1.5]}),
    (Twig, {"a": ["x", {"b": [1, None]}]}, {"a": [1.5]}),
    (list[Tree], [{"a": ["x"]}], [[[1.5]]]),
    (Numbers, {1: {2: [3]}, 4: [5]}, {1: {2: [3.5]}}),
    (Nest[int], [1, [2, [3]]], [1, [2, ["x"]]]),
    (Models, [[{"a": Model(number=1)}]], [[{"a": {"number": "many"}}]]),
    (dict[str, Plain], {"a": [1]}, {"a": [0]}),
]
if sys.version_info >= (3, 12):
    NEW: dict[str, Any] = {}
    exec("type Pep = dict[str, Pep] | list[Pep] | str | int | None\ntype Nested[T] = T | list[Nested[T]]", NEW)
    ALIASES += [
        (NEW["Pep"], {"a": ["x", {"b": [1, None]}]}, {"a": [1.5]}),
        (NEW["Nested"][int], [1, [2, [3]]], [1, [2, ["x"]]]),
    ]


def known(hint: Any) -> Any:
    """The type as a method with this annotation has it."""
    return without_aliases(hint, globals())


@CODECS
@pytest.mark.parametrize(("alias", "value", "wrong"), ALIASES, ids=lambda case: str(case)[:12])
def test_aliases_travel(codec: Codec, alias, value, wrong):
    """What is encoded decodes to an equal value, and what does not fit is refused, however deep it is."""
    type_ = known(alias)
    assert why_not_type(type_) is None
    assert repr(codec.decoder(type_)(codec.encoder(type_, validate=True)(value))) == repr(value)
    if codec is MSGPACK or alias not in {Json, pydantic.JsonValue}:  # bytes are text in JSON
        with pytest.raises(DecodeError):
            codec.decoder(type_)(codec.encoder(Any)(wrong))
        with pytest.raises(EncodeError):
            codec.encoder(type_, validate=True)(wrong)


TREES = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@CODECS
@given(value=TREES)
def test_any_json_travels(codec: Codec, value):
    """Through the alias of pydantic, which has that name."""
    type_ = known(pydantic.JsonValue)
    assert codec.decoder(type_)(codec.encoder(type_, validate=True)(value)) == value


@CODECS
def test_the_place_is_named(codec: Codec):
    """Through all levels, also within a model."""
    for alias, wrong, text in [
        (Tree, {"a": [1, {"b": 1.5}]}, "$[...][1][...]: expected int | str | object | array | null, got float"),
        (Models, [[{"a": {"number": "many"}}]], "$[0][0][...].number: input should be a valid integer"),
    ]:
        with pytest.raises(DecodeError) as caught:
            codec.decoder(known(alias))(codec.encoder(Any)(wrong))
        assert str(caught.value).startswith(text)


@CODECS
def test_depth_is_limited(codec: Codec):
    """As for any recursive type: the limit can be reached, and is what refuses more."""
    type_ = known(Json)
    value: Any = None
    for _ in range(128):
        value = [value]
    data = codec.encoder(type_)(value)
    assert codec.decoder(type_, Limits(max_depth=128))(data) == value
    with pytest.raises(DecodeError, match="nested deeper than 127"):
        codec.decoder(type_, Limits(max_depth=127))(data)


@dataclass
class Held:
    json: "Json"


class Row(msgspec.Struct):
    rows: list[Tree]


@dataclass
class Foreign:
    plain: list[Plain]


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (Held, "$.json: Json is a recursive alias, which cannot be in a field"),
        (list[Row], "$[].rows: Tree is a recursive alias, which cannot be in a field"),
        (Foreign, "$.plain: Plain is an alias of typing_extensions, which cannot be in a field: write its value"),
    ],
)
def test_in_a_field_an_alias_that_cannot_be_read_is_refused(type_, reason):
    """With what to write instead."""
    assert (why_not_type(type_) or "").startswith(reason)


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        (Lost, "the alias Lost cannot be evaluated: NameError: name 'Nowhere' is not defined"),
        (Itself, "the alias Itself is its own value"),
    ],
)
def test_an_alias_without_a_value_is_refused(alias, reason):
    """At the start, with its name."""
    with pytest.raises(TravelError, match=reason):
        known(alias)

    class Store(Service):
        @abstractmethod
        async def put(self, value: alias) -> None: ...

    with pytest.raises(ConfigurationError, match=reason):
        describe(service(name="store")(Store))


def test_types_without_aliases_stay_as_they_are():
    """The same object."""
    for hint in (int, list[int], Annotated[int, "x"], Literal["Tree"], dict[str, list[Model]] | None, Nest):
        assert known(hint) is hint or hint is Nest


@service()
class Store(Service):
    @post("/store")
    @abstractmethod
    async def put(self, value: Body[Json]) -> Json: ...

    @post("/tree")
    @abstractmethod
    async def grow(self, tree: Tree) -> Tree: ...

    @get("/store")
    @abstractmethod
    async def find(self, text: Search) -> Plain: ...


@component(services=[Store])
class StoreComponent(Component): ...


@implementation()
class StoreImpl(Store):
    async def put(self, value: Any) -> Any:
        return value

    async def grow(self, tree: Any) -> Any:
        return tree

    async def find(self, text: str) -> list[int]:
        return [len(text)]


@implementation()
class StoreComponentImpl(AbstractComponent, StoreComponent): ...


@module()
class StoreModule: ...


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
async def test_services_have_aliases(channel):
    """Over every channel, in documents, and with the errors of any other type."""
    value = {"a": [1, None, {"b": "x"}]}
    async with memory_mesh(StoreModule, channel=channel) as mesh:
        store = await mesh.get_service(Store)
        assert await store.put(value) == value
        assert await store.grow(value) == value
        assert await store.find("abc") == [3]
        wrong: Any = {"a": [1.5]}
        with pytest.raises(MeshError, match=r"a|\[\.\.\.\]\[0\]: expected .* got float"):
            await store.grow(wrong)
    assert "/tree" in openapi([StoreComponent])["paths"]
