"""What `@inject_value` finds at the start, and what keeps it up to date: the settings before the source of values."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from meshcore.core.errors import AuthorizationError
from meshcore.core.instances import Failed
from meshcore.core.marks import MISSING
from meshcore.inject.values import LiveValue, UnresolvedError, ValueLookup
from meshcore.ports.values import ValueSource, View

_START = 5.0
"""Seconds that a start waits for the source's first word."""

_logger = logging.getLogger(__name__)


class LiveValues:
    """Looks values up: first in the settings, then in the source, if there is one.

    What is written for this very process (arguments, environment, files beside it) comes before what all processes
    share: so one of them can be pinned, or started while the source is away, and what its file says never changes
    under it.

    Used within `async with`. The source is followed only once somebody has asked for a value that nobody else gives:
    then call `wait`, and look again.

    Args:
        settings: arguments, environment, files.
        source: None if there is none.
        patience: seconds that `wait` takes for the source's first word; default: 5.

    Attributes:
        asked: whether there was such a value.
    """

    def __init__(self, settings: ValueLookup, source: ValueSource | None, patience: float | None = None) -> None:
        self._settings = settings
        self._source = source
        self._patience = _START if patience is None else patience
        self._view: View | None = None
        self._cause = "it has not answered yet"
        self._failing = False
        self._live: Sequence[LiveValue] = ()
        self._refused: dict[LiveValue, str] = {}  # what was said already
        self._heard = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.asked = False

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait(self) -> None:
        """Follow the source from now on, and return when it has told its values, or cannot in time."""
        if self._source is None:
            return
        if self._task is None:
            self._task = asyncio.create_task(self._follow(self._source), name="meshcore.values")
        try:
            async with asyncio.timeout(self._patience):
                await self._heard.wait()
        except TimeoutError:
            self._cause = f"no word within {self._patience:g} s: {self._cause}"

    def lookup(self, key: str) -> object:
        """The value as it was written, `MISSING` if nobody wrote it.

        Raises:
            UnresolvedError: only the source could tell, and it has not said a word yet. A default is no way out: it is
                what a developer thought of, while the source has what operators decided.
        """
        found = self._settings.lookup(key)
        if found is not MISSING or self._source is None:
            return found
        if self._view is None:
            self.asked = True
            raise UnresolvedError(f"{key!r} would come from the setting value_source, which fails: {self._cause}")
        return self._view.get(key, MISSING)

    def keep(self, live: Sequence[LiveValue]) -> None:
        """From now on change these when the source does; also what is added to them later."""
        self._live = live
        if self._view is not None:
            self._update()  # it may have changed since they were read

    async def _follow(self, source: ValueSource) -> None:
        try:
            async with aclosing(source.watch()) as views:
                async for view in views:
                    self._take(view)
        except Exception as error:
            # A mistake in a source must not end a mesh that has all the values it needs.
            _logger.exception("the source of values does not work any more; values stay as they are")
            self._cause = f"{type(error).__name__}: {error}"
        self._heard.set()

    def _take(self, view: View | Failed) -> None:
        if isinstance(view, Failed):
            self._cause = str(view.cause)
            if isinstance(view.cause, AuthorizationError):
                self._heard.set()  # waiting will not heal it
            if self._view is not None:
                self._failing = True
                _logger.warning("values stay as they are: %s", self._cause)
            return
        if self._failing:
            self._failing = False
            _logger.warning("values change again with their source")
        self._view = view
        self._heard.set()
        self._update()

    def _update(self) -> None:
        for live in self._live:
            try:
                value = live.read(self.lookup(live.key))
            except UnresolvedError as error:
                # Once per text, and again when it was right in between.
                if self._refused.get(live) != str(error):
                    self._refused[live] = str(error)
                    _logger.warning("%s; the last value that was right stays", error)
            else:
                self._refused.pop(live, None)
                live.value.set(value)
