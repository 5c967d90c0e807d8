"""`meshcore cert`."""

from __future__ import annotations

import json

import pytest

from tests.integration.cli.shell import Shell
from tests.support.certificates import DAY, Authority

pytestmark = pytest.mark.one_python


def test_the_certificates_of_a_process_as_json(meshcore: Shell) -> None:
    """Whose they are, who issued them, until when, and who is trusted."""
    root = Authority.make()
    root.intermediate().leaf("orders", begins=-80 * DAY, ends=10 * DAY).write(meshcore.folder / "certs")
    meshcore.environ["MESHCORE_IDENTITY"] = f"files:{meshcore.folder}/certs"
    status, out, err = meshcore.invoke("cert", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    (certificate,) = found["certificates"]
    assert certificate["identity"] == "spiffe://dev.mesh/svc/orders"
    assert certificate["components"] == ["orders"]
    assert certificate["issuer"] == "CN=test intermediate"
    assert certificate["chain"] == 2
    assert certificate["left"] == pytest.approx(1 / 9, abs=0.001)
    assert certificate["begins"] < certificate["expires"]
    (trusted,) = found["roots"]
    assert trusted["subject"] == "CN=test root"
    assert len(trusted["fingerprint"]) == 64
    assert found["problem"] == ""
    (warning,) = found["warnings"]
    assert warning.startswith("the certificate of spiffe://dev.mesh/svc/orders expires in 10 days: 11% of its life is")


def test_the_certificates_of_a_module_as_tables(meshcore: Shell) -> None:
    """Each of its components has one."""
    words = (
        "cert",
        "--identity",
        f"dev:{meshcore.folder}/dev",
        "--module",
        "tests.integration.cli.everything:Everything",
    )
    status, out, err = meshcore.invoke(*words)
    assert (status, err) == (0, "")
    assert "spiffe://dev.meshcore/svc/greeting" in out
    assert "spiffe://dev.meshcore/svc/order" in out
    assert "CN=meshcore development" in out


def test_a_certificate_for_another_component_is_warned_of(meshcore: Shell) -> None:
    """Clients would refuse the server, and its operator should know before."""
    Authority.make().leaf("greeting").write(meshcore.folder / "certs")
    words = ("--identity", f"files:{meshcore.folder}/certs", "--module", "tests.integration.cli.everything:Everything")
    status, out, _ = meshcore.invoke("cert", "--json", *words)
    assert status == 0
    (warning,) = [text for text in json.loads(out)["warnings"] if "component order" in text]
    assert "stands for component order" in warning
    assert warning.endswith("so clients of the mesh refuse it; its certificates stand for greeting")


def test_roots_alone(meshcore: Shell) -> None:
    """They are shown, and that such a process can serve nothing."""
    (meshcore.folder / "ca.crt").write_bytes(Authority.make().roots)
    words = ("cert", "--identity", f"files:{meshcore.folder}")
    status, out, _ = meshcore.invoke(*words, "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["certificates"], found["warnings"]) == ([], [])
    assert [root["subject"] for root in found["roots"]] == ["CN=test root"]
    status, out, _ = meshcore.invoke(*words)
    assert status == 0
    assert out.startswith("roots alone: this process has no certificate\n")
    assert "CN=test root" in out
    status, out, _ = meshcore.invoke(*words, "--json", "--module", "tests.integration.cli.everything:Everything")
    (warning,) = json.loads(out)["warnings"]
    assert warning.startswith("this process has roots alone and no certificate, so it cannot be a server of ")


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ("none", "it is none, so this process has no certificate"),
        ("files:FOLDER/none", "FOLDER/none: the folder cannot be read: No such file or directory"),
        ("files:FOLDER/old", "FOLDER/old/tls.crt: the certificate of spiffe://dev.mesh/svc/orders expired on "),
        ("fiels:FOLDER", "no identity source 'fiels'"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(meshcore: Shell, identity: str, reason: str) -> None:
    """On stderr; with --json on stdout as well."""
    Authority.make().leaf("orders", ends=-1).write(meshcore.folder / "old")
    identity, reason = (text.replace("FOLDER", str(meshcore.folder)) for text in (identity, reason))
    status, out, err = meshcore.invoke("cert", "--identity", identity)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("meshcore: setting identity: ")
    assert reason in err
    status, out, _ = meshcore.invoke("cert", "--identity", identity, "--json")
    assert status == 2
    assert reason in json.loads(out)["problem"]
