"""Decorators with and without parentheses, and those that are given something that they cannot take."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meshcore import (
    BlockingMesh,
    Code,
    Component,
    ConfigurationError,
    HealthCheckManager,
    Mesh,
    MeshApp,
    Service,
    advice,
    affinity,
    around,
    channel,
    component,
    create,
    delete,
    describe,
    get,
    health,
    health_check,
    health_checks,
    idempotency_key,
    idempotent,
    implementation,
    inject_service,
    inject_value,
    injectable,
    load_settings,
    module,
    on_destroy,
    on_init,
    patch,
    post,
    put,
    raises,
    rest,
    service,
    shielded,
)
from meshcore.core.settings import Settings
from meshcore.serve.module_loader import load_module
from meshcore.testing import memory_mesh
from tests.unit.declare.test_problems import Declared, problems_of

BARE = """
from abc import abstractmethod
from meshcore import *

@service
@rest
class Greeting(Service):
    @get("/hello")
    @shielded()
    @idempotent()
    @abstractmethod
    async def hello(self, message: str) -> str: ...

    @idempotency_key
    @abstractmethod
    async def pay(self) -> int: ...

@component(services=[Greeting])
class GreetingComponent(Component): ...

class Store:
    text = "from the store"

@injectable
class Counter:
    def __init__(self, store: Store) -> None:
        self.store = store

    @inject_service
    def set_greeting(self, greeting: Greeting) -> None:
        self.greeting = greeting

@implementation
class GreetingImpl(Greeting):
    def __init__(self, store: Store) -> None:
        self.store = store
    async def hello(self, message: str) -> str:
        return f"{message} {self.store.text}"
    async def pay(self) -> int:
        return 1

@implementation
class GreetingComponentImpl(AbstractComponent, GreetingComponent): ...

@health_checks
class Checks:
    @health_check
    def disk(self, result: HealthCheckManager.Result) -> None:
        result.set_status(HealthStatus.WARNING)

@module
class M:
    @create
    def store(self) -> Store:
        return Store()
