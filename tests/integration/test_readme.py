"""What the README alone has; that its blocks run is in test_guide.py, with the other pages."""

from __future__ import annotations

import re

from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()


def test_the_commands_of_ci_are_the_readmes() -> None:
    """What test_guide.py leaves out is run by .ci/run, word for word."""
    script = (ROOT / ".ci/run").read_text()
    assert "bash .dev/demo" in script
    assert "bash .dev/test" in script


def test_it_is_short_and_names_every_page() -> None:
    """At most 200 lines, among them a link to each page of the guide."""
    assert len(README.splitlines()) <= 200
    linked = set(re.findall(r"\]\(examples/guide/([\w-]+\.md)\)", README))
    assert {page.name for page in (ROOT / "examples/guide").glob("*.md")} <= linked


def test_every_file_that_it_names_is_there() -> None:
    """The way of a call names files of the rooms."""
    named = set(re.findall(r"\b[a-z_]+/[a-z_/]+\.py\b", README))
    assert len(named) > 5
    assert [path for path in sorted(named) if not any((ROOT / top / path).exists() for top in ("", "meshcore"))] == []
