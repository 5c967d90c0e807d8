"""Commands that look at servers and call them: what they take, what they say, and their exit status."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from meshcore.cli import program as cli
from tests.integration.cli.shell import Shell

pytestmark = pytest.mark.one_python

PROBE = "tests.support.probe:ProbeModule"
GREETING = "examples.greeting:GreetingModule"
ORDERS = "examples.orders:OrdersModule"


def test_options_that_cannot_be_used(meshcore: Shell) -> None:
    """What is wrong with one is said in one line, with the setting to mend."""
    status, out, err = meshcore.invoke("ls", "--registry", "directory:here")
    assert (status, out) == (2, "")
    assert err.startswith("meshcore: setting registry: directory: takes an absolute path")
    assert err.count("\n") == 1


def test_unknown_settings(meshcore: Shell) -> None:
    """A misspelt variable is an error, and not a default in disguise."""
    meshcore.environ["MESHCORE_TIMOUT"] = "5"
    assert meshcore.invoke("ls") == (
        2,
        "",
        (
            "meshcore: The settings cannot be used: environment MESHCORE_TIMOUT: no such setting; "
            "did you mean MESHCORE_TIMEOUT?\n"
        ),
    )


async def test_why_tells_the_numbers_and_the_instances(meshcore: Shell) -> None:
    """`why` says who set which number and who may be asked; and why nobody may, if nobody is there."""
    (meshcore.folder / "meshcore.toml").write_text('[policies."greeting.hello"]\nattempts = 7\n')
    status, out, _ = await meshcore("why", "greeting.hello", "--module", GREETING)
    assert status == 0
    assert re.search(r"^attempts +7 +setting policies.greeting.hello *$", out, re.MULTILINE)
    assert re.search(r"^timeout +10.0 +default *$", out, re.MULTILINE)
    assert "component 'greeting-component' is offered by nobody, says DirectoryComponentRegistry" in out
    async with meshcore.running(GREETING) as (_, url):
        status, out, _ = await meshcore("why", "greeting.hello", "--module", GREETING)
        assert out.startswith("greeting.hello of greeting-component, over stream-msgpack: each instance gets")
        assert re.search(rf"^greeting-component-\w+ +{re.escape(url)} +1 +admitted *$", out, re.MULTILINE)
    status, _, err = await meshcore("why", "greeting.hallo", "--module", GREETING)
    assert (status, "did you mean 'hello'?" in err) == (2, True)


def test_nothing_is_announced(meshcore: Shell) -> None:
    """An empty registry is no error, and nothing to print; where it is is said, also when no setting says so."""
    folder = meshcore.environ["MESHCORE_REGISTRY"].removeprefix("directory://")
    nothing = "nothing is announced in DirectoryComponentRegistry"
    assert meshcore.invoke("ls") == (0, "", f"{nothing}({folder!r})\n")
    Path(folder).mkdir()
    meshcore.environ.update(MESHCORE_REGISTRY="directory:", XDG_RUNTIME_DIR=folder)
    assert meshcore.invoke("ls") == (0, "", f"{nothing}({folder + '/meshcore'!r})\n")


async def test_what_is_piped_is_complete(meshcore: Shell) -> None:
    """Component, instance, channels and URL stand on one line, however long, one line per instance."""
    async with meshcore.running(ORDERS) as (_, url):
        _, out, _ = await meshcore("ls")
        rows = [line for line in out.splitlines() if url in line]
        assert {line.split()[0] for line in rows} == {"orders", "warehouse"}
        assert all(line.endswith(f"dispatch-msgpack, dispatch-json, rest, stream-msgpack   {url}") for line in rows)


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
def test_arguments_are_typed(called: Shell, channel: str) -> None:
    """A value is JSON where the parameter's type takes that, and text otherwise; the result is JSON."""
    order_id = str(uuid4())
    draft = {"customer": "ada", "lines": [{"sku": "kit", "parts": [{"sku": "bolt", "quantity": 2}, {"sku": "lamp"}]}]}
    options = ("--module", ORDERS, "--channel", channel)
    status, out, err = called.invoke(
        "call", "orders.place", f"order_id={order_id}", f"draft={json.dumps(draft)}", *options
    )
    assert (status, err) == (0, "")
    order = json.loads(out)
    assert (order["id"], order["total"], order["status"]) == (order_id, "37.34", "placed")
    _, out, _ = called.invoke("call", "orders.search", "status=placed", "limit=1", *options)
    assert json.loads(out) == [order]
    status, out, err = called.invoke("call", "orders.find", f"order_id={uuid4()}", *options)
    assert (status, out) == (4, "")
    assert re.fullmatch(r"meshcore: not_found: OrderNotFound: there is no order \S+\n", err)


