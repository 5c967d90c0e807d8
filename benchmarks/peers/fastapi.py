# /// script
# dependencies = ["fastapi>=0.120", "httpx>=0.28", "uvicorn[standard]>=0.38", "uvloop>=0.22.1"]
# ///
"""FastAPI on uvicorn, called with httpx, as most people would: JSON, typed by pydantic on both sides."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from benchmarks.comparison.answering import HOST, answering
from benchmarks.comparison.child import run
from benchmarks.comparison.payload import TEXT, Node, Workload, item, tree
from benchmarks.comparison.peer import Call, Calls, Peer

app = FastAPI()
nodes = TypeAdapter(Node)


@app.post("/empty")
async def empty_route() -> None:
    """Do nothing."""


@app.post("/tree")
async def tree_route(node: Node) -> Node:
    """Answer the tree as it is."""
    return node


@app.post("/text")
async def text_route(text: Annotated[str, Body()]) -> str:
    """Answer the text as it is."""
    return text


@app.post("/items")
async def items_route(count: Annotated[int, Body()]) -> StreamingResponse:
    """So many items, a line of JSON each."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(count):
            yield nodes.dump_json(item(number)) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@asynccontextmanager
async def serve(variant: str, port: int) -> AsyncGenerator[None, None]:  # noqa: ARG001 - there is one
    """uvicorn, with its defaults, but for the log of requests."""
    config = uvicorn.Config(app, host=HOST, port=port, access_log=False, log_level="warning")
    async with answering(uvicorn.Server(config).serve(), port):
        yield


@asynccontextmanager
async def connect(variant: str, port: int) -> AsyncGenerator[Calls, None]:  # noqa: ARG001 - there is one
    """One client, with as many connections as there are callers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", limits=limits, timeout=30) as client:
        argument = tree()
        headers = {"content-type": "application/json"}

        async def post(path: str, body: bytes) -> bytes:
            response = await client.post(path, content=body, headers=headers)
            response.raise_for_status()
            return response.content

        async def empty() -> Any:
            return json.loads(await post("/empty", b""))

        async def tree_of() -> Node:
            return nodes.validate_json(await post("/tree", nodes.dump_json(argument)))

        async def text() -> Any:
            return json.loads(await post("/text", json.dumps(TEXT).encode()))

        async def items(count: int) -> tuple[int, Node | None]:
            number, last = 0, None
            body = json.dumps(count).encode()
            async with client.stream("POST", "/items", content=body, headers=headers) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    last = nodes.validate_json(line)
                    number += 1
            return number, last

        yield {
            Workload.EMPTY: Call(empty),
            Workload.TREE: Call(tree_of, argument),
            Workload.TEXT: Call(text, TEXT),
            Workload.STREAM: Call(items),
        }


PEER = Peer("FastAPI + httpx", [""], serve, connect)

if __name__ == "__main__":
    run(PEER)
