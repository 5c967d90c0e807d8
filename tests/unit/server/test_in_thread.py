"""`@in_thread`: a `def` that implements an `async def`, typed as one, and run in the worker threads of the mesh."""

from __future__ import annotations

import functools
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from meshcore import (
    AbstractComponent,
    Component,
    ConfigurationError,
    Invocation,
    Mesh,
    Service,
    Settings,
    advice,
    around,
    component,
    current_call,
    describe,
    implementation,
    in_thread,
    methods,
    module,
    service,
)
from meshcore.testing import memory_mesh


def place() -> str:
    """Which kind of thread runs this."""
    return threading.current_thread().name.rpartition("_")[0]


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the user's."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return f"traced {await function(*args, **kwargs)}"

    return wrapper


@service()
class Places(Service):
    @abstractmethod
    async def where(self, name: str, *, times: int = 1) -> str: ...

    async def called(self) -> str: ...  # type: ignore[empty-body]

    async def both(self) -> list[str]: ...  # type: ignore[empty-body]

    async def decorated(self) -> str: ...  # type: ignore[empty-body]


@service()
class Scoped(Service):
    async def where(self) -> str: ...  # type: ignore[empty-body]


@service()
class Advised(Service):
    async def where(self) -> str: ...  # type: ignore[empty-body]


@component(services=[Places, Scoped, Advised])
class PlacesComponent(Component): ...


@implementation()
class PlacesImpl(Places):
    @in_thread
    def where(self, name: str, *, times: int = 1) -> str:
        return f"{name * times} in {place()}"

    @in_thread()
    def called(self) -> str:
        return str(current_call().method)

    async def both(self) -> list[str]:
        return [place(), (await self.where("own"))[:6]]

    @traced
    @in_thread
    def decorated(self) -> str:
        return "in a thread" if threading.current_thread() is not threading.main_thread() else "on the loop"


@implementation("request")
class ScopedImpl(Scoped):
    @in_thread
    def where(self) -> str:
        return place()


@implementation()
class AdvisedImpl(Advised):
    @in_thread
    def where(self) -> str:
        return "in a thread" if threading.current_thread() is not threading.main_thread() else "on the loop"


@advice
class Advice:
    @around(methods().named("where").of_type(AdvisedImpl))
    async def around_it(self, invocation: Invocation) -> object:
        return f"advised {await invocation.proceed()}"


@implementation()
class PlacesComponentImpl(AbstractComponent, PlacesComponent): ...


@module()
class PlacesModule: ...


@pytest.mark.parametrize("local", [True, False], ids=["local", "over a channel"])
async def test_it_runs_in_the_threads_of_the_mesh(local: bool) -> None:  # noqa: FBT001
    """For a call it is like any `def` implementation, also in a request; other code awaits it."""
    mesh = Mesh(PlacesModule, settings=Settings(registry="local:")) if local else memory_mesh(PlacesModule)
    async with mesh as running:
        places = await running.get_service(Places)
        assert await places.where("a", times=2) == "aa in meshcore-worker-0"
        assert await places.called() == "places.called"
        assert await places.both() == ["", "own in"]
        assert await places.decorated() == "traced in a thread"
        assert await (await running.get_service(Scoped)).where() == "meshcore-worker-0"
        assert await (await running.get_service(Advised)).where() == "advised in a thread"


def test_what_it_cannot_decorate() -> None:
    """A method that is async already, and what is no function."""

    async def already() -> None: ...

    for target in (already, property(lambda self: self), PlacesImpl):
        with pytest.raises(ConfigurationError, match="it decorates methods that are def, in an implementation"):
            in_thread(target)  # type: ignore[arg-type]


def test_an_interface_does_not_use_it() -> None:
    """Callers do not care where the implementation runs."""

    @service()
    class Wrong(Service):
        @in_thread
        @abstractmethod
        def ask(self) -> int: ...

    with pytest.raises(ConfigurationError) as refused:
        describe(Wrong)
    (problem,) = refused.value.problems
    assert problem.endswith("Wrong.ask: @in_thread belongs on the implementation; declare the method with async def")
