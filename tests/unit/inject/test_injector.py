import asyncio
import inspect
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Optional, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.errors import ConfigurationError, LocalError
from meshcore.core.marks import MISSING
from meshcore.declare.injection import (
    SCOPES,
    create,
    inject_service,
    inject_value,
    injectable,
    module,
    on_destroy,
    on_init,
)
from meshcore.declare.services import Service, implementation
from meshcore.inject.graph import Graph
from meshcore.inject.injector import Injector
from meshcore.inject.modules import describe_modules, recipes_of_modules
from meshcore.inject.recipes import recipe_of_class, recipe_of_object

T = TypeVar("T")


class Values:
    def __init__(self, **values: object) -> None:
        self.values = values

    def lookup(self, key: str) -> object:
        return self.values.get(key, MISSING)


class Services:
    """Every abstract service can be called."""

    def is_service(self, kind: type) -> bool:
        return Service in kind.__mro__ and bool(getattr(kind, "__abstractmethods__", ()))

    def why_not(self, kind: type, preferred_channel: str) -> str:
        return ""


def make_proxy(kind: type, preferred_channel: str) -> object:
    """Something that tells what was asked for."""
    return f"{kind.__name__} by {preferred_channel or 'any'}"


class Greeting(Service, ABC):
    @abstractmethod
    async def hello(self) -> str: ...


def graph_of(*classes: type, **options: Any) -> Graph:
    """The graph of some classes."""
    return Graph([recipe_of_class(cls) for cls in classes], **options)


def graph_of_module(*modules: type, **options: Any) -> Graph:
    """The graph of modules."""
    return Graph(recipes_of_modules(describe_modules(*modules)), **options)


def of(*classes: type, **options: Any) -> Injector:
    """An injector for some classes."""
    return Injector(graph_of(*classes, **options), make_proxy)


# --- What is injected -------------------------------------------------------------------------------------------------


async def test_arguments_come_by_type_whatever_their_kind_of_parameter():
    """A constructor gets what its annotations name, by position or by name, and what it inherits counts."""

    class A: ...

    class B:
        def __init__(self, a: A, /, again: A, *rest: int, named: A, **more: int) -> None:
            self.found = (a, again, named, rest, more)

    class C(B): ...

    async with of(C, A) as injector:
        a = await injector.get(A)
        assert (await injector.get(C)).found == (a, a, a, (), {})


async def test_dataclasses_structs_and_protocols_have_constructors_too():
    """Where a constructor is written does not matter: by hand, generated, in C, or behind a protocol."""

    class A: ...

    @dataclass(frozen=True)
    class Data:
        a: A
        size: int = 3

    class Packed(msgspec.Struct):
        a: A

    class Base:
        def __init__(self, a: A) -> None:
            self.a = a

    class Impl(Greeting, Base):
        async def hello(self) -> str:
            return "hello"

    class Failure(Exception): ...

    async with of(Data, Packed, Impl, Failure, A) as injector:
        a = await injector.get(A)
        for cls in (Data, Packed, Impl):
            assert (await injector.get(cls)).a is a
        assert (await injector.get(Data)).size == 3


async def test_models_of_pydantic_are_injected_as_any_class():
    """Settings of pydantic are such models; whatever else their base keeps among its members is let alone."""

    @injectable()
    class Conf(pydantic.BaseModel):
        host: str = "localhost"
        begun: bool = False

        @on_init
        def begin(self) -> None:
            self.begun = True

    class Made(pydantic.BaseModel):
        port: int

    @module(provides=[Conf])
    class Module:
        @create()
        def made(self, conf: Conf) -> Made:
            return Made(port=len(conf.host))

    async with Injector(graph_of_module(Module)) as injector:
        assert await injector.get(Conf) == Conf(begun=True)
        assert await injector.get(Made) == Made(port=9)


async def test_a_product_is_found_under_its_bases():
    """A class provides its bases, also generic ones by their alias."""

    class Item: ...

    class Store(ABC, Generic[T]): ...

    class ItemStore(Store[Item]): ...

    class User:
        def __init__(self, store: Store[Item], same: Store) -> None:  # type: ignore[type-arg]
            self.found = (store, same)

    async with of(User, ItemStore) as injector:
        assert (await injector.get(User)).found == (await injector.get(ItemStore),) * 2


