"""What a peer's file says about its packages: a comment in the format of PEP 723. Standard library only."""

from __future__ import annotations

import re
import tomllib

_BLOCK = re.compile(r"^# /// script$\n(?P<content>(?:^#(?: .*)?$\n)+)^# ///$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def requirements(source: str) -> list[str] | None:
    """The requirements that the comment lists; None if there is no such comment.

    Raises:
        ValueError: the comment is not TOML, or lists no texts.
    """
    block = _BLOCK.search(source)
    if block is None:
        return None
    lines = block.group("content").splitlines()
    content = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines))
    found = content.get("dependencies", [])
    if not (isinstance(found, list) and all(isinstance(each, str) for each in found)):
        raise ValueError(f"dependencies: expected a list of texts, got {found!r}")
    return found


def packages(source: str) -> list[str]:
    """The names of the packages among the requirements."""
    return [match.group() for each in requirements(source) or [] if (match := _NAME.match(each))]
