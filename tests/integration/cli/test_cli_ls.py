"""`meshcore ls`, and what all commands share: JSON, pipes that close early, Ctrl-C, colours, completion."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys

import pytest

from meshcore.cli.ls import _age
from tests.integration.cli.shell import Shell, end
from tests.support.processes import ServerProcess, free_port

pytestmark = pytest.mark.one_python

GREETING = "examples.greeting:GreetingModule"
PROBE = "tests.support.probe:ProbeModule"


async def test_health_is_listed(meshcore: Shell) -> None:
    """Each instance is asked how it is, by its health path or by its server's report."""
    async with meshcore.running(PROBE) as (_, probe), meshcore.running(GREETING) as (_, greeting):
        status, out, _ = await meshcore("ls")
        rows = [line.split() for line in out.splitlines() if "http" in line]
        assert status == 0
        assert {(row[0], row[2], row[-1]) for row in rows} == {
            ("probe", "warning", probe),
            ("greeting-component", "ok", greeting),
        }


async def test_an_instance_has_one_row(meshcore: Shell) -> None:
    """With what its operator said of it, how long it has run, and its channels in one column."""
    meshcore.environ |= {"MESHCORE_VERSION": "1.4", "MESHCORE_ZONE": "north", "MESHCORE_WEIGHT": "3"}
    async with meshcore.running(GREETING) as (_, url):
        _, out, _ = await meshcore("ls")
        heads, _, row = out.splitlines()
        assert " ".join(heads.split()) == "component instance health state version zone weight age channels url"
        assert row.split()[2:7] == ["ok", "new", "1.4", "north", "3"]
        assert re.fullmatch(r"\d+[sm]", row.split()[7])
        assert row.endswith(f"dispatch-msgpack, dispatch-json, stream-msgpack   {url}")
        _, out, _ = await meshcore("why", "greeting.hello", "--module", GREETING)
        assert "1.4" in next(line for line in out.splitlines() if url in line).split()


def test_what_is_not_known_of_an_instance(meshcore: Shell) -> None:
    """An instance with fixed addresses, one URL a line."""
    one, two = free_port(), free_port()
    registry = f"static:gone=dispatch-json(http://127.0.0.1:{one}/a),rest(http://127.0.0.1:{one}/b)"
    meshcore.environ["MESHCORE_REGISTRY"] = f"{registry};other=rest(http://127.0.0.1:{two})"
    _, out, _ = meshcore.invoke("ls")
    lines = [line.split() for line in out.splitlines()[2:]]
    assert lines[0][2:] == ["unreachable", "gone", "-", "-", "1", "-", "dispatch-json", f"http://127.0.0.1:{one}/a"]
    assert lines[1] == ["rest", f"http://127.0.0.1:{one}/b"]
    assert lines[2][0] == "other"


@pytest.mark.parametrize(
    ("started", "age"),
    [(0, "-"), (1000, "0s"), (2000, "0s"), (941, "59s"), (940, "1m"), (-2600, "1h"), (-85_400, "1d")],
)
def test_the_age_of_an_instance(started: int, age: str) -> None:
    """In its largest unit; a clock that is behind makes no negative age."""
    assert _age(started, 1000.9) == age


async def test_ls_as_json(meshcore: Shell) -> None:
    """`ls --json` is one object on one line, also if nothing is there."""
    registry = meshcore.environ["MESHCORE_REGISTRY"]
    status, out, err = await meshcore("ls", "--json")
    assert (status, json.loads(out), err) == (0, {"registry": registry, "instances": []}, "")
    async with meshcore.running(PROBE) as (_, url):
        _, out, _ = await meshcore("ls", "--json")
        assert out.count("\n") == 1
        (instance,) = json.loads(out)["instances"]
        assert instance["component"] == "probe"
        assert {"channel": "rest", "url": url} in instance["addresses"]
        assert instance["health"]["status"] == "warning"
        assert instance["health"]["url"] == f"{url}/probe-health"
        (check,) = instance["health"]["details"]["checks"]
        assert (check["name"], check["details"]) == ("disk", "nearly full")