async def test_the_recipe_of_exactly_the_type_outdoes_those_of_subclasses():
    """Asking for a class that is injectable itself is no ambiguity."""

    class A: ...

    class B(A): ...

    async with of(B, A) as injector:
        assert type(await injector.get(A)) is A
        assert [type(each) for each in injector.get_all(A)] == [B, A]


async def test_what_nothing_provides_may_have_a_default_or_be_none():
    """A default is used, and Optional is None, when nothing provides the type; a default wins over None."""

    class Absent: ...

    class User:
        def __init__(
            self,
            a: Absent | None,
            b: Optional[Absent],  # noqa: UP045 - the old spelling has to work
            c: Absent | int | None = 1,
            d: Absent | None = 2,  # type: ignore[assignment]
            e=3,
        ) -> None:
            self.found = (a, b, c, d, e)

    class Present:
        def __init__(self, user: User | None) -> None:
            self.user = user

    async with of(User, Present) as injector:
        user = await injector.get(User)
        assert user.found == (None, None, 1, 2, 3)
        assert (await injector.get(Present)).user is user


async def test_values_are_converted_to_the_declared_type():
    """Text of the settings becomes what the annotation says, in constructors, setters and @create methods."""

    class A:
        def __init__(
            self,
            port: Annotated[int, inject_value("port")],
            path: Annotated[Path, inject_value("path")],
            none: Annotated[int | None, inject_value("absent")],
            fallback: Annotated[int, inject_value("absent")] = 7,
            given: Annotated[list[str], inject_value("absent", default=["x"])] = [],  # noqa: B006
        ) -> None:
            self.found = (port, path, none, fallback, given)

        @inject_value("flag")
        def set_flag(self, flag: bool) -> None:  # noqa: FBT001
            self.flag = flag

    @module(provides=[A])
    class Module:
        @create()
        def number(self, number: Annotated[float, inject_value("port")]) -> float:
            return number

    values = Values(port="80", path="/tmp/x", flag="true")
    async with Injector(graph_of_module(Module, values=values)) as injector:
        a = await injector.get(A)
        assert a.found == (80, Path("/tmp/x"), None, 7, ["x"])
        assert a.flag is True
        assert await injector.get(float) == 80.0


async def test_services_are_proxies_even_when_implemented_here():
    """A service's type is answered by the service source; its implementation is reached by its recipe."""

    @implementation()
    class GreetingImpl(Greeting):
        async def hello(self) -> str:
            return "hello"

    class User:
        def __init__(
            self, plain: Greeting, rest: Annotated[Greeting, inject_service(preferred_channel="rest")]
        ) -> None:
            self.found = [plain, rest]

        @inject_service("local")
        def set_greeting(self, greeting: Greeting) -> None:
            self.found.append(greeting)

    async with of(User, GreetingImpl, services=Services()) as injector:
        assert (await injector.get(User)).found == ["Greeting by any", "Greeting by rest", "Greeting by local"]
        assert await injector.get(Greeting) == "Greeting by any"
        (recipe,) = injector.providers(Greeting)
        assert type(await injector.instance(recipe)) is GreetingImpl


async def test_a_module_brings_its_python_module_and_its_imports():
    """Marked classes of the module's file, what it provides by name, @create methods and imports; each once."""
    file = types.ModuleType("shop_for_the_test")
    source = """
from elsewhere_for_the_test import Foreign

@injectable()
class Marked: ...
class Unmarked: ...
Alias = Marked

@module()
class Base: ...
@module(imports=[Base], provides=[Foreign])
class Left: ...
@module(imports=[Base])
class Right: ...
@module(imports=[Left, Right], components=[Unmarked])
class Top:
    @create()
    def text(self) -> str:
        return "made"
"""
    elsewhere = types.ModuleType("elsewhere_for_the_test")
    for each in (file, elsewhere):
        vars(each).update(injectable=injectable, module=module, create=create)
    exec("@injectable()\nclass Foreign: ...", elsewhere.__dict__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, elsewhere.__name__, elsewhere)
        patch.setitem(sys.modules, file.__name__, file)
        exec(source, file.__dict__)
        top = file.__dict__["Top"]
        described = describe_modules(top)
        assert [each.cls.__name__ for each in described] == ["Base", "Left", "Right", "Top"]
        recipes = recipes_of_modules(described)
    assert [recipe.origin for recipe in recipes] == ["Marked", "Base", "Foreign", "Left", "Right", "Top", "Top.text"]
    async with Injector(Graph(recipes)) as injector:
        assert await injector.get(str) == "made"