async def test_a_sync_method_is_called_like_any_other(called: Shell) -> None:
    """A method that the interface declares with `def` can be called, too."""
    status, out, _ = await called("call", "stock.restock", "sku=nut", "quantity=5", "--module", ORDERS)
    assert (status, json.loads(out)) == (0, {"sku": "nut", "available": 1_000_005, "reserved": 0})


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        (
            ["greeting.hello", "message=x"],
            3,
            ["unavailable: cannot call 'greeting.hello': nothing is announced in DirectoryComponentRegistry("],
        ),
        (
            ["greting.hello", "--module", GREETING],
            2,
            ["cannot call 'greting.hello': no such service; did you mean 'greeting.hello'?"],
        ),
        (
            ["hello", "--module", GREETING],
            2,
            ["cannot call 'hello': no such service; there is 'greeting.hello'"],
        ),
        (
            ["greeting.helo", "--module", GREETING],
            2,
            ["cannot call 'greeting.helo': greeting has no method 'helo'; did you mean 'hello'?"],
        ),
        (
            ["greeting.hello", "mesage=1", "loud", "--module", GREETING],
            2,
            [
                "cannot call greeting.hello (message=...):",
                "1. 'loud' is not of the form name=value",
                "2. no parameter 'mesage'; did you mean 'message'?",
                "3. message is missing",
            ],
        ),
        (
            ["greeting.hello", "message=1", "message=2", "--module", GREETING],
            2,
            ["cannot call greeting.hello (message=...): message is given twice"],
        ),
        (
            ["orders.search", "limit=many", "status=lost", "--module", ORDERS],
            2,
            [
                "cannot call orders.search (customer=... status=... limit=...):",
                "1. status: $: invalid enum value 'lost'",
                "2. limit: $: expected int, got 'many'",
            ],
        ),
        (
            ["pricing.quote", 'item={"sku": 1}', "--module", ORDERS],
            2,
            ["cannot call pricing.quote (item=...): item: $.sku: expected str, got int"],
        ),
        (
            ["greeting.hello", "message=x", "--channel", "rset", "--module", GREETING],
            2,
            ["no channel 'rset'; did you mean 'rest'?"],
        ),
        (
            ["greeting.hello", "message=x", "--module", GREETING],
            3,
            ["unavailable: component 'greeting-component' is offered by nobody, says DirectoryComponentRegistry"],
        ),
    ],
)
def test_what_cannot_be_called(meshcore: Shell, words: list[str], status: int, lines: list[str]) -> None:
    """Everything that is wrong is said at once, and the exit status tells whose fault it is."""
    found, out, err = meshcore.invoke("call", *words)
    assert (found, out) == (status, "")
    printed = err.removeprefix("meshcore: ").splitlines()
    assert len(printed) == len(lines)
    for line, expected in zip(printed, lines, strict=True):
        assert line.strip().startswith(expected)


async def test_errors_of_the_server(called: Shell) -> None:
    """An error of the server's own has its exit status, and the server's log has the rest."""
    status, out, err = await called("call", "probe.crash", "--module", PROBE)
    assert (status, out) == (4, "")
    assert err.startswith("meshcore: internal: internal error; the server's log has it as call ")
    assert "secret" not in err


async def test_a_timeout(called: Shell) -> None:
    """`--timeout` bounds the call."""
    status, _, err = await called("call", "probe.sleep", "seconds=50", "--timeout", "0.3", "--module", PROBE)
    assert status == 3
    assert err.startswith("meshcore: deadline_exceeded: ")


async def test_a_traceback_is_for_debugging(meshcore: Shell) -> None:
    """With --debug, and only then, there is a traceback."""
    _, _, err = await meshcore("--debug", "call", "greeting.helo", "--module", GREETING)
    assert "Traceback (most recent call last)" in err
    assert "did you mean 'hello'?" in err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str, monkeypatch, capsys) -> None:
    """Without typer or rich the command line says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    text = 'meshcore\'s command line needs typer and rich: pip install "meshcore-runtime[cli]"\n'
    assert capsys.readouterr().err == text
