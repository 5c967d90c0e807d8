"""Certificates from files: what is taken over, and what stays."""

from __future__ import annotations

import asyncio
import logging
import os
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshcore.ports.identity import Credentials, IdentityError
from meshcore.ports.installed import make_identity_source
from meshcore.security.certificates import Certificates
from meshcore.security.sources.files import FilesIdentitySource
from tests.support.certificates import Authority
from tests.support.identities import running, until_changed

ROOT_OF_TESTS = Authority.make()
SPIFFE_HELPER = ("svid.pem", "svid_key.pem", "svid_bundle.pem")


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
        ("files:/certs%00", "takes the absolute path of a folder"),
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


@pytest.mark.parametrize(
    ("name", "query"),
    [("ca.crt", ""), ("svid_bundle.pem", ""), ("roots.pem", "?roots=roots.pem"), ("ca.crt", "?roots=ca.crt")],
)
async def test_roots_alone_are_enough(tmp_path, name, query):
    """For a process that only calls others. A certificate that is added is taken over, and kept from then on."""
    leaf = ROOT_OF_TESTS.leaf("orders")
    (tmp_path / name).write_bytes(leaf.roots)
    async with running(make_identity_source(f"files:{tmp_path}{query}")) as certificates:
        assert certificates.all == (Credentials.trusting_only(leaf.roots),)
        if not name.startswith("svid"):
            old = certificates.all
            leaf.write(tmp_path, ("tls.crt", "tls.key", name))
            assert (await until_changed(certificates, old))[0].chain == leaf.chain


async def test_a_certificate_that_vanishes_stays(tmp_path, caplog):
    """A process that proves who it is does not become anonymous."""
    ROOT_OF_TESTS.leaf("orders").write(tmp_path)
    async with running(FilesIdentitySource(tmp_path, interval=0.02)) as certificates:
        old = certificates.all
        for name in ("tls.crt", "tls.key"):
            (tmp_path / name).unlink()
        async with asyncio.timeout(20):
            while "tls.crt: it cannot be read" not in caplog.text:
                await asyncio.sleep(0.02)
        assert certificates.all == old


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?cert=tls.crt", "tls.crt: it cannot be read: No such file or directory"),
        ("?key=tls.key&roots=ca.crt", "tls.crt: it cannot be read: No such file or directory"),
        ("/none?roots=FOLDER/ca.crt", "none/tls.crt: it cannot be read: No such file or directory"),
        ("?roots=old.crt", "old.crt: the root 'CN=old' expired on "),
        ("?roots=between.crt", "between.crt: 'CN=between' is no root: its issuer is 'CN=test root'"),
        ("?roots=none.crt", "none.crt: it cannot be read: No such file or directory"),
    ],
)
async def test_roots_that_are_not_enough(tmp_path, query, reason):
    """A certificate was named, the folder is missing, or no root can be used."""
    between = ROOT_OF_TESTS.intermediate("between").certificate.public_bytes(Encoding.PEM)
    for name, content in (
        ("ca.crt", ROOT_OF_TESTS.roots),
        ("old.crt", Authority.make("old", ends=-10.0).roots),
        ("between.crt", between),
    ):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(IdentityError) as caught:
        async with running(make_identity_source(f"files:{tmp_path}{query}".replace("FOLDER", str(tmp_path)))):
            pass
    assert reason in str(caught.value)


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
