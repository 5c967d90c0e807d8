"""REST: parameters in headers, names of the wire, descriptions and examples, statuses of success."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Any

import aiohttp
import pytest
from msgspec import Meta

from meshcore import (
    AbstractComponent,
    Component,
    ConfigurationError,
    Header,
    HeaderParam,
    LocalError,
    Mesh,
    MeshApp,
    Query,
    QueryParam,
    Service,
    Settings,
    component,
    delete,
    describe,
    get,
    implementation,
    module,
    post,
    rest,
    service,
)
from meshcore.testing.servers import served


@service()
@rest("/parts")
class Parts(Service):
    @abstractmethod
    @get("/tenant")
    async def tenant(
        self,
        x_tenant: HeaderParam[str],
        since: Annotated[date | None, Header(description="only later ones", example="2026-01-31")] = None,
        roles: HeaderParam[tuple[str, ...]] = (),
        agent: Annotated[str, Header(alias="User-Agent")] = "nobody",
    ) -> list[Any]: ...

    @abstractmethod
    @get("/range")
    async def range(
        self,
        start: Annotated[int, Query(alias="from", description="the first", example=3), Meta(ge=0)],
        end: Annotated[int, Query("the last", alias="to")] = 9,
    ) -> list[int]: ...

    @abstractmethod
    @get("/optional")
    async def optional(
        self, x_tenant: HeaderParam[str] | None = None, start: Annotated[int, Query(alias="from")] | None = None
    ) -> list[Any]: ...

    @abstractmethod
    @post("/things", status=201)
    async def create(self, name: QueryParam[str]) -> str: ...

    @abstractmethod
    @delete("/things/{name}", status=204)
    async def remove(self, name: str) -> None: ...


@component(name="parts", services=[Parts])
class PartsComponent(Component): ...


@implementation()
class PartsImpl(Parts):
    async def tenant(
        self, x_tenant: str, since: date | None = None, roles: tuple[str, ...] = (), agent: str = "nobody"
    ) -> list[Any]:
        return [x_tenant, since, roles, agent]

    async def range(self, start: int, end: int = 9) -> list[int]:
        return [start, end]

    async def optional(self, x_tenant: str | None = None, start: int | None = None) -> list[Any]:
        return [x_tenant, start]

    async def create(self, name: str) -> str:
        return name

    async def remove(self, name: str) -> None: ...


@implementation()
class PartsComponentImpl(AbstractComponent, PartsComponent): ...


@module(provides=[PartsImpl, PartsComponentImpl])
class PartsModule: ...


@asynccontextmanager
async def parts() -> AsyncIterator[tuple[str, aiohttp.ClientSession, Parts]]:
    """A server: its URL, a session of plain HTTP, and a proxy over the REST channel."""

    def make(url: str) -> MeshApp:
        return MeshApp(PartsModule, settings=Settings(registry="local:", advertise_url=url))

    async with (
        served(make) as url,
        aiohttp.ClientSession(skip_auto_headers=["user-agent"]) as session,
        Mesh(PartsModule, settings=Settings(registry=f"static:parts=rest({url})")) as mesh,
    ):
        yield url, session, await mesh.get_service(Parts, preferred_channel="rest")


async def test_headers_are_parameters() -> None:
    """A header has the parameter's name with dashes, or its alias; a list is divided by commas or repeated."""
    async with parts() as (url, session, _):

        async def ask(*headers: tuple[str, str]) -> tuple[int, Any]:
            async with session.get(f"{url}/parts/tenant", headers=headers) as response:
                return response.status, await response.json(content_type=None)

        assert await ask(("X-Tenant", "acme")) == (200, ["acme", None, [], "nobody"])
        assert await ask(
            ("x-tenant", "a, b"), ("Since", "2026-01-31"), ("roles", "x, y"), ("roles", "z,"), ("user-agent", "me")
        ) == (200, ["a, b", "2026-01-31", ["x", "y", "z"], "me"])
        status, problem = await ask(("since", "yesterday"))
        assert status == 400
        assert problem["detail"] == (
            "parts.tenant: header parameter 'x-tenant': is missing; header parameter 'since': invalid RFC3339 "
            "encoded date"
        )
        assert "expected one value, got 2" in (await ask(("x-tenant", "a"), ("x-tenant", "b")))[1]["detail"]


