"""What users put in place of, or around, what the mesh does by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshcore import (
    AuthorizationError,
    ChannelAddress,
    Code,
    ComponentRegistry,
    ConfigurationError,
    FirstURLSelector,
    HealthCheckManager,
    Instance,
    Mesh,
    MeshApp,
    MeshError,
    Settings,
    describe,
    load_settings,
    module,
)
from meshcore.registry import LocalComponentRegistry
from tests.integration.mesh.decorated import Decorated, DecoratedModule
from tests.integration.mesh.extended import ExtendedClient, Shopper, Wire
from tests.integration.mesh.intercepted import Log, Notes, NotesComponent, NotesModule
from tests.integration.mesh.intercepted_client import ClientInterceptors
from tests.support.client import ProbeClient
from tests.support.probe import Probe, ProbeComponent, ProbeImpl, ProbeModule
from tests.support.processes import ServerProcess, serve

MODULE = "tests.support.probe:ProbeModule"


def settings(folder: Path | None = None, **values: object) -> Settings:
    """Settings that find the servers of a folder, or nobody, with values for `@inject_value`."""
    registry = f"directory://{folder}/registry" if folder else "local:"
    arguments = {"registry": registry, "values": {"shopper": {"limit": 3}, **values}}
    return load_settings(arguments, environ={}, directory=Path("/nonexistent"))


# --- Interceptors -----------------------------------------------------------------------------------------------------


@module(imports=[ClientInterceptors], components=[NotesComponent])
class NotesClient: ...


async def test_interceptors_of_both_sides_around_a_local_call() -> None:
    """A call in this process passes the client's interceptors, then the server's, of all modules of the mesh."""
    async with Mesh(NotesModule, settings=settings()) as mesh:
        notes = await mesh.get_service(Notes)
        assert await notes.add("a") == ["ada: a", "inner", "outer"]


async def test_interceptors_of_both_sides_around_a_remote_call(tmp_path: Path) -> None:
    """The client's are in the client, the server's in the server, and headers travel between them."""
    async with serve(tmp_path, "tests.integration.mesh.intercepted:NotesModule"):
        async with Mesh(NotesClient, settings=settings(tmp_path)) as mesh:
            for channel in ("dispatch-json", "dispatch-msgpack"):
                notes = await mesh.get_service(Notes, channel)
                assert await notes.add("a") == ["ada: a", "inner", "outer"]

        @module(components=[NotesComponent])
        class Plain: ...

        class_module(Plain)
        async with Mesh(Plain, settings=settings(tmp_path)) as mesh:
            notes = await mesh.get_service(Notes)
            with pytest.raises(AuthorizationError, match="who are you"):
                await notes.add("a")


def class_module(cls: type) -> None:
    """Let a module that is written in a test own nothing but itself."""
    cls.__module__ = "tests.nowhere"


async def test_a_request_scoped_implementation() -> None:
    """Each call has an implementation of its own and what lives in its request, cleaned up after it, failed or not."""
    async with Mesh(NotesModule, settings=settings()) as mesh:
        notes, log = await mesh.get_service(Notes), await mesh.get(Log)
        assert (await notes.add("a"))[0] == "ada: a"
        assert log.lines == ["commit ['ada: a']"]
        assert (await asyncio.to_thread(notes.add_blocking, "b"))[0] == "ada: b"
        with pytest.raises(KeyError):
            await notes.fail()
        assert log.lines == ["commit ['ada: a']", "commit ['ada: b']", "commit ['failed']"]


# --- Advice, channels, injection --------------------------------------------------------------------------------------


async def test_advice_adds_a_token_to_the_session(tmp_path: Path) -> None:
    """An advice on `make_session` makes a session with a header of its own; without it the server refuses."""
    app = "tests.support.mounted:starlette_app"
    async with serve(tmp_path, "", app=app, prefix="/mesh") as server:
        async with Mesh(ExtendedClient, settings=settings(tmp_path)) as mesh:
            for channel in ("dispatch-json", "dispatch-msgpack"):
                probe = await mesh.get_service(Probe, channel)
                assert await probe.pid() == server.process.pid
        async with Mesh(ExtendedClient, settings=settings(tmp_path, client={"token": "wrong"})) as mesh:
            probe = await mesh.get_service(Probe, "dispatch-json")
            with pytest.raises(MeshError, match="HTTP status 401") as refused:
                await probe.pid()
            assert refused.value.code is Code.UNAUTHENTICATED


async def test_advice_chooses_the_url_selector(tmp_path: Path) -> None:
    """An advice on `customize` lets a channel always ask the first instance."""
    async with serve(tmp_path, MODULE), serve(tmp_path, MODULE):
        async with Mesh(ExtendedClient, settings=settings(tmp_path)) as mesh:
            await two_instances(mesh)
            probe = await mesh.get_service(Probe, "dispatch-msgpack")
            assert len({await probe.pid() for _ in range(6)}) == 1
            (destination,) = mesh.runtime.destinations.by_component.values()
            assert isinstance(destination.channels["dispatch-msgpack"].selector, FirstURLSelector)
        async with Mesh(ProbeClient, settings=settings(tmp_path)) as mesh:
            await two_instances(mesh)
            probe = await mesh.get_service(Probe, "dispatch-msgpack")
            assert len({await probe.pid() for _ in range(6)}) == 2


async def two_instances(mesh: Mesh) -> None:
    """Return when the mesh's route knows both."""
    await mesh.wait_for(Probe)
    (destination,) = mesh.runtime.destinations.by_component.values()
    while len(destination.instances) < 2:
        await destination.wait()


