"""How many requests a server takes on, however long their bodies take to come."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from typing import Any

from meshcore import (
    AbstractComponent,
    Body,
    Component,
    MeshApp,
    Service,
    Settings,
    component,
    implementation,
    module,
    post,
    service,
)

GO_ON = asyncio.Event()


@service()
class Uploads(Service):
    @abstractmethod
    @post("/uploads")
    async def upload(self, text: Body[str]) -> str: ...


@component(name="uploads", services=[Uploads])
class UploadsComponent(Component): ...


@implementation()
class UploadsImpl(Uploads):
    def __init__(self) -> None:
        self.running = 0

    async def upload(self, text: str) -> str:
        self.running += 1
        await GO_ON.wait()
        return text


@implementation()
class UploadsComponentImpl(AbstractComponent, UploadsComponent): ...


@module()
class UploadsModule: ...


class Sender:
    """A client that sends the end of its body when it is told to."""

    def __init__(self, app: MeshApp) -> None:
        self._app = app
        self._parts = [b'"a', b'b"']
        self._left = asyncio.Event()
        self.end = asyncio.Event()
        self.status = 0
        self.body = b""
        self.waits = asyncio.Event()
        self.task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/uploads",
            "raw_path": b"/uploads",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json")],
            "client": ("client", 0),
        }
        await self._app(scope, self._receive, self._take)

    async def _receive(self) -> dict[str, Any]:
        if not self._parts:
            await self._left.wait()
            return {"type": "http.disconnect"}
        if len(self._parts) == 1:
            self.waits.set()
            await self.end.wait()
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]


async def test_slow_bodies_are_no_way_around_the_limit() -> None:
    """As many requests as may run may be on their way beside those; who is complete when as many run is refused."""
    settings = Settings(registry="local:", max_concurrency=2, adaptive_limit=False, verify_advertise=False, drain=0.0)
    app = MeshApp(UploadsModule, settings=settings)
    async with app.running():
        uploads = await app.mesh.get(UploadsImpl)
        senders = [Sender(app) for _ in range(4)]
        for each in senders:
            await each.waits.wait()
        fifth = Sender(app)
        await fifth.task
        assert fifth.status == 429
        for each in senders:
            each.end.set()
        await asyncio.wait([each.task for each in senders[2:]])
        assert uploads.running == 2
        GO_ON.set()
        await asyncio.wait([each.task for each in senders[:2]])
        assert [each.status for each in senders] == [200, 200, 429, 429]
        refused = json.loads(senders[3].body)
        assert (refused["code"], refused["processed"], refused["retry_after"]) == ("resource_exhausted", False, 0.1)
