import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import anyio.lowlevel
import msgspec
import pytest

from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import add_mark, marks_of
from meshcore.declare.advice import Invocation, advice, around, methods
from meshcore.declare.injection import create, injectable, module, on_init
from meshcore.inject.graph import Graph
from meshcore.inject.injector import Injector
from meshcore.inject.modules import describe_modules, recipes_of_modules
from meshcore.inject.recipes import recipe_of_class


class Mark(msgspec.Struct, frozen=True):
    text: str


class Channel(ABC):
    selector = "round robin"

    def customize(self) -> None:
        self.customized = True

    def select_first_url(self) -> None:
        self.selector = "first"

    @abstractmethod
    async def invoke(self, call: str) -> str: ...


class HTTPChannel(Channel):
    def __init__(self) -> None:
        self.session: dict[str, Any] = {}

    def make_session(self, **options: Any) -> dict[str, Any]:
        """Make a session."""
        return {"timeout": 1, **options}

    @on_init
    def begin(self) -> None:
        self.session = self.make_session(trust=True)

    async def invoke(self, call: str) -> str:
        await anyio.lowlevel.checkpoint()
        return f"answer to {call}"


def graph_of(*classes: type) -> Graph:
    """The graph of some classes."""
    return Graph([recipe_of_class(cls) for cls in classes])


def graph_of_module(*modules: type) -> Graph:
    """The graph of modules."""
    return Graph(recipes_of_modules(describe_modules(*modules)))


def of(*classes: type) -> Injector:
    """An injector for some classes."""
    return Injector(graph_of(*classes))


async def test_an_advice_chooses_the_url_selector_of_channels():
    """The first use case: around `customize` of every channel that the injector makes."""

    @advice
    class ChannelAdvice:
        @around(methods().named("customize").of_type(Channel))
        def customize(self, invocation: Invocation) -> object:
            cast("Channel", invocation.args[0]).select_first_url()
            return invocation.proceed()

    async with of(ChannelAdvice) as injector:
        channel = await injector.make(HTTPChannel)
        channel.customize()
        assert channel.selector == "first"
        assert channel.customized


async def test_an_advice_adds_arguments_also_to_calls_from_inside():
    """The second use case: around `make_session`, which the channel calls itself; arguments are merged."""

    @advice()
    class ChannelAdvice:
        @around(methods().named("make_session").of_type(HTTPChannel))
        def make_session(self, invocation: Invocation) -> object:
            return invocation.proceed(middlewares=(self.add_token,))

        def add_token(self) -> str:
            return "token"

    async with of(ChannelAdvice) as injector:
        channel = await injector.make(HTTPChannel)
        (middleware,) = channel.session.pop("middlewares")
        assert middleware() == "token"
        assert channel.session == {"timeout": 1, "trust": True}


async def test_an_invocation_tells_all_about_the_call():
    """Instance, function and arguments are there; positional arguments replace those after the instance."""
    seen = []

    class A:
        def add(self, a: int, b: int = 0, *, c: int = 0) -> tuple[int, int, int]:
            return a, b, c

    @advice
    class Advice:
        @around(methods().of_type(A))
        def replace(self, invocation: Invocation) -> object:
            seen.append((invocation.instance, invocation.method, invocation.args, invocation.kwargs))
            return [invocation.proceed(), invocation.proceed(9), invocation.proceed(8, 7, c=6), invocation.proceed(c=5)]

    async with of(A, Advice) as injector:
        a = await injector.get(A)
        assert a.add(1, c=3) == [(1, 0, 3), (9, 0, 3), (8, 7, 6), (1, 0, 5)]
        assert seen == [(a, A.add, (a, 1), {"c": 3})]


async def test_async_methods_take_async_and_plain_advice():
    """An async advice awaits what it proceeds to; a plain one returns it, or a result of its own."""

    @advice
    class Advice:
        @around(methods().named("invoke").of_type(HTTPChannel))
        async def exclaim(self, invocation: Invocation) -> str:
            return f"{await invocation.proceed()}!"

        @around(methods().that_are_async().matches("in.*"))
        def cache(self, invocation: Invocation) -> object:
            return "cached" if invocation.args[1] == "known" else invocation.proceed()

    async with of(Advice) as injector:
        channel = await injector.make(HTTPChannel)
        assert await channel.invoke("a") == "answer to a!"
        assert await channel.invoke("known") == "cached!"