async def test_modules_may_import_each_other():
    """An import says only that the other module is wanted too."""

    @module()
    class A: ...

    @module(imports=[A])
    class B: ...

    A.__meshcore_marks__ = module(imports=[B])(type("A", (), {})).__meshcore_marks__  # type: ignore[attr-defined]
    assert {each.cls for each in describe_modules(A)} == {A, B}


# --- Lifetimes --------------------------------------------------------------------------------------------------------


async def test_all_four_kinds_of_create_methods_make_and_clean_up():
    """What follows yield is the clean-up, in reverse; the key is what is yielded."""
    events = []

    class A: ...

    class B: ...

    class C: ...

    class D: ...

    @module()
    class Module:
        @create()
        def a(self) -> A:
            return A()

        @create()
        async def b(self, a: A) -> B:
            return B()

        @create()
        def c(self, b: B) -> Iterator[C]:
            events.append("open c")
            yield C()
            events.append("close c")

        @create()
        async def d(self, c: C) -> AsyncIterator[D]:
            events.append("open d")
            yield D()
            await anyio.lowlevel.checkpoint()
            events.append("close d")

    async with Injector(graph_of_module(Module)) as injector:
        for cls in (A, B, C, D):
            assert type(await injector.get(cls)) is cls
        assert events == ["open c", "open d"]
    assert events == ["open c", "open d", "close d", "close c"]


async def test_hooks_run_from_the_base_up_and_are_undone_the_other_way():
    """Setters run first, then on_init, base classes first; on_destroy in reverse; an override is called once."""
    events = []

    class Base:
        @on_init
        def begin(self) -> None:
            events.append("base begin")

        @on_init()
        async def both(self) -> None:
            events.append("never")

        @on_destroy
        async def end(self) -> None:
            events.append("base end")

    class A(Base):
        @inject_value("key", default=1)
        async def set_value(self, value: int) -> None:
            events.append("set")

        @on_init()
        async def begin_too(self) -> None:
            events.append("begin")

        async def both(self) -> None:
            events.append("both")

        @on_destroy()
        def end_too(self) -> None:
            events.append("end")

    async with of(A):
        assert events == ["set", "base begin", "both", "begin"]
        events.clear()
    assert events == ["end", "base end"]


async def test_hooks_apply_to_what_create_methods_return_but_not_to_what_they_hand_on():
    """The product's own class counts, and an argument that is returned under another type is not finished twice."""
    events = []

    class Base: ...

    class Port: ...

    class A(Base, Port):
        @on_init
        def begin(self) -> None:
            events.append("begin")

        @on_destroy
        def end(self) -> None:
            events.append("end")

    class Other(Base): ...

    @module()
    class Module:
        @create()
        def a(self) -> A:
            return A()

        @create()
        def base(self, a: A) -> Base:
            return a

        @create()
        def port(self, *, a: A) -> Port:
            return a

    async with Injector(graph_of_module(Module)) as injector:
        assert await injector.get(Base) is await injector.get(Port) is await injector.get(A)
        assert injector.get_all(A) == [await injector.get(A)]
    assert events == ["begin", "end"]

    @module()
    class Hidden:
        @create()
        def base(self) -> Base:
            return A()

    events.clear()
    async with Injector(graph_of_module(Hidden)):
        assert events == ["begin"]


async def test_scopes():
    """A singleton is one, a transient is new each time, and a request has its own; a request's end cleans it up."""
    closed = []

    @injectable(scope="transient")
    class T0: ...

    @injectable(scope="request")
    class R:
        def __init__(self, t: T0, single: "S") -> None:
            self.single = single

        @on_destroy
        def close(self) -> None:
            closed.append(self)

    class S: ...

    R.__init__.__annotations__["single"] = S
    async with of(R, T0, S) as injector:
        assert await injector.get(S) is await injector.get(S)
        assert await injector.get(T0) is not await injector.get(T0)
        async with injector.request() as one, injector.request() as two:
            r = await one.get(R)
            assert r is await one.get(R)
            assert r is not await two.get(R)
            assert r.single is await injector.get(S)
        assert len(closed) == 2
        with pytest.raises(LocalError, match="R lives in a request"):
            await injector.get(R)
        with pytest.raises(LocalError, match="RequestScope is not open"):
            await one.get(R)


