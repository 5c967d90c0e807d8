"""Classes of every form are made as Python makes them: what their constructors ask for is injected or reported."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, Protocol, Self, TypeVar

import attrs
import msgspec
import pydantic
import pytest

from meshcore import ConfigurationError, inject_value
from meshcore.core.marks import MISSING
from meshcore.inject.graph import Graph
from meshcore.inject.injector import Injector
from meshcore.inject.recipes import recipe_of_class, recipe_of_object

T = TypeVar("T")


class Repo:
    """What all classes here ask for."""


class Other:
    """What nothing provides."""


class Settings:
    """Values of the settings."""

    @staticmethod
    def lookup(key: str) -> object:
        return "EUR" if key == "currency" else MISSING


async def made(cls: type[T], *provided: object) -> T:
    """An instance, made by an injector that has these objects."""
    recipes = [recipe_of_class(cls), *map(recipe_of_object, provided)]
    async with Injector(Graph(recipes, values=Settings)) as injector:
        return await injector.get(cls)


Currency = Annotated[str, inject_value("currency")]
Absent = Annotated[str, inject_value("absent")]


@dataclasses.dataclass
class Data:
    repo: Repo
    currency: Currency
    absent: Absent = "default"
    items: list[int] = dataclasses.field(default_factory=lambda: [1])
    seen: dataclasses.InitVar[Repo | None] = None
    inner: Other = dataclasses.field(init=False)

    def __post_init__(self, seen: Repo | None) -> None:
        self.inner = Other()
        assert seen is self.repo


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    repo: Repo
    currency: Currency
    absent: Absent = "default"
    items: list[int] = dataclasses.field(default_factory=lambda: [1])


class Struct(msgspec.Struct, rename="camel", kw_only=True):
    absent: Absent = "default"
    items: list[int] = msgspec.field(default_factory=lambda: [1])
    repo: Repo
    currency: Currency


@attrs.define
class Attrs:
    _repo: Repo
    currency: Currency
    absent: Absent = "default"
    items: list[int] = attrs.field(factory=lambda: [1], kw_only=True)

    @property
    def repo(self) -> Repo:
        return self._repo


class Pair(NamedTuple):
    repo: Repo
    currency: Currency
    absent: Absent = "default"
    items: list[int] = [1]  # noqa: RUF012


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    repo: Repo
    currency: Currency = pydantic.Field(alias="money")
    absent: Absent = "default"
    items: list[int] = pydantic.Field(default_factory=lambda: [1])


@pydantic.dataclasses.dataclass(config={"arbitrary_types_allowed": True})
class PydanticData:
    repo: Repo
    currency: Currency
    absent: Absent = "default"
    items: list[int] = dataclasses.field(default_factory=lambda: [1])


class Made:
    items = (1,)

    def __new__(cls, repo: Repo, *, currency: Currency, absent: Absent = "default") -> Self:
        found = object.__new__(cls)
        found.repo, found.currency, found.absent = repo, currency, absent  # type: ignore[attr-defined]
        return found


class Counted:
    """Its `__new__` takes anything, as that of a singleton does."""

    items = (1,)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, repo: Repo, currency: Currency, absent: Absent = "default") -> None:
        self.repo, self.currency, self.absent = repo, currency, absent


class HandsOn(Counted):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class HandsOnMore(HandsOn):
    def __init__(self, repo: Repo, **kwargs: Any) -> None:
        super().__init__(repo=repo, **kwargs)


class HandsOnByPosition(Counted):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)


class OfFields(Data):
    """A class below a generated constructor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, seen=kwargs["repo"], **kwargs)


FORMS = [
    Data, Frozen, Struct, Attrs, Pair, Model, PydanticData, Made, Counted, HandsOn, HandsOnMore, HandsOnByPosition,
    OfFields,
]  # fmt: skip


@pytest.mark.parametrize("cls", FORMS, ids=lambda cls: cls.__name__)
async def test_every_form_is_injected(cls: Any) -> None:
    """Types and values are injected, and what is left out gets the default of the class, or that of its factory."""
    repo = Repo()
    found = await made(cls, repo)
    assert type(found) is cls
    assert found.repo is repo
    assert (found.currency, found.absent, list(found.items)) == ("EUR", "default", [1])


