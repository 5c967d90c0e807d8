"""Certificates from files, and those for development: what is taken over, and what stays."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Barrier

import pytest

from meshcore import module
from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.mesh.mesh import Mesh
from meshcore.ports.identity import Credentials, IdentityError, IdentitySource
from meshcore.ports.installed import make_identity_source
from meshcore.security.certificates import Certificates
from meshcore.security.sources.dev import DevIdentitySource
from meshcore.security.sources.dev_authority import DevAuthority
from meshcore.security.sources.dev_certificates import LIFETIME
from meshcore.security.sources.files import FilesIdentitySource
from meshcore.telemetry.families import CERTIFICATE_EXPIRY
from tests.support.certificates import DAY, Authority
from tests.support.processes import ROOT

ROOT_OF_TESTS = Authority.make()
SPIFFE_HELPER = ("svid.pem", "svid_key.pem", "svid_bundle.pem")


@asynccontextmanager
async def running(source: IdentitySource, names: Sequence[str] = ("orders",)) -> AsyncGenerator[Certificates]:
    """Its certificates, as a mesh has them."""
    certificates = Certificates(source, names)
    try:
        await certificates.start()
        yield certificates
    finally:
        await certificates.aclose()


async def until_changed(certificates: Certificates, before: tuple[Credentials, ...]) -> tuple[Credentials, ...]:
    """Wait until there are others."""
    changed = asyncio.Event()
    certificates.changed.add(changed.set)
    async with asyncio.timeout(20):
        while certificates.all == before:
            await changed.wait()
            changed.clear()
    certificates.changed.discard(changed.set)
    return certificates.all


def chain_of(certificates: Certificates) -> bytes:
    """That of the first."""
    return certificates.all[0].chain


@pytest.mark.parametrize("names", [("tls.crt", "tls.key", "ca.crt"), SPIFFE_HELPER])
async def test_files_with_known_names_are_found(tmp_path, names):
    """Those of Kubernetes' secrets and of spiffe-helper."""
    leaf = ROOT_OF_TESTS.leaf("orders")
    leaf.write(tmp_path, names)
    async with running(make_identity_source(f"files:{tmp_path}")) as certificates:
        assert [each.identity for each in certificates.all] == ["spiffe://dev.mesh/svc/orders"]
        assert chain_of(certificates) == leaf.chain


async def test_files_with_other_names_are_named(tmp_path):
    """In the query; an absolute one may be elsewhere."""
    leaf = ROOT_OF_TESTS.leaf("orders")
    leaf.write(tmp_path, ("own.pem", "tls.key", "roots.pem"))
    url = f"files:{tmp_path}?cert=own.pem&roots={tmp_path}/roots.pem"
    async with running(make_identity_source(url)) as certificates:
        assert chain_of(certificates) == leaf.chain


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("files:certs", "takes the absolute path of a folder"),
        ("files://host/certs", "takes the absolute path of a folder"),
        ("files:/certs?crt=a", "has no parameter 'crt'; did you mean 'cert'?"),
        ("files:/certs?cert=", "takes one name of a file for 'cert'"),
        ("files:/certs?cert=a&cert=b", "takes one name of a file for 'cert'"),
        ("dev:certs", "takes the absolute path of a folder"),
        ("dev:/certs?x=y", "takes the absolute path of a folder"),
        ("dve:", "no identity source 'dve' for 'dve:'; did you mean 'dev'?"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, reason):
    """Before anything is read."""
    with pytest.raises(ValueError, match=r"(files|dev):|no identity") as caught:
        make_identity_source(url)
    assert reason in str(caught.value)


async def test_a_new_set_is_taken_over_as_a_whole(tmp_path, caplog):
    """While only half of it is there, the last good one stays, and the log says why, once."""
    before = ROOT_OF_TESTS.leaf("orders")
    before.write(tmp_path)
    async with running(FilesIdentitySource(tmp_path, interval=0.02)) as certificates:
        old = certificates.all
        after = ROOT_OF_TESTS.leaf("orders")
        (tmp_path / "tls.crt").write_bytes(after.chain)
        async with asyncio.timeout(20):
            while not caplog.records:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # some more looks, which say nothing
        assert certificates.all == old
        (tmp_path / "tls.key").write_bytes(after.key)
        assert (await until_changed(certificates, old))[0].chain == after.chain
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "the last ones stay in use" in told[0]
    assert f"{tmp_path}/tls.key: the private key is not that of the certificate in {tmp_path}/tls.crt" in told[0]


