"""Importing anything of the project has no effect but to define it."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import meshcore

ROOT = Path(__file__).parents[2]

# Run in a fresh interpreter: imports what it is told, one module after the other, and tells what happened meanwhile.
WATCHED = """
import atexit, importlib, json, sys, threading, _thread

# What the project depends on is no matter here: some of it registers an atexit of its own.
import aiohttp, anyio.from_thread, hypercorn, msgspec, ormsgpack, starlette.applications, watchfiles
import concurrent.futures.thread, multiprocessing.util
from importlib.metadata import entry_points
try:
    import pydantic, rich.console, typer
except ImportError:
    pass

seen, importing = [], [""]
WATCHED = ("socket.", "_thread.start", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system",
           "os.remove", "os.mkdir", "os.rename", "os.putenv", "signal.")

def hook(event, arguments):
    if event.startswith(WATCHED):
        seen.append([importing[0], event, repr(arguments)])
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append([importing[0], event, repr(arguments)])

register = atexit.register
def noting(function, *arguments, **keywords):
    seen.append([importing[0], "atexit", repr(function)])
    return register(function, *arguments, **keywords)
atexit.register = noting

sys.dont_write_bytecode = True
sys.addaudithook(hook)
for name in json.loads(sys.argv[1]):
    importing[0] = name
    importlib.import_module(name)
importing[0] = ""
found = list(seen)
threads = [thread.name for thread in threading.enumerate()]
print(json.dumps({"seen": found, "threads": threads}), file=sys.stderr)
"""


def modules() -> list[str]:
    """All modules of the package and of the two folders that are linked into it, except those that are scripts."""
    paths = sorted(path for folder in ("meshcore", "channels", "registry") for path in (ROOT / folder).rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths)
    inside = (name if name.startswith("meshcore") else f"meshcore.{name}" for name in names)
    return [name for name in inside if not name.endswith("__main__")]


def test_importing_has_no_effect() -> None:
    """No socket, thread, process, file, signal handler or atexit function, and nothing is printed."""
    names = modules()
    assert {"meshcore.app", "meshcore.channels.rest", "meshcore.registry.consul.registry"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED, json.dumps(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert json.loads(lines[0]) == {"seen": [], "threads": ["MainThread"]}


# What stands between the start of an interpreter and a public name that somebody asks for.
FIRST = {"meshcore", "meshcore.core", "meshcore.core.lazy"}


def loaded(code: str) -> set[str]:
    """The modules that are loaded when a fresh interpreter has run some code."""
    code = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import meshcore", set()),
        ("import meshcore.testing", {"meshcore.testing"}),
        ("import pytest, meshcore.testing.pytest_plugin", {"meshcore.testing", "meshcore.testing.pytest_plugin"}),
    ],
)
def test_nothing_is_loaded_before_it_is_asked_for(code: str, more: set[str]) -> None:
    """Neither `import meshcore` nor a start of pytest with the plugin loads the runtime or a library."""
    found = loaded(code)
    assert {name for name in found if name.partition(".")[0] == "meshcore"} == FIRST | more
    assert not found & {"aiohttp", "msgspec", "starlette", "hypercorn", "anyio", "typer", "rich", "asyncio"} - loaded(
        "import pytest"
    )


def test_the_commands_load_nothing_before_they_run() -> None:
    """Help and completion need the options of all commands, but not the runtime, nor what a command prints with."""
    found = loaded("from meshcore.cli.program import build; build()")
    assert "meshcore.cli.commands.run" in found
    ours = {name for name in found if name.partition(".")[0] == "meshcore" and "cli.commands" not in name}
    assert ours == FIRST | {"meshcore.cli", "meshcore.cli.errors", "meshcore.cli.program"}
    assert not found & {"aiohttp", "asyncio", "msgspec", "rich.console"}


def test_a_mesh_loads_no_adapter_and_no_command_line() -> None:
    """Channels, registries, the server and the command line are loaded when they are used."""
    found = loaded("from meshcore import *")
    assert "meshcore.mesh.mesh" in found
    assert not found & {"meshcore.channels", "meshcore.registry", "meshcore.cli"}
    assert not found & {"hypercorn", "watchfiles", "typer", "rich", "pydantic", "fastapi"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import meshcore.registry, meshcore.channels", {"aiohttp", "anyio", "asyncio", "msgspec"}),
        (
            "from meshcore.registry.directory.registry import DirectoryComponentRegistry",
            {"aiohttp", "meshcore.registry.consul", "meshcore.registry.static"},
        ),
        (
            "from meshcore.registry import StaticComponentRegistry",
            {"aiohttp", "watchfiles", "meshcore.registry.consul"},
        ),
    ],
)
def test_a_registry_loads_no_other_one(code: str, absent: set[str]) -> None:
    """Whoever uses the directory does not load Consul and aiohttp, and the packages alone load nothing."""
    assert not loaded(code) & absent


@pytest.mark.parametrize("package", ["meshcore", "meshcore.channels", "meshcore.registry", "meshcore.testing"])
def test_lazy_names_are_those_that_type_checkers_see(package: str) -> None:
    """Each public name is the object that the import for type checkers names, and there are no others."""
    module = importlib.import_module(package)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        alias.name: f"{package}.{node.module}" if node.level else str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(module.__all__)
    for name, home in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"^module '{package}' has no attribute 'Mash'$"):
        _ = module.Mash


def test_every_public_name_is_there() -> None:
    """`__all__` names what the package has, sorted and once; no submodule takes the place of any of them later."""
    for name in modules():
        importlib.import_module(name)
    assert meshcore.__all__ == sorted(set(meshcore.__all__))
    assert [name for name in meshcore.__all__ if isinstance(getattr(meshcore, name), ModuleType)] == []
