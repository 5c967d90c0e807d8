"""Every page runs as it stands, its links lead somewhere, and it is not too long to be read."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import run_page
from tests.support.processes import ROOT

RUN = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "examples/guide").glob("*.md"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").rglob("*.md"))]
# What CI runs as steps of its own (.ci/run), and what would not end here.
ELSEWHERE = {"bash .dev/demo\n", "bash .dev/demo --page\n", "bash .dev/test\n"}
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def name(page: Path) -> str:
    """The page as it is called in the names of tests."""
    return str(page.relative_to(ROOT))


@pytest.mark.long(40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", RUN, ids=name)
async def test_every_block_of_a_page_runs(page, tmp_path):
    """Blocks with a file name are written, others run; a text block after one is exactly what it prints."""
    await run_page(page.read_text(), name(page), tmp_path, ELSEWHERE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page):
    """A file of this repository, and a heading of it if the link names one."""
    text = _FENCED.sub("", page.read_text())
    for target in _LINK.findall(_CODE.sub("", text)):
        if re.match(r"\w+:", target):  # another site
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.is_relative_to(ROOT), f"{target} leaves the repository"
        assert path.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(path), f"{target}: {file or 'the page'} has no such heading"


def test_no_page_is_long():
    """Less than 250 lines each, the README less than 200."""
    lines = {name(page): len(page.read_text().splitlines()) for page in PAGES}
    assert not {page: count for page, count in lines.items() if count >= (200 if page == "README.md" else 250)}


@pytest.mark.parametrize(
    ("page", "failure"),
    [
        ("# Page\n\n```sh\nexit 3\n```\n", "page:3: exit status 3"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```sh\necho yes\n```\n\n```text\nno\n```\n", "page:5: not what was printed:\nyes"),
        ("```python a.py\n```\n\n```text\nno\n```\n", "page:4: not what was printed:\n"),
        ("```sh serve\nhypercorn nothing:app\n```\n", "page:1: the server ended"),
        ("```json\n{} {\n```\n", "page:1: Expecting property name"),
        ("```toml meshcore.toml\ntimeuot = 5.0\n```\n", "timeout"),
        ("```bash\ntrue\n```\n", "a block of an unknown kind, 'bash'"),
        ("- text\n\n  ```sh\n  false\n  ```\n", "line 3: a block that is indented"),
    ],
)
async def test_a_block_that_does_not_do_what_the_page_says_fails_with_its_line(page, failure, tmp_path):
    """The name of the page, the line, and what was found."""
    with pytest.raises(AssertionError) as caught:
        await run_page(page, "page", tmp_path)
    assert failure in str(caught.value)


async def test_a_text_may_leave_out_what_is_different_each_time(tmp_path):
    """`...` stands for anything."""
    await run_page("```sh\necho took 0.3 s\necho end\n```\n```text\ntook ... s\nend\n```\n", "page", tmp_path)


@cache
def anchors(page: Path) -> set[str]:
    """What links may name in a page: its headings, as GitHub writes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found
