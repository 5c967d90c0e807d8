"""The reference says what the code says, leaves nothing out, and can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import meshcore
from meshcore import load_settings
from tests.support.reference.__main__ import main
from tests.support.reference.errors import catalogue
from tests.support.reference.pages import FOLDER, PAGES, page

pytestmark = pytest.mark.one_python

LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DECLARING = tuple(f"meshcore.declare.{name}" for name in ("advice", "health", "http", "injection", "services"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    """If not: `bash .dev/reference` writes it anew."""
    assert (FOLDER / name).read_text() == page(name)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read(name: str) -> None:
    """It is short, and its links lead to pages and headings that are there."""
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) < 250
    for path, heading in LINK.findall(text):
        target = FOLDER / path if path else FOLDER / name
        assert target.is_file()
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not heading or heading in {title.lower().replace(" ", "-") for title in headings}


@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page_are_right(name: str, tmp_path: Path) -> None:
    """Settings load, and Python compiles."""
    for kind, text in BLOCK.findall((FOLDER / name).read_text()):
        if kind == "toml":
            (tmp_path / "meshcore.toml").write_text(text)
            load_settings(environ={}, directory=tmp_path)
        elif kind == "python":
            compile(text, name, "exec")


def test_the_folder_has_no_other_pages() -> None:
    """A page that is no longer written is gone."""
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_decorator_and_marker_has_its_place() -> None:
    """One that is new is missed here until it is put on a page."""
    text = (FOLDER / "declarations.md").read_text() + (FOLDER / "injection.md").read_text()
    declared = [name for name in meshcore.__all__ if getattr(meshcore, name).__module__ in DECLARING]
    assert declared
    assert [name for name in declared if not re.search(rf"`@?{name}\b", text)] == []


def test_every_error_that_a_test_proves_is_on_a_page() -> None:
    """Whoever adds a case to a table of errors adds its mend, in tests/support/reference/text."""
    for name in PAGES:
        page(name)
    assert list(catalogue().left) == []


def test_the_difference_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With --check nothing is written; the exit status is 1 if a page differs."""
    monkeypatch.setattr("tests.support.reference.__main__.FOLDER", tmp_path)
    assert main(check=False) == 0
    assert main(check=True) == 0
    (tmp_path / "policy.md").write_text("# Policy\n")
    (tmp_path / "old.md").write_text("# Old\n")
    assert main(check=True) == 1
    shown = capsys.readouterr().out
    assert "-# Old" in shown
    assert "+| `timeout` |" in shown
    assert (tmp_path / "old.md").exists()
