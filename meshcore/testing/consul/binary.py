"""The Consul program that tests start: the one on the PATH, else one that is fetched into a cache folder.

Debian has packaged Consul up to release 11, and newer releases know the key that it is signed with. So a machine with
apt has all it takes: where its mirror is, and how to tell that a package is genuine. Nothing is installed, nothing of
the system is changed, and no privilege is needed.
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
_PATIENCE = 120.0  # seconds for one step; the whole takes about three
_SHOWN = 600  # characters of what a step complained


def find_consul(cache: Path) -> Path:
    """Where the program is; fetched if it is neither on the PATH nor in the cache. It may take seconds.

    Several processes may ask at once: one fetches, the others wait for it.

    Raises:
        RuntimeError: there is none, and none could be fetched; the text says why and what to do.
    """
    if on_path := shutil.which("consul"):
        return Path(on_path)
    folder = cache.absolute() / "consul"
    binary = folder / "consul"
    with _alone(folder):
        if not binary.exists():
            _fetch(binary)
    return binary


@contextmanager
def _alone(folder: Path) -> Generator[None]:
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
            *("-o", "Acquire::Check-Valid-Until=false"),  # an old release is not signed anew
            *("-o", "APT::Update::Error-Mode=any"),  # else a mirror out of reach is only a warning
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
        os.replace(unpacked, binary)  # noqa: PTH105 - in one step, so nobody ever sees half of it


def _mirror(folder: Path) -> str:
    """The mirror that this machine is configured with."""
    # Without --no-release-info apt says nothing where `apt-get update` has never run.
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
        done = subprocess.run(  # noqa: S603 - the words are ours
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unavailable(str(error)) from error
    if done.returncode:
        raise _unavailable(f"{command[0]} says: {(done.stderr or done.stdout).strip()[-_SHOWN:]}")
    return done.stdout


def _unavailable(reason: str) -> RuntimeError:
    return RuntimeError(
        "Consul agents need the program `consul`. It is not on the PATH, and it could not be fetched from the package "
        f"mirror of this machine (which takes apt and the network): {reason}"
    )
