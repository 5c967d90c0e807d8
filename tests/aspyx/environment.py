"""Virtual environments of other packages, such as the seed, aspyx-service. Standard library only: tests import this."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REQUIREMENT = "aspyx-service>=0.11,<0.12"
TIMEOUT = 600.0


class EnvironmentFailed(RuntimeError):
    """The environment could not be made; the text carries what the command printed."""


def aspyx_python(cache: Path) -> Path:
    """The Python of an environment with aspyx-service."""
    return python_with(cache, "aspyx", [REQUIREMENT])


def python_with(cache: Path, name: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment with these packages, made below `cache` by the first one who asks.

    Others, in this process or another, wait for the first by a file lock. The marker file is written last, so an
    environment whose making was interrupted is made anew.

    Raises:
        EnvironmentFailed: a package cannot be installed.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(f"{' '.join(requirements)} {sys.base_prefix}".encode()).hexdigest()[:8]
    folder = cache.absolute() / f"{name}-{version}-{digest}"
    python = folder / "bin" / "python"
    marker = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (marker.exists() and python.exists()):
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *requirements])
            marker.write_text("\n".join(requirements) + "\n")
    return python


def _run(command: list[str]) -> None:
    """Run one step, or raise with all it printed."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        output = error.output.decode(errors="replace") if isinstance(error.output, bytes) else error.output
        raise EnvironmentFailed(f"{' '.join(command)}: not done after {TIMEOUT:.0f} s\n{output or ''}") from error
    if done.returncode:
        raise EnvironmentFailed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
