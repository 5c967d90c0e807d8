"""REST: what plain HTTP clients get from a mesh, and what the REST channel makes of servers that are no mesh."""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse
from yarl import URL

from meshcore import (
    AuthorizationError,
    Code,
    CommunicationError,
    Component,
    LocalError,
    Mesh,
    MeshApp,
    RemoteError,
    Service,
    Settings,
    component,
    delete,
    get,
    module,
    put,
    service,
)
from meshcore.testing.servers import served
from tests.support.shop import Busy, OutOfStock, Shop, ShopComponent, ShopModule

JSON = "application/json"
PROBLEM = "application/problem+json"


@module(components=[ShopComponent])
class ShopClient: ...


class Shopper:
    """Plain HTTP to a served shop."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def ask(self, verb: str, target: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded body; the target is sent as it is."""
        status, _, data = await self.exchange(
            verb, target, None if body is None else json.dumps(body).encode(), headers
        )
        return status, json.loads(data)

    async def exchange(
        self, verb: str, target: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, bytes]:
        url = URL(self.url + target, encoded=True)
        headers = {"content-type": JSON, **(headers or {})} if data is not None else headers
        async with self.session.request(verb, url, data=data, headers=headers) as response:
            return response.status, response.headers, await response.read()

    async def problem(self, status: int, verb: str, target: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The problem that the request must end with."""
        data = None if body is None else json.dumps(body).encode()
        found, answered, raw = await self.exchange(verb, target, data, headers)
        assert (found, answered["content-type"]) == (status, PROBLEM), raw
        problem: dict[str, Any] = json.loads(raw)
        assert (problem["type"], problem["status"]) == ("about:blank", status)
        return problem


@asynccontextmanager
async def shop(**settings: Any) -> AsyncIterator[Shopper]:
    """A served shop."""

    def make(url: str) -> MeshApp:
        return MeshApp(ShopModule, settings=Settings(registry="local:", advertise_url=url, **settings))

    async with served(make) as url, aiohttp.ClientSession() as session:
        yield Shopper(url, session)


@asynccontextmanager
async def calling(module: type, name: str, url: str, **settings: Any) -> AsyncIterator[Mesh]:
    """A mesh that finds the component there."""
    async with Mesh(module, settings=Settings(registry=f"static:{name}=rest({url})", **settings)) as mesh:
        yield mesh


async def test_verbs_paths_queries_and_bodies() -> None:
    """Each verb reaches its method; values come from path, query and body; the answer is the bare result."""
    tea = {"item": "tea", "price": 1.5}
    async with shop() as shopper:
        assert await shopper.ask("GET", "/shop/orders/7") == (200, {"id": 7, "lines": [tea]})
        assert await shopper.ask("GET", "/shop/orders/7?lines=0") == (200, {"id": 7, "lines": []})
        assert await shopper.ask("POST", "/shop/orders", {"id": 1}) == (200, {"id": 2, "lines": []})
        assert await shopper.ask("POST", "/shop/orders?urgent=true", {"id": 1}) == (200, {"id": 102, "lines": []})
        replaced = await shopper.ask("PUT", "/shop/orders/3", {"id": 9, "lines": [tea]})
        assert replaced == (200, {"id": 3, "lines": [tea]})
        assert await shopper.ask("PATCH", "/shop/orders/3", {"a": 1}) == (200, {"a": 1})
        assert await shopper.ask("DELETE", "/shop/orders/3") == (200, None)
        assert await shopper.ask("POST", "/shop/ping") == (200, "pong")


async def test_a_body_that_is_optional_may_be_missing() -> None:
    """Without a body its parameter has its default; a body that nobody takes does no harm."""
    async with shop() as shopper:
        assert await shopper.ask("PATCH", "/shop/orders/3") == (200, None)
        assert await shopper.ask("POST", "/shop/ping", {}) == (200, "pong")
        assert (await shopper.problem(400, "POST", "/shop/orders"))["detail"] == "shop.add: body: is missing"


async def test_fixed_paths_come_before_placeholders() -> None:
    """`/orders/latest` is found although `/orders/{number}` was declared first and matches as well."""
    async with shop() as shopper:
        assert await shopper.ask("GET", "/shop/orders/latest") == (200, "the latest")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/shop/items/a%2Fb/of/%2F", ["a/b", "/"]),
        ("/shop/items/%2e%2E/of/.", ["..", "."]),
        ("/shop/items/%3F%23%25/of/a%252Fb", ["?#%", "a%2Fb"]),
        ("/shop/items/gr%C3%BC%C3%9Fe%20dich/of/a+b", ["grüße dich", "a+b"]),
        ("/shop/items/a:b@c!$&'()*+,;=/of/~-._", ["a:b@c!$&'()*+,;=", "~-._"]),
        ("/sh%6Fp/it%65ms/a/of/b", ["a", "b"]),
        ("/shop/ranges/a%3Ab:c", ["a:b", "c"]),
    ],
)
async def test_path_values_may_contain_everything(target: str, expected: list[str]) -> None:
    """A path value may contain every character if it is quoted; quoting more than is necessary does not matter."""
    async with shop() as shopper:
        assert await shopper.ask("GET", target) == (200, expected)


async def test_fixed_text_in_paths_is_quoted_as_urls_need_it() -> None:
    """A path declared with spaces and umlauts is reached by its quoted form."""
    async with shop() as shopper:
        target = "/shop/gr%C3%BC%c3%9fe%20und%20mehr/a.b.txt"
        assert await shopper.ask("GET", target) == (200, "a.b")


async def test_queries() -> None:
    """Repeated names are lists, an empty value of an optional number is null, unknown names are ignored."""
    async with shop() as shopper:
        assert await shopper.ask("GET", "/shop/search?text=a") == (200, ["a", 10, [], None])
        assert await shopper.ask("GET", "/shop/search?text=&limit=&tags=&sizes=") == (200, ["", None, [""], None])
        target = "/shop/search?text=a+b%26&limit=3&tags=x&tags=y&sizes=1&unknown=1&text2=b"
        assert await shopper.ask("GET", target) == (200, ["a b&", 3, ["x", "y"], [1]])


async def test_all_wrong_parameters_are_named_in_one_answer() -> None:
    """A problem of parameters names each, says where it is, what was expected and what came."""
    async with shop() as shopper:
        problem = await shopper.problem(400, "GET", "/shop/orders/x?lines=abc")
        assert problem["detail"] == (
            "shop.order: path parameter 'number': expected int, got 'x'; "
            "query parameter 'lines': expected int, got 'abc'"
        )
        assert (problem["title"], problem["code"]) == ("Bad Request", "invalid_argument")
        assert (problem["retryable"], problem["processed"]) == (False, False)
        problem = await shopper.problem(400, "GET", "/shop/search?sizes=1&sizes=b")
        assert problem["detail"] == (
            "shop.search: query parameter 'text': is missing; query parameter 'sizes'[1]: expected int, got 'b'"
        )
        problem = await shopper.problem(400, "GET", "/shop/search?text=a&text=b")
        assert problem["detail"] == "shop.search: query parameter 'text': expected one value, got 2"
        problem = await shopper.problem(400, "PUT", "/shop/orders/x", {"id": 1, "lines": [{"item": "a"}]})
        assert "path parameter 'number': expected int, got 'x'; body.lines[0]: " in problem["detail"]


@pytest.mark.parametrize("target", ["/shop/items/%FF/of/b", "/shop/search?text=%FF"])
async def test_what_is_no_text_is_refused(target: str) -> None:
    """Bytes in a URL that are no UTF-8 are an error of the caller."""
    async with shop() as shopper:
        problem = await shopper.problem(400, "GET", target)
        assert problem["code"] == "invalid_argument"
        assert "utf-8" in problem["detail"].lower()


@pytest.mark.parametrize(
    ("data", "content_type", "status", "detail"),
    [
        (b'{"id":1}', "application/json; charset=utf-8", 200, ""),
        (b'{"id":1}', "Application/JSON", 200, ""),
        (b'{"id":1}', "application/vnd.shop+json", 200, ""),
        (b'{"id":1}', "text/plain", 415, "shop.add: content type must be application/json, got 'text/plain'"),
        (b"id=1", "application/x-www-form-urlencoded", 415, "content type must be application/json"),
        (b'{"id":1', JSON, 400, "shop.add: body: malformed JSON"),
        (b'{"id":"x"}', JSON, 400, "shop.add: body.id: expected int, got str"),
        (b"[" * 10_000, JSON, 400, "shop.add: body"),
        (b"\xff", JSON, 400, "shop.add: body"),
        (b'{"id":1,"lines":[' + b" " * 70_000 + b"]}", JSON, 413, "the body is larger than 65536 bytes"),
    ],
)
async def test_bodies_that_cannot_be_read(data: bytes, content_type: str, status: int, detail: str) -> None:
    """A body of another media type is 415, one that is too large 413, one that does not fit 400; each says why."""
    async with shop(max_body=65536) as shopper:
        headers = {"content-type": content_type}
        found, answered, raw = await shopper.exchange("POST", "/shop/orders", data, headers)
        assert found == status, raw
        if status != 200:
            assert answered["content-type"] == PROBLEM
            assert detail in json.loads(raw)["detail"]
        assert await shopper.ask("POST", "/shop/ping") == (200, "pong")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("/", ""),
        ("/shop", ""),
        ("/shop/no", ""),
        ("/shop/orders/1/", ""),
        ("/shop/orders//", ""),
        ("/shop/items/a/b/of/c", ""),
        ("/Shop/ping", "; did you mean /shop/ping?"),
        ("/shop/ping%2F", "; did you mean /shop/ping?"),
        ("/shop/itms/a/of/c", "; did you mean /shop/items/{name}/of/{seller}?"),
    ],
)
async def test_an_unknown_path_is_404(target: str, hint: str) -> None:
    """A path that nobody has is a problem with status 404 and a code; one that is nearly right is named."""
    async with shop() as shopper:
        problem = await shopper.problem(404, "GET", target)
        assert problem["code"] == "unimplemented"
        assert problem["detail"] == f"nothing is offered at {target}{hint}"


async def test_a_wrong_verb_is_405_and_names_the_right_ones() -> None:
    """A verb that a path does not take is a problem with status 405; `allow` lists those that it takes."""
    async with shop() as shopper:
        for verb in ("POST", "OPTIONS"):
            status, headers, raw = await shopper.exchange(verb, "/shop/orders/1")
            assert (status, headers["content-type"]) == (405, PROBLEM)
            assert headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
            assert json.loads(raw)["detail"] == f"/shop/orders/1 takes DELETE, GET, HEAD, PATCH, PUT, not {verb}"


async def test_head_is_get_without_the_body() -> None:
    """HEAD answers as GET does, with its length but without its body."""
    async with shop() as shopper:
        _, _, body = await shopper.exchange("GET", "/shop/orders/1")
        status, headers, data = await shopper.exchange("HEAD", "/shop/orders/1")
        assert (status, headers["content-type"], headers["content-length"], data) == (200, JSON, str(len(body)), b"")
        assert (await shopper.exchange("HEAD", "/shop/orders/x"))[0] == 400
        assert (await shopper.exchange("HEAD", "/shop/ping"))[0] == 405


async def test_a_declared_exception_is_a_problem_with_its_fields() -> None:
    """A declared exception has the status of its class's code; its name and fields are members of the problem."""
    async with shop() as shopper:
        problem = await shopper.problem(400, "POST", "/shop/buy/tea")
        assert problem["code"] == "failed_precondition"
        assert problem["exception"] == "OutOfStock"
        assert problem["fields"] == {"item": "tea", "left": 2, "price": "1.50"}
        assert (await shopper.problem(503, "POST", "/shop/buy/busy"))["exception"] == "Busy"


@pytest.mark.parametrize("code", list(Code))
async def test_an_error_of_the_mesh_has_the_status_of_its_code(code: Code) -> None:
    """Each code has its HTTP status; message and details are members of the problem."""
    async with shop() as shopper:
        problem = await shopper.problem(code.http_status, "GET", f"/shop/fail/{code.value}")
        assert (problem["code"], problem["detail"], problem["details"]) == (code.value, "as you wish", {"code": 7})
        assert problem["processed"] is True


async def test_not_being_known_says_how_to_be() -> None:
    """Status 401 comes with `www-authenticate`, as RFC 9110 demands."""
    async with shop() as shopper:
        _, headers, _ = await shopper.exchange("GET", "/shop/fail/unauthenticated")
        assert headers["www-authenticate"] == "Bearer"


async def test_a_crash_keeps_its_secret() -> None:
    """An undeclared exception is a problem with status 500 that tells only the id of the log entry."""
    async with shop() as shopper:
        problem = await shopper.problem(500, "POST", "/shop/crash")
        assert problem["code"] == "internal"
        assert "secret" not in json.dumps(problem)
        assert problem["details"]["call"] in problem["detail"]


async def test_the_callers_time_is_kept() -> None:
    """A caller that says how long it waits gets 504 when that is over."""
    async with shop() as shopper:
        problem = await shopper.problem(504, "GET", "/shop/sleep?seconds=30", **{"mesh-timeout-ms": "100"})
        assert problem["code"] == "deadline_exceeded"


async def test_too_many_calls_are_refused_as_not_processed() -> None:
    """Beyond `max_concurrency` a request is 429, not processed and retryable after a pause."""
    async with shop(max_concurrency=1) as shopper:
        long = asyncio.create_task(shopper.ask("GET", "/shop/sleep?seconds=30"))
        while (await shopper.ask("GET", "/report"))[1]["active"] == 0:
            await asyncio.sleep(0.01)
        problem = await shopper.problem(429, "POST", "/shop/ping")
        assert (problem["code"], problem["processed"], problem["retryable"]) == ("resource_exhausted", False, True)
        _, headers, _ = await shopper.exchange("POST", "/shop/ping")
        assert (problem["retry_after"], headers["retry-after"]) == (0.1, "1")
        long.cancel()
        await asyncio.wait([long])


async def test_mounted_under_a_prefix() -> None:
    """In an application of the user's own, below a prefix that is quoted in URLs, routes and quoted values work."""

    def make(url: str) -> FastAPI:
        settings = Settings(registry="local:", advertise_url=f"{url}/my%20mesh/v1")
        mesh_app = MeshApp(ShopModule, settings=settings)
        app = FastAPI(lifespan=mesh_app.lifespan)
        app.mount("/my mesh/v1", mesh_app)
        return app

    async with served(make) as url, aiohttp.ClientSession() as session:
        shopper = Shopper(f"{url}/my%20mesh/v1", session)
        assert await shopper.ask("GET", "/shop/items/a%2Fb/of/..%2F") == (200, ["a/b", "../"])
        assert (await shopper.problem(404, "GET", "/shop/no"))["detail"] == "nothing is offered at /shop/no"
        async with calling(ShopClient, "shop", shopper.url) as mesh:
            proxy = await mesh.get_service(Shop)
            assert await proxy.item("a/b", "/my mesh/v1") == ["a/b", "/my mesh/v1"]


async def test_the_channel_brings_exceptions_back() -> None:
    """Over the REST channel declared exceptions keep class and fields, and a code of one's own its retry."""
    async with shop() as shopper, calling(ShopClient, "shop", shopper.url) as mesh:
        proxy = await mesh.get_service(Shop)
        with pytest.raises(OutOfStock) as stock:
            await proxy.buy("a/b")
        assert (stock.value.item, stock.value.left, str(stock.value.price)) == ("a/b", 2, "1.50")
        with pytest.raises(Busy, match="come back later"):
            await proxy.buy("busy")
        with pytest.raises(AuthorizationError):
            await proxy.fail("permission_denied")


async def test_the_channel_says_what_it_cannot_express() -> None:
    """A method without a path, an empty path value, and None where leaving out means another value: local errors."""
    async with calling(ShopClient, "shop", "http://127.0.0.1:9") as mesh:
        proxy = await mesh.get_service(Shop)
        with pytest.raises(LocalError) as unmapped:
            await proxy.unmapped()
        assert str(unmapped.value) == (
            "unimplemented: shop.unmapped has no path, so channel 'rest' cannot call it: decorate it with @get, "
            "@post, ... or prefer another channel, such as 'dispatch-json'"
        )
        with pytest.raises(LocalError, match=r"shop\.item: path parameter 'name': '' has no form in a path"):
            await proxy.item("", "b")
        with pytest.raises(LocalError, match=r"'sizes': \[\] has no form in a URL, since leaving it out means None"):
            await proxy.search("a", sizes=[])
        with pytest.raises(LocalError, match=r"sleep: query parameter 'seconds': nan has no form"):
            await proxy.sleep(float("nan"))
        with pytest.raises(LocalError, match="has no form in a URL: surrogates not allowed"):
            await proxy.item("\ud800", "b")


@service()
class Plain(Service):
    """What a server offers that is no mesh."""

    @abstractmethod
    @get("/plain/{number}")
    async def read(self, number: int) -> dict[str, int]: ...

    @abstractmethod
    @get("/strict")
    async def strict(self, n: str) -> str: ...

    @abstractmethod
    @get("/gone")
    async def gone(self) -> str: ...

    @abstractmethod
    @get("/teapot")
    async def teapot(self) -> str: ...

    @abstractmethod
    @delete("/plain/{number}")
    async def remove(self, number: int) -> None: ...

    @abstractmethod
    @get("/busy")
    async def busy(self, when: str) -> str: ...

    @abstractmethod
    @get("/conflict")
    async def conflict(self) -> str: ...

    @abstractmethod
    @get("/away")
    async def away(self) -> str: ...

    @abstractmethod
    @put("/count")
    async def count(self) -> int: ...


@component(name="plain", services=[Plain])
class PlainComponent(Component): ...


@module(components=[PlainComponent])
class PlainClient: ...


def plain_app(url: str) -> FastAPI:
    """A server that is no mesh."""
    app = FastAPI()

    @app.get("/plain/{number}")
    def read(number: int) -> dict[str, int]:
        return {"number": number}

    @app.delete("/plain/{number}", status_code=204)
    def remove(number: int) -> None: ...

    @app.get("/strict")
    def strict(n: int) -> int:
        return n

    @app.get("/teapot")
    def teapot() -> None:
        raise HTTPException(418, {"message": "Short and stout"})

    @app.get("/busy")
    def busy(when: str) -> Response:
        return Response(status_code=503, headers={"retry-after": when})

    @app.get("/conflict")
    def conflict() -> JSONResponse:
        return JSONResponse({"code": "E-17", "message": "Taken"}, 409)

    @app.get("/away")
    def away() -> Response:
        return Response(status_code=307, headers={"location": f"{url}/strict"})

    return app


async def test_a_server_that_is_no_mesh() -> None:
    """The REST channel calls FastAPI: results are typed, 204 is None, an error has its status's code and reason."""
    async with served(plain_app) as url, calling(PlainClient, "plain", url) as mesh:
        plain = await mesh.get_service(Plain)
        assert await plain.read(7) == {"number": 7}
        assert await plain.remove(7) is None  # type: ignore[func-returns-value]
        with pytest.raises(RemoteError) as invalid:
            await plain.strict("x")
        assert invalid.value.message.startswith(f"plain.strict: {url} answered with HTTP status 422 (Unprocessable ")
        assert invalid.value.message.endswith(
            "): query.n: Input should be a valid integer, unable to parse string as an integer"
        )
        with pytest.raises(RemoteError) as gone:
            await plain.gone()
        assert gone.value.message == f"plain.gone: {url} answered with HTTP status 404 (Not Found): not Found"
        assert gone.value.code is Code.from_http_status(404)
        with pytest.raises(RemoteError, match=r"418 .*: short and stout"):
            await plain.teapot()
        for when, pause in (("120", 120.0), ("Fri, 31 Dec 1999 23:59:59 GMT", None)):
            with pytest.raises(RemoteError, match=r"503") as busy:
                await plain.busy(when)
            assert (busy.value.retry_after, busy.value.retryable) == (pause, True)
        with pytest.raises(RemoteError, match=r"409 \(Conflict\): taken"):
            await plain.conflict()
        with pytest.raises(RemoteError, match=r"307 \(Temporary Redirect\)"):
            await plain.away()
        with pytest.raises(CommunicationError, match=r"the answer to plain\.strict does not fit: \$: expected str"):
            await plain.strict("1")


async def test_a_broken_connection_is_not_used_again_in_silence() -> None:
    """A PUT whose kept connection breaks is sent again by the mesh, which counts, never by aiohttp, which does not."""
    attempts: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            attempts.append(head.partition(b"mesh-attempt: ")[2][:1] or b"1")
            if len(attempts) > 1:
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with calling(PlainClient, "plain", url) as mesh:
            plain = await mesh.get_service(Plain)
            assert await plain.count() == 1
            with pytest.raises(CommunicationError) as lost:
                await plain.count()
            assert (lost.value.code, lost.value.processed) == (Code.UNAVAILABLE, True)
    first, *again = attempts
    assert (first, again) == (b"1", sorted(set(again)))
