"""The directory registry: whose files and folders count, and when the content of a folder is believed."""

from __future__ import annotations

import os
import stat

import pytest

from meshcore.core.instances import Instance
from meshcore.registry.directory.continuity import GRACE, Continuity
from meshcore.registry.directory.trust import file_objection, folder_objection
from meshcore.registry.snapshot import snapshot_of

OWN = os.geteuid()
OTHER = OWN + 1


def status_of(mode: int, user: int) -> os.stat_result:
    """The status of a file or folder."""
    return os.stat_result((mode, 7, 7, 1, user, 0, 0, 0, 0, 0))


def snapshot(*names: str):
    """A snapshot of these instances."""
    return snapshot_of(Instance(name, "orders", ()) for name in names)


@pytest.mark.parametrize("user", [OWN, 0])
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1755, 0o2755])
@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_only_its_owner_can_write_is_used(user, mode, shared):
    """A folder of this user or of root, whoever can read it."""
    assert folder_objection(status_of(stat.S_IFDIR | mode, user), "/run/shop", shared=shared) == ""


@pytest.mark.parametrize("user", [OWN, 0])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o707, 0o702, 0o720, 0o2775])
@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_others_can_write_is_refused(user, mode, shared):
    """The right of a group is one of others, too. The text has the mode, and what mends it."""
    assert folder_objection(status_of(stat.S_IFDIR | mode, user), "/run/shop", shared=shared) == (
        f"users other than its owner can write to it (mode {mode:04o}), and so announce instances; remove that right "
        "(chmod go-w /run/shop), or name a folder that is not there yet, which is made for this user only (setting "
        "registry, as directory:///run/shop/meshcore)"
    )


@pytest.mark.parametrize("mode", [0o1777, 0o1770, 0o1775])
def test_others_may_have_files_in_a_named_folder_with_the_sticky_bit(mode):
    """In such a folder nobody can replace files of others, and files of others do not count. The default is private."""
    status = status_of(stat.S_IFDIR | mode, OWN)
    assert folder_objection(status, "/run/shop", shared=True) == ""
    assert "chmod go-w" in folder_objection(status, "/run/shop", shared=False)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o777, 0o1777])
def test_a_folder_of_another_user_is_refused(mode):
    """Its owner can change everything in it at any time."""
    assert folder_objection(status_of(stat.S_IFDIR | mode, OTHER), "/run/shop", shared=True) == (
        f"it belongs to user {OTHER}, and this process runs as user {OWN}; run as that user, or name a folder of this "
        "user or of root (setting registry, as directory:///path)"
    )


@pytest.mark.parametrize(
    ("mode", "user", "reason"),
    [
        (stat.S_IFREG | 0o600, OWN, ""),
        (stat.S_IFREG | 0o644, 0, ""),
        (stat.S_IFREG | 0o644, OTHER, f"it belongs to user {OTHER}, and only files of user {OWN} and of root count"),
        (stat.S_IFREG | 0o664, OWN, "users other than its owner can write to it (mode 0664)"),
        (stat.S_IFREG | 0o602, 0, "users other than its owner can write to it (mode 0602)"),
        (stat.S_IFIFO | 0o600, OWN, "it is not a regular file"),
        (stat.S_IFDIR | 0o700, OWN, "it is not a regular file"),
    ],
)
def test_whose_files_count(mode, user, reason):
    """Regular files of this user and of root, that nobody else can write."""
    assert file_objection(status_of(mode, user)) == reason


def test_the_same_folder_is_always_believed():
    """Instances come and go; also the last one."""
    continuity = Continuity()
    for found in (snapshot("one", "two"), snapshot("two"), snapshot()):
        assert continuity.doubt((1, 1), found, 0.0) == ""


def test_a_missing_folder_is_empty_only_before_the_first():
    """Before anybody has announced, there is no folder. Afterwards somebody has removed it."""
    continuity = Continuity()
    assert not continuity.removed()
    assert continuity.doubt((1, 1), snapshot(), 0.0) == ""
    assert continuity.removed()
    assert continuity.removed()


@pytest.mark.parametrize("seen_missing", [True, False])
def test_a_folder_that_was_made_anew_is_believed_once_all_are_back(seen_missing):
    """Those that live put their files back one after the other. New ones do not make up for those that miss."""
    continuity = Continuity()
    assert continuity.doubt((1, 1), snapshot("one", "two"), 0.0) == ""
    if seen_missing:
        assert continuity.removed()
    # Without a look in between, an inode number that is used again would look like the same folder.
    folder = (1, 1) if seen_missing else (1, 2)
    expected = "it was removed and made anew, and {} known instances are not announced there yet"
    assert continuity.doubt(folder, snapshot(), 10.0) == expected.format(2)
    assert continuity.doubt(folder, snapshot("one", "three"), 10.5) == expected.format(1)
    assert continuity.doubt(folder, snapshot("one", "two", "three"), 10.6) == ""
    assert continuity.doubt(folder, snapshot("three"), 10.7) == ""


def test_who_is_not_back_in_time_is_gone():
    """After the grace a new folder counts. It begins anew with each folder, also if one is removed again."""
    continuity = Continuity()
    assert continuity.doubt((1, 1), snapshot("one"), 0.0) == ""
    assert continuity.doubt((1, 2), snapshot(), 10.0)
    assert continuity.doubt((1, 3), snapshot(), 10.0 + GRACE)
    assert continuity.removed()
    assert continuity.doubt((1, 3), snapshot(), 11.0 + GRACE)
    assert continuity.doubt((1, 3), snapshot(), 11.0 + 2 * GRACE) == ""
