"""What the workers of one server tell each other, so that whoever is asked answers for all of them.

Each worker answers the others over a Unix socket in a folder that their parent has made. Nothing is written while
nobody asks. A worker keeps what it tells in a file before it tells it, so what was shown once is there after a SIGKILL,
and no counter ever falls. The parent adds the files of dead workers up, in one file.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import TracebackType
from typing import Final, Self

import msgspec

from meshcore.core.errors import LocalError
from meshcore.telemetry.history import STEPS
from meshcore.telemetry.snapshot import Snapshot, counters_of, decode, encode, total
from meshcore.telemetry.tap.tap import Wanted

log = logging.getLogger(__name__)

_METRICS, _SUMMARY, _CALLS = b"metrics\n", b"summary ", b"calls "
"""What one asks another. What follows on the same line: how many steps of the history are wanted, and which calls."""

_PATIENCE = 0.5
"""Seconds for the answer of a sibling. One whose event loop is blocked for longer counts with what it told last."""

_LARGEST_ANSWER = 2**28
_LONGEST_LINE = 2**20
_MOST_ENDED = 100
"""Ids of dead workers that are remembered. They matter only to a scrape that is under way when a worker dies."""

_ENDED: Final = "ended"
_KEPT: Final = ".kept"
_SOCKET: Final = ".sock"

_PREFIX: Final = "meshcore-workers-"
_LONGEST_FOLDER: Final = 103 - len(f"/{_PREFIX}12345678/1234567-12345678{_SOCKET}")
"""Bytes. macOS lets the path of a socket have 103, Linux 107, and macOS has long temporary folders."""


class _Ended(msgspec.Struct):
    """What dead workers have counted.

    Attributes:
        ids: of the last ones.
        counted: the sum of all.
    """

    ids: list[str] = []
    counted: Snapshot = {}


class Siblings:
    """The workers of a server, as one of them sees them. The context is its own life among them.

    Args:
        folder: which their parent has made.
        counted: what this process has counted.
        summary: what it tells of itself, with so many steps of its history.
        calls: tells a reader of its calls, as lines. It raises LocalError if there are too many readers.
    """

    def __init__(
        self,
        folder: Path,
        counted: Callable[[], Snapshot],
        summary: Callable[[int], bytes],
        calls: Callable[[Wanted], AsyncGenerator[bytes]],
    ) -> None:
        self._folder = folder
        self._counted = counted
        self._summary = summary
        self._calls = calls
        self._id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        path = self._folder / f"{self._id}{_SOCKET}"
        try:
            self._server = await asyncio.start_unix_server(self._answer, path)
        except OSError as error:  # that is no reason not to serve
            log.warning("the other workers cannot ask this one what it has counted: %s: %s", path, error)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        parent = multiprocessing.parent_process()
        if parent is None or parent.is_alive():
            self._keep()
        else:  # it cannot remove the folder any more, and the siblings end, too
            shutil.rmtree(self._folder, ignore_errors=True)

    async def metrics(self) -> list[Snapshot]:
        """What all have counted: this process, the living ones, and those that are dead."""
        found, others = {self._id: self._keep()}, self.others()
        for id_, answer in zip(others, await self._ask(others, _METRICS), strict=True):
            found[id_] = _read(self._folder / f"{id_}{_KEPT}") if answer is None else decode(answer)
        ended = _read_ended(self._folder)  # last: who is in it must not count twice
        return [ended.counted, *(counted for id_, counted in found.items() if id_ not in ended.ids)]

    async def summaries(self, *, steps: int = STEPS) -> list[bytes]:
        """What the living ones tell of themselves, this process first."""
        others = await self._ask(self.others(), b"%b%d\n" % (_SUMMARY, steps))
        return [self._summary(steps), *(each for each in others if each is not None)]

    async def calls_of(self, id_: str, wanted: Wanted) -> AsyncGenerator[bytes]:
        """The lines that a sibling tells of its calls, until it ends; none if it does not answer."""
        try:
            path = self._folder / f"{id_}{_SOCKET}"
            reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_LINE)
        except OSError:
            return
        try:
            writer.write(_CALLS + msgspec.json.encode(wanted) + b"\n")
            while line := await reader.readline():
                yield line
        except (OSError, ValueError):  # it is gone, or the line is longer than any that it should send
            return
        finally:
            writer.close()

    def others(self) -> list[str]:
        """The ids of the others, also of those that have just died."""
        ids = {path.stem for suffix in (_SOCKET, _KEPT) for path in self._folder.glob(f"*{suffix}")}
        return sorted(ids - {self._id})

    async def _ask(self, ids: list[str], what: bytes) -> list[bytes | None]:
        return await asyncio.gather(*(self._ask_one(id_, what) for id_ in ids))

    async def _ask_one(self, id_: str, what: bytes) -> bytes | None:
        """The answer of a sibling, None if there is none."""
        try:
            async with asyncio.timeout(_PATIENCE):
                path = self._folder / f"{id_}{_SOCKET}"
                reader, writer = await asyncio.open_unix_connection(path, limit=_LARGEST_ANSWER)
                try:
                    writer.write(what)
                    size = int.from_bytes(await reader.readexactly(8))
                    return await reader.readexactly(size)
                finally:
                    writer.close()
        except (OSError, asyncio.IncompleteReadError):  # a timeout is an OSError
            log.debug("worker %s does not answer", id_)
            return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE) as patience:
                what = await reader.readline()
                if what.startswith(_CALLS):
                    patience.reschedule(None)
                    return await self._tell(what.removeprefix(_CALLS), writer)
                if what == _METRICS:
                    data = encode(self._keep())
                elif what.startswith(_SUMMARY):
                    data = self._summary(int(what.removeprefix(_SUMMARY)))
                else:  # the sibling died while it asked
                    return None
                writer.write(len(data).to_bytes(8) + data)
                await writer.drain()
        except OSError:  # the sibling that asked is gone
            return None
        finally:
            writer.close()

    async def _tell(self, wanted: bytes, writer: asyncio.StreamWriter) -> None:
        """Tell a sibling of the calls of this process until it has gone."""
        try:
            calls = self._calls(msgspec.json.decode(wanted, type=Wanted))
        except (LocalError, msgspec.DecodeError) as error:
            log.debug("a worker cannot be told of calls: %s", error)
            return
        async with aclosing(calls):
            async for lines in calls:
                writer.write(lines)
                await writer.drain()

    def _keep(self) -> Snapshot:
        """What this process has counted. Its counters are kept for the time after its end."""
        counted = self._counted()
        try:
            _write(self._folder / f"{self._id}{_KEPT}", encode(counters_of(counted)))
        except OSError as error:
            log.warning("what this worker has counted cannot be kept: %s", error)
        return counted


def new_folder() -> TemporaryDirectory[str]:
    """A folder for unix sockets, such as of the workers of one server. It is short enough for the paths of sockets."""
    folder = gettempdir()
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        folder = "/tmp"  # noqa: S108 - what is made in there is this user's alone
    return TemporaryDirectory(prefix=_PREFIX, dir=folder)


def retire(folder: Path, pid: int) -> None:
    """Add what a dead worker has counted to that of all dead ones. For their parent alone."""
    ended = _read_ended(folder)
    files = list(folder.glob(f"{pid}-*{_KEPT}"))
    ids = [path.name.removesuffix(_KEPT) for path in files]
    new = _Ended([*ended.ids, *ids][-_MOST_ENDED:], total([ended.counted, *map(_read, files)]))
    # First the sum, which names the worker, then its file: whoever reads meanwhile counts it once.
    _write(folder / _ENDED, msgspec.msgpack.encode(new))
    for path in (*files, *folder.glob(f"{pid}-*{_SOCKET}")):
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _read(path: Path) -> Snapshot:
    """What a worker has kept, nothing if it has not yet been asked."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return {}


def _read_ended(folder: Path) -> _Ended:
    try:
        return msgspec.msgpack.decode((folder / _ENDED).read_bytes(), type=_Ended)
    except FileNotFoundError:
        return _Ended()
