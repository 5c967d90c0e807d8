"""A default that an implementation changes is the same for the next call, in process and over every channel."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from enum import Enum

import aiohttp
import msgspec
import pytest

from meshcore import (
    AbstractComponent,
    Body,
    Component,
    Mesh,
    MeshApp,
    Service,
    Settings,
    component,
    describe,
    get,
    implementation,
    module,
    post,
    service,
)
from meshcore.testing import memory_mesh
from meshcore.testing.servers import served
from meshcore.wire.dispatch import arguments_type


class Colour(Enum):
    RED = "red"


@dataclass
class Basket:
    items: list[str] = field(default_factory=list)


EMPTY = Basket()


@service()
class Shop(Service):
    @abstractmethod
    async def fill(
        self,
        basket: Basket = EMPTY,
        names: list[str] = [],  # noqa: B006
        *,
        counts: dict[str, list[int]] = {"a": [1]},  # noqa: B006
        pair: tuple[list[int], int] = ([], 1),
        colour: Colour = Colour.RED,
        limit: int = 3,
    ) -> list[str]: ...

    @post("/keep")
    async def keep(self, basket: Body[Basket] = EMPTY) -> list[str]: ...  # type: ignore[empty-body]

    @get("/names")
    async def names(self, names: list[str] = ["first"]) -> list[str]: ...  # type: ignore[empty-body]  # noqa: B006


@component(services=[Shop])
class ShopComponent(Component): ...


@implementation()
class ShopImpl(Shop):
    async def fill(
        self,
        basket: Basket,
        names: list[str],
        *,
        counts: dict[str, list[int]],
        pair: tuple[list[int], int],
        colour: Colour,
        limit: int,
    ) -> list[str]:
        seen = [*basket.items, *names, *map(str, counts["a"]), *map(str, pair[0]), colour.value, str(limit)]
        basket.items.append("basket")
        names.append("name")
        counts["a"].append(2)
        pair[0].append(3)
        return seen

    async def keep(self, basket: Basket) -> list[str]:
        basket.items.append("basket")
        return basket.items

    async def names(self, names: list[str]) -> list[str]:
        names.append("more")
        return names


@implementation()
class ShopComponentImpl(AbstractComponent, ShopComponent): ...


@module()
class ShopModule: ...


@pytest.mark.parametrize("channel", ["local", "dispatch-json", "dispatch-msgpack"])
async def test_a_changed_default_is_not_seen_by_the_next_call(channel: str) -> None:
    """Each call gets its own copy of a mutable default; an argument that is passed in this process is not copied."""
    local = Mesh(ShopModule, settings=Settings(registry="local:"))
    async with local if channel == "local" else memory_mesh(ShopModule, channel=channel) as mesh:
        shop = await mesh.get_service(Shop)
        for _ in range(3):
            assert await shop.fill() == ["1", "red", "3"]
            assert await shop.names() == ["first", "more"]
        mine: list[str] = []
        await shop.fill(EMPTY, mine)
        assert mine == (["name"] if channel == "local" else [])
        assert EMPTY.items == []


def test_arguments_that_a_caller_leaves_out_are_filled_in_anew() -> None:
    """The server does so for callers of an older version, which send fewer arguments."""
    method = describe(Shop).method("names")
    assert method is not None
    kind = arguments_type(method)
    first = msgspec.json.decode(b"[]", type=kind)
    first.names.append("changed")  # type: ignore[attr-defined]
    assert msgspec.json.decode(b"[]", type=kind).names == ["first"]  # type: ignore[attr-defined]


async def test_requests_of_others_get_their_own_default() -> None:
    """Over REST a parameter or body that is left out is filled in anew, too."""
    settings = Settings(registry="local:")
    async with (
        served(lambda url: MeshApp(ShopModule, settings=msgspec.structs.replace(settings, advertise_url=url))) as url,
        aiohttp.ClientSession(url) as session,
    ):
        for _ in range(2):
            async with session.get("/names") as answer:
                assert await answer.json() == ["first", "more"]
            async with session.post("/keep") as answer:
                assert await answer.json() == ["basket"]
