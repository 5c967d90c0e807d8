"""The directory registry in a folder with thousands of files that are not its own."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshcore.core.instances import Absent, Bound, ChannelAddress, Instance
from meshcore.registry import DirectoryComponentRegistry
from meshcore.registry.directory import folder as room
from meshcore.registry.directory.folder import InstanceFolder
from meshcore.testing import watching

pytestmark = pytest.mark.one_python

LONG_AGO = time.time() - 3600.0


def instance_of(name: str) -> Instance:
    """An instance."""
    return Instance(name, "orders", (ChannelAddress("rest", "http://127.0.0.1:8000"),))


def foreign(folder: Path, count: int, pattern: str = "foreign.{:016x}.json") -> None:
    """Files with generated names that announce nothing."""
    for number in range(count):
        (folder / pattern.format(number)).write_text("{}")


def age(folder: Path) -> None:
    """Let the last change of the folder be an hour ago."""
    os.utime(folder, (LONG_AGO, LONG_AGO))


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch):
    """Counts how often the folder is listed, and files are opened to be read."""
    counts = {"listed": 0, "read": 0}
    listdir, read_locked = os.listdir, room.read_locked

    def counted_listdir(path):
        counts["listed"] += 1
        return listdir(path)

    def counted_read(folder, name):
        counts["read"] += 1
        return read_locked(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(room.os, "listdir", counted_listdir)
        patch.setattr(room, "read_locked", counted_read)
        yield counts


def test_an_idle_folder_is_not_listed_again_and_foreign_files_are_not_opened_again(tmp_path, monkeypatch):
    """What costs a system call for each file is done once; who lives is looked at each time."""
    foreign(tmp_path, 300)
    foreign(tmp_path, 300, "{}.json")
    reader = InstanceFolder(tmp_path)
    file = reader.file_for(instance_of("one"))
    file.place()
    age(tmp_path)
    with counting(monkeypatch) as counts:
        for _ in range(20):
            assert reader.scan().instances == {"orders": (instance_of("one"),)}
    assert counts["read"] == 300 + 20
    assert counts["listed"] <= 2  # a second time after five seconds, on a slow machine
    file.withdraw()
    assert reader.scan().instances == {}


def test_changes_within_a_step_of_the_file_systems_clock_are_seen(tmp_path):
    """A file that comes right after the folder was listed may leave it with the same time of change."""
    reader = InstanceFolder(tmp_path)
    for number in range(50):
        file = reader.file_for(instance_of("one"))
        file.place()
        now = time.time()
        os.utime(tmp_path, (now, now))
        assert reader.scan().instances == {"orders": (instance_of("one"),)}
        file.withdraw()
        os.utime(tmp_path, (now, now))
        assert reader.scan().instances == {}, number


def test_a_folder_whose_time_does_not_change_is_listed_from_time_to_time(tmp_path, monkeypatch):
    """On a file system that does not keep the time of change."""
    monkeypatch.setattr(room, "_LISTED_FOR", 0.0)
    reader = InstanceFolder(tmp_path)
    age(tmp_path)
    assert reader.scan().instances == {}
    reader.file_for(instance_of("one")).place()
    age(tmp_path)
    assert reader.scan().instances == {"orders": (instance_of("one"),)}


def test_a_file_whose_rights_are_mended_counts_in_the_end(tmp_path, monkeypatch):
    """A foreign file is opened again after a while; meanwhile nothing is logged twice."""
    monkeypatch.setattr(room, "_LOOK_AGAIN", 0.0)
    reader = InstanceFolder(tmp_path)
    reader.file_for(instance_of("one")).place()
    (path,) = tmp_path.iterdir()
    path.chmod(0o666)
    assert reader.scan().instances == {}
    path.chmod(0o600)
    assert reader.scan().instances == {"orders": (instance_of("one"),)}


def test_thousands_of_foreign_files_fill_no_log(tmp_path, caplog):
    """The first ones are named, then one line says that there are more."""
    foreign(tmp_path, 100)
    reader = InstanceFolder(tmp_path)
    for _ in range(3):
        reader.scan()
    assert len(caplog.messages) == 21
    assert caplog.messages[-1] == f"{tmp_path} has more files that announce no instance; they are ignored, too"


async def test_instances_come_and_go_in_a_crowd(tmp_path):
    """Changes are seen as in an empty folder."""
    foreign(tmp_path, 2000)
    async with DirectoryComponentRegistry(tmp_path) as registry, watching(registry, "orders", seconds=60) as watcher:
        await watcher.until(Absent())
        async with DirectoryComponentRegistry(tmp_path) as other:
            for _ in range(3):
                async with other.announce(instance_of("one")):
                    await watcher.until(Bound((instance_of("one"),)))
                await watcher.until(Absent())
