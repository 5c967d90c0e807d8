"""`meshcore top`, and what `ls` and `why` learn from the processes that run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from meshcore import CommunicationError, ConfigurationError, Mesh, Settings, client_module
from meshcore.cli.ls import list_instances
from meshcore.cli.tap import Choice, follow
from meshcore.cli.top import show
from meshcore.cli.why.why import explain
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.ports.installed import make_registry
from tests.support.processes import free_port
from tests.support.three import Line, Shop, ShopComponent, SoldOut
from tests.support.three_served import mesh

pytestmark = pytest.mark.one_python


@asynccontextmanager
async def called(folder: Path) -> AsyncGenerator[Settings]:
    """The mesh of three, whose shop is called again and again. Yields the settings of a client."""
    settings = Settings(registry=f"directory:{folder}/registry")
    async with mesh(folder, page="read-only"), Mesh(client_module(ShopComponent), settings=settings) as client:
        shop = await client.get_service(Shop)

        async def call() -> None:
            while True:
                with pytest.raises(SoldOut):
                    await shop.order(Line("unicorn"))
                await shop.order(Line("tea"))

        calling = asyncio.create_task(call())
        try:
            yield settings
        finally:
            calling.cancel()
            await asyncio.wait([calling])


async def test_top_shows_what_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each method with its callers; as JSON the same; only those that are asked for."""
    async with called(tmp_path) as settings:
        await show(settings, "", "name", once=True)
        heads, _, *rows = capsys.readouterr().out.splitlines()
        assert " ".join(heads.split()) == "component method calls/s success p50 ms p95 ms p99 ms retries called by"
        cells = [row.split() for row in rows]
        assert [row[:2] for row in cells] == [
            ["prices", "prices/price"],
            ["shop", "shop/order"],
            ["stock", "stock/reserve"],
        ]
        assert float(cells[1][2]) > 0
        assert [row[-1] for row in cells] == ["shop", "Client", "shop"]

        await show(settings, "STOCK", "calls", once=True, as_json=True)
        (line,) = capsys.readouterr().out.splitlines()
        (stock,) = json.loads(line)["methods"]
        assert stock["method"] == "stock/reserve"
        assert 0.3 < stock["now"]["success"] < 0.7
        assert [each["kind"] for each in stock["errors"]] == ["SoldOut"]

    with pytest.raises(ConfigurationError, match=r"'cals' is no column to sort by; did you mean 'calls'\?"):
        await show(settings, "", "cals")
    await show(settings, "", "calls", once=True)
    assert "nothing is announced" in capsys.readouterr().out


async def test_a_registry_that_cannot_be_read_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts must not take it for a mesh without calls."""
    settings = Settings(registry=f"consul://127.0.0.1:{free_port()}")
    for command in (
        show(settings, "", "calls", once=True),
        show(settings, "", "calls", once=True, as_json=True),
        list_instances(settings),
        explain(settings, "stock.reserve", ""),
        explain(msgspec.structs.replace(settings, module="tests.support.three_parts:StockModule"), "stock.reserve", ""),
        follow(settings, "stock", Choice()),
    ):
        with pytest.raises(CommunicationError, match="Consul at http"):
            await command
    assert '"methods"' not in capsys.readouterr().out


async def test_who_has_ejected_an_instance_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A client of its own has seen nothing yet; the shop, which runs, has ejected the second stock."""
    async with called(tmp_path) as settings, make_registry(settings.registry) as registry:
        dead = ChannelAddress("dispatch-msgpack", f"http://127.0.0.1:{free_port()}")
        async with registry.announce(Instance("stock-dead", "stock", (dead,))):
            async with aiohttp.ClientSession() as session:
                shop = next(iter((await registry.instances())["shop"])).addresses[0].url
                ejected = ""
                while "ejected" not in ejected:
                    async with session.get(f"{shop}/report/summary") as response:
                        (told,) = (await response.json())["processes"]
                    seen = {
                        each["id"]: each.get("state", "") for to in told["destinations"] for each in to["instances"]
                    }
                    ejected = seen.get("stock-dead", "")
            await list_instances(settings)
            row = next(line for line in capsys.readouterr().out.splitlines() if "stock-dead" in line)
            assert "unreachable" in row
            await list_instances(settings, as_json=True)
            listed = json.loads(capsys.readouterr().out)["instances"]
            (told,) = [each for each in listed if each["id"] == "stock-dead"]
            assert told["state"] == "gone"
            assert told["why"].endswith("Ejected by shop.")
            await explain(settings, "stock.reserve", "")
            assert "Ejected by shop." in capsys.readouterr().out
            await explain(settings, "stock.reserve", "", as_json=True)
            known = json.loads(capsys.readouterr().out)["instances"]
            assert [each["instance"] for each in known if "Ejected by shop." in each["remark"]] == ["stock-dead"]
