"""Whether a client sees the socket that a server has announced, and not only one at the same path."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from meshcore.core.errors import LocalError
from meshcore.core.settings import Settings
from meshcore.serve.unix_socket import announced_unix_socket, bound_unix_socket
from meshcore.stream import unix_socket
from meshcore.stream.unix_socket import announced_socket, path_here


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder with a short path, and with the characters that could be taken for others."""
    return tmp_path_factory.mktemp("s") / "a #1?.sock"


def test_the_file_is_compared(path: Path) -> None:
    """A server that was started again, or another one at the same path, has another file. So has another container."""
    assert (announced_socket(str(path)), path_here(""), path_here(f"{path}#")) == ("", "", "")
    with bound_unix_socket(str(path)):
        announced = announced_socket(str(path))
        assert path_here(announced) == str(path)
    assert path_here(announced) == ""
    with bound_unix_socket(str(path)):
        assert path_here(announced) == ""
        assert path_here(announced_socket(str(path))) == str(path)
    path.touch()
    assert announced_socket(str(path)) == path_here(announced) == ""


def test_another_kernel_is_another_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shared file system, both see the same file, but only one reaches the server."""
    with bound_unix_socket(str(path)):
        announced = announced_socket(str(path))
        boot = path.with_name("boot")
        boot.write_text("other")
        monkeypatch.setattr(unix_socket, "_BOOT_ID", boot)
        assert path_here(announced) == ""


def test_what_stands_at_the_path(path: Path) -> None:
    """A socket that nobody listens at is replaced. One in use, and any other file, is left alone."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with bound_unix_socket(str(path)) as (sock,):
        assert sock.getsockname() == str(path)
        with pytest.raises(LocalError, match=r"cannot listen at the unix socket .*: address already in use"):
            bound_unix_socket(str(path)).__enter__()
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))  # that of a server which has taken its place, so it stays
    assert path.is_socket()
    path.unlink()
    path.write_text("a letter")
    with pytest.raises(LocalError, match=r"file exists \(setting unix_socket\)"):
        bound_unix_socket(str(path)).__enter__()
    assert path.read_text() == "a letter"


@pytest.mark.parametrize("name", ["x" * 120, "nothing/here.sock", "null\0byte"])
def test_paths_that_cannot_be_bound(path: Path, name: str) -> None:
    """The error names the setting."""
    with pytest.raises(LocalError, match=r"cannot listen at the unix socket .* \(setting unix_socket\)"):
        bound_unix_socket(str(path.parent / name)).__enter__()


def test_what_is_announced(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing without a socket, with a word in the log; and nothing with TLS, which would not be checked there."""
    with bound_unix_socket("") as none:
        assert none == ()
    settings = Settings(unix_socket=str(path))
    assert announced_unix_socket(settings) == ""
    assert "there is no unix socket at" in caplog.text
    with bound_unix_socket(str(path)):
        assert path_here(announced_unix_socket(settings)) == str(path)
        assert announced_unix_socket(Settings()) == ""
        assert announced_unix_socket(Settings(unix_socket=str(path), advertise_url="https://shop.example")) == ""
