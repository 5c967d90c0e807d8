"""Peers as files: started in processes of their own, measured, and left out by name if they cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.comparison.candidates import Found, peer_files, running
from benchmarks.comparison.measure import Effort, Load, Measured, measure
from benchmarks.comparison.payload import Workload

pytestmark = pytest.mark.long

EFFORT = Effort(rounds=1, seconds=0.05, items=500)
LOADS = (Load(Workload.TREE, 1), Load(Workload.TREE, 4), Load(Workload.STREAM, 1))

PEER = """
import asyncio
from contextlib import asynccontextmanager

from benchmarks.comparison.child import run
from benchmarks.comparison.payload import Workload, item, tree
from benchmarks.comparison.peer import Call, Peer


@asynccontextmanager
async def serve(variant, port):
    {serve}
    yield


async def echo():
    {echo}
    return tree()


async def items(count):
    return count, item(count - 1)


@asynccontextmanager
async def connect(variant, port):
    yield {{Workload.TREE: Call(echo, tree()), Workload.STREAM: Call(items)}}


print("what a library prints is not taken for an answer")
run(Peer("{name}", ["one", "two"], serve, connect))
"""
ECHO = "await asyncio.sleep(0)"


def peer(folder: Path, name: str, *, first: str = "", serve: str = "pass", echo: str = ECHO) -> Path:
    """The file of a peer that calls nobody."""
    file = folder / f"{name}.py"
    file.write_text(first + PEER.format(name=name, serve=serve, echo=echo))
    return file


async def compare(files: Sequence[Path], cache: Path) -> tuple[list[Measured], Found]:
    """Start and measure them."""
    async with running(files, "asyncio", cache) as found:
        return await measure(found, EFFORT, LOADS), found


async def test_a_peer_is_one_file(tmp_path: Path) -> None:
    """Each of its variants is measured, with the time and the memory of both processes."""
    measured, found = await compare([peer(tmp_path, "mine")], tmp_path)
    assert [each.name for each in measured] == ["mine one", "mine two"]
    assert found.left_out == []
    assert found.versions == {"mine": {}}
    for each in measured:
        assert {load: len(turns) for load, turns in each.turns.items()} == dict.fromkeys(LOADS, 1)
        assert all(turn.calls > 0 and turn.client > 0 for turns in each.turns.values() for turn in turns)
        assert each.turns[LOADS[2]][0].calls == 500
        assert each.server_memory > 1e6
        assert each.client_memory > 1e6


async def test_those_that_cannot_be_had_are_named_with_the_reason(tmp_path: Path) -> None:
    """Packages that cannot be installed, a file that cannot be imported, a server that does not start; others go on."""
    missing = tmp_path / "missing"
    first = f'# /// script\n# dependencies = ["{missing.as_uri()}"]\n# ///\n'
    files = [
        peer(tmp_path, "uninstallable", first=first),
        peer(tmp_path, "broken", first="import no_such_package\n"),
        peer(tmp_path, "mute", serve="raise OSError('the port is taken')"),
        peer(tmp_path, "good"),
    ]
    measured, found = await compare(files, tmp_path / "cache")
    assert [each.name for each in measured] == ["good one", "good two"]
    uninstallable, broken, *mute = found.left_out
    assert uninstallable.startswith("left out: uninstallable: ")
    assert str(missing) in uninstallable
    assert broken == "left out: broken: ModuleNotFoundError: No module named 'no_such_package'"
    assert sorted(mute) == [f"left out: mute {variant}: OSError: the port is taken" for variant in ("one", "two")]


async def test_a_wrong_answer_is_not_measured(tmp_path: Path) -> None:
    """The workload is left out, the others stay."""
    measured, found = await compare([peer(tmp_path, "wrong", echo="return None")], tmp_path)
    assert [set(each.turns) for each in measured] == [{LOADS[2]}] * 2
    assert len(found.left_out) == 2
    for text in found.left_out:
        assert text.startswith("left out: wrong ")
        assert "tree: AssertionError: expected Node(" in text
        assert text.endswith("got None")


async def test_what_a_client_logs_is_kept(tmp_path: Path) -> None:
    """Each warning once: a channel that fell back to another one would say so there."""
    warns = "import logging; logging.getLogger('mine').warning('took the other way'); logging.info('nothing')"
    _, found = await compare([peer(tmp_path, "loud", echo=warns)], tmp_path)
    assert [each.logged for each in found.candidates] == [["mine: took the other way"]] * 2


async def test_a_client_that_dies_in_its_turn_is_left_out(tmp_path: Path) -> None:
    """With what it printed last."""
    dies = "echo.calls = getattr(echo, 'calls', 0) + 1\n    if echo.calls > 3: raise SystemExit('out of calls')"
    measured, found = await compare([peer(tmp_path, "mortal", echo=dies), peer(tmp_path, "good")], tmp_path)
    assert [each.name for each in measured] == ["good one", "good two"], found.left_out
    assert {text.split(":")[1] for text in found.left_out} == {" mortal one", " mortal two"}
    assert all("the process has ended: out of calls" in text for text in found.left_out)


async def test_a_call_that_fails_costs_a_client_that_load_only(tmp_path: Path) -> None:
    """It is told what failed, and the other loads are measured."""
    fails = "echo.calls = getattr(echo, 'calls', 0) + 1\n    if echo.calls > 1: raise OSError('no more')"
    measured, found = await compare([peer(tmp_path, "moody", echo=fails)], tmp_path)
    assert [set(each.turns) for each in measured] == [{LOADS[2]}] * 2
    assert len(found.left_out) == 4
    assert all(text.endswith(": OSError: no more") for text in found.left_out)


@pytest.mark.parametrize("name", ["meshcore", "handwritten", "echo"])
async def test_the_peers_that_need_no_environment_work(name: str, tmp_path: Path) -> None:
    """Each of them has a tree, an empty call and one of 100 KB; of streams it is said who has none."""
    loads = [Load(workload, 2) for workload in (Workload.TREE, Workload.EMPTY, Workload.TEXT)]
    async with running([peer_files()[name]], "asyncio", tmp_path) as found:
        measured = await measure(found, EFFORT, loads)
    assert measured
    for each in measured:
        assert set(each.turns) == set(loads)
        assert all(turn.server > 0 for turns in each.turns.values() for turn in turns)
    assert all(", stream: " in text for text in found.left_out)
