"""The order of tests: random, but the longest come first, so that nobody waits for them at the end."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the seconds that `long` names; what names none stays in the order that chance gave it."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return mark.args[0] if mark is not None and mark.args else 0.0
