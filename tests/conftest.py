"""What holds for every test.

Their order is random, but the longest come first, so that nobody waits for them at the end. Hypothesis does not judge
time, since how long an example takes says how busy the machine is. Processes under test start with the default action
of signals, however the tests were started. What a test leaves behind fails it. Garbage collections do not look through
what was loaded before the first test.
"""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.leftovers import Leftovers
from tests.support.signals import restore_defaults

settings.register_profile("meshcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For a second version of Python: what examples find out says little of a version.
settings.register_profile("few", settings.get_profile("meshcore"), max_examples=30)
settings.load_profile("meshcore")


_UNIT = Path(__file__).parent / "unit"


def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process. Workers of pytest-xdist do the same, each for itself."""
    gc.disable()
    restore_defaults()
    config.pluginmanager.register(Leftovers(), "leftovers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark unit tests, and sort by the seconds that `long` names; what names none stays in the order of chance."""
    for item in items:
        if item.path.is_relative_to(_UNIT):
            item.add_marker("unit")
    items.sort(key=_seconds, reverse=True)


def pytest_collection_finish() -> None:
    """Keep all that was loaded until the end."""
    gc.freeze()
    gc.enable()


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return mark.args[0] if mark is not None and mark.args else 0.0
