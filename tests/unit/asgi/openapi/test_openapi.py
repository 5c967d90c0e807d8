"""The OpenAPI document, made from descriptions alone."""

from __future__ import annotations

import enum
from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from msgspec import Meta
from openapi_spec_validator import validate
from pydantic import BaseModel, computed_field

from meshcore import (
    Body,
    Code,
    Component,
    ConfigurationError,
    Content,
    Header,
    Path,
    PathParam,
    Query,
    QueryParam,
    Service,
    component,
    delete,
    get,
    idempotency_key,
    openapi,
    post,
    put,
    raises,
    rest,
    service,
)
from tests.support.shop import ShopComponent

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Tree:
    """A tree.

    It may be deep.

    Attributes:
        name: of the root.
        price: of the whole.
    """

    name: str
    price: Decimal = Decimal("1.5")
    below: list[Tree] = field(default_factory=list)


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Named(TypedDict):
    name: str


class Model(BaseModel):
    x: int
    below: list[Model] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.x


class Plain(BaseModel):
    at: date


class Problem(msgspec.Struct):
    """A class of the user's that is called as ours is."""

    text: str


@dataclass
class Gone(Exception):
    when: datetime

    code = Code.NOT_FOUND


class Silly(Exception): ...


@service(name="things", description="has things")
@rest("/things")
class Things(Service):
    @abstractmethod
    @put("/{key}/{colour}", tags=["special"], summary="Short", description="Long")
    @raises(Gone, Silly)
    async def change(
        self,
        key: PathParam[UUID],
        colour: Colour,
        tree: Annotated[Tree, Content("the tree", example=Tree("oak"))],
        sizes: Annotated[list[int] | None, Query("how big", example=[1, 2])] = None,
        x_when: Annotated[date, Header(example=date(2026, 1, 31))] = date(2026, 1, 1),
    ) -> Page[Tree]: ...

    @abstractmethod
    @post("/models", status=201)
    @idempotency_key()
    async def model(self, model: Model, plain: QueryParam[str | None] = None) -> dict[str, Model]: ...

    @abstractmethod
    @post("/optional")
    async def optional(self, body: Body[Plain | None] = None) -> Plain: ...

    @abstractmethod
    @get("/find/{name}.txt")
    async def find(
        self, name: str, mode: Literal["a", "b"] = "a", depth: Annotated[int, Meta(ge=1, description="levels")] = 3
    ) -> tuple[Problem, Named | None]: ...

    @abstractmethod
    @delete("/all", status=204)
    async def clear(self) -> None: ...

    @abstractmethod
    async def unmapped(self) -> None: ...


