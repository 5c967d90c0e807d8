"""`meshcore call` of streaming methods: items are printed as they come, and read from stdin."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.integration.cli.shell import Shell, end
from tests.support.processes import serve

pytestmark = pytest.mark.one_python

MODULE = "tests.integration.mesh.streams.feeds:FeedsModule"


async def test_streams_on_the_command_line(meshcore: Shell, tmp_path: Path) -> None:
    """Nobody needs the module: the contract of the server says what streams."""
    (tmp_path / "server").mkdir()
    async with serve(tmp_path / "server", MODULE) as server:
        meshcore.environ["MESHCORE_REGISTRY"] = f"directory://{server.log.parent}/registry"
        status, out, err = await meshcore("call", "feed.watch", "sku=tea", "count=3")
        assert (status, err) == (0, "")
        assert [json.loads(line) for line in out.splitlines()] == [{"sku": "tea", "cents": each} for each in range(3)]

        status, out, err = await meshcore("call", "--channel", "rest", "feed.watch", "sku=tea", "count=1")
        assert (status, out, err) == (0, '{"sku":"tea","cents":0}\n', "")
        status, out, err = await meshcore(
            "call", "--channel", "rest", "feed.total", stdin=b'{"sku": "tea", "cents": 5}\n'
        )
        assert (status, out, err) == (0, "5\n", "")

        status, out, err = await meshcore("call", "feed.watch", "sku=tea", "count=1", "sold_out=true")
        assert (status, out) == (4, '{"sku":"tea","cents":0}\n')
        assert "SoldOut" in err

        items = b'{"sku": "tea", "cents": 5}\n\n{"sku": "tea", "cents": 7}'
        status, out, err = await meshcore("call", "feed.total", "start=1", stdin=items)
        assert (status, out, err) == (0, "13\n", "")

        status, out, err = await meshcore("call", "feed.total", stdin=b'{"sku": 5}\n')
        assert (status, out) == (2, "")
        assert "line 1 of stdin" in err

        status, out, err = await meshcore("call", "feed.total", "prices=5", stdin=b"")
        assert (status, out) == (2, "")
        assert "prices is a stream, whose items are read from stdin" in err

        status, out, err = await meshcore("call", "feed.watch", "sku=tea", "--repeat", "3")
        assert (status, out) == (2, "")
        assert "feed.watch is a server stream: --repeat is for methods that do not stream" in err

        status, out, err = await meshcore("call", "chat.double", stdin=b"1\n2\n")
        assert (status, out, err) == (0, "2\n4\n", "")

        process = await meshcore.start("call", "feed.stuck", "after=1")
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"0\n"  # printed when it comes
        assert await end(process, signal.SIGINT) == (130, "")


async def test_describe_names_streams(meshcore: Shell) -> None:
    """With the type of their items."""
    status, out, err = await meshcore("describe", MODULE)
    assert (status, err) == (0, "")
    assert "watch(sku, count, sold_out) -> stream[Price]" in out
    assert "prices: stream[Price]" in out