async def test_concurrent_callers_share_one_construction_in_a_request():
    """Whoever comes while an object is being made waits for that one, even if what was made is None."""
    made = []
    go, begun = asyncio.Event(), asyncio.Event()

    class A: ...

    @module()
    class Module:
        @create(scope="request")
        async def a(self) -> A:
            made.append(1)
            begun.set()
            await go.wait()
            return None  # type: ignore[return-value]

    async with Injector(graph_of_module(Module)) as injector, injector.request() as scope:
        async with asyncio.TaskGroup() as tasks:
            found = [tasks.create_task(scope.get(A)) for _ in range(5)]
            await begun.wait()
            go.set()
        assert made == [1]
        assert [each.result() for each in found] == [None] * 5


async def test_a_caller_that_is_cancelled_leaves_the_construction_to_the_next():
    """Cancelling the task that makes an object does not fail those that wait for it."""
    made = []
    go, begun = asyncio.Event(), asyncio.Event()

    class A: ...

    @module()
    class Module:
        @create(scope="request")
        async def a(self) -> A:
            made.append(1)
            begun.set()
            await go.wait()
            return A()

    async with Injector(graph_of_module(Module)) as injector, injector.request() as scope:
        first = asyncio.create_task(scope.get(A))
        await begun.wait()
        second = asyncio.create_task(scope.get(A))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert type(await second) is A
        assert len(made) == 2


async def test_a_failing_construction_cleans_up_and_says_what_was_made():
    """What was made before is cleaned up, and the error is the original one with a note."""
    events = []

    class A:
        @on_destroy
        def close(self) -> None:
            events.append("a")

    class B:
        def __init__(self, a: A) -> None:
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk") as caught:
        async with of(A, B):
            pytest.fail("never entered")
    assert events == ["a"]
    assert caught.value.__notes__ == ["while the injector made B"]


async def test_failing_clean_ups_do_not_stop_the_rest(caplog):
    """All clean-ups run; what failed is logged with its traceback and raised together."""
    events = []

    class A:
        @on_destroy
        def close(self) -> None:
            events.append("a")
            raise ValueError("a")

    class B:
        def __init__(self, a: A) -> None: ...

        @on_destroy
        async def close(self) -> None:
            events.append("b")
            raise OSError("b")

    with pytest.raises(ExceptionGroup) as caught:
        async with of(A, B):
            pass
    assert events == ["b", "a"]
    assert [type(each) for each in caught.value.exceptions] == [OSError, ValueError]
    assert [record.message for record in caplog.records] == [
        "clean-up of B.close failed",
        "clean-up of A.close failed",
    ]
    assert all(record.exc_info for record in caplog.records)


async def test_an_error_of_the_block_is_not_hidden_by_its_clean_up():
    """When the block fails, failing clean-ups are only logged."""

    class A:
        @on_destroy
        def close(self) -> None:
            raise ValueError("a")

    with pytest.raises(KeyError):
        async with of(A):
            raise KeyError("the block's")


async def test_a_cancelled_block_is_still_cleaned_up():
    """Clean-up may await although its scope is cancelled, and the cancellation goes on afterwards."""
    events = []

    class A:
        @on_destroy
        async def close(self) -> None:
            await anyio.lowlevel.checkpoint()
            events.append("closed")

    with anyio.CancelScope() as scope:
        async with of(A):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert events == ["closed"]


async def test_a_task_cancelled_during_clean_up_finishes_it_and_stays_cancelled():
    """The interrupted clean-up is lost, the others run, and CancelledError comes out."""
    events = []
    waiting = asyncio.Event()

    class A:
        @on_destroy
        async def close(self) -> None:
            await anyio.lowlevel.checkpoint()
            events.append("a")

    class B:
        def __init__(self, a: A) -> None: ...

        @on_destroy
        async def close(self) -> None:
            waiting.set()
            await asyncio.Event().wait()

    async def run() -> None:
        async with of(A, B):
            pass

    task = asyncio.create_task(run())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["a"]