@component(name="house", description="a house", services=[Things])
class House(Component): ...


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Of the house."""
    return openapi([House], version="2", prefix="/api")


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """Of every way of mapping a method the document is OpenAPI 3.1."""
    validate(document)
    validate(openapi([ShopComponent]))
    validate(openapi([]))
    assert (document["openapi"], document["info"]) == (
        "3.1.0",
        {"title": "house", "version": "2", "description": "house: a house"},
    )
    assert document["servers"] == [{"url": "/api"}]
    assert document["tags"] == [{"name": "things", "description": "has things"}]


def test_parameters(document: dict[str, Any]) -> None:
    """Place, name, description, default and example of each; null has no place in a URL; a path value is not empty."""
    change = document["paths"]["/things/{key}/{colour}"]["put"]
    assert (change["operationId"], change["tags"], change["summary"], change["description"]) == (
        "things.change",
        ["special"],
        "Short",
        "Long",
    )
    key, colour, sizes, when = change["parameters"]
    assert key == {
        "name": "key",
        "in": "path",
        "required": True,
        "schema": {"minLength": 1, "type": "string", "format": "uuid"},
    }
    assert colour["schema"] == {"$ref": "#/components/schemas/Colour"}
    assert sizes == {
        "name": "sizes",
        "in": "query",
        "required": False,
        "description": "how big",
        "schema": {"type": "array", "items": {"type": "integer"}},
        "example": [1, 2],
    }
    assert (when["name"], when["in"], when["example"]) == ("x-when", "header", "2026-01-31")
    assert when["schema"] == {"type": "string", "format": "date", "default": "2026-01-01"}
    find = document["paths"]["/things/find/{name}.txt"]["get"]
    _, mode, depth = find["parameters"]
    assert mode["schema"] == {"enum": ["a", "b"], "default": "a"}
    assert depth["schema"] == {"description": "levels", "type": "integer", "minimum": 1, "default": 3}


def test_bodies(document: dict[str, Any]) -> None:
    """A body has its type and example; one with a default is optional."""
    body = document["paths"]["/things/{key}/{colour}"]["put"]["requestBody"]
    assert (body["required"], body["description"]) == (True, "the tree")
    content = body["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Tree"}
    assert content["example"] == {"name": "oak", "price": "1.5", "below": []}
    assert document["paths"]["/things/optional"]["post"]["requestBody"]["required"] is False


def test_types_have_names_and_their_docstrings(document: dict[str, Any]) -> None:
    """A recursive class refers to itself; what its docstring says of an attribute is said there."""
    schemas = document["components"]["schemas"]
    schemas["Tree"]["properties"]["below"].pop("default", None)  # msgspec tells it from 0.23 on
    assert schemas["Tree"] == {
        "title": "Tree",
        "description": "A tree.\n\nIt may be deep.",
        "type": "object",
        "properties": {
            "name": {"description": "of the root.", "type": "string"},
            "price": {
                "description": "of the whole.",
                "pattern": "^[+-]?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$",
                "examples": ["1.50"],
                "type": "string",
                "format": "decimal",
                "default": "1.5",
            },
            "below": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
        "required": ["name"],
    }
    assert schemas["Page_Tree_"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/Tree"}


def test_a_model_that_is_written_otherwise_than_read_has_two_schemas(document: dict[str, Any]) -> None:
    """A computed field is in answers only; a model with one form has one schema."""
    schemas = document["components"]["schemas"]
    model = document["paths"]["/things/models"]["post"]
    assert model["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Model"}
    answer = model["responses"]["201"]["content"]["application/json"]["schema"]
    assert answer["additionalProperties"] == {"$ref": "#/components/schemas/ModelOutput"}
    assert "double" not in schemas["Model"]["properties"]
    assert schemas["ModelOutput"]["properties"]["below"]["items"] == {"$ref": "#/components/schemas/ModelOutput"}
    assert "PlainOutput" not in schemas


def test_answers(document: dict[str, Any]) -> None:
    """Success has its status and type; declared exceptions are problems under theirs; anything else is a problem."""
    responses = document["paths"]["/things/{key}/{colour}"]["put"]["responses"]
    assert list(responses) == ["200", "400", "404", "413", "415", "default"]

    def problem(status: str) -> Any:
        return responses[status]["content"]["application/problem+json"]["schema"]

    assert problem("404") == {"$ref": "#/components/schemas/GoneProblem"}
    assert problem("400") == {
        "anyOf": [{"$ref": "#/components/schemas/Problem_"}, {"$ref": "#/components/schemas/SillyProblem"}]
    }
    schemas = document["components"]["schemas"]
    base, own = schemas["GoneProblem"]["allOf"]
    assert base == {"$ref": "#/components/schemas/Problem_"}
    assert own["properties"]["code"] == {"const": "not_found"}
    assert own["properties"]["fields"] == {"$ref": "#/components/schemas/Gone"}
    assert schemas["Problem"]["properties"] == {"text": {"type": "string"}}
    cleared = document["paths"]["/things/all"]["delete"]["responses"]
    assert cleared["204"] == {"description": "No Content"}
    assert "400" not in cleared


def test_marks_of_calls_are_told(document: dict[str, Any]) -> None:
    """Whether a call may be repeated, and the header that makes it so."""
    assert document["paths"]["/things/all"]["delete"]["x-idempotent"] is True
    model = document["paths"]["/things/models"]["post"]
    assert model["x-idempotent"] is False
    assert [each["name"] for each in model["parameters"]] == ["plain", "mesh-idempotency-key"]


def test_paths_that_differ_in_names_only_are_one() -> None:
    """The specification takes them for identical; the first names the parameters. What REST answers is the first's."""

    @service(name="one")
    @rest("/users")
    class One(Service):
        @get("/{user}/items/{item}")
        @abstractmethod
        async def find(self, user: int, item: str) -> str: ...

        @get("/{item}")
        @abstractmethod
        async def only(self, item: int) -> str: ...

    @service(name="two")
    @rest("/users")
    class Two(Service):
        @put("/{item}/items/{user}")
        @abstractmethod
        async def store(self, user: Annotated[str, Path("the second")], item: int, depth: int = 0) -> str: ...

        @get("/{a}/items/{b}")
        @abstractmethod
        async def never(self, a: int, b: str) -> str: ...

        @get("/{user}.json")
        @abstractmethod
        async def other(self, user: int) -> str: ...

    @component(name="both", services=[One, Two])
    class Both(Component): ...

    document = openapi([Both])
    validate(document)
    paths = document["paths"]
    assert {path: sorted(verbs) for path, verbs in paths.items()} == {
        "/users/{user}/items/{item}": ["get", "put"],
        "/users/{item}": ["get"],
        "/users/{user}.json": ["get"],
    }
    found = paths["/users/{user}/items/{item}"]
    assert found["get"]["operationId"] == "one.find"
    assert [
        (each["name"], each["in"], each["schema"]["type"], each.get("description"))
        for each in found["put"]["parameters"]
    ] == [
        ("item", "path", "string", "the second"),
        ("user", "path", "integer", None),
        ("depth", "query", "integer", None),
    ]


def test_what_has_no_document_says_why() -> None:
    """A class that is no component is an error that names it."""
    with pytest.raises(ConfigurationError, match="Tree is not decorated with @component"):
        openapi([Tree])
