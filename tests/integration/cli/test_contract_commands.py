"""`meshcore describe` and `meshcore diff`, as a team's CI runs them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshcore.cli import program as cli
from tests.support.processes import ROOT, serve

pytestmark = pytest.mark.one_python

ONE, TWO, THREE = (f"tests.support.version_{number}:ShopModule" for number in (1, 2, 3))

BROKEN = """
from abc import abstractmethod
from dataclasses import dataclass
from meshcore import *

@dataclass
class Spot:
    x: int

@service()
class Desk(Service):
    @abstractmethod
    @get("/desk")
    async def look(self, spot: Spot) -> None: ...

    @abstractmethod
    async def draw(self, paint: object) -> None: ...

    @abstractmethod
    async def wipe(self, hard): ...

@component(services=[Desk])
class Shop(Component): ...

@implementation()
class ShopImpl(AbstractComponent, Shop):
    def __init__(self, spot: Spot) -> None: ...

@module()
class Broken: ...
"""


async def run(folder: Path, *words: str) -> tuple[int | None, str, str]:
    """Run a command; its exit status and what it printed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MESHCORE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshcore.cli", *words),
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT), "MESHCORE_REGISTRY": f"directory://{folder}/registry"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def invoke(*words: str) -> tuple[int, str, str]:
    """Run a command in this process, which is much faster; its exit status and what it printed."""
    found = CliRunner().invoke(cli.build(), words)
    return found.exit_code, found.stdout, found.stderr


def test_the_interface_tree() -> None:
    """A person sees components, services, methods with their texts, parameters, and types."""
    status, out, err = invoke("describe", ONE)
    assert (status, err) == (0, "")
    lines = [line.strip(" │├└─") for line in out.splitlines()]
    digest = lines[1].split()[1]
    assert lines == [
        "shop",
        f"desk  {digest}  takes orders",
        "place(sku) -> Receipt",
        "Place an order.",
        "sku: str  what is wanted.",
        "cancel(number) -> None",
        "number: int",
        "types",
        "Receipt",
        "number: int",
    ]


RAISING = """
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar
from meshcore import AbstractComponent, Code, Component, Service, component, get, implementation, module, raises
from meshcore import service

@dataclass(eq=False)
class Gone(Exception):
    sku: str
    code: ClassVar[Code] = Code.NOT_FOUND

class Closed(Exception):
    pass

@service()
class Desk(Service):
    @get("/items/{sku}")
    @raises(Gone, Closed)
    @abstractmethod
    async def find(self, sku: str) -> str: ...

    @raises(Gone)
    @abstractmethod
    async def drop(self, sku: str) -> None: ...

@component(services=[Desk])
class Shop(Component): ...

@implementation()
class DeskImpl(Desk):
    async def find(self, sku: str) -> str:
        return sku

    async def drop(self, sku: str) -> None: ...

@implementation()
class ShopImpl(AbstractComponent, Shop): ...

@module()
class Raising: ...
"""


async def test_the_codes_of_declared_exceptions(tmp_path: Path) -> None:
    """Each exception stands with its code, and with its HTTP status where the method has a path."""
    (tmp_path / "raising.py").write_text(RAISING)
    status, out, _ = await run(tmp_path, "describe", "raising:Raising")
    assert status == 0
    assert [line.strip(" │├└─") for line in out.splitlines() if "raises" in line] == [
        "raises Gone(sku: str)  not_found, HTTP status 404",
        "raises Closed(args: list[any])  failed_precondition, HTTP status 400",
        "raises Gone(sku: str)  not_found",
    ]


async def test_every_start_up_error_at_once(tmp_path: Path) -> None:
    """What keeps a module from starting is listed, all of it, and nothing is printed that could be saved."""
    (tmp_path / "broken.py").write_text(BROKEN)
    status, out, err = await run(tmp_path, "describe", "broken:Broken", "--json")
    assert (status, out) == (2, "")
    assert err.startswith("meshcore: Broken cannot start:\n")
    for text in (
        "Desk.draw(paint): object cannot travel",
        "Desk.wipe(hard): has no type annotation",
        "Desk.wipe: has no return annotation",
        "Desk.look(spot): is an object, so it cannot be a query parameter",
        "ShopImpl(spot): nothing provides Spot",
    ):
        assert text in err


def test_changes_between_modules() -> None:
    """Compatible changes are listed and end with 0, breaking ones with 1; JSON says the same."""
    assert invoke("diff", ONE, ONE) == (0, "no changes\n", "")
    assert invoke("diff", ONE, TWO) == (
        0,
        (
            "compatible  desk.place: parameter 2 'note' is new and optional\n"
            "compatible  desk.place: result.note is new\n"
            "compatible  desk.count: is new\n"
        ),
        "",
    )
    assert invoke("diff", ONE, THREE) == (
        1,
        "breaking    desk.place: parameter 2 'priority' is new and required\n",
        "",
    )
    status, out, err = invoke("diff", ONE, THREE, "--json")
    assert (status, err) == (1, "")
    change = {
        "component": "shop",
        "subject": "desk.place",
        "text": "parameter 2 'priority' is new and required",
        "breaking": True,
    }
    assert json.loads(out) == {"compatible": False, "changes": [change]}


@pytest.mark.long
async def test_a_saved_description_a_server_and_a_module(tmp_path: Path) -> None:
    """All three say the same of one version, byte by byte, and each may be compared with each."""
    status, out, _ = await run(tmp_path, "describe", ONE, "--json")
    assert status == 0
    (tmp_path / "saved.json").write_text(out)
    async with serve(tmp_path, TWO) as server:
        assert (await run(tmp_path, "diff", "saved.json", ONE))[:2] == (0, "no changes\n")
        assert (await run(tmp_path, "diff", server.url, TWO))[:2] == (0, "no changes\n")
        status, out, _ = await run(tmp_path, "diff", f"{server.url}/", "saved.json")
        assert (status, out.splitlines()[0]) == (1, "breaking    desk.place: parameter 2 'note' is gone")
        # `why` knows as well: the client there was written for the first version.
        status, out, err = await run(tmp_path, "why", "desk.place", "--module", "tests.support.version_client:Client")
        assert (status, "compatible: desk.place: parameter 2 'note' is new and optional\n" in out) == (0, True)
        assert "changes: 3, none of them breaking" in err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["diff", "nowhere", ONE], 2, "nowhere: No such file or directory; give a file, http://host:port, or package"),
        (["diff", "other.json", ONE], 2, "other.json: it is JSON, but not a contract: it has no meshcore_contract"),
        (["diff", ONE], 2, "Missing argument"),
        (["diff", ONE, "tests.support.version_1:ShopModul"], 2, "did you mean 'ShopModule'?"),
        (["diff", "http://127.0.0.1:9", ONE], 3, "unavailable: http://127.0.0.1:9/contract: "),
        (["describe"], 2, "no module to serve: set MESHCORE_MODULE=package.module:Class"),
    ],
)
def test_what_cannot_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int, text: str
) -> None:
    """Whatever is wrong with the words, it is not 1, which stands for a breaking change."""
    (tmp_path / "other.json").write_text('{"openapi": "3.1.0"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found, out, err = invoke(*words)
    assert (found, out) == (status, "")
    assert text in err
    assert "Traceback" not in err
