"""The texts that the reference shows and no other table of tests has: the code says them, word for word."""

from __future__ import annotations

import pytest

from meshcore import MeshError
from tests.support.reference.error_cases import CASES, Case
from tests.support.reference.failing_calls import masked
from tests.support.reference.starts import OF_SETTINGS, STARTS, Start
from tests.unit.declare.test_problems import HEAD, HOST, IMPL, problems_of

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("start", [*STARTS, *OF_SETTINGS], ids=lambda start: start.text[:40].replace(" ", "-"))
async def test_starts(start: Start) -> None:
    """A mesh with this mistake does not start, and says nothing else."""
    assert await problems_of(HEAD + IMPL + HOST + start.source, **start.settings) == [start.text]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text[:40].replace(" ", "-"))
async def test_calls(case: Case) -> None:
    """A call that fails like this raises an error of this class, with this code and this text."""
    with pytest.raises(MeshError) as failed:
        await case.act()
    error = failed.value
    assert f"{type(error).__name__} {error.code.value}" == case.kind
    assert masked(error.message) == case.text
