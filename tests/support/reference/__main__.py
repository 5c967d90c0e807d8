"""Writes the pages, or compares them with what is there: see `.dev/reference`."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from tests.support.reference.pages import FOLDER, pages


def main(*, check: bool) -> int:
    """Write the pages, or print how those on disk differ; the exit status."""
    texts = pages()
    on_disk = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for name, text in texts.items():
            (FOLDER / name).write_text(text)
        for name in on_disk.keys() - texts.keys():
            (FOLDER / name).unlink()
        return 0
    difference = "".join(
        "".join(_difference(name, on_disk.get(name, ""), texts.get(name, "")))
        for name in sorted(on_disk.keys() | texts.keys())
    )
    sys.stdout.write(difference)
    return 1 if difference else 0


def _difference(name: str, old: str, new: str) -> list[str]:
    return list(
        difflib.unified_diff(
            old.splitlines(keepends=True),
            new.splitlines(keepends=True),
            f"{Path(FOLDER.name) / name} as it is",
            f"{Path(FOLDER.name) / name} as the code says",
        )
    )


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
