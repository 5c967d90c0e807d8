"""The order of tests: random, but the longest come first, so that nobody waits for them at the end.

And how hypothesis judges time: not at all, since how long an example takes says how busy the machine is.
"""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("meshcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshcore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the seconds that `long` names; what names none stays in the order that chance gave it."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return mark.args[0] if mark is not None and mark.args else 0.0
