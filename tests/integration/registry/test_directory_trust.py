"""The directory registry announces in no folder that others can write, and takes no files of others."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from meshcore.core.errors import CommunicationError
from meshcore.core.instances import Absent, Bound, ChannelAddress, Failed, Instance
from meshcore.registry import DirectoryComponentRegistry
from meshcore.testing import watching

NOBODY = 65534
NAME = "orders.two.0123456789abcdef.json"


def instance_of(name: str) -> Instance:
    """An instance."""
    return Instance(name, "orders", (ChannelAddress("rest", "http://127.0.0.1:8000"),))


@contextmanager
def planted(folder: Path, *, mode: int = 0o644, user: int = -1):
    """A file as the registry makes them, locked by this process."""
    path = folder / NAME
    with path.open("wb") as file:
        os.fchown(file.fileno(), user, -1)
        os.fchmod(file.fileno(), mode)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(msgspec.json.encode(instance_of("two")))
        file.flush()
        yield


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o2770, 0o707])
async def test_a_named_folder_that_others_can_write_is_neither_read_nor_written(tmp_path, mode):
    """Announcing and watching fail with the mend, and go on when the right is taken away."""
    folder = tmp_path / "shop"
    folder.mkdir()
    folder.chmod(mode)
    async with DirectoryComponentRegistry(folder) as registry, watching(registry, "orders", seconds=30) as watcher:
        while not watcher.seen:
            await asyncio.sleep(0.01)
        assert isinstance(failed := watcher.seen[0], Failed)
        assert f"remove that right (chmod go-w {folder})" in str(failed.cause)
        with pytest.raises(CommunicationError, match=rf"mode {mode:04o}.*directory://{folder}/meshcore"):
            async with registry.announce(instance_of("one")):
                pass
        with pytest.raises(CommunicationError, match="chmod go-w"):
            await registry.instances()
        assert list(folder.iterdir()) == []
        folder.chmod(mode & ~0o022)
        await watcher.until(Absent())
        async with registry.announce(instance_of("one")):
            await watcher.until(Bound((instance_of("one"),)))


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
async def test_the_default_folder_is_private_even_if_this_user_opened_it(tmp_path, monkeypatch, mode):
    """The default folder is refused with the sticky bit, too."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "meshcore").mkdir()
    (tmp_path / "meshcore").chmod(mode)
    async with DirectoryComponentRegistry() as registry:
        with pytest.raises(CommunicationError, match=f"chmod go-w {tmp_path}/meshcore"):
            async with registry.announce(instance_of("one")):
                pass
    assert list((tmp_path / "meshcore").iterdir()) == []


async def test_a_folder_in_one_that_all_can_write_is_made_for_this_user(tmp_path):
    """What the error advises works: a volume that all can write may hold the folder."""
    tmp_path.chmod(0o777)
    async with DirectoryComponentRegistry(tmp_path / "meshcore") as registry, registry.announce(instance_of("one")):
        assert await registry.instances() == {"orders": (instance_of("one"),)}


async def test_a_file_that_others_can_write_is_passed_over(tmp_path, caplog):
    """Its content may be anybody's, though it is this user's file and locked."""
    with planted(tmp_path):
        assert await DirectoryComponentRegistry(tmp_path).instances() == {"orders": (instance_of("two"),)}
    with planted(tmp_path, mode=0o666):
        assert await DirectoryComponentRegistry(tmp_path).instances() == {}
    assert f"{NAME} is ignored" in caplog.text
    assert "can write to it (mode 0666)" in caplog.text
    assert (tmp_path / NAME).exists()


async def test_a_file_of_another_user_is_passed_over(tmp_path, caplog):
    """In a folder like /tmp another user can lay and lock a file. Nobody is sent there, and it is not removed."""
    if os.geteuid():
        pytest.skip("only root can give a file away")
    tmp_path.chmod(0o1777)
    with planted(tmp_path, user=NOBODY):
        async with DirectoryComponentRegistry(tmp_path) as registry, registry.announce(instance_of("one")):
            assert await registry.instances() == {"orders": (instance_of("one"),)}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert caplog.text.count(f"it belongs to user {NOBODY}") == 1
