"""The certificates of a mesh: from its start to its end, and what is loaded without them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from examples.greeting import GreetingModule
from meshcore import Mesh, MeshApp, module
from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.ports.identity import Credentials, IdentitySource
from meshcore.ports.installed import make_identity_source
from meshcore.telemetry.families import CERTIFICATE_EXPIRY
from meshcore.telemetry.snapshot import Sample, total
from tests.support.certificates import DAY, Authority
from tests.support.processes import ROOT

ROOT_OF_TESTS = Authority.make()


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


@pytest.mark.parametrize("mutual_tls", ["strict", "permissive"])
async def test_a_server_with_roots_alone_does_not_start(tmp_path, mutual_tls):
    """It has nothing to serve TLS with. A process that only calls others has enough."""
    (tmp_path / "ca.crt").write_bytes(ROOT_OF_TESTS.roots)
    settings = Settings(identity=f"files:{tmp_path}", registry="local:", mutual_tls=mutual_tls)
    with pytest.raises(ConfigurationError) as caught:
        async with MeshApp(GreetingModule, settings=settings).running():
            pass
    assert caught.value.message == (
        f"cannot serve TLS: setting identity: files:{tmp_path} has roots alone, which are enough to call others; a "
        "server needs a certificate with its key as well"
    )
    async with Mesh(Nothing, settings=settings) as mesh:
        assert mesh.runtime.certificates is not None


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


async def test_a_component_without_a_certificate_is_warned_of(tmp_path, caplog):
    """Its clients refuse the server, and say so far away from here."""
    ROOT_OF_TESTS.leaf("stock").write(tmp_path)
    async with Mesh(GreetingModule, settings=Settings(identity=f"files:{tmp_path}", registry="local:")):
        pass
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if "no certificate of this process stands for component greeting" in text]) == 1


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


def test_a_mesh_without_an_identity_loads_nothing_that_reads_certificates():
    """That would make each start slower, and the library is an extra."""
    code = (
        "import asyncio, sys\n"
        "from meshcore import Mesh, module\n"
        "from meshcore.core.settings import Settings\n"
        "@module()\n"
        "class Nothing: ...\n"
        "async def main():\n"
        "    async with Mesh(Nothing, settings=Settings(registry='local:')): pass\n"
        "asyncio.run(main())\n"
        "heavy = ('certificates', 'credentials', 'sources', 'tls.client_tls', 'tls.server_tls')\n"
        "ours = tuple('meshcore.security.' + name for name in heavy)\n"
        "print([name for name in sys.modules if name.startswith((*ours, 'cryptography', 'jwt'))])\n"
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


def test_of_several_processes_the_certificate_that_ends_first_counts():
    """Numbers of workers are added up, which would make no sense of a time."""
    name = CERTIFICATE_EXPIRY.name
    assert total([{name: [Sample((), 30.0)]}, {name: [Sample((), 20.0)]}]) == {name: [Sample((), 20.0)]}
