"""Finds the program `consul` for tests: on the PATH, or else fetched into a cache folder.

Debian has packages of Consul up to release 11, and newer releases have the key that signs them. So apt knows a mirror,
and can verify the package. Nothing is installed, the system is not changed, and no privilege is needed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_RELEASE = "bullseye"
_TIMEOUT = 120.0  # seconds for one command; all of them take about three
_MAX_OUTPUT = 600  # characters of the output of a command that failed


def find_consul(cache: Path) -> Path:
    """Return the path of the program. It is fetched if it is neither on the PATH nor in the cache.

    If several processes call this at the same time, one fetches, and the others wait for it.

    Raises:
        RuntimeError: it cannot be fetched.
    """
    if on_path := shutil.which("consul"):
        return Path(on_path)
    folder = cache.absolute() / "consul"
    binary = folder / "consul"
    with _locked(folder):
        if not binary.exists():
            _fetch(binary)
    return binary


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(binary: Path) -> None:
    with TemporaryDirectory(dir=binary.parent) as name:
        folder = Path(name)
        sources, status = folder / "sources.list", folder / "status"
        sources.write_text(f"deb {_mirror(folder)} {_RELEASE} main\n")
        status.touch()
        for part in ("lists/partial", "cache/archives/partial", "package"):
            (folder / part).mkdir(parents=True)
        options = [
            *("-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"),
            *("-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::State::status={status}"),
            *("-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User="),
            *("-o", "Acquire::Check-Valid-Until=false"),  # the index of an old release is not renewed
            *("-o", "APT::Update::Error-Mode=any"),  # without it an unreachable mirror is only a warning
        ]
        _run(folder, "apt-get", *options, "update")
        _run(folder, "apt-get", *options, "download", "consul")
        packages = sorted(folder.glob("consul_*.deb"))
        if not packages:
            raise _unavailable("apt-get downloaded no package")
        _run(folder, "dpkg", "-x", str(packages[0]), str(folder / "package"))
        unpacked = folder / "package" / "usr" / "bin" / "consul"
        if not unpacked.exists():
            raise _unavailable(f"{packages[0].name} does not contain usr/bin/consul")
        os.replace(unpacked, binary)  # noqa: PTH105 - atomic, so that no process sees half of it


def _mirror(folder: Path) -> str:
    """Return the mirror in the configuration of this machine."""
    # Without --no-release-info the output is empty on a machine where `apt-get update` has never run.
    listed = _run(
        folder,
        *("apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)"),
        *("Created-By: Packages", "Component: main"),
    )
    for uri in listed.split():
        if "security" not in uri:
            return uri
    raise _unavailable("apt has no mirror in its configuration")


def _run(folder: Path, *command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unavailable(str(error)) from error
    if done.returncode:
        raise _unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-_MAX_OUTPUT:]}")
    return done.stdout


def _unavailable(reason: str) -> RuntimeError:
    return RuntimeError(
        "Consul agents need the program `consul`. It is not on the PATH, and it could not be fetched from the package "
        f"mirror of this machine (which takes apt and the network): {reason}"
    )
