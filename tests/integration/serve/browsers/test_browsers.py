"""Requests of browsers and of attackers, in their bytes, to a server of hypercorn and to `meshcore run`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from meshcore import MeshApp, Settings
from meshcore.testing.servers import served
from tests.integration.serve.ordering import OrderingModule
from tests.support.processes import serve

CALL = json.dumps({"method": "ordering:ordering:order", "args": ["hat"]}).encode()
CROSS = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
FORM, JSON = {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "application/json"}


async def answers(url: str, data: bytes) -> bytes:
    """All that a server sends on a connection until it closes it."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    found = await reader.read()
    writer.close()
    return found


def request(target: str, headers: dict[str, str], body: bytes = b"", verb: str = "POST") -> bytes:
    """The bytes of a request, after which the connection is closed."""
    sent = {"host": "h", "content-length": str(len(body)), "connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
    return f"{verb} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


def make(url: str, **settings: Any) -> MeshApp:
    """A server of orders."""
    return MeshApp(OrderingModule, settings=Settings(registry="local:", advertise_url=url, **settings))


async def test_writes_of_other_sites_are_not_executed() -> None:
    """Over REST and `/invoke`, whatever their content type; what is not of a browser is served."""
    async with served(make) as url:
        for target, headers, body in (
            ("/orders?sku=hat", {**CROSS, **FORM}, b"x=1"),
            ("/orders?sku=hat", CROSS, b""),
            ("/orders?sku=hat", {"origin": "null"}, b""),
            ("/invoke", {**CROSS, **JSON}, CALL),
            ("/invoke", {**CROSS, "content-type": "text/plain"}, CALL),
        ):
            answer = await answers(url, request(target, headers, body))
            assert answer.startswith(b"HTTP/1.1 403"), answer
            assert b"setting allowed_origins" in answer
        assert (await answers(url, request("/orders", CROSS, verb="GET"))).endswith(b"0")
        assert (await answers(url, request("/orders?sku=hat", {}))).endswith(b"1")
        assert b'"result":2' in await answers(url, request("/invoke", {**JSON, "origin": "http://h"}, CALL))


async def test_origins_that_are_allowed() -> None:
    """The setting names them."""
    async with served(lambda url: make(url, allowed_origins=("https://evil.example",))) as url:
        assert (await answers(url, request("/orders?sku=hat", CROSS))).endswith(b"1")


async def test_a_body_says_what_it_is() -> None:
    """Also one that no parameter takes: without a content type, or as a form, it needs no preflight."""
    async with served(make) as url:
        for headers, said in (({}, b"got none"), (FORM, b"got 'application/x-www-form-urlencoded'")):
            answer = await answers(url, request("/orders?sku=hat", headers, b"x=1"))
            assert answer.startswith(b"HTTP/1.1 415"), answer
            assert said in answer
        assert (await answers(url, request("/orders?sku=hat", JSON, b"{}"))).endswith(b"1")
        assert (await answers(url, request("/orders?sku=hat", FORM))).endswith(b"2")


async def test_hosts_that_are_not_allowed() -> None:
    """They get nothing, but for what probes ask."""
    async with served(lambda url: make(url, allowed_hosts=("shop.example",))) as url:
        for target, verb in (("/orders", "GET"), ("/report", "GET"), ("/docs", "GET"), ("/invoke", "POST")):
            answer = await answers(url, request(target, {"host": "evil.example", **JSON}, CALL, verb))
            assert answer.startswith(b"HTTP/1.1 403"), answer
            assert b"setting allowed_hosts" in answer
        for target, host in (("/livez", "evil.example"), ("/orders", "shop.example:80"), ("/orders", "10.0.0.1")):
            answer = await answers(url, request(target, {"host": host}, verb="GET"))
            assert answer.startswith(b"HTTP/1.1 200"), answer


async def test_what_operators_read_by_a_name_that_anybody_can_register() -> None:
    """A browser gets none of it: its page may be of who gave that name our address. Programs know us by any name."""
    async with served(make) as url:
        for target in ("/report", "/report/summary", "/metrics"):
            for name, languages, status in (
                ("evil.example", {"accept-language": "en"}, 403),
                ("orders.prod.svc", {"accept-language": "en"}, 200),
                ("server-7.shop.example", {}, 200),
            ):
                answer = await answers(url, request(target, {"host": name, **languages}, verb="GET"))
                assert answer.startswith(f"HTTP/1.1 {status}".encode()), answer


@pytest.mark.parametrize("target", ["/invoke", "/orders?sku=hat", "/livez", "/nowhere"])
async def test_two_lengths_end_the_connection(target: str) -> None:
    """What follows on it may be of somebody else, and is not answered."""
    async with served(make) as url:
        head = f"POST {target} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n".encode()
        smuggled = head + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        answer = await answers(url, smuggled + request("/orders", {}, verb="GET"))
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in answer.lower()
        assert b"either content-length or transfer-encoding" in answer


UPGRADE = {"connection": "upgrade, http2-settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAARAAAAAAAIAAAAA"}
PRIOR_KNOWLEDGE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


async def first_bytes(url: str, data: bytes) -> bytes:
    """What a server answers at first."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    found = await reader.readexactly(12)
    writer.close()
    return found


async def test_an_upgrade_to_cleartext_http_2_is_ignored(tmp_path: Path) -> None:
    """The request is answered like any other; a client that begins with HTTP/2 is served."""
    async with serve(tmp_path, "tests.integration.serve.ordering:OrderingModule") as server:
        asked = request("/livez", {**UPGRADE, "content-length": ""}, verb="GET")
        assert await first_bytes(server.url, asked) == b"HTTP/1.1 200"
        assert (await first_bytes(server.url, PRIOR_KNOWLEDGE))[3:4] == b"\x04"  # a frame SETTINGS