async def test_the_first_advice_is_outermost():
    """Advice classes apply in the order of their recipes, methods in the order of their definition."""

    class A:
        def text(self) -> str:
            return "x"

    @advice
    class First:
        @around(methods().named("text"))
        def one(self, invocation: Invocation) -> str:
            return f"1({invocation.proceed()})"

        @around(methods().named("text"))
        def two(self, invocation: Invocation) -> str:
            return f"2({invocation.proceed()})"

    @advice
    class Second:
        @around(methods().named("text"))
        def three(self, invocation: Invocation) -> str:
            return f"3({invocation.proceed()})"

    async with of(A, First, Second) as injector:
        assert (await injector.get(A)).text() == "1(2(3(x)))"
    async with of(Second, A, First) as injector:
        assert (await injector.get(A)).text() == "3(1(2(x)))"


def test_all_conditions_have_to_hold():
    """Conditions are and-ed; marks count where a base declares the method; patterns match whole names."""

    class Interface:
        def marked(self) -> None: ...

    add_mark(Interface.marked, Mark("m"))

    class A(Interface):
        def marked(self) -> None: ...

        async def work(self) -> None: ...

        def working(self) -> None: ...

    def chosen(target: Any) -> list[str]:
        return [name for name in ("marked", "work", "working") if target.choose(A, name, vars(A)[name])]

    assert chosen(methods()) == ["marked", "work", "working"]
    assert chosen(methods().named("work", "marked")) == ["marked", "work"]
    assert chosen(methods().named("work", "marked").named("work")) == ["work"]
    assert chosen(methods().matches("work")) == ["work"]
    assert chosen(methods().matches("work.*").that_are_sync()) == ["working"]
    assert chosen(methods().that_are_async()) == ["work"]
    assert chosen(methods().decorated_with(Mark)) == ["marked"]
    assert chosen(methods().of_type(Interface).named("work")) == ["work"]
    assert chosen(methods().of_type(Channel)) == []


async def test_only_matched_methods_are_wrapped_and_keep_what_they_are():
    """What nothing matches stays the class's own; what is wrapped keeps name, marks, signature and kind."""

    class A:
        @property
        def never(self) -> str:
            raise AssertionError("looked at")

        @staticmethod
        def static() -> None: ...

        def __call__(self) -> str:
            return "called"

        async def work(self, a: int) -> int:
            """Work."""
            return a

        def other(self) -> None: ...

    add_mark(A.work, Mark("m"))

    @advice
    class Advice:
        @around(methods().of_type(A).named("work", "never", "static", "__call__"))
        def around_work(self, invocation: Invocation) -> object:
            return invocation.proceed()

    async with of(A, Advice) as injector:
        a = await injector.get(A)
        assert set(vars(a)) == {"work"}
        assert inspect.iscoroutinefunction(a.work)
        assert (a.work.__name__, a.work.__doc__, marks_of(a.work)) == ("work", "Work.", (Mark("m"),))
        assert list(inspect.signature(a.work).parameters) == ["a"]
        assert await a.work(1) == 1
        assert set(vars(await injector.get(Advice))) == set()


