"""What is imported beside a module but not provided by it: whoever misses it is told so."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore import CommunicationError, ConfigurationError, Mesh, MeshApp, Settings
from meshcore.serve.module_loader import load_served_module
from meshcore.serve.report import startup_report

API = """
from meshcore import *

@service()
class Thing(Service):
    async def work(self) -> str: ...

@component(services=[Thing])
class ThingComponent(Component): ...
"""

IMPL = """
from meshcore import *
from thing_api import *

@implementation()
class ThingImpl(Thing):
    async def work(self) -> str:
        return "done"

@implementation()
class ThingComponentImpl(AbstractComponent, ThingComponent): ...
"""

IMPL_MODULE = """
@module()
class ImplModule: ...
"""

LOCAL = Settings(registry="local:")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose Python modules can be imported: thing_api, and those that a test writes."""
    monkeypatch.syspath_prepend(tmp_path)
    tmp_path.joinpath("thing_api.py").write_text(API)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("thing_")]:
        del sys.modules[name]


def main_of(folder: Path, source: str, impl: str = IMPL) -> type:
    """The module `M` of the source, which stands beside the implementations."""
    folder.joinpath("thing_impl.py").write_text(impl)
    folder.joinpath("thing_main.py").write_text("from meshcore import *\n" + source)
    importlib.invalidate_caches()
    return importlib.import_module("thing_main").M


def nothing_served(folder: Path, source: str, impl: str = IMPL) -> str:
    """Why `meshcore run` refuses the module."""
    main_of(folder, source, impl)
    with pytest.raises(ConfigurationError) as refused:
        load_served_module(Settings(module="thing_main:M"))
    title, _, text = refused.value.message.partition(": ")
    assert title == "M serves nothing"
    return text


IMPORTED = "from thing_impl import ThingComponentImpl, ThingImpl\n@module()\nclass M: ...\n"


def test_a_module_that_only_imports_its_implementations_is_not_served(folder: Path) -> None:
    """The text names each of them and the two ways to provide it."""
    assert nothing_served(folder, IMPORTED, IMPL + IMPL_MODULE) == (
        "it implements no component"
        "; ThingComponentImpl is imported in thing_main, but belongs to the Python module thing_impl: "
        "add provides=[ThingComponentImpl] or imports=[ImplModule] to the @module of M"
        "; ThingImpl is imported in thing_main, but belongs to the Python module thing_impl: "
        "add provides=[ThingImpl] or imports=[ImplModule] to the @module of M"
    )


@pytest.mark.parametrize("source", ["import thing_impl\n", "from thing_impl import *\n"])
def test_an_imported_python_module_counts_like_its_classes(folder: Path, source: str) -> None:
    """Whatever the form of the import, and without a module class beside the implementation."""
    assert "add provides=[ThingImpl] to the @module of M" in nothing_served(
        folder, f"{source}@module()\nclass M: ...\n"
    )


def test_a_component_without_implementation_is_not_served(folder: Path) -> None:
    """A service is implemented, and its component is not."""
    source = "from thing_impl import ThingImpl\n@module(provides=[ThingImpl])\nclass M: ...\n"
    impl = IMPL.replace("@implementation()\nclass ThingComponentImpl", "class Other")
    assert nothing_served(folder, source, impl) == (
        "it implements no component; ThingImpl is here, but ThingComponent has no implementation: "
        "add @implementation() class ThingComponentImpl(AbstractComponent, ThingComponent)"
    )


def test_a_module_of_a_client_is_not_served(folder: Path) -> None:
    """Nothing that could be meant is there."""
    source = "from thing_api import *\n@module(components=[ThingComponent])\nclass M: ...\n"
    assert nothing_served(folder, source) == (
        "it implements no component; add the @implementation of one, or import its module"
    )


def test_a_module_that_serves_is_loaded(folder: Path) -> None:
    """Provided by name, or by an imported module."""
    main = main_of(
        folder, "from thing_impl import ImplModule\n@module(imports=[ImplModule])\nclass M: ...\n", IMPL + IMPL_MODULE
    )
    assert load_served_module(Settings(module="thing_main:M")) is main


async def test_a_service_that_only_its_component_has_here(folder: Path) -> None:
    """The problem of the component says which import does not count."""
    source = "from thing_impl import *\n@module(provides=[ThingComponentImpl])\nclass M: ...\n"
    with pytest.raises(ConfigurationError) as refused:
        await Mesh(main_of(folder, source), settings=LOCAL).start()
    (problem,) = refused.value.problems
    assert problem == (
        "component 'thing-component' is implemented by ThingComponentImpl, but nothing here implements its service "
        "Thing; ThingImpl is imported in thing_main, but belongs to the Python module thing_impl: "
        "add provides=[ThingImpl] to the @module of M"
    )


async def test_a_call_that_nobody_answers(folder: Path) -> None:
    """The caller is told that the implementation is near."""
    main = main_of(folder, IMPORTED)
    async with Mesh(main, settings=LOCAL) as mesh:
        thing = await mesh.get_service(sys.modules["thing_api"].Thing)
        with pytest.raises(CommunicationError) as failed:
            await thing.work()
    assert failed.value.message.startswith(
        "component 'thing-component' is offered by nobody, says LocalComponentRegistry(); ThingComponentImpl is "
        "imported in thing_main, but belongs to the Python module thing_impl: add provides=[ThingComponentImpl] to"
    )


async def test_an_application_that_serves_nothing_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An ASGI application may be there for something else, so it starts, and logs a warning."""
    main = main_of(folder, IMPORTED)
    with caplog.at_level(logging.WARNING, "meshcore"):
        async with MeshApp(main, settings=LOCAL).lifespan():
            pass
    assert caplog.messages[0].startswith("M serves nothing: it implements no component; ThingComponentImpl is imported")


async def test_a_component_that_is_served_in_part(folder: Path) -> None:
    """The start-up report warns of a service whose component is not implemented, beside one that is."""
    source = """
from thing_impl import ThingImpl

@service()
class Other(Service):
    async def ask(self) -> int: ...

@component(services=[Other])
class OtherComponent(Component): ...

@implementation()
class OtherImpl(Other):
    async def ask(self) -> int:
        return 1

@implementation()
class OtherComponentImpl(AbstractComponent, OtherComponent): ...

@module(provides=[ThingImpl])
class M: ...
"""
    async with Mesh(main_of(folder, source), settings=LOCAL) as mesh:
        (warning,) = startup_report(mesh.runtime, LOCAL)["warnings"]
    assert warning == (
        "component 'thing-component' is not served; ThingImpl is here, but ThingComponent has no implementation: "
        "add @implementation() class ThingComponentImpl(AbstractComponent, ThingComponent)"
    )