async def test_a_channel_of_one_s_own() -> None:
    """A class with `@channel` is found by its name, injected and advised like any other, and closed at the end."""
    registry = LocalComponentRegistry()
    instance = Instance("x", "probe", (ChannelAddress("fancy", "fancy://there"),))
    overrides: dict[type, object] = {ComponentRegistry: registry}
    async with (
        registry.announce(instance),
        Mesh(ExtendedClient, settings=settings(), overrides=overrides) as mesh,
    ):
        wire = await mesh.get(Wire)
        probe = await mesh.get_service(Probe)
        assert await probe.echo("a") == "fancy a"
        assert await (await mesh.get_service(Probe, "fancy")).echo("b") == "fancy b"
        assert wire.sent == [("probe.echo", ("a",), "fancy://there"), ("probe.echo", ("b",), "fancy://there")]
        (destination,) = mesh.runtime.destinations.by_component.values()
        assert isinstance(destination.channels["fancy"].selector, FirstURLSelector)
        assert wire.closed == 0
    assert wire.closed == 1


async def test_what_is_injected() -> None:
    """Services over any channel and over the one asked for, values with the settings' and with their own default."""
    async with Mesh(ExtendedClient, settings=settings()) as mesh:
        shopper = await mesh.get(Shopper)
        assert repr(shopper.probe) == "<proxy of probe over any channel>"
        assert repr(shopper.over_json) == "<proxy of probe over dispatch-json>"
        assert repr(shopper.fancy) == "<proxy of probe over fancy>"
        assert shopper.probe is await mesh.get_service(Probe)
        assert (shopper.limit, shopper.colour) == (3, "red")


async def test_a_value_that_nobody_gave() -> None:
    """The mesh does not start without a value that has no default."""
    bare = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
    with pytest.raises(ConfigurationError, match=r"Shopper\(limit\): no setting gives 'shopper.limit'"):
        await Mesh(ExtendedClient, settings=bare).__aenter__()


# --- Overrides --------------------------------------------------------------------------------------------------------


class FakeProbe(ProbeImpl):
    """Answers without a server."""

    @staticmethod
    def make() -> FakeProbe:
        return FakeProbe()

    async def echo(self, text: str) -> str:
        return f"fake {text}"


class Incomplete:
    """Has too little."""

    async def pid(self) -> int:
        return 1


@pytest.mark.parametrize("fake", [FakeProbe(), FakeProbe, FakeProbe.make])
async def test_a_fake_takes_the_place_of_a_service(fake: Any) -> None:
    """An object, a class or a function stands in for a service that is elsewhere, or here."""
    for each in (ExtendedClient, ProbeModule):
        async with Mesh(each, settings=settings(), overrides={Probe: fake}) as mesh:
            probe = await mesh.get_service(Probe)
            assert await probe.echo("a") == "fake a"


async def test_a_fake_must_fit_its_interface() -> None:
    """What a fake lacks is told at start."""
    with pytest.raises(ConfigurationError) as refused:
        await Mesh(ProbeClient, settings=settings(), overrides={Probe: Incomplete()}).__aenter__()
    missing = [f"Incomplete.{method.name} is missing: Probe declares it" for method in describe(Probe).methods]
    assert list(refused.value.problems) == missing[1:]


