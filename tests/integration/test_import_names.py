"""What an installed distribution takes: the import name `meshcore`, and no other."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from tarfile import TarFile
from zipfile import ZipFile

import pytest

from tests.support.processes import ROOT, ServerProcess, free_port

pytestmark = [pytest.mark.one_python, pytest.mark.timeout(240)]

SHOP = """
from abc import abstractmethod

import channels.layers
import registry

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@service()
class Shop(Service):
    @abstractmethod
    async def owner(self) -> str: ...


@component(services=[Shop])
class ShopComponent(Component): ...


@implementation()
class ShopImpl(Shop):
    async def owner(self) -> str:
        return f"{registry.OWNER} with {channels.layers.OWNER}"


@implementation()
class ShopComponentImpl(AbstractComponent, ShopComponent): ...


@module()
class ShopModule: ...
"""
CLIENT = """
import asyncio
import sys

import channels.layers
import registry

from shop import Shop, ShopComponent

from meshcore import Mesh, Settings, module
from meshcore.channels import HTTPChannel
from meshcore.registry import ConsulComponentRegistry, DirectoryComponentRegistry


@module(components=[ShopComponent])
class Client: ...


async def main() -> None:
    async with Mesh(Client, settings=Settings(registry=sys.argv[1])) as mesh:
        await mesh.wait_for(Shop)
        for channel in ("dispatch-json", "dispatch-msgpack"):
            print(await (await mesh.get_service(Shop, preferred_channel=channel)).owner())


asyncio.run(main())
"""


def build(folder: Path, source: Path, target: str) -> Path:
    """Build a distribution from a folder of sources; where it is."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def installed(*folders: Path) -> dict[str, str]:
    """The environment of an interpreter that, started with -S, sees these folders and what meshcore depends on.

    Without -S it would read the .pth file that puts this checkout on its path.
    """
    places = [*map(str, folders), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a wheel was unpacked into."""
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(build(tmp_path_factory.mktemp("wheel"), ROOT, "wheel")) as wheel:
        wheel.extractall(folder)
    return folder


def test_a_wheel_of_the_sources_is_the_same(site: Path, tmp_path: Path) -> None:
    """A wheel built from the source distribution holds what one from the checkout holds, at the top only `meshcore`."""
    with TarFile.open(build(tmp_path / "sdist", ROOT, "sdist")) as sources:
        sources.extractall(tmp_path / "sources", filter="data")
    (source,) = (tmp_path / "sources").iterdir()
    with ZipFile(build(tmp_path / "wheel", source, "wheel")) as wheel:
        names = {name for name in wheel.namelist() if not name.startswith("meshcore_runtime-")}
    files = [path for path in (site / "meshcore").rglob("*") if path.is_file()]
    ours = {str(path.relative_to(site)) for path in files if path.suffix != ".pyc"}
    assert names == ours
    assert {"meshcore/channels/http.py", "meshcore/registry/consul/registry.py", "meshcore/py.typed"} <= names
    assert {name.partition("/")[0] for name in names} == {"meshcore"}


def test_no_other_name_is_taken(site: Path, tmp_path: Path) -> None:
    """`channels` and `registry` are no modules where meshcore is installed."""
    code = "from importlib.util import find_spec as f; import meshcore.registry; print(f('channels'), f('registry'))"
    found = run(tmp_path, installed(site), "-c", code)
    assert found == "None None\n"


def run(folder: Path, env: Mapping[str, str], *arguments: str) -> str:
    """Run Python there, which must succeed; what it printed."""
    command = [sys.executable, "-S", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_run_where_meshcore_is_installed(site: Path, tmp_path: Path) -> None:
    """As `meshcore.examples`, with the names that their docstrings give; and the package is the program."""
    assert run(tmp_path, installed(site), "-m", "meshcore.examples.greeting") == "hello world\n"
    described = run(tmp_path, installed(site), "-m", "meshcore", "describe", "meshcore.examples.orders:OrdersModule")
    assert described.startswith("orders")
    walk = "pkgutil.walk_packages(meshcore.examples.__path__, 'meshcore.examples.')"
    code = f"import pkgutil, meshcore.examples; print(*(found.name for found in {walk}))"
    names = run(tmp_path, installed(site), "-c", code).split()
    assert len(names) > 10
    run(tmp_path, installed(site), "-c", "import " + ", ".join(name for name in names if "__main__" not in name))
    documented = "".join(path.read_text() for path in (site / "meshcore" / "examples").rglob("*.py"))
    assert not re.search(r"(?<!meshcore\.)\bexamples\.(orders|greeting|interceptors)", documented)


@pytest.mark.parametrize("program", ["meshcore.cli run shop:ShopModule", "hypercorn meshcore.app:app --workers 0"])
async def test_folders_of_the_users_own(site: Path, tmp_path: Path, program: str) -> None:
    """A server and a client beside a folder `registry` and a Django Channels use both theirs and ours."""
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "__init__.py").write_text("OWNER = 'the team'\n")
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels" / "__init__.py").write_text("__version__ = '4.2.0'\n")
    (tmp_path / "channels" / "layers.py").write_text("OWNER = 'Django Channels'\n")
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "client.py").write_text(CLIENT)
    registry, url = f"directory://{tmp_path}/announced", f"127.0.0.1:{free_port()}"
    env = installed(tmp_path, site)
    settings = {
        "MESHCORE_REGISTRY": registry,
        "MESHCORE_MODULE": "shop:ShopModule",
        "MESHCORE_ADVERTISE_URL": f"http://{url}",
    }
    log = tmp_path / "server.log"
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-m", *program.split(), "--bind", url),
            cwd=tmp_path,
            env={**env, **settings},
            stdout=output,
            stderr=output,
        )
    server = ServerProcess(process, f"http://{url}", log)
    try:
        await server.until_ready()
        printed = await asyncio.to_thread(run, tmp_path, env, "client.py", registry)
        assert printed == "the team with Django Channels\n" * 2
    finally:
        await server.stop()
