"""Users' code as mypy and pyright see it, both strict and without any plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "typing"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


INFERENCE, MISTAKES = FOLDER / "inference.py", FOLDER / "mistakes.py"

Found = dict[Path, set[int]]


def mypy(cache: Path) -> Found:
    """The lines in which mypy sees errors. One process reads both files: most of its time goes into their imports."""
    options = ("--strict", "--no-error-summary", "--hide-error-context", "--config-file=", f"--cache-dir={cache}")
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--output=json", INFERENCE, MISTAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in {0, 1}, found.stdout + found.stderr
    reports = [json.loads(line) for line in found.stdout.splitlines()]
    return lines((ROOT / each["file"], each["line"]) for each in reports if each["severity"] == "error")


def pyright(cache: Path) -> Found:
    """The lines in which pyright sees errors."""
    found = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, INFERENCE, MISTAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in {0, 1}, found.stdout + found.stderr
    answer = json.loads(found.stdout)
    assert answer["summary"]["filesAnalyzed"] > 1
    reports = answer["generalDiagnostics"]
    return lines(
        (Path(each["file"]), each["range"]["start"]["line"] + 1) for each in reports if each["severity"] == "error"
    )


def lines(errors: Iterable[tuple[Path, int]]) -> Found:
    """The lines of each file; of these two there must be all."""
    found: Found = {INFERENCE: set(), MISTAKES: set()}
    for path, line in errors:
        found[path.resolve()].add(line)
    return found


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_types_are_inferred_and_mistakes_are_seen(checker: Callable[[Path], Found], tmp_path: Path) -> None:
    """`get_service` gives the interface, decorators keep types, parameter markers are plain types; wrong use is seen.

    Every wrong use is an error of the checker, in its very line, and nothing else is.
    """
    found = checker(tmp_path)
    assert found[INFERENCE] == set()
    expected = {at for at, line in enumerate(MISTAKES.read_text().splitlines(), start=1) if line.endswith("# wrong")}
    assert (sorted(expected - found[MISTAKES]), sorted(found[MISTAKES] - expected)) == ([], [])