async def test_frozen_classes_streams_and_request_scopes_are_advised():
    """A frozen dataclass, an async generator method and what lives in a request are no exceptions."""

    @injectable(scope="request")
    @dataclass(frozen=True)
    class A:
        size: int = 2

        async def items(self) -> AsyncIterator[int]:
            for each in range(self.size):
                yield each

    @advice
    class Advice:
        @around(methods().named("items"))
        def more(self, invocation: Invocation) -> AsyncIterator[int]:
            return self.doubled(invocation.proceed())

        async def doubled(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
            async for each in items:
                yield 2 * each

    async with of(A, Advice) as injector, injector.request() as scope:
        assert [each async for each in (await scope.get(A)).items()] == [0, 2]


async def test_create_methods_and_their_products_are_advised_by_what_they_really_are():
    """The class of the object counts, not the return annotation; a @create method is a method too."""

    class Tool:
        pass

    class Hammer(Tool):
        def hit(self) -> str:
            return "hit"

    @advice
    class Advice:
        @around(methods().of_type(Hammer).named("hit"))
        def harder(self, invocation: Invocation) -> str:
            return f"hard {invocation.proceed()}"

        @around(methods().named("tool"))
        def logged(self, invocation: Invocation) -> object:
            made.append("tool")
            return invocation.proceed()

    @module(provides=[Advice])
    class Module:
        @create()
        def tool(self) -> Tool:
            return Hammer()

    made: list[str] = []
    async with Injector(graph_of_module(Module)) as injector:
        assert cast("Hammer", await injector.get(Tool)).hit() == "hard hit"
    assert made == ["tool"]


async def test_two_injectors_share_no_advice():
    """Advice replaces methods of instances, so a class that two injectors make is advised only where it should be."""

    class A:
        def text(self) -> str:
            return "x"

    @advice
    class Advice:
        @around(methods().of_type(A))
        def text(self, invocation: Invocation) -> str:
            return f"advised {invocation.proceed()}"

    async with of(A, Advice) as one, of(A) as two:
        assert (await one.get(A)).text() == "advised x"
        assert (await two.get(A)).text() == "x"


def test_what_cannot_be_advised_is_a_problem():
    """Async advice around a plain method, slots, a wrong signature and a forgotten @advice are all reported."""

    class Slotted:
        __slots__ = ()

        def work(self) -> None: ...

    class Fine:
        def work(self) -> None: ...

    @advice
    class Advice:
        @around(methods().named("work"))
        async def wait(self, invocation: Invocation) -> None: ...

        @around(methods().named("nothing"))
        def two(self, invocation: Invocation, more: int) -> None: ...

        @around(methods().named("nothing"))
        @staticmethod
        def static(invocation: Invocation) -> None: ...

    class Forgotten:
        @around(methods())
        def work_not(self, invocation: Invocation) -> None: ...

    assert graph_of(Slotted, Fine, Advice, Forgotten).problems == [
        "Advice.two: has to take exactly one parameter, the Invocation",
        "Advice.static: has to take exactly one parameter, the Invocation",
        "Slotted.work: the advice Advice.wait is async, but the method is not; make the advice a plain method",
        "Slotted: cannot be advised (work): it has __slots__; add '__dict__' to them or remove them",
        "Fine.work: the advice Advice.wait is async, but the method is not; make the advice a plain method",
    ]


async def test_advice_around_what_it_needs_itself_is_a_cycle():
    """An advice cannot advise what it is built from: known beforehand as a cycle, else when it happens."""

    class Base: ...

    class Tokens(Base):
        def token(self) -> str:
            return "t"

    @advice
    class Advice:
        def __init__(self, tokens: Base) -> None: ...

        @around(methods().named("token"))
        def token(self, invocation: Invocation) -> object: ...

    assert graph_of(Tokens, Advice).problems == [
        "Advice(tokens) > Tokens (by its advice) > Advice: a cycle; nothing in it can be made first"
    ]

    @module(provides=[Advice])
    class Module:
        @create()
        def tokens(self) -> Base:
            return Tokens()

    with pytest.raises(ConfigurationError, match="Advice advises what it needs itself; narrow it with of_type"):
        async with Injector(graph_of_module(Module)):
            pytest.fail("never entered")


async def test_an_object_made_at_run_time_may_not_fit_its_advice():
    """What only the object's own class shows is an error when it is made."""

    class Base: ...

    class Slotted(Base):
        __slots__ = ()

    class Plain(Base):
        def work(self) -> None: ...

    @advice
    class Advice:
        @around(methods().of_type(Plain))
        async def wait(self, invocation: Invocation) -> None: ...

    @module(provides=[Advice])
    class Module:
        @create()
        def base(self) -> Base:
            return Plain()

    with pytest.raises(ConfigurationError, match=r"Plain\.work: the advice Advice\.wait is async"):
        async with Injector(graph_of_module(Module)):
            pytest.fail("never entered")