async def test_clean_up_is_bounded():
    """A clean-up that hangs is given up after the grace, and the plain ones after it still run."""
    events = []

    class A:
        @on_destroy
        def close(self) -> None:
            events.append("a")

    class B:
        def __init__(self, a: A) -> None: ...

        @on_destroy
        async def close(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        async with Injector(graph_of(A, B), grace=0.01):
            pass
    assert [str(each) for each in caught.value.exceptions] == ["clean-up took longer than 0.01 s"]
    assert events == ["a"]


async def use(injector: Injector, kind: type, error: BaseException | None = None) -> None:
    """A request that makes something, and fails if it is told to."""
    async with injector.request() as scope:
        await scope.get(kind)
        if error is not None:
            raise error


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("error", [None, ValueError("no such account"), asyncio.CancelledError()])
async def test_generators_of_a_request_are_left_with_its_error(kind, error):
    """They can tell success from failure and cancellation, so that half done work is not committed."""
    events = []

    class Session: ...

    @contextmanager
    def transaction() -> Iterator[None]:
        try:
            yield
        except BaseException as failed:
            events.append(failed)
            raise
        events.append("commit")

    @module()
    class Sync:
        @create(scope="request")
        def session(self) -> Iterator[Session]:
            with transaction():
                yield Session()

    @module()
    class Async:
        @create(scope="request")
        async def session(self) -> AsyncIterator[Session]:
            with transaction():
                yield Session()

    async with Injector(graph_of_module(Sync if kind == "sync" else Async)) as injector:
        if error is None:
            await use(injector, Session)
        else:
            with pytest.raises(type(error)) as caught:
                await use(injector, Session, error)
            assert caught.value is error
    assert events == [error or "commit"]


async def test_what_a_generator_makes_of_an_error_changes_nothing(caplog):
    """One that swallows the error, and one that raises another, are left in reverse order; the error goes on."""
    events = []

    class A: ...

    class B: ...

    class C: ...

    @module()
    class Module:
        @create(scope="request")
        async def a(self) -> AsyncIterator[A]:
            try:
                yield A()
            except KeyError as error:
                await anyio.lowlevel.checkpoint()
                events.append(f"a: {error}")

        @create(scope="request")
        def b(self, a: A) -> Iterator[B]:
            try:
                yield B()
            except KeyError as error:
                events.append(f"b: {error}")
                raise OSError("no rollback") from error

        @create(scope="request")
        def c(self, b: B) -> Iterator[C]:
            try:
                yield C()
            except KeyError as error:
                events.append(f"c: {error}")

    async with Injector(graph_of_module(Module)) as injector:
        with pytest.raises(KeyError, match="mine"):
            await use(injector, C, KeyError("mine"))
    assert events == ["c: 'mine'", "b: 'mine'", "a: 'mine'"]
    assert [record.message for record in caplog.records] == ["clean-up of Module.b failed"]


async def test_a_failing_clean_up_of_a_request_is_the_error_of_what_is_left_after_it():
    """The request fails by it, so a session that was there before must not commit."""
    events = []

    class Session: ...

    @injectable(scope="request")
    class Outbox:
        def __init__(self, session: Session) -> None: ...

        @on_destroy
        def flush(self) -> None:
            raise OSError("no broker")

    @module(provides=[Outbox])
    class Module:
        @create(scope="request")
        def session(self) -> Iterator[Session]:
            try:
                yield Session()
            except OSError:
                events.append("rollback")
                raise
            events.append("commit")

    async with Injector(graph_of_module(Module)) as injector:
        with pytest.raises(ExceptionGroup) as caught:
            await use(injector, Outbox)
    assert events == ["rollback"]
    assert [str(each) for each in caught.value.exceptions] == ["no broker"]


async def test_a_rollback_is_bounded_as_any_clean_up():
    """One that hangs is given up after the grace; what is left after it knows that it is an error."""
    events = []

    class A: ...

    class B: ...

    @module()
    class Module:
        @create(scope="request")
        def a(self) -> Iterator[A]:
            try:
                yield A()
            except KeyError:
                events.append("a")

        @create(scope="request")
        async def b(self, a: A) -> AsyncIterator[B]:
            try:
                yield B()
            finally:
                await asyncio.Event().wait()

    async with Injector(graph_of_module(Module), grace=0.01) as injector:
        with pytest.raises(KeyError, match="mine"):
            await use(injector, B, KeyError("mine"))
    assert events == ["a"]


async def test_generators_of_singletons_do_not_see_the_error_of_the_block():
    """It is the application's, not that of what the singleton did."""
    events = []

    class A: ...

    @module()
    class Module:
        @create()
        def a(self) -> Iterator[A]:
            yield A()
            events.append("closed")

    with pytest.raises(KeyError):
        async with Injector(graph_of_module(Module)):
            raise KeyError("the block's")
    assert events == ["closed"]


async def test_an_injector_may_be_used_again_but_not_outside():
    """Entering anew makes anew; outside of the block nothing is handed out."""

    class A: ...

    injector = of(A)
    found = []
    for _ in range(2):
        with pytest.raises(LocalError, match="Injector is not open"):
            await injector.get(A)
        async with injector:
            found.append(await injector.get(A))
    assert found[0] is not found[1]


async def test_make_gives_new_instances_until_the_injector_ends():
    """Each is injected; all are cleaned up with the injector; what cannot be made says why."""
    closed = []

    class A: ...

    class Made:
        def __init__(self, a: A) -> None:
            self.a = a

        @on_destroy
        def close(self) -> None:
            closed.append(self)

    class Broken:
        def __init__(self, made: Made) -> None: ...

    async with of(A) as injector:
        one, two = await injector.make(Made), await injector.make(Made)
        assert one is not two
        assert one.a is two.a is await injector.get(A)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="nothing provides Made"):
                await injector.make(Broken)
    assert closed == [two, one]


