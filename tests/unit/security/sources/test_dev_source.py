"""Certificates for development: who has them, how long, and who may have the authority."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from meshcore.ports.identity import IdentityError
from meshcore.ports.installed import make_identity_source
from meshcore.security.sources.dev import DevIdentitySource
from meshcore.security.sources.dev_authority import DevAuthority
from meshcore.security.sources.dev_certificates import LIFETIME
from tests.support.certificates import Authority
from tests.support.identities import running, until_changed


async def test_certificates_for_development(tmp_path):
    """Each component gets one, of an authority that only this user can read and that is made on first use."""
    folder = tmp_path / "state" / "identity"
    async with running(make_identity_source(f"dev:{folder}"), ("orders", "Stock & Co")) as certificates:
        assert [(each.identity, each.names) for each in certificates.all] == [
            ("spiffe://dev.meshcore/svc/orders", ("orders",)),
            ("spiffe://dev.meshcore/svc/Stock---Co", ("Stock---Co",)),
        ]
        async with running(DevIdentitySource(folder)) as others:
            assert others.all[0].roots == certificates.all[0].roots
            assert others.all[0].key != certificates.all[0].key
    assert (folder.stat().st_mode & 0o777, (folder / "authority.pem").stat().st_mode & 0o777) == (0o700, 0o600)
    assert (folder / "root.pem").read_bytes() == certificates.all[0].roots


async def test_the_default_folder_is_in_the_state_of_the_user(tmp_path, monkeypatch):
    """As the XDG Base Directory Specification says; a relative path does not count."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    async with running(make_identity_source("dev:")):
        assert (tmp_path / "xdg/meshcore/identity/authority.pem").is_file()
    monkeypatch.setenv("XDG_STATE_HOME", "xdg")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    async with running(make_identity_source("dev:")):
        assert (tmp_path / "home/.local/state/meshcore/identity/authority.pem").is_file()


async def test_certificates_for_development_are_renewed_in_time(tmp_path):
    """After half of their life, by the same authority."""
    clock = [time.time()]
    async with running(DevIdentitySource(tmp_path, interval=0.01, clock=lambda: clock[0])) as certificates:
        old = certificates.all
        clock[0] += LIFETIME * 0.49
        await asyncio.sleep(0.1)
        assert certificates.all == old
        clock[0] += LIFETIME * 0.02
        new = await until_changed(certificates, old)
        assert new[0].roots == old[0].roots
        assert new[0].ends == pytest.approx(clock[0] + LIFETIME, abs=2)


async def test_all_processes_follow_to_a_new_authority(tmp_path):
    """When somebody has removed the one of before, while they run."""
    sources = [DevIdentitySource(tmp_path, interval=0.01) for _ in range(2)]
    async with running(sources[0]) as one, running(sources[1]) as two:
        old = one.all, two.all
        (tmp_path / "authority.pem").unlink()
        await until_changed(one, old[0])
        await until_changed(two, old[1])
        assert one.all[0].roots == two.all[0].roots != old[0][0].roots


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: folder.chmod(0o770), "other users can write to it (mode 0770), and so replace the authority"),
        (lambda folder: (folder / "authority.pem").chmod(0o640), "other users have rights to the key of the authority"),
        (lambda folder: (folder / "authority.pem").write_bytes(b"x"), "it cannot be read; remove it"),
        (lambda folder: (folder / "authority.pem").write_bytes(Authority.make().roots), "it cannot be read; remove it"),
    ],
)
async def test_an_authority_that_is_not_safe_is_refused(tmp_path, damage, reason):
    """Who can write to its folder could issue certificates for any component."""
    async with running(DevIdentitySource(tmp_path)):
        pass
    damage(tmp_path)
    with pytest.raises(IdentityError) as caught:
        async with running(DevIdentitySource(tmp_path)):
            pass
    assert reason in str(caught.value)


async def test_a_link_instead_of_the_authority_is_refused(tmp_path):
    """It could lead to a file of another user."""
    async with running(DevIdentitySource(tmp_path / "a")):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "b").chmod(0o700)
    (tmp_path / "b/authority.pem").symlink_to(tmp_path / "a/authority.pem")
    with pytest.raises(IdentityError, match="cannot be used"):
        async with running(DevIdentitySource(tmp_path / "b")):
            pass


def test_processes_that_start_at_the_same_time_share_one_authority(tmp_path):
    """The first one wins, whoever it is, and none sees half of a file. Threads will do here."""
    ready = Barrier(8)

    def read(number: int) -> bytes:
        ready.wait(timeout=20)
        return DevAuthority(tmp_path / "identity").read()

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(read, range(8)))
    assert len(found) == 1
    assert {each.name for each in (tmp_path / "identity").iterdir()} == {"authority.pem", "root.pem"}