async def test_links_that_kubernetes_replaces_are_followed(tmp_path):
    """By the link of the folder behind them, which causes no event for the files."""
    ROOT_OF_TESTS.leaf("orders").write_as_kubernetes(tmp_path, "1")
    async with running(make_identity_source(f"files:{tmp_path}")) as certificates:
        for version in ("2", "3"):
            leaf = ROOT_OF_TESTS.leaf("orders")
            old = certificates.all
            leaf.write_as_kubernetes(tmp_path, version)
            assert (await until_changed(certificates, old))[0].chain == leaf.chain


async def test_a_change_without_an_event_is_found(tmp_path):
    """Behind a link to another folder, of whose files nobody tells."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    ROOT_OF_TESTS.leaf("orders").write(elsewhere)
    folder.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (folder / name).symlink_to(elsewhere / name)
    async with running(FilesIdentitySource(folder, interval=0.05)) as certificates:
        old = certificates.all
        leaf = ROOT_OF_TESTS.leaf("orders")
        leaf.write(elsewhere)
        assert (await until_changed(certificates, old))[0].chain == leaf.chain


async def test_a_folder_that_is_replaced_is_followed(tmp_path):
    """Events belong to the folder that was there before."""
    folder = tmp_path / "certs"
    ROOT_OF_TESTS.leaf("orders").write(folder)
    async with running(FilesIdentitySource(folder, interval=0.05)) as certificates:
        for number in range(2):
            old = certificates.all
            folder.rename(tmp_path / f"old{number}")
            await asyncio.sleep(0.1)  # some looks while it is away
            leaf = ROOT_OF_TESTS.leaf("orders")
            leaf.write(folder)
            assert (await until_changed(certificates, old))[0].chain == leaf.chain


async def test_an_old_root_that_is_removed_is_not_trusted_any_more(tmp_path):
    """New roots are new credentials, though certificate and key are the same."""
    leaf = ROOT_OF_TESTS.leaf("orders")
    leaf._replace(roots=leaf.roots + Authority.make("old").roots).write(tmp_path)
    async with running(FilesIdentitySource(tmp_path)) as certificates:
        old = certificates.all
        leaf.write(tmp_path)
        assert (await until_changed(certificates, old))[0].roots == leaf.roots


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "tls.key").unlink(), "tls.key: it cannot be read: No such file or directory"),
        (lambda folder: (folder / "ca.crt").write_bytes(b""), "ca.crt: it is empty"),
        (lambda folder: ((folder / "tls.crt").unlink(), (folder / "tls.crt").mkdir()), "tls.crt: it "),
        (lambda folder: ((folder / "tls.crt").unlink(), os.mkfifo(folder / "tls.crt")), "tls.crt: it is not a file"),
        (
            lambda folder: [each.unlink() for each in folder.iterdir()],
            "there is no tls.crt/tls.key/ca.crt or svid.pem/",
        ),
        (lambda folder: folder.rename(f"{folder}.away"), "the folder cannot be read: No such file or directory"),
    ],
)
async def test_files_that_cannot_be_used_are_an_error_at_the_start(tmp_path, damage, reason):
    """One line, with the file. A pipe without a writer does not hold it up."""
    folder = tmp_path / "certs"
    ROOT_OF_TESTS.leaf("orders").write(folder)
    damage(folder)
    with pytest.raises(IdentityError) as caught:
        async with running(make_identity_source(f"files:{folder}")):
            pass
    assert reason in str(caught.value)
    assert str(caught.value).startswith(str(folder))


async def test_a_set_that_is_just_replaced_at_the_start_is_read_again(tmp_path):
    """Instead of an error for files that fit each other a moment later."""
    leaf = ROOT_OF_TESTS.leaf("orders")
    leaf.write(tmp_path)
    (tmp_path / "tls.key").write_bytes(ROOT_OF_TESTS.leaf("orders").key)
    source = make_identity_source(f"files:{tmp_path}")
    asyncio.get_running_loop().call_later(0.05, (tmp_path / "tls.key").write_bytes, leaf.key)
    async with running(source) as certificates:
        assert chain_of(certificates) == leaf.chain


async def test_a_certificate_that_becomes_valid_is_taken_over(tmp_path):
    """No file changes then, so the time counts as well."""
    now = time.time()
    ROOT_OF_TESTS.leaf("orders").write(tmp_path)
    clock = [now]
    async with running(FilesIdentitySource(tmp_path, interval=0.02, clock=lambda: clock[0])) as certificates:
        old = certificates.all
        leaf = ROOT_OF_TESTS.leaf("orders", begins=3600)
        leaf.write(tmp_path)
        await asyncio.sleep(0.3)
        assert certificates.all == old
        clock[0] = now + 3700
        assert (await until_changed(certificates, old))[0].chain == leaf.chain


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
    """The first one wins, whoever it is, and none sees half of a file. Threads here: only the file system knows them."""
    ready = Barrier(8)

    def read(number: int) -> bytes:
        ready.wait(timeout=20)
        return DevAuthority(tmp_path / "identity").read()

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(read, range(8)))
    assert len(found) == 1
    assert {each.name for each in (tmp_path / "identity").iterdir()} == {"authority.pem", "root.pem"}


@module()
class Nothing: ...


async def test_a_mesh_has_the_certificates_of_its_setting(tmp_path):
    """From its start to its end, with their expiry as a metric."""
    ROOT_OF_TESTS.leaf("orders").write(tmp_path)
    async with Mesh(Nothing, settings=Settings(identity=f"files:{tmp_path}", registry="local:")) as mesh:
        certificates = mesh.runtime.certificates
        assert certificates is not None
        assert certificates.all[0].names == ("orders",)
        (sample,) = mesh.metrics()[CERTIFICATE_EXPIRY.name]
        assert sample.value == certificates.all[0].ends == pytest.approx(time.time() + 30 * DAY, abs=60)


async def test_a_mesh_without_an_identity_has_none():
    """Nor the metric."""
    async with Mesh(Nothing, settings=Settings(registry="local:")) as mesh:
        assert mesh.runtime.certificates is None
        assert CERTIFICATE_EXPIRY.name not in mesh.metrics()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nope:x", "setting identity: no identity source 'nope'"),
        ("files:x", "setting identity: files: takes the absolute path"),
        ("files:/does/not/exist", "setting identity: /does/not/exist: the folder cannot be read"),
    ],
)
async def test_a_mesh_with_an_unusable_identity_does_not_start(url, reason):
    """Like with any other setting."""
    with pytest.raises(ConfigurationError) as caught:
        async with Mesh(Nothing, settings=Settings(identity=url, registry="local:")):
            pass
    assert f"Nothing cannot start: {reason}" in caught.value.message


class Failing(IdentitySource):
    """Gives certificates that end soon, and whose changes fail, as a source should not."""

    @classmethod
    def from_url(cls, url: str) -> Failing:
        return cls()

    async def open(self, names: Sequence[str]) -> tuple[Credentials, ...]:
        return tuple(ROOT_OF_TESTS.credentials(name, ends=DAY / 100) for name in names)

    def changes(self):
        raise OSError("gone")


async def test_an_override_is_an_identity_too_and_its_failure_is_logged(caplog):
    """For tests; and the warning comes at the start, if it is due then."""
    async with Mesh(Nothing, settings=Settings(registry="local:"), overrides={IdentitySource: Failing()}) as mesh:
        assert mesh.runtime.certificates is not None
        assert mesh.runtime.certificates.all[0].names == ("Nothing",)
        await asyncio.sleep(0)
    texts = [record.getMessage() for record in caplog.records]
    assert any(
        "the certificate of spiffe://dev.mesh/svc/Nothing expires in 14 minutes: 1% of" in text for text in texts
    )
    assert any("the source of certificates has failed" in text for text in texts)


def test_a_mesh_without_an_identity_loads_neither_the_room_nor_the_library():
    """Both would make each start slower, and the library is an extra."""
    code = (
        "import asyncio, sys\n"
        "from meshcore import Mesh, module\n"
        "from meshcore.core.settings import Settings\n"
        "@module()\n"
        "class Nothing: ...\n"
        "async def main():\n"
        "    async with Mesh(Nothing, settings=Settings(registry='local:')): pass\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith(('meshcore.security.', 'cryptography'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_without_the_extra_the_error_names_it(monkeypatch):
    """The library is missing: what is to be installed is said at the start."""
    for name in [name for name in sys.modules if name.startswith(("meshcore.security.", "cryptography"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ValueError, match='needs the package cryptography: install "meshcore-runtime\\[security\\]"'):
        make_identity_source("dev:")
