"""The paths of a server's own endpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import meshcore
from meshcore.wire import endpoints

PACKAGE = Path(meshcore.__file__).parent
PATHS = (
    endpoints.INVOKE,
    endpoints.INVOKE_STREAM,
    endpoints.STREAM,
    endpoints.LIVEZ,
    endpoints.READYZ,
    endpoints.REPORT,
    endpoints.SUMMARY,
    endpoints.TAPPED,
    endpoints.PAGE,
    endpoints.CONTRACT,
    endpoints.OPENAPI,
    endpoints.DOCS,
)


def sources() -> Iterator[Path]:
    """The modules of meshcore, with those behind the links to channels and registry."""
    for folder in (PACKAGE, PACKAGE / "channels", PACKAGE / "registry"):
        yield from folder.rglob("*.py")


def literals(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each literal. Docstrings do not count: they are statements."""
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_path_is_written_a_second_time():
    """Who names one imports it."""
    path = re.compile(rf"(?:{'|'.join(map(re.escape, PATHS))})(?![\w.])")
    found = {
        f"{source.relative_to(PACKAGE)}:{line}: {text}"
        for source in sources()
        if source != Path(endpoints.__file__)
        for line, text in literals(source.read_text())
        if path.search(text)
    }
    assert found == set()


def test_the_scan_sees_what_it_looks_for():
    """All paths stand in the one module, and all its paths are looked for."""
    texts = [text for _, text in literals(Path(endpoints.__file__).read_text()) if text.startswith("/")]
    assert sorted(texts) == sorted(PATHS)
    assert {"channels/dispatch.py", "registry/static.py"} <= {str(each.relative_to(PACKAGE)) for each in sources()}


def test_reserved_are_all_but_the_documents():
    """Those a route of the user's may replace. A WebSocket is in no route's way."""
    free = {endpoints.OPENAPI, endpoints.DOCS, endpoints.STREAM, endpoints.PAGE}
    assert {path for _, path in endpoints.RESERVED_PATHS} == {*PATHS} - free
