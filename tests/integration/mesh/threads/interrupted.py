"""A program whose blocking call is interrupted by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.processes import ROOT

_PROGRAM = """
from pathlib import Path
from meshcore import BlockingMesh, load_settings
from tests.integration.mesh.threads.doors import DoorsModule, Inner, InnerImpl, Outer

settings = load_settings({"registry": "local:"}, environ={}, directory=Path("/nonexistent"))
try:
    with BlockingMesh(DoorsModule, settings=settings) as mesh:
        impl = mesh.get(InnerImpl)
        print("waiting", flush=True)
        try:
            CALL
        finally:
            while impl.seen == ["waiting"]:
                pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def interrupted(call: str) -> tuple[int, str, str]:
    """Run a program that makes a call of a `mesh`, interrupt it, and return its exit status and what it has printed.

    Args:
        call: in Python; it waits until it is cancelled.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _PROGRAM.replace("CALL", call)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            # The call begins a moment after the line; an interrupt before it would be one as well.
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, out, err
