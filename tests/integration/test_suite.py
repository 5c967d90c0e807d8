"""What the suite itself holds to: however it is started, and whatever a test does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.one_python

# A test that leaves something behind, by what that is; each is followed by one that finds nothing.
LEAVES = {
    "process": ("KEPT.append(subprocess.Popen(['sleep', '60']))", r"process \d+ \(sleep 60\)"),
    "orphan": (
        "subprocess.run(['sh', '-c', 'sleep 61 & true'], check=True)",
        r"process \d+ \(sleep 61\)",
    ),
    "thread": ("threading.Thread(target=time.sleep, args=(60,), daemon=True, name='idler').start()", "thread idler"),
    "socket": ("KEPT.append(socket.create_server(('127.0.0.1', 0)))", r"socket that listens at \('127.0.0.1', \d+\)"),
    "folder": ("tempfile.mkdtemp(prefix='registry-')", r"temporary file registry-\w+"),
    "registry": ("(Path(tempfile.gettempdir()) / 'meshcore-0').mkdir()", "temporary file meshcore-0"),
    "new variable": ("os.environ['MESHCORE_DEBUG'] = '1'", "environment variable MESHCORE_DEBUG=1"),
    "variable gone": ("del os.environ['HOME']", "environment without HOME"),
    "directory": ("os.chdir('/')", "working directory /"),
    "search path": ("sys.path.insert(0, '/nowhere')", r"module search path \['/nowhere', .*\]"),
    "signal": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "handler of SIGTERM: <Handlers.SIG_IGN: 1>"),
    "handler": ("logging.getLogger('meshcore').addHandler(logging.NullHandler())", "logger meshcore: .*NullHandler.*"),
    "level": ("logging.getLogger().setLevel(logging.DEBUG)", r"logger root: \(\[\], 10, False\)"),
    "task": ("KEPT.append(asyncio.create_task(asyncio.sleep(60), name='idler'))", ".*Task pending name='idler'.*"),
}
PASSES = {
    "ended process": "subprocess.Popen(['true']).wait()",
    "killed process": "process = subprocess.Popen(['sleep', '62']); process.kill(); process.wait()",
    "ended orphan": "subprocess.run(['sh', '-c', 'true & true'], check=True)",
    "cancelled task": "asyncio.create_task(asyncio.sleep(60)).cancel()",
    "shared": "assert shared.poll() is None",
}
IGNORED = "INT QUIT HUP TERM USR1 USR2"
HEAD = """
import asyncio, logging, os, signal, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

import pytest

from tests.support import leftovers

KEPT = []
leftovers._GRACE = 0.5

@pytest.fixture(scope="module")
def shared():
    process = subprocess.Popen(["sleep", "63"])
    yield process
    process.kill()
    process.wait()

@pytest.fixture(scope="module")
def careless():
    KEPT.append(subprocess.Popen(["sleep", "64"]))
"""


def pytest_of(folder: Path, suite: str, *options: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    """Run a suite with the settings and the conftest of this one."""
    file = folder / "test_it.py"
    file.write_text(suite)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", folder]
    return subprocess.run(
        [
            *("sh", "-c", f'{shell} exec "$@"', "sh", *command),
            *("-p", "tests.conftest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rA", *options, file),
        ],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "500"},  # of which a line of the summary takes as much as there is
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_processes_under_test_have_the_default_signals(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Where the suite was started with signals ignored, Ctrl-C still reaches the processes that tests start."""
    program = "import time; print(flush=True); time.sleep(60)"
    suite = f"""
import signal, subprocess, sys

def test_ctrl_c():
    with subprocess.Popen([sys.executable, "-c", {program!r}], stdout=-1, stderr=-1, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1].endswith("KeyboardInterrupt\\n")
        assert process.returncode == -signal.SIGINT

def test_nothing_is_ignored():
    status = subprocess.run(["cat", "/proc/self/status"], stdout=-1, text=True).stdout
    (ignored,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:")]
    assert [name for name in {IGNORED!r}.split() if ignored & 1 << getattr(signal, "SIG" + name) - 1] == []
"""
    done = pytest_of(tmp_path, suite, *options, shell=f"trap '' {IGNORED};")
    assert "2 passed" in done.stdout, done.stdout


def test_what_a_test_leaves_behind_fails_it_and_not_the_next(tmp_path: Path) -> None:
    """The test that left something is named with what it left; the next one starts with what was there before."""
    parts = [HEAD]
    for at, (code, _) in enumerate(LEAVES.values()):
        parts.append(f"async def test_{at}(): {code}\n")
        parts.append(f"async def test_{at}_next(): pass\n")
    parts += [f"async def test_passes_{at}(shared): {code}\n" for at, code in enumerate(PASSES.values())]
    parts += ["def test_fixture(careless): pass\n", "def test_fixture_last(careless): pass\n"]
    done = pytest_of(tmp_path, "\n".join(parts))
    errors = dict(re.findall(r"^ERROR .*::test_(\w+) - Failed: left behind: (.*)$", done.stdout, re.MULTILINE))
    expected = {str(at): text for at, (_, text) in enumerate(LEAVES.values())}
    expected["fixture_last"] = r"process \d+ \(sleep 64\)"
    assert list(errors) == list(expected), done.stdout
    for name, text in expected.items():
        assert re.fullmatch(text, errors[name]), (text, errors[name])
    assert f"{2 * len(LEAVES) + len(PASSES) + 2} passed" in done.stdout