@pytest.mark.parametrize("cls", [Data, Frozen, Struct, Attrs, Pair, Model, PydanticData, Made, Counted, HandsOnMore])
async def test_what_a_form_lacks_is_reported(cls: Any) -> None:
    """The parameter is named, at the start."""
    name = cls.__name__
    missing = "nothing provides Repo; add @injectable to it, or a @create method to a module"
    problems = Graph([recipe_of_class(cls)], values=Settings).problems
    assert problems == [f"{name}(repo): {missing}"]


@pytest.mark.parametrize("cls", [HandsOn, HandsOnByPosition])
async def test_what_a_base_class_lacks_is_reported(cls: Any) -> None:
    """A derived class may give the parameters of its base a value, so only the construction shows that it does not."""
    with pytest.raises(ConfigurationError) as refused:
        await made(cls)
    place = f"{cls.__name__}(repo)"
    missing = "nothing provides Repo; add @injectable to it, or a @create method to a module"
    assert refused.value.message == f"cannot make {cls.__name__}: {place}: {missing}"


async def test_a_derived_class_that_gives_its_base_a_value() -> None:
    """What it gives itself need not be provided, and what has a default in the base class is left to it."""

    class Base:
        def __init__(self, name: str, other: Other, repo: Repo | None = None) -> None:
            self.found = name, other, repo

    other = Other()

    class Fixed(Base):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__("fixed", other, **kwargs)

    assert (await made(Fixed, Repo())).found == ("fixed", other, None)

    class Twice(Base):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(name="fixed", other=Other(), **kwargs)

    with pytest.raises(ConfigurationError, match=r"'other'; name the parameters of its constructor instead of \*args"):
        await made(Twice, other)


async def test_a_type_error_of_a_constructor_is_its_own() -> None:
    """What goes wrong inside of it is not taken for a missing argument."""

    class Broken:
        def __init__(self, repo: Repo) -> None:
            raise TypeError(f"broken {repo is not None}")

    with pytest.raises(TypeError, match="broken True"):
        await made(Broken, Repo())


async def test_constructors_that_ask_for_nothing() -> None:
    """Builtin classes, protocols' and generic bases are made without arguments."""

    class Names(dict[str, int]): ...

    class Speaker(Protocol):
        def speak(self) -> str: ...

    class Loud(Speaker):
        def speak(self) -> str:
            return "loud"

    class Box(Generic[T]): ...

    class Failure(Exception): ...

    for cls in (Names, Loud, Box, Failure):
        assert isinstance(await made(cls), cls)


FILES = {
    "far_engines.py": "class Engine: ...\nclass Wheel: ...\n",
    "far_vehicles.py": """
from __future__ import annotations
import dataclasses, attrs
from typing import TYPE_CHECKING, ClassVar
from far_engines import Engine
if TYPE_CHECKING:
    from nowhere import Nothing

@dataclasses.dataclass
class Vehicle:
    engine: Engine
    unread: ClassVar[Nothing] = None
    spare: Nothing = dataclasses.field(init=False, default=None)

@attrs.define
class Cart:
    engine: Engine

class Plain:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
""",
    "far_cars.py": """
import dataclasses, attrs, far_vehicles
class Engine: ...

@dataclasses.dataclass
class Car(far_vehicles.Vehicle):
    wheels: int = 4

@attrs.define
class Wagon(far_vehicles.Cart):
    wheels: int = 4

class Bus(far_vehicles.Plain): ...
class Tram(far_vehicles.Vehicle): ...
""",
}


@pytest.fixture
def cars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Classes whose bases stand in another Python module, with annotations as text."""
    for name, text in FILES.items():
        tmp_path.joinpath(name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("far_cars")
    for name in FILES:
        del sys.modules[name.removesuffix(".py")]


@pytest.mark.parametrize("name", ["Car", "Wagon", "Bus", "Tram"])
async def test_annotations_are_read_where_they_stand(cars: Any, name: str) -> None:
    """A name in a base class means what it means there, also if the derived class's module has another of that name."""
    engine = sys.modules["far_engines"].Engine()
    assert (await made(getattr(cars, name), engine)).engine is engine
