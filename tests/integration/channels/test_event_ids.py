"""Server-sent events have ids where streams are resumed, and a reader that comes back goes on behind the last one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from meshcore import MeshApp, Settings, openapi
from meshcore.testing.servers import served
from tests.integration.mesh.streams import journal
from tests.integration.mesh.streams.journal import JournalComponent, JournalModule, Pages


@asynccontextmanager
async def serving(**values: Any) -> AsyncGenerator[tuple[str, MeshApp, Pages]]:
    """A server of the journal."""
    pages = journal.pages = Pages()
    apps: list[MeshApp] = []

    def make(url: str) -> MeshApp:
        apps.append(MeshApp(JournalModule, settings=Settings(registry="local:", advertise_url=url, **values)))
        return apps[0]

    async with served(make) as url:
        yield url, apps[0], pages


@asynccontextmanager
async def reading(url: str, target: str, *headers: str) -> AsyncGenerator[asyncio.StreamReader]:
    """The answer to a request, as it comes from the socket. To leave closes the connection."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        lines = [f"GET {target} HTTP/1.1", f"host: {place.netloc}", "accept: text/event-stream", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        yield reader
    finally:
        writer.close()


async def ids(reader: asyncio.StreamReader, count: int) -> list[tuple[str, Any]]:
    """So many ids and their items. Chunked or not, each event is a block of lines."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            block = (await reader.readuntil(b"\n\n")).decode()
            if data := re.search(r"^data: (.*)$", block, re.MULTILINE):
                named = re.search(r"^id: (.*)$", block, re.MULTILINE)
                found.append((named[1] if named else "", json.loads(data[1])))
    return found


async def test_a_reader_goes_on_behind_the_last_event() -> None:
    """Whatever its URL says, which is that of the first time."""
    async with serving() as (url, _, pages):
        pages.count = 5
        async with reading(url, "/journal/entries?after=1") as reader:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b"content-type: text/event-stream" in head
            assert b"cache-control: no-store" in head
            assert re.search(rb"retry: [123]\d\d\d\n\n", await reader.readuntil(b"\n\n"))
            assert [key for key, _ in await ids(reader, 3)] == ["2", "3", "4"]
        async with reading(url, "/journal/entries?after=1", "Last-Event-ID: 4") as reader:
            assert await ids(reader, 1) == [("5", {"number": 5, "text": "entry 5"})]
            pages.write()
            assert await ids(reader, 1) == [("6", {"number": 6, "text": "entry 6"})]
        assert pages.calls == [1, 4]
        async with asyncio.timeout(10):
            while pages.ended < 2:
                await asyncio.sleep(0.001)


async def test_any_text_may_be_an_id() -> None:
    """Also an empty one, and one with line breaks, which a header cannot carry."""
    async with serving() as (url, _, pages):
        async with reading(url, "/journal/names") as reader:
            found = await ids(reader, len(journal.NAMES))
        assert [name for _, name in found] == journal.NAMES
        for number, (key, _) in enumerate(found):
            async with reading(url, "/journal/names", f"Last-Event-ID: {key}") as reader:
                rest = (await ids(reader, len(journal.NAMES) - number))[:-1]  # the last one is the end
            assert [name for _, name in rest] == journal.NAMES[number + 1 :]
        assert pages.calls[1:] == journal.NAMES


@pytest.mark.parametrize(("value", "reason"), [("x", "expected int"), ("%ff", "it is not UTF-8")])
async def test_an_id_that_is_none_is_refused(value: str, reason: str) -> None:
    """Before anything is called."""
    async with serving() as (url, _, pages):
        async with reading(url, "/journal/entries", f"Last-Event-ID: {value}", "connection: close") as reader:
            answer = (await reader.read()).decode()
        assert answer.startswith("HTTP/1.1 400")
        assert "header 'last-event-id': " in answer
        assert reason in answer
        assert pages.calls == []


async def test_lines_have_no_ids() -> None:
    """Their readers have the items."""
    async with serving() as (url, _, pages):
        pages.count = 2
        async with reading(url, "/journal/flaky", "connection: close") as reader:
            assert b"\nid: 3\n" in await reader.read()
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(f"GET /journal/flaky HTTP/1.1\r\nhost: {place.netloc}\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b"\n3\n" in answer
        assert b"id:" not in answer
        assert b"retry:" not in answer


def test_the_document_names_the_header() -> None:
    """Of methods that are resumed."""
    paths = openapi([JournalComponent])["paths"]
    found = [each for each in paths["/journal/entries"]["get"]["parameters"] if each["in"] == "header"]
    assert [(each["name"], each["required"]) for each in found] == [("Last-Event-ID", False)]
