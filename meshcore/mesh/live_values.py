"""Values for `@inject_value`: looked up in the settings, then in the value source, and updated when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from meshcore.core.context.call_scope import failure_of
from meshcore.core.errors import AuthorizationError
from meshcore.core.instances import Failed
from meshcore.core.marks import MISSING
from meshcore.inject.values import LiveValue, UnresolvedError, ValueLookup
from meshcore.ports.values import ValueSource, View

_TIMEOUT = 5.0
"""Seconds that the start of a mesh waits for the first view of the source."""

_logger = logging.getLogger(__name__)


class LiveValues:
    """Looks values up: first in the settings, then in the value source, if there is one.

    The settings belong to this process (arguments, environment, files), and the source to all processes. So a value can
    be fixed for one process, a process can start while the source is unavailable, and a value of a file never changes
    while the process runs.

    The source is watched only if a value comes from nowhere else. Then `source_needed` is True: call `start_source`,
    and look all values up again.

    Args:
        settings: arguments, environment, files.
        source: None if there is none.
        timeout: seconds that `start_source` waits for the first view of the source.

    Attributes:
        source_needed: whether a value was looked up that only the source can give.
    """

    def __init__(self, settings: ValueLookup, source: ValueSource | None, timeout: float = _TIMEOUT) -> None:
        self._settings = settings
        self._source = source
        self._timeout = timeout
        self._view: View | None = None
        self._cause = "it has not answered yet"
        self._failing = False
        self._live: Sequence[LiveValue] = ()
        self._own: list[LiveValue] = []  # of the mesh itself
        self._logged: dict[LiveValue, str] = {}  # the problem of a value, if it has one
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.source_needed = False

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching the source."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def start_source(self) -> None:
        """Watch the source from now on. Wait for its first view, but not for long."""
        if self._source is None:
            return
        if self._task is None:
            self._task = asyncio.create_task(self._watch(self._source), name="meshcore.values")
        try:
            async with asyncio.timeout(self._timeout):
                await self._answered.wait()
        except TimeoutError:
            self._cause = f"no answer within {self._timeout:g} s: {self._cause}"

    def lookup(self, key: str) -> object:
        """The value as it was written; `MISSING` if there is none.

        Raises:
            UnresolvedError: only the source may have it, and has not answered yet. The default of the code must not be
                used in this case: the operators may have set another value in the source.
        """
        found = self._settings.lookup(key)
        if found is not MISSING or self._source is None:
            return found
        if self._view is None:
            self.source_needed = True
            raise UnresolvedError(f"{key!r} would come from the setting value_source, which fails: {self._cause}")
        return self._view.get(key, MISSING)

    def keep_updated(self, live: Sequence[LiveValue]) -> None:
        """Update these whenever the source changes, and also those that are added to the sequence later."""
        self._live = live
        if self._view is not None:
            self._update()  # the source may have changed since they were looked up

    def add(self, live: LiveValue) -> None:
        """Update another one, too."""
        self._own.append(live)

    async def _watch(self, source: ValueSource) -> None:
        try:
            async with aclosing(source.watch()) as views:
                async for view in views:
                    self._take(view)
        except BaseException as error:
            if failure_of(error) is None:
                raise
            # A bug in a source must not stop a mesh that has all its values.
            _logger.exception("the source of values does not work any more; values stay as they are")
            self._cause = f"{type(error).__name__}: {error}"
        self._answered.set()

    def _take(self, view: View | Failed) -> None:
        if isinstance(view, Failed):
            self._cause = str(view.cause)
            if isinstance(view.cause, AuthorizationError):
                self._answered.set()  # waiting does not help
            if self._view is not None:
                self._failing = True
                _logger.warning("values stay as they are: %s", self._cause)
            return
        if self._failing:
            self._failing = False
            _logger.warning("the value source answers again")
        self._view = view
        self._answered.set()
        self._update()

    def _update(self) -> None:
        for live in (*self._own, *self._live):
            try:
                value = live.read(self.lookup(live.key))
            except UnresolvedError as error:
                # Each problem is logged once, and again if the value was valid in between.
                if self._logged.get(live) != str(error):
                    self._logged[live] = str(error)
                    _logger.warning("%s; the last value that was right stays", error)
            else:
                self._logged.pop(live, None)
                live.value.set(value)