"""


async def test_without_parentheses() -> None:
    """Where a decorator needs no argument, it works without parentheses, and those without arguments work with them."""
    with Declared(BARE) as declared:
        hello, pay = describe(declared.Greeting).methods
        assert (hello.idempotent, hello.shielded, pay.idempotency_key) == (True, True, 600.0)
        async with memory_mesh(declared.M) as mesh:
            counter = await mesh.get(declared.Counter)
            assert await counter.greeting.hello("hi") == "hi from the store"
            assert await counter.greeting.pay() == 1
            checks = await mesh.get(HealthCheckManager)
            assert [(each.name, each.status.value) for each in (await checks.check()).checks] == [("disk", "warning")]


@service()
class Thing(Service):
    @abstractmethod
    async def work(self) -> None: ...


@component(services=[Thing])
class ThingComponent(Component): ...


@module()
class ThingModule: ...


class Plain:
    def method(self) -> None: ...


@injectable
class Injected: ...


@implementation
class ThingImpl(Thing):
    async def work(self) -> None: ...


@advice
class Advised: ...


@health_checks
class Checked: ...


@rest
class Mapped: ...


def function() -> None:
    """Stands for what a decorator below has made of a class."""


NEEDED: list[tuple[Callable[..., object], str]] = [
    (raises, "it needs an argument; write @raises(OutOfStock)"),
    (affinity, 'it needs an argument; write @affinity("parameter")'),
    (around, 'it needs an argument; write @around(methods().named("method"))'),
    (inject_value, 'it needs an argument; write @inject_value("key")'),
    *((verb, f'it needs an argument; write @{verb.__name__}("/path")') for verb in (get, post, put, patch, delete)),
]


@pytest.mark.parametrize(("decorator", "text"), NEEDED, ids=[each.__name__ for each, _ in NEEDED])
def test_without_the_parentheses_that_a_method_needs(decorator: Callable[..., object], text: str) -> None:
    """The error names the decorator, the method, and what to write."""
    for target in (Plain.method, staticmethod(Plain.method), property(Plain.method)):
        with pytest.raises(ConfigurationError) as refused:
            decorator(target)
        name = decorator.__name__
        assert refused.value.message == f"@{name} on Plain.method: {text}"
        assert refused.value.code is Code.FAILED_PRECONDITION


NO_CLASS = "it decorates classes, and this is a function; is a decorator below it used without parentheses?"

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: health(Plain), '@health on Plain: it needs an argument; write @health("/health")'),  # type: ignore[arg-type]
    (lambda: channel(Plain), '@channel on Plain: it needs an argument; write @channel("name")'),  # type: ignore[arg-type]
    (
        lambda: raises(Thing),  # type: ignore[arg-type]
        "@raises on Thing: it needs an argument; write @raises(OutOfStock)",
    ),
    (
        lambda: implementation(Thing)(Plain),
        (
            "@implementation on Thing: an interface is not its own implementation; write @implementation() and derive "
            "from Thing"
        ),
    ),
    (
        lambda: component(Thing)(Plain),
        "@component on Thing: a service is no component; write @component(services=[Thing])",
    ),
    (
        lambda: module(ThingModule)(Plain),
        "@module on ThingModule: it is a module already; to import it, write @module(imports=[ThingModule])",
    ),
    *(
        (
            lambda decorator=decorator, given=given: decorator(given),
            f"@{decorator.__name__} on {given.__name__}: it has this decorator already, which takes no class",
        )
        for decorator, given in (
            (injectable, Injected), (implementation, ThingImpl), (service, Thing), (component, ThingComponent),
            (advice, Advised), (health_checks, Checked), (rest, Mapped),
        )
    ),
    (
        lambda: module(ThingImpl)(Plain),
        "@module on ThingImpl: it is no module; to provide it, write @module(provides=[ThingImpl])",
    ),
    (
        lambda: module(ThingComponent)(Plain),
        "@module on ThingComponent: it is no module; to call its services, write @module(components=[ThingComponent])",
    ),
    (
        lambda: component(services=Thing)(Plain),  # type: ignore[arg-type]
        "@component on Plain: services is a list; write services=[Thing]",
    ),
    (
        lambda: component(services=[Plain()])(Plain),  # type: ignore[list-item]
        "@component on Plain: services lists classes, and this is a Plain; write Plain",
    ),
    (
        lambda: component(services=["Thing"])(Plain),  # type: ignore[list-item]
        "@component on Plain: services lists classes, and this is the text 'Thing'; name a class",
    ),
    (
        lambda: module(imports=[sys])(Plain),  # type: ignore[list-item]
        "@module on Plain: imports lists classes, and this is the Python module 'sys'; name a class that it defines",
    ),
    (
        lambda: module(imports=sys)(Plain),  # type: ignore[arg-type]
        "@module on Plain: imports is a list of classes, and this is the Python module 'sys'",
    ),
    (
        lambda: module(provides=Plain)(Plain),  # type: ignore[arg-type]
        "@module on Plain: provides is a list; write provides=[Plain]",
    ),
    (
        lambda: module(components="ThingComponent")(Plain),  # type: ignore[arg-type]
        "@module on Plain: components is a list of classes, and this is the text 'ThingComponent'",
    ),
    (
        lambda: module(components=3)(Plain),  # type: ignore[arg-type]
        "@module on Plain: components is a list of classes, and this is an int",
    ),
    *(
        (
            lambda decorator=decorator: decorator()(function),
            f"@{decorator.__name__} on function: {NO_CLASS}",
        )
        for decorator in (service, component, implementation, injectable, module, rest, health_checks, advice)
    ),
    *(
        (
            lambda decorator=decorator: decorator(function),
            f"@{decorator.__name__} on function: {NO_CLASS}",
        )
        for decorator in (service, component, implementation, injectable, module, rest, health_checks, advice)
    ),
    *(
        (
            lambda decorator=decorator: decorator(property(Plain.method)),
            f"@{decorator.__name__} on Plain.method: it cannot decorate a property",
        )
        for decorator in (
            create, idempotent, shielded, idempotency_key, health_check, inject_service, on_init, on_destroy,
        )
    ),
    (
        lambda: component([Thing])(Plain),  # type: ignore[call-overload]
        "@component on Plain: name has to be text, and this is a list",
    ),
    (lambda: service(3)(Plain), "@service on Plain: name has to be text, and this is an int"),  # type: ignore[call-overload]
    (lambda: rest(3)(Plain), "@rest on Plain: prefix has to be text, and this is an int"),  # type: ignore[call-overload]
    (lambda: health(3)(Plain), "@health on Plain: path has to be text, and this is an int"),  # type: ignore[arg-type]
    (
        lambda: injectable(3)(Plain),  # type: ignore[call-overload]
        "@injectable on Plain: scope has to be text, and this is an int",
    ),
    (
        lambda: get(3)(Plain.method),  # type: ignore[arg-type]
        "@get on Plain.method: path has to be text, and this is an int",
    ),
    (
        lambda: post("/", status="201")(Plain.method),  # type: ignore[arg-type]
        "@post on Plain.method: status has to be a whole number, and this is the text '201'",
    ),
    (
        lambda: affinity(None)(Plain.method),  # type: ignore[arg-type]
        "@affinity on Plain.method: parameter has to be text, and this is a NoneType",
    ),
    (
        lambda: idempotency_key("60")(Plain.method),  # type: ignore[call-overload]
        "@idempotency_key on Plain.method: seconds has to be a number, and this is the text '60'",
    ),
    (
        lambda: health_check(cache="60")(Plain.method),  # type: ignore[call-overload]
        "@health_check on Plain.method: cache has to be a number, and this is the text '60'",
    ),
    (
        lambda: around("hello")(Plain.method),  # type: ignore[arg-type]
        "@around on Plain.method: target has to be a Methods, and this is the text 'hello'",
    ),
    (
        lambda: inject_value(3),  # type: ignore[arg-type]
        "@inject_value: key has to be text, and this is an int",
    ),
    (lambda: injectable()(int), "@injectable on int: it cannot decorate the class int"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "text"), WRONG, ids=[text.partition(":")[0][1:] for _, text in WRONG])
def test_what_a_decorator_cannot_take(act: Callable[[], object], text: str) -> None:
    """The error names the decorator, what it was applied to, and the mend."""
    with pytest.raises(ConfigurationError) as refused:
        act()
    assert refused.value.message == text


NO_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    (
        {"settings": {"registry": "local:"}},
        "settings has to be a Settings, and this is a dict; write load_settings({...}) or Settings(...)",
    ),
    (
        {"settings": "local:"},
        "settings has to be a Settings, and this is the text 'local:'; write load_settings({...}) or Settings(...)",
    ),
    ({"overrides": [Thing]}, "overrides has to be a dict, and this is a list; write overrides={Interface: ...}"),
    (
        {"overrides": Thing},
        "overrides has to be a dict, and this is the class Thing; write overrides={Interface: ...}",
    ),
    ({"overrides": {"Thing": ThingImpl}}, "the keys of overrides are classes, and this is the text 'Thing'"),
]


@pytest.mark.parametrize(("arguments", "text"), NO_ARGUMENTS, ids=str)
def test_what_a_mesh_cannot_take(arguments: dict[str, Any], text: str) -> None:
    """The error names the argument, and the mend."""
    for kind in (Mesh, BlockingMesh):
        with pytest.raises(ConfigurationError) as refused:
            kind(ThingModule, **arguments)
        assert refused.value.message == f"Mesh: {text}"


NO_MODULES = [
    "an object of ThingModule was passed; pass the class itself, ThingModule",
    "sys is a Python module, and it has no class with @module",
    "shop is a Python module; name its class with @module: shop.ThingModule",
    "a class decorated with @module was expected, got 'ThingModule'",
]

SHOP = ModuleType("shop")
vars(SHOP).update(ThingModule=ThingModule, Thing=Thing)


@pytest.mark.parametrize(
    ("given", "text"),
    list(zip((ThingModule(), sys, SHOP, "ThingModule"), NO_MODULES, strict=True)),
    ids=["object", "Python module", "Python module with one", "text"],
)
async def test_a_mesh_of_what_is_no_class(given: type, text: str) -> None:
    """Every door says what it was given, and what to give."""
    settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    for start in (
        Mesh(given, settings=settings).start,
        memory_mesh(given, settings=settings).__aenter__,
        MeshApp(given, settings=settings).lifespan().__aenter__,
    ):
        with pytest.raises(ConfigurationError) as refused:
            await start()
        assert refused.value.problems == (text,)
    with pytest.raises(ConfigurationError) as refused:
        BlockingMesh(given, settings=settings).__enter__()
    assert refused.value.problems == (text,)


def test_a_served_module_with_a_misused_decorator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text reaches whoever starts a server, behind the setting."""
    tmp_path.joinpath("misused_here.py").write_text(
        "from meshcore import *\n@service()\nclass Asking(Service):\n    @get\n    def ask(self) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load_module(Settings(module="misused_here:Module"))
    assert refused.value.problems == (
        'importing misused_here failed: @get on Asking.ask: it needs an argument; write @get("/path")',
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("class Other: ...", "no class in it is decorated with @module"),
        ("@module()\nclass Other: ...", "there is 'Other'"),
        ("@module()\nclass Modul: ...", "did you mean 'Modul'?"),
    ],
)
def test_a_module_that_is_not_there(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Only modules are suggested, no other class, whether imported or not."""
    name = f"named_{request.node.callspec.indices['line']}"
    tmp_path.joinpath(f"{name}.py").write_text(f"from meshcore import *\n{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load_module(Settings(module=f"{name}:Module"))
    assert refused.value.problems == (f"{name} has no 'Module'; {expected}",)


HEAD = """
from abc import abstractmethod
from meshcore import *

@service()
class Greeting(Service):
    @abstractmethod
    async def hello(self, message: str) -> str: ...

@component(services=[Greeting])
class GreetingComponent(Component): ...

@implementation()
class GreetingComponentImpl(AbstractComponent, GreetingComponent): ...

@module()
class M: ...
"""

ON_THE_IMPLEMENTATION = """
class Base:
    @shielded
    async def more(self) -> None: ...

@implementation()
@rest("/api")
@health("/health")
@Policy(timeout=1.0)
class GreetingImpl(Base, Greeting):
    @get("/hello")
    @idempotent
    @raises(ValueError)
    @affinity("message")
    @idempotency_key()
    @Policy(timeout=1.0)
    async def hello(self, message: str) -> str: ...

    @create()
    def number(self) -> int: ...
"""

TOLD_OF_THE_IMPLEMENTATION = [
    "GreetingImpl: @rest belongs on a @service interface",
    "GreetingImpl: @Policy belongs on a @service interface, on its methods, or a @component",
    "GreetingImpl: @health belongs on a component's @implementation",
    *(
        f"GreetingImpl.hello: @{name} has no effect on an implementation; put it on Greeting.hello"
        for name in ("Policy", "idempotency_key", "affinity", "raises", "idempotent", "get")
    ),
    "GreetingImpl.more: @shielded belongs on a method of a @service interface",
    "GreetingImpl.number: @create belongs on a method of a @module class",
]


async def test_decorators_of_an_interface_on_its_implementation() -> None:
    """They would have no effect, which is reported with the place where they belong."""
    assert await problems_of(HEAD + ON_THE_IMPLEMENTATION) == TOLD_OF_THE_IMPLEMENTATION


ON_CLASSES = """
@idempotent
@service()
class Asking(Service):
    @raises()
    async def ask(self) -> None: ...

@get("/asking")
@component(services=[Asking])
class AskingComponent(Component): ...

@implementation()
class AskingComponentImpl(AbstractComponent, AskingComponent): ...

@implementation()
class AskingImpl(Asking):
    async def ask(self) -> None: ...

@implementation()
class GreetingImpl(Greeting):
    async def hello(self, message: str) -> str: ...

@injectable()
@raises(ValueError)
@create()
class Store:
    @post("/store")
    def look(self) -> None: ...

@around(methods())
@health_check()
@on_init
@on_destroy
@inject_value("a")
@inject_service()
@idempotency_key()
@affinity("a")
@shielded
class Bystander: ...
"""


TOLD_OF_CLASSES = [
        "Asking: @idempotent decorates methods, so it has no effect on a class",
        "Asking.ask: @raises names no exceptions: @raises(OutOfStock)",
        "AskingComponent: @get decorates methods, so it has no effect on a class",
        "Store: @create decorates methods, so it has no effect on a class",
        "Store: @raises decorates methods, so it has no effect on a class",
        "Store.look: @post belongs on a method of a @service interface",
        *(
            f"Bystander: @{name} decorates methods, so it has no effect on a class"
            for name in (
                "shielded", "affinity", "idempotency_key", "inject_service", "inject_value", "on_destroy", "on_init",
                "health_check", "around",
            )
        ),
    ]  # fmt: skip


async def test_decorators_of_methods_on_classes() -> None:
    """They are reported on services, components and whatever else stands in the Python module."""
    assert sorted(await problems_of(HEAD + ON_CLASSES)) == sorted(TOLD_OF_CLASSES)


async def test_a_metaclass_beside_a_module() -> None:
    """It is a class of its Python module like any other, so it is looked at, too."""
    source = BARE + "\nclass Meta(type): ...\n\nclass Singular(metaclass=Meta): ...\n"
    with Declared(source) as declared:
        async with memory_mesh(declared.M) as mesh:
            assert await (await mesh.get_service(declared.Greeting)).pay() == 1


CHECKS = """
@implementation()
class GreetingImpl(Greeting):
    async def hello(self, message: str) -> str: ...

class Undecorated:
    @health_check()
    def disk(self, result: HealthCheckManager.Result) -> None: ...

@injectable()
class Injected:
    @health_check()
    def disk(self, result: HealthCheckManager.Result) -> None: ...

class Base:
    @health_check()
    def disk(self, result: HealthCheckManager.Result) -> None: ...

    @around(methods().named("nothing"))
    def advised(self, invocation: Invocation) -> object: ...

@health_checks()
@advice
class Fine(Base): ...

@advice
class Half(Base): ...

class Timing:
    @around(methods().named("look"))
    def timed(self, invocation: Invocation) -> object: ...
"""


TOLD_OF_CHECKS = [
    "Undecorated: has health checks, but is not decorated with @health_checks()",
    "Injected: has health checks, but is not decorated with @health_checks()",
    "Half: has health checks, but is not decorated with @health_checks()",
    "Timing: has methods with @around, but is not decorated with @advice",
]


async def test_methods_of_classes_that_lack_a_decorator() -> None:
    """Health checks and advice need a decorated class; a base class of decorated ones needs none."""
    assert await problems_of(HEAD + CHECKS) == TOLD_OF_CHECKS


async def test_marks_of_a_base_of_the_interface_stay() -> None:
    """An interface may inherit its methods with their marks from a class without @service."""
    source = """
from meshcore import *

class Base(Service):
    @get("/load")
    async def load(self) -> str: ...

@service()
class Loading(Base): ...

@component(services=[Loading])
class LoadingComponent(Component): ...

@implementation()
class LoadingComponentImpl(AbstractComponent, LoadingComponent): ...

@implementation()
class LoadingImpl(Loading):
    async def load(self) -> str:
        return "loaded"

@module()
class M: ...
"""
    with Declared(source) as declared:
        async with memory_mesh(declared.M) as mesh:
            assert await (await mesh.get_service(declared.Loading)).load() == "loaded"
