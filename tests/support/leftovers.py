"""What a test leaves behind fails that test, and is cleared away before the next one."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.state import (
    Directory,
    Environment,
    Files,
    Kind,
    Loggers,
    Processes,
    SearchPath,
    Signals,
    Sockets,
    Threads,
)

_GRACE = 5.0  # seconds for what ends without help, such as a process that was killed
_PR_SET_CHILD_SUBREAPER = 36

_State = dict[Kind, dict[Any, Any]]


class Leftovers:
    """The plugin. It compares the state of this process before a test with the state after it.

    What a fixture of a wider scope makes may stay as long as the fixture, and has to be gone when that ends.
    """

    def __init__(self) -> None:
        # A process whose parent has ended becomes a child of this process, so it is found as well.
        with suppress(AttributeError, OSError):  # other systems than Linux
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # The folders of `tmp_path` are pytest's, and stay where they are.
        root = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        self._folder = tempfile.mkdtemp(prefix="tests-", dir=root)
        os.environ["TMPDIR"] = tempfile.tempdir = self._folder
        os.environ.pop("XDG_RUNTIME_DIR", None)  # the directory registry would prefer it to the temporary folder
        self._processes = Processes()
        self._kinds = (
            *(self._processes, Threads(), Sockets(), Files(Path(self._folder))),
            *(Environment(), Directory(), SearchPath(), Signals(), Loggers()),
        )

    def pytest_unconfigure(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Check what a fixture of a wider scope made when that ends, and the tasks of an event loop before it ends."""
        if fixturedef.scope == "function":
            result = yield
        else:
            made: _State = {}
            # The first finalizer runs last.
            fixturedef.addfinalizer(lambda: _check(lambda: _still(made, self._look()), {}))
            before = self._look()
            result = yield
            made.update(_changes(before, self._look()))
        if isinstance(result, asyncio.Runner):
            fixturedef.addfinalizer(partial(_check_tasks, result))
        return result

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self) -> Iterator[None]:
        before = self._look()
        yield
        try:
            _check(lambda: _changes(before, self._look()), before)
        finally:
            self._processes.reap(before[self._processes])

    def _look(self) -> _State:
        return {kind: kind.look() for kind in self._kinds}


def _changes(before: _State, after: _State) -> _State:
    """What is new, and where it matters what has changed or is gone."""
    found: _State = {}
    for kind, now in after.items():
        old = before[kind]
        if now == old:
            continue
        new = now.keys() - old.keys()
        if not kind.added:
            new |= {name for name, value in old.items() if now.get(name) != value}
        if changed := {name: now.get(name) for name in new if kind.matters(name, now.get(name))}:
            found[kind] = changed
    return found


def _still(made: _State, now: _State) -> _State:
    """What a fixture made and is still there."""
    left = {
        kind: {name: value for name, value in things.items() if name in now[kind] and now[kind][name] == value}
        for kind, things in made.items()
    }
    return {kind: things for kind, things in left.items() if things}


def _check(find: Callable[[], _State], before: _State) -> None:
    """Clear away what is found and does not end soon, and fail."""
    left = find()
    if left:
        gc.collect()  # it may be the object of a cycle that nobody has
    end = time.monotonic() + _GRACE
    while (left := find()) and any(kind.added for kind in left) and time.monotonic() < end:
        time.sleep(0.01)
    if left:
        texts = []
        for kind, things in left.items():
            for name, value in things.items():
                with suppress(OSError):  # it ends just now
                    texts.append(kind.text(name, value))
                    kind.clear(name, value, before.get(kind, {}).get(name))
        pytest.fail(f"left behind: {'; '.join(texts)}", pytrace=False)


def _check_tasks(runner: asyncio.Runner) -> None:
    """Fail if tasks are left. The runner cancels them afterwards."""
    loop = runner.get_loop()
    if not loop.is_closed() and (tasks := asyncio.all_tasks(loop)):
        runner.run(asyncio.wait(tasks, timeout=_GRACE))
        if left := [repr(task) for task in tasks if not task.done()]:
            pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)