async def test_overrides_take_the_place_of_everything_that_provides_their_type():
    """An object, a class or a function stands in; the real one is not made; a service's proxy gives way too."""

    class Stock: ...

    class RealStock(Stock):
        def __init__(self) -> None:
            pytest.fail("made although overridden")

    class FakeStock(Stock): ...

    class User:
        def __init__(self, stock: Stock) -> None:
            self.stock = stock

        @inject_service()
        def set_greeting(self, greeting: Greeting) -> None:
            self.greeting = greeting

    class Hello:
        def __init__(self, stock: Stock) -> None:
            self.stock = stock

    fake = FakeStock()
    closed = []

    def yielding() -> Iterator[object]:
        yield fake
        closed.append("closed")

    for override in (fake, FakeStock, lambda: fake, yielding):
        overrides = {Stock: override, Greeting: Hello}
        async with of(User, RealStock, overrides=overrides, services=Services()) as injector:
            user = await injector.get(User)
            assert isinstance(user.stock, FakeStock)
            assert isinstance(await injector.get(Greeting), Hello)
            assert isinstance(user.greeting, Hello)
            assert user.greeting.stock is user.stock
    assert closed == ["closed"]


async def test_an_object_can_be_a_recipe():
    """The mesh gives out what it made itself, under its own class and under others."""

    class Base: ...

    class Port(Base): ...

    port = Port()
    async with Injector(Graph([recipe_of_object(port)])) as injector:
        assert await injector.get(Base) is await injector.get(Port) is port


# --- Problems ---------------------------------------------------------------------------------------------------------


def test_every_problem_is_reported_with_its_path():
    """One report names everything that cannot work, where it is and what to do."""

    class ClientSession: ...

    class StockClient:
        def __init__(self, session: ClientSession, port: Annotated[int, inject_value("port")]) -> None: ...

    class Orders:
        def __init__(self, stock: StockClient, untyped, name: str) -> None: ...

        @inject_value("absent")
        def set_rate(self, rate: float) -> None: ...

        @inject_value("absent")
        def set_two(self, a: int, b: int) -> None: ...

        @on_init
        def begin(self, a: int) -> None: ...

    @injectable(scope="sinlgeton")  # type: ignore[arg-type]
    class Typo: ...

    class Abstract(ABC):
        @abstractmethod
        def work(self) -> None: ...

    advice = "add @injectable to it, or a @create method to a module"
    assert graph_of(StockClient, Orders, Typo, Abstract, values=Values(port="x")).problems == [
        "Orders.set_two: has to take exactly one parameter, the one to inject",
        "Orders.begin: is called without arguments, it cannot take any",
        "Orders.set_rate(rate): no setting gives 'absent'; set it, or give inject_value a default",
        f"Orders(stock) > StockClient(session): nothing provides ClientSession; {advice}",
        "Orders(stock) > StockClient(port): the setting 'port' does not fit: Expected `int`, got `str`",
        "Orders(untyped): has neither an annotation nor a default",
        'Orders(name): nothing provides str; for a setting write Annotated[str, inject_value("...")]',
        "Typo: there is no scope 'sinlgeton'; did you mean 'singleton'?",
        "Abstract: is abstract, it has no instances; implement work",
    ]


def test_hints_for_what_is_missing():
    """A base that is provided, a similar name, or a namesake is pointed at."""

    class Registry: ...

    class ConsulRegistry(Registry): ...

    class Sessions: ...

    namesake = type("Sessions", (), {"__module__": "other"})
    similar = type("Session", (), {})

    class User:
        def __init__(self, a: ConsulRegistry, b: namesake, c: similar) -> None: ...  # type: ignore[valid-type]

    @module(provides=[User, Sessions])
    class Module:
        @create()
        def registry(self) -> Registry:
            return ConsulRegistry()

    first, second, third = graph_of_module(Module).problems
    assert first.endswith("; Module.registry provides only Registry")
    assert second.endswith(f"; {__name__}.{Sessions.__qualname__} is another class")
    assert third.endswith("; did you mean Sessions?")


