"""Users' code as mypy and pyright see it, both strict and without any plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "typing"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def mypy(path: Path, cache: Path) -> set[int]:
    """The lines in which mypy sees errors."""
    options = ("--strict", "--no-error-summary", "--hide-error-context", "--config-file=", f"--cache-dir={cache}")
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--output=json", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in {0, 1}, found.stdout + found.stderr
    reports = [json.loads(line) for line in found.stdout.splitlines()]
    assert all((ROOT / each["file"]).resolve() == path for each in reports), found.stdout
    return {each["line"] for each in reports if each["severity"] == "error"}


def pyright(path: Path, cache: Path) -> set[int]:
    """The lines in which pyright sees errors."""
    found = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in {0, 1}, found.stdout + found.stderr
    answer = json.loads(found.stdout)
    assert answer["summary"]["filesAnalyzed"] > 0
    reports = answer["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in reports if each["severity"] == "error"}


CHECKERS = [mypy, pyright]


@pytest.mark.parametrize("checker", CHECKERS, ids=["mypy", "pyright"])
def test_interfaces_are_inferred(checker: type, tmp_path: Path) -> None:
    """`get_service` gives the interface, decorators keep types, and parameter markers are seen as the plain types."""
    assert checker(FOLDER / "inference.py", tmp_path) == set()


@pytest.mark.parametrize("checker", CHECKERS, ids=["mypy", "pyright"])
def test_mistakes_are_seen(checker: type, tmp_path: Path) -> None:
    """Every wrong use is an error of the checker, in its very line, and nothing else is."""
    path = FOLDER / "mistakes.py"
    expected = {at for at, line in enumerate(path.read_text().splitlines(), start=1) if line.endswith("# wrong")}
    found = checker(path, tmp_path)
    assert (sorted(expected - found), sorted(found - expected)) == ([], [])