def test_an_instance_that_does_not_answer(meshcore: Shell) -> None:
    """What is announced but gone is listed as such, with the reason."""
    port = free_port()
    meshcore.environ["MESHCORE_REGISTRY"] = f"static:gone=dispatch-json(http://127.0.0.1:{port})"
    status, out, _ = meshcore.invoke("ls", "--json")
    assert status == 0
    (instance,) = json.loads(out)["instances"]
    assert instance["health"]["status"] == "unreachable"
    assert str(port) in instance["health"]["details"]


async def test_watch_prints_what_changes(meshcore: Shell) -> None:
    """`ls --watch --json` prints a line at the start and after each change, until Ctrl-C."""
    watching = await meshcore.start("ls", "--watch", "--json")
    assert watching.stdout is not None
    async with asyncio.timeout(30):
        assert json.loads(await watching.stdout.readline())["instances"] == []
        async with meshcore.running(GREETING) as (process, _):
            (instance,) = json.loads(await watching.stdout.readline())["instances"]
            assert instance["component"] == "greeting-component"
            await end(process, signal.SIGTERM)
            while json.loads(await watching.stdout.readline())["instances"]:
                pass
        assert await end(watching, signal.SIGINT) == (130, "")


async def test_watch_on_a_terminal(meshcore: Shell) -> None:
    """On a terminal the table stays in its place, in colours unless NO_COLOR forbids them, and Ctrl-C ends it."""
    async with meshcore.running(PROBE) as (_, url):
        status, text = await meshcore.on_a_terminal("ls", "--watch", until=url, then=signal.SIGINT)
        assert (status, "Traceback" in text) == (130, False)
        assert "\x1b[33mwarning" in text
        assert text.endswith("\x1b[?25h")  # the cursor is back
        status, text = await meshcore.on_a_terminal("ls", "--watch", until=url, then=signal.SIGINT, NO_COLOR="1")
        assert (status, "warning" in text, "\x1b[33m" in text) == (130, True, False)


def test_a_registry_that_is_away(meshcore: Shell) -> None:
    """When the registry does not answer, that is said in one line, and it is nobody's mistake here."""
    meshcore.environ["MESHCORE_REGISTRY"] = f"consul://127.0.0.1:{free_port()}"
    for words in (["ls"], ["ls", "--json"], ["ls", "--watch"]):
        status, out, err = meshcore.invoke(*words)
        assert (status, out, err.count("\n")) == (3, "", 1)
        assert err.startswith("meshcore: unavailable: ")


def test_why_as_json(called: Shell, server: ServerProcess) -> None:
    """`why --json` has the numbers and the instances."""
    status, out, _ = called.invoke("why", "greeting.hello", "--module", GREETING, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["rules"]["timeout"] == {"value": 10.0, "from": "default"}
    assert [each["url"] for each in found["instances"]] == [server.url]


@pytest.mark.parametrize("words", [["ls"], ["ls", "--json"], ["why", "greeting.hello", "--module", GREETING]])
async def test_a_pipe_that_closes_early(called: Shell, words: list[str]) -> None:
    """Who reads no further ends the command, without a word, as SIGPIPE would."""
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshcore.cli", *words),
        cwd=called.folder,
        env=called.environ,
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (141, "")


async def test_a_server_does_not_need_its_stdout(meshcore: Shell) -> None:
    """`meshcore run | head -1` goes on serving."""
    async with meshcore.running(GREETING) as (process, _):
        assert process.stdout is not None
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        status, _, _ = await meshcore("call", "greeting.hello", "message=x", "--module", GREETING)
        assert status == 0
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_typing_errors(meshcore: Shell) -> None:
    """A misspelt command or option is answered with the right one, and status 2."""
    status, out, err = await meshcore("lss")
    assert (status, out, "Did you mean 'ls'?" in err) == (2, "", True)
    status, out, err = await meshcore("run", GREETING, "--wrokers", "2")
    assert (status, out, "--workers" in err) == (2, "", True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(meshcore: Shell, shell: str) -> None:
    """Shells complete commands and options."""
    # Else it looks for a shell among its ancestors, and the tests may run without one.
    meshcore.environ |= {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    status, script, _ = await meshcore("--show-completion", shell)
    assert (status, "_MESHCORE_COMPLETE" in script) == (0, True)
    typed = {"COMP_WORDS": "meshcore w", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "meshcore w"}
    meshcore.environ |= {"_MESHCORE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **typed}
    status, out, _ = await meshcore()
    assert (status, "why" in out, "run" in out) == (0, True, False)