async def test_the_channel_writes_headers_and_aliases() -> None:
    """What the channel sends arrives as it was given; what no header can say is an error of the caller."""
    async with parts() as (_, _, proxy):
        assert await proxy.tenant("a b,c", date(2026, 1, 31), ("x", "y")) == [
            "a b,c",
            "2026-01-31",
            ["x", "y"],
            "nobody",
        ]
        assert await proxy.tenant("") == ["", None, [], "nobody"]
        assert await proxy.range(3, 4) == [3, 4]
        for wrong in ("grüße", "a\r\nb: c", " a", "a\0"):
            with pytest.raises(LocalError, match=r"header parameter 'x-tenant': .* has no form in a header"):
                await proxy.tenant(wrong)
        for item in ("a,b", ""):
            with pytest.raises(LocalError, match=r"header parameter 'roles': .* cannot be in a list in a header"):
                await proxy.tenant("a", None, ("x", item))


async def test_an_optional_parameter_is_where_its_mark_says() -> None:
    """`HeaderParam[str] | None` comes from the header and from nowhere else."""
    async with parts() as (url, session, proxy):
        for target, headers, expected in (
            ("", {}, [None, None]),
            ("?from=3", {"X-Tenant": "acme"}, ["acme", 3]),
            ("?x_tenant=evil&x-tenant=evil&start=3", {"X-Tenant": "acme"}, ["acme", None]),
        ):
            async with session.get(f"{url}/parts/optional{target}", headers=headers) as response:
                assert await response.json() == expected
        assert await proxy.optional("acme", 3) == ["acme", 3]
        assert await proxy.optional() == [None, None]


async def test_success_has_the_declared_status() -> None:
    """`status=201` is answered, and understood by the channel; 204 comes without a body."""
    async with parts() as (url, session, proxy):
        async with session.post(f"{url}/parts/things?name=a") as response:
            assert (response.status, await response.json()) == (201, "a")
        async with session.delete(f"{url}/parts/things/a") as response:
            assert (response.status, await response.read()) == (204, b"")
            assert "content-length" not in response.headers
            assert "content-type" not in response.headers
        async with session.get(f"{url}/parts/range?from=1") as response:
            assert await response.json() == [1, 9]
        assert await proxy.create("b") == "b"
        await proxy.remove("b")


def test_marks_carry_descriptions_examples_and_aliases() -> None:
    """What `Annotated` says stands in the description; constraints stay with the type."""
    method = describe(Parts).method("range")
    assert method is not None
    first = method.parameters[0]
    assert (first.wire_name, first.description, first.example) == ("from", "the first", 3)
    assert first.type == Annotated[int, Meta(ge=0)]


def test_mistakes_in_parts_are_found_at_the_start() -> None:
    """Headers that are not the caller's to set, names that are there twice, statuses that cannot be."""

    @service()
    class Wrong(Service):
        @abstractmethod
        @get("/a", status=404)
        async def a(self) -> str: ...

        @abstractmethod
        @get("/b", status=204)
        async def b(self) -> str: ...

        @abstractmethod
        @get("/c")
        async def c(self, content_length: HeaderParam[int], mesh_attempt: HeaderParam[int]) -> str: ...

        @abstractmethod
        @get("/d")
        async def d(self, one: Annotated[int, Header(alias="a b")], two: HeaderParam[dict[str, int]]) -> str: ...

        @abstractmethod
        @get("/e")
        async def e(self, one: Annotated[int, Query(alias="n")], n: int) -> str: ...

        @abstractmethod
        @get("/f/{name}")
        async def f(self, name: HeaderParam[str]) -> str: ...

    with pytest.raises(ConfigurationError) as error:
        describe(Wrong)
    place = Wrong.__qualname__
    assert list(error.value.problems) == [
        f"{place}.a: status=404 is no success status (200 to 299)",
        f"{place}.b: an answer with status 204 has no body, so the method must return None",
        f"{place}.c(content_length): header 'content-length' belongs to HTTP itself",
        f"{place}.c(mesh_attempt): header 'mesh-attempt' belongs to the mesh",
        f"{place}.d(one): 'a b' is no name of a header",
        f"{place}.d(two): is an object, so it cannot be a header parameter; make it the Body[...] of a POST or PUT",
        f"{place}.e: two of its parameters are the query parameter 'n'",
        f"{place}.f(name): is in path '/f/{{name}}', but marked as header",
    ]