def test_ambiguity_names_all():
    """When several recipes provide a type, all of them are named."""

    class Base: ...

    class One(Base): ...

    class Two(Base): ...

    class User:
        def __init__(self, base: Base | None = None) -> None: ...

    (problem,) = graph_of(User, One, Two).problems
    assert "User(base): several provide Base" in problem
    assert "<locals>.One, " in problem
    assert problem.endswith("<locals>.Two")


def test_cycles_are_shown():
    """The path of a cycle is shown once, from where it closes."""

    class A: ...

    class B:
        def __init__(self, a: A) -> None: ...

    class Root:
        def __init__(self, b: B) -> None: ...

    class Narcissus:
        def __init__(self, me: object) -> None: ...

    def init(self, b: B) -> None: ...

    A.__init__ = init  # type: ignore[method-assign,assignment]
    Narcissus.__init__.__annotations__["me"] = Narcissus
    assert graph_of(A, B, Root, Narcissus).problems == [
        "B(a) > A(b) > B: a cycle; nothing in it can be made first",
        "Narcissus(me) > Narcissus: a cycle; nothing in it can be made first",
    ]


def test_scope_leaks_are_found_through_transients():
    """A singleton cannot hold what lives in a request, directly or through a transient."""

    @injectable(scope="request")
    class R: ...

    @injectable(scope="transient")
    class T1:
        def __init__(self, r: R) -> None: ...

    class S:
        def __init__(self, t: T1) -> None: ...

    class Fine:
        def __init__(self, s: S) -> None: ...

    assert graph_of(S, T1, R, Fine).problems == [
        'Fine(s) > S(t) > T1(r) > R: lives for one request only, but S is a singleton; give S the scope "request"',
    ]


def test_create_methods_have_to_say_what_they_make():
    """A missing, optional or unfit return annotation is a problem, and so is an annotation that cannot be evaluated."""

    @module()
    class Module:
        @create()
        def nothing(self): ...

        @create()
        def maybe(self) -> int | None: ...

        @create()
        def one(self) -> str:
            yield "not an iterator"

        @create()
        def unknown(self) -> "Unknown": ...  # noqa: F821

        @create()
        @staticmethod
        def static() -> float: ...

    class NoModule: ...

    problems = graph_of_module(Module, NoModule).problems
    reason = "name 'Unknown' is not defined; import it outside of TYPE_CHECKING"
    form = "as its return annotation, which says what it provides; None is not provided"
    assert sorted(problems) == [
        f"Module.maybe: needs a type {form}",
        f"Module.nothing: needs a type {form}",
        f"Module.one: needs Iterator[T] {form}",
        "Module.static: only a plain method can have this decorator",
        f"Module.unknown: the annotations of {Module.unknown.__qualname__} cannot be evaluated: {reason}",
        "NoModule: is used as a module, but is not decorated with @module",
    ]


def test_marks_have_to_agree_and_services_to_be_services():
    """Two scopes on one class, a protocol, and @inject_service for something else are problems."""

    @injectable(scope="request")
    @implementation()
    class Both: ...

    class A: ...

    class User:
        @inject_service()
        def set_a(self, a: A) -> None: ...

    assert graph_of(Both, A, User, Service).problems == [
        "Both: its decorators name several scopes: request, singleton",
        "User.set_a(a): A is no service",
        "Service: is a protocol, which has no instances; inject a class that implements it",
    ]


async def test_an_injector_with_problems_does_not_start():
    """Entering raises all problems, before anything is made."""

    class A:
        def __init__(self) -> None:
            pytest.fail("made although there are problems")

    class B:
        def __init__(self, x: str, y: int) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        async with of(A, B):
            pytest.fail("never entered")
    assert len(caught.value.problems) == 2


async def test_get_says_what_is_missing():
    """A type that nothing provides is an error that says what to do, also at run time."""

    class A: ...

    async with of() as injector:
        with pytest.raises(ConfigurationError, match="cannot get A: nothing provides A; add @injectable"):
            await injector.get(A)


# --- Any graph --------------------------------------------------------------------------------------------------------