class FakeComponent(ProbeComponent):
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def startup(self) -> None:
        self.seen.append("startup")

    def shutdown(self) -> None:
        self.seen.append("shutdown")

    def get_addresses(self, base_url: str) -> list[ChannelAddress]:
        return []

    def get_status(self) -> Any:
        return None

    async def get_health(self) -> HealthCheckManager.Health:
        return await HealthCheckManager().check()


async def test_a_fake_takes_the_place_of_a_component() -> None:
    """A component's implementation can be replaced too, and has the component's life."""
    fake = FakeComponent()
    async with Mesh(ProbeModule, settings=settings(), overrides={ProbeComponent: fake}):
        assert fake.seen == ["startup"]
    assert fake.seen == ["startup", "shutdown"]


# --- Mounted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("app", "prefix"), [("starlette_app", "/mesh"), ("fastapi_app", "/inner/mesh")])
async def test_a_mesh_mounted_in_an_application(tmp_path: Path, app: str, prefix: str) -> None:
    """Under a prefix, with its lifespan handed on, a mesh serves all it has; the application's own routes work."""
    async with serve(tmp_path, "", app=f"tests.support.mounted:{app}", prefix=prefix) as server:
        await reached(server, prefix)
        async with Mesh(ExtendedClient, settings=settings(tmp_path)) as mesh:
            for channel in ("dispatch-json", "dispatch-msgpack", "rest"):
                probe = await mesh.get_service(Probe, channel)
                assert await probe.pid() == server.process.pid
                assert await probe.echo("a/b ?") == "a/b ?"
            assert await server.stop() == 0
            assert await mesh.runtime.registry.instances() == {}
        assert "Traceback" not in server.output()


async def reached(server: ServerProcess, prefix: str) -> None:
    """The mesh's own paths are below the prefix, and the application's beside it."""
    async with aiohttp.ClientSession() as session:
        for path, status in (("/livez", 200), ("/readyz", 200), ("/probe-health", 429), ("/report", 200), ("/no", 404)):
            async with session.get(server.url + path) as response:
                assert response.status == status, path
        base = server.url.removesuffix(prefix)
        async with session.get(f"{base}/own?name=ada") as response:
            assert "hello ada" in await response.text()
        async with session.get(f"{base}/livez") as response:
            assert response.status == 404


async def test_an_application_without_the_lifespan_says_so() -> None:
    """A mounted mesh whose lifespan was forgotten fails with the line to write."""
    app = MeshApp(ProbeModule, settings=settings())

    async def nothing() -> Any: ...

    with pytest.raises(Exception, match=r"FastAPI\(lifespan=mesh_app.lifespan\)"):
        await app({"type": "http", "method": "GET", "path": "/livez"}, nothing, nothing)  # type: ignore[arg-type]


async def test_an_application_can_be_started_again() -> None:
    """Test clients start the same application several times; each time it is a new mesh, announced and withdrawn."""
    quiet = load_settings(
        {"registry": "local:", "verify_advertise": False}, environ={}, directory=Path("/nonexistent")
    )  # fmt: skip
    app = MeshApp(ProbeModule, settings=quiet)
    for _ in range(2):
        async with app.lifespan():
            registry = app.mesh.runtime.registry
            async for sighting in registry.watch("probe"):
                if getattr(sighting, "instances", ()):
                    break
            assert (await app.report())["ready"]


async def test_an_async_implementation_behind_a_plain_decorator_is_awaited(tmp_path: Path) -> None:
    """A decorator that hides `async def` changes nothing for the caller."""
    settings = load_settings({"registry": "local:"}, environ={}, directory=tmp_path)
    async with Mesh(DecoratedModule, settings=settings) as mesh:
        assert await (await mesh.get_service(Decorated)).ask("this") == "answer to this"


async def test_an_application_keeps_the_settings_it_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settings file that is broken while an application runs disturbs neither its report nor its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHCORE_VERIFY_ADVERTISE", "false")
    file = tmp_path / "meshcore.toml"
    file.write_text('registry = "local:"\nadvertise_url = "http://127.0.0.1:1234"\n')
    app = MeshApp(DecoratedModule)
    async with app.lifespan():
        file.write_text("no_such_setting = 1\n")
        assert (await app.report())["instances"][0]["addresses"][0]["url"] == "http://127.0.0.1:1234"
