"""The packages that a peer's file names."""

from __future__ import annotations

import pytest

from benchmarks.comparison.candidates import peer_files
from benchmarks.comparison.requirements import packages, requirements

SOURCE = '''# /// script
# dependencies = [
#     "some-thing[extra]>=1.2",
#     "other",
# ]
# ///
"""A peer."""
'''


def test_the_comment_is_read() -> None:
    """As it stands in PEP 723, over several lines; names are without extras and versions."""
    assert requirements(SOURCE) == ["some-thing[extra]>=1.2", "other"]
    assert packages(SOURCE) == ["some-thing", "other"]


def test_without_a_comment_nothing_is_needed() -> None:
    """Which is not the same as a comment that names nothing: that asks for an empty environment."""
    assert requirements('"""A peer."""\n') is None
    assert requirements("# /// script\n# dependencies = []\n# ///\n") == []
    assert packages('"""A peer."""\n') == []


@pytest.mark.parametrize("content", ["# dependencies = [", "# dependencies = 'x'", "# dependencies = [1]"])
def test_what_is_no_list_of_texts_is_an_error(content: str) -> None:
    """It is told instead of installing something else."""
    with pytest.raises(ValueError, match=r"."):
        requirements(f"# /// script\n{content}\n# ///\n")


def test_every_file_of_a_peer_can_be_read() -> None:
    """What is written by hand, and meshcore, run in the environment of the benchmark, the others in their own."""
    found = {name: requirements(file.read_text()) for name, file in peer_files().items()}
    assert {name for name, needed in found.items() if needed is None} == {"meshcore", "handwritten", "echo"}
    assert {"aspyx", "grpc_aio", "connect_rpc", "fastapi", "thrift", "nats"} <= found.keys()
