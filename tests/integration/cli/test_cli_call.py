"""`meshcore call`: documents on stdin, many calls and their summary."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from uuid import uuid4

import aiohttp
import pytest

from tests.integration.cli.shell import Shell, end
from tests.support.processes import ServerProcess, free_port

pytestmark = pytest.mark.one_python

GREETING = "examples.greeting:GreetingModule"
ORDERS = "examples.orders:OrdersModule"
PROBE = "tests.support.probe:ProbeModule"


async def test_arguments_on_stdin(called: Shell) -> None:
    """With `-` the arguments are a JSON object on stdin, or an array in the order of the signature."""
    order_id = str(uuid4())
    draft = {"customer": "ada", "lines": [{"sku": "bolt", "quantity": 2}]}
    document = json.dumps({"draft": draft}).encode()
    words = ("call", "orders.place", f"order_id={order_id}", "-", "--module", ORDERS)
    status, out, err = await called(*words, stdin=document)
    assert (status, err) == (0, "")
    order = json.loads(out)
    assert order["id"] == order_id
    words = ("call", "orders.find", "-", "--module", ORDERS, "--json")
    status, out, _ = await called(*words, stdin=json.dumps([order_id]).encode())
    assert (status, out.count("\n"), json.loads(out)) == (0, 1, order)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'{"mesage": "x"}', "no parameter 'mesage'; did you mean 'message'?"),
        (b'{"message": 5}', "message: $: expected str, got int"),
        (b'["x", "y"]', "stdin has 2 arguments, greeting.hello takes 1"),
        (b'"x"', "stdin must be a JSON object of arguments: Expected `object`, got `str`"),
        (b"{", "stdin must be a JSON object of arguments: Input data was truncated"),
        (b"", "stdin must be a JSON object of arguments: Input data was truncated"),
        (b'{"\xff": 1}', "stdin must be a JSON object of arguments: "),
    ],
)
def test_wrong_documents(meshcore: Shell, document: bytes, expected: str) -> None:
    """A document that does not fit is said like a word that does not fit."""
    status, out, err = meshcore.invoke("call", "greeting.hello", "-", "--module", GREETING, stdin=document)
    assert (status, out) == (2, "")
    assert expected in err


async def test_many_calls_have_a_summary(called: Shell) -> None:
    """`--repeat` tells how many calls succeeded and how long they took, as a table or as JSON; a pipe gets no bar."""
    words = ("call", "greeting.hello", "message=x", "--module", GREETING, "--repeat", "50")
    status, out, err = await called(*words, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["method"], found["calls"], found["succeeded"]) == ("greeting.hello", 50, 50)
    assert found["failed"] == {}
    assert 0 < found["p50"] <= found["p99"] <= found["slowest"] <= found["seconds"]
    status, out, err = await called(*words)
    heading, _, row = (line.split() for line in out.splitlines())
    assert (status, err) == (0, "")
    assert " ".join(heading) == "method calls succeeded failed calls/s p50 ms p99 ms slowest ms"
    assert row[:4] == ["greeting.hello", "50", "50", "0"]


async def test_failures_among_many_calls_are_counted(called: Shell) -> None:
    """What failed is counted by its kind, and the first error decides the status."""
    words = ("call", "probe.refuse", "reason=x", "--module", PROBE, "--repeat", "3", "--json")
    status, out, err = await called(*words)
    found = json.loads(out)
    assert (status, found["succeeded"], found["failed"], found["p50"]) == (4, 0, {"Refused": 3}, None)
    assert err.startswith("meshcore: failed_precondition: Refused: ")
    assert err.count("\n") == 1


async def test_ctrl_c_ends_a_call(called: Shell, server: ServerProcess) -> None:
    """Ctrl-C ends a call that waits without a traceback, with status 130."""
    process = await called.start("call", "probe.sleep", "seconds=50", "--module", PROBE, "--timeout", "60")
    await called.until_active(server.url)
    assert await end(process, signal.SIGINT) == (130, "")


async def test_ctrl_c_ends_many_calls_with_their_summary(called: Shell, server: ServerProcess) -> None:
    """Who has seen enough presses Ctrl-C, and is told what came of the calls until then."""
    words = ("call", "probe.sleep", "seconds=0.05", "--module", PROBE, "--repeat", "100000", "--json")
    process = await called.start(*words)
    await called.until_active(server.url)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err.decode()) == (130, "")
    assert 0 < json.loads(out)["succeeded"] < 1000


async def test_a_bar_on_a_terminal(called: Shell) -> None:
    """On a terminal a bar shows how far many calls are; it goes to stderr, and leaves when they are done."""
    words = ("call", "probe.sleep", "seconds=0.02", "--module", PROBE, "--repeat", "60")
    status, text = await called.on_a_terminal(*words)
    assert status == 0
    assert "/60" in text
    assert "━" in text
    assert "p99" in text.rpartition("/60")[2]


# --- without the module -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
def test_servers_tell_what_their_methods_take(called: Shell, channel: str) -> None:
    """Without a module arguments are typed all the same, at depth, and declared exceptions have their names."""
    order_id = str(uuid4())
    draft = {"customer": "ada", "lines": [{"sku": "kit", "parts": [{"sku": "bolt", "quantity": 2}, {"sku": "lamp"}]}]}
    options = ("--channel", channel, "--json")
    words = ("call", "orders.place", f"order_id={order_id}", f"draft={json.dumps(draft)}")
    status, out, err = called.invoke(*words, *options)
    assert (status, err) == (0, "")
    order = json.loads(out)
    assert (order["id"], order["total"]) == (order_id, "37.34")
    _, out, _ = called.invoke("call", "orders.search", "status=placed", "limit=1", *options)
    assert json.loads(out) == [order]
    status, out, err = called.invoke("call", "orders.find", f"order_id={uuid4()}", *options)
    assert (status, out) == (4, "")
    assert err.startswith("meshcore: not_found: OrderNotFound: there is no order ")


def test_what_servers_tell_is_checked(called: Shell) -> None:
    """What is misspelt or does not fit is said before anything is sent."""
    for words, expected in [
        (["oders.search"], "'oders.search': no such service is announced; did you mean 'orders.search'?"),
        (["orders.serch"], "orders has no method 'serch'; did you mean 'search'?"),
        (["orders.search", "limit=many"], "limit: $: expected int, got 'many'"),
        (
            ["pricing.quote", 'item={"sku": "kit", "parts": [{"sku": 1}]}'],
            "item: $.parts[0].sku: expected str, got",
        ),
        (["pricing.quote", 'item={"skuu": "kit"}'], "item: $: object contains unknown field"),
    ]:
        status, out, err = called.invoke("call", *words)
        assert (status, out) == (2, "")
        assert expected in err, words
        assert "Traceback" not in err
    status, out, _ = called.invoke("why", "orders.search", "--json")
    assert (status, json.loads(out)["component"], json.loads(out)["contract"]) == (0, "orders", [])


def test_a_server_that_tells_nothing(meshcore: Shell) -> None:
    """A server that is away, or no mesh, cannot say what it takes; a module can."""
    meshcore.environ["MESHCORE_REGISTRY"] = f"static:greeting-component=dispatch-json(http://127.0.0.1:{free_port()})"
    status, out, err = meshcore.invoke("call", "greeting.hello", "message=x")
    assert (status, out) == (3, "")
    assert "no server returned its contract" in err
    assert "--module" in err


async def test_the_document_of_a_module(meshcore: Shell) -> None:
    """`openapi MODULE` prints what a server of it has at /openapi.json."""
    status, out, err = await meshcore("openapi", ORDERS)
    assert (status, err) == (0, "")
    async with (
        meshcore.running(ORDERS) as (_, url),
        aiohttp.ClientSession() as session,
        session.get(f"{url}/openapi.json") as response,
    ):
        assert json.loads(out) == await response.json()
    status, _, err = await meshcore("openapi", "examples.orders:OrderModule")
    assert (status, "did you mean 'OrdersModule'?" in err) == (2, True)


ECHO = """
from abc import abstractmethod
from meshcore import AbstractComponent, Component, Service, component, current_call, implementation, module, service