Node = tuple[str, list[int], bool]
"""Scope, the numbers of the nodes it needs, and whether its clean-up fails."""


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Nodes that need only earlier ones, and no singleton that needs what lives in a request."""
    nodes: list[Node] = []
    leaks: list[bool] = []
    for number in range(draw(st.integers(1, 12))):
        scope = draw(st.sampled_from(SCOPES))
        allowed = [each for each in range(number) if scope != "singleton" or not leaks[each]]
        needs = draw(st.lists(st.sampled_from(allowed), unique=True, max_size=4)) if allowed else []
        nodes.append((scope, needs, draw(st.booleans())))
        leaks.append(scope == "request" or (scope == "transient" and any(leaks[each] for each in needs)))
    return nodes


def classes_of(nodes: list[Node], events: list[tuple[str, object]]) -> list[type]:
    """A class for each node, that says when it is made, when it is cleaned up, and checks that its needs are there."""
    classes: list[type] = [type(f"N{number}", (), {}) for number in range(len(nodes))]
    for cls, (scope, needs, fails) in zip(classes, nodes, strict=True):

        def init(self, **needed: object) -> None:
            assert all(("made", each) in events for each in needed.values())
            events.append(("made", self))

        def close(self) -> None:
            events.append(("closed", self))
            if self.fails:
                raise ValueError(type(self).__name__)

        names = {f"p{need}": classes[need] for need in needs}
        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        init.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
        init.__annotations__ = names
        cls.__init__ = init  # type: ignore[misc]
        cls.close = on_destroy(close)  # type: ignore[attr-defined]
        cls.fails = fails  # type: ignore[attr-defined]
        injectable(scope)(cls)  # type: ignore[arg-type]
    return classes


async def live(classes: list[type], order: list[int], events: list[tuple[str, object]]) -> None:
    """Start, ask for everything in one request, stop; clean-ups fail exactly where they should."""
    failed: list[str] = []
    with collecting(failed):
        async with of(*(classes[each] for each in order)) as injector:
            started = len(events)
            with collecting(failed):
                async with injector.request() as scope, asyncio.TaskGroup() as tasks:
                    for cls in classes:
                        tasks.create_task(scope.get(cls))
            made_outside = {id(each) for each in injector.get_all(object)}
            request = [event for event in events[started:] if id(event[1]) not in made_outside]
            check_reverse(request)
    check_reverse([event for event in events if event not in request])
    assert sorted(failed) == sorted(type(each).__name__ for what, each in events if what == "closed" and each.fails)


@contextmanager
def collecting(failed: list[str]) -> Iterator[None]:
    """Collects which clean-ups failed."""
    try:
        yield
    except* ValueError as group:
        failed += [each.args[0] for each in group.exceptions]


def check_reverse(events: list[tuple[str, object]]) -> None:
    """Whether clean-up is the reverse of construction."""
    made = [each for what, each in events if what == "made"]
    assert [each for what, each in events if what == "closed"] == made[::-1]


@given(graphs(), st.randoms())
def test_any_graph_is_made_in_order_and_cleaned_up_in_reverse(nodes, chance):
    """Every singleton is made once, after what it needs; clean-up is the exact reverse, whatever of it fails."""
    events: list[tuple[str, object]] = []
    classes = classes_of(nodes, events)
    order = list(range(len(nodes)))
    chance.shuffle(order)
    asyncio.run(live(classes, order, events))
    made = [type(each) for what, each in events if what == "made"]
    closed = [each for what, each in events if what == "closed"]
    assert len(closed) == len(made)
    for cls, (scope, _, _) in zip(classes, nodes, strict=True):
        if scope != "transient":
            assert made.count(cls) == 1


@given(graphs(), st.data())
def test_any_cycle_is_reported(nodes, data):
    """One edge back to a node that leads here is a problem that names both ends, and nothing is made."""
    events: list[tuple[str, object]] = []
    start = data.draw(st.integers(0, len(nodes) - 1))
    reached = {start}
    for number in range(start, -1, -1):
        if number in reached:
            reached.update(nodes[number][1])
    end = data.draw(st.sampled_from(sorted(reached)))
    nodes[end][1].append(start)
    problems = graph_of(*classes_of(nodes, events)).problems
    cycles = [problem for problem in problems if problem.endswith(": a cycle; nothing in it can be made first")]
    assert any(f"N{end}(p{start}) > N{start}" in problem for problem in cycles)
    assert not events
