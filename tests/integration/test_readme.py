"""What the README alone has; that its blocks run is in test_guide.py, with the other pages."""

from __future__ import annotations

import re

import msgspec

from meshcore import Settings
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()


def test_the_commands_of_ci_are_the_readmes() -> None:
    """What test_guide.py leaves out is run by .ci/run, word for word."""
    script = (ROOT / ".ci/run").read_text()
    assert "bash .dev/demo" in script
    assert "bash .dev/test" in script


def test_every_setting_is_listed() -> None:
    """The table of settings has each field with its default, and nothing else."""
    table = README.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", table, re.MULTILINE))
    defaults = Settings()
    fields = [name for name in Settings.__struct_fields__ if name not in {"sources", "environ"}]
    assert list(listed) == fields
    for name in fields:
        default = getattr(defaults, name)
        expected = "" if default in ("", {}) else msgspec.json.encode(default).decode().strip('"')
        assert listed[name] == expected, name