@service()
class Echo(Service):
    @abstractmethod
    async def header(self, name: str) -> str: ...

@component(services=[Echo])
class EchoComponent(Component): ...

@implementation()
class EchoImpl(Echo):
    async def header(self, name: str) -> str:
        return current_call().headers.get(name, "")

@implementation()
class EchoComponentImpl(AbstractComponent, EchoComponent): ...

@module()
class EchoModule: ...
"""


async def test_headers_and_a_token_are_sent(meshcore: Shell) -> None:
    """Names are in lower case, a value may have colons, and a token may be in a file."""
    (meshcore.folder / "echo.py").write_text(ECHO)
    (meshcore.folder / "token").write_text("from-a-file\n")
    async with meshcore.running("echo:EchoModule"):
        for options, name, expected in (
            (("--header", "X-Tenant: red: 7", "--header", "x-other:"), "x-tenant", "red: 7"),
            (("--token", "typed"), "authorization", "Bearer typed"),
            (("--token", "@token"), "authorization", "Bearer from-a-file"),
            (("--header", "Authorization: Basic xyz"), "authorization", "Basic xyz"),
            ((), "authorization", ""),
        ):
            status, out, err = await meshcore("call", "echo.header", f"name={name}", *options)
            assert (status, json.loads(out), err) == (0, expected, "")
        words = ("call", "echo.header", "name=authorization", "--module", "echo:EchoModule", "--token", "typed")
        assert json.loads((await meshcore(*words))[1]) == "Bearer typed"
        status, out, _ = await meshcore(*words, "--repeat", "2", "--json")
        assert (status, json.loads(out)["succeeded"]) == (0, 2)
        meshcore.environ["MESHCORE_TOKEN"] = "from-the-environment"
        status, out, err = await meshcore("--debug", "call", "echo.header", "name=authorization")
        assert (status, json.loads(out)) == (0, "Bearer from-the-environment")
        assert "from-the-environment" not in err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--header", "secret"), '--header number 1 must be "name: value"'),
        (("--header", "a b: secret"), '--header number 1 must be "name: value"'),
        (("--header", "x-a: secret\nx-b: 1"), "--header x-a: its value has characters that no header may have"),
        (("--header", "Content-Length: secret"), "--header content-length: the channel sends that header itself"),
        (("--token", "secret\n\nx"), "--token is empty, or has characters that no header may have"),
        (("--token", "@nowhere"), "--token @nowhere: No such file or directory"),
    ],
)
def test_headers_that_cannot_be_sent(meshcore: Shell, options: tuple[str, ...], expected: str) -> None:
    """The text names the header and never has its value."""
    status, out, err = meshcore.invoke("call", "echo.header", "name=x", *options)
    assert (status, out) == (2, "")
    assert expected in err
    assert "secret" not in err


def test_a_token_of_the_environment_is_not_shown(meshcore: Shell) -> None:
    """Not in an error, not in the help; one that is typed counts instead."""
    meshcore.environ["MESHCORE_TOKEN"] = "SECRET\nTOKEN"
    for words, expected in (
        (("call", "echo.header"), "--token is empty, or has characters that no header may have"),
        (("call", "echo.header", "--token", "@nowhere"), "--token @nowhere: No such file or directory"),
        (("call", "--help"), "MESHCORE_TOKEN"),
    ):
        _, out, err = meshcore.invoke(*words)
        assert expected in out + err
        assert "SECRET" not in out + err


async def test_the_package_is_the_program(meshcore: Shell) -> None:
    """`python -m meshcore` is `meshcore`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshcore", "ls"),
        cwd=meshcore.folder,
        env=meshcore.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert err.startswith(b"nothing is announced in DirectoryComponentRegistry")
