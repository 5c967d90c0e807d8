"""The port of value sources, such as Consul's key-value store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar, Self, TypeAlias

from meshcore.core.instances import Failed

View: TypeAlias = Mapping[str, object]
"""All values of a source, by dotted key. A value is text, or bytes that are not UTF-8."""


class ValueSource(ABC):
    """Provides values that operators change while processes run.

    One object may be watched several times.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_VALUE_SOURCE` that selects this source."""

    # Each port says it anew: whoever writes an adapter reads one of them.
    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Make a value source from a setting.

        Raises:
            ValueError: the URL is invalid.
        """

    @abstractmethod
    def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Yield a view after each change. Each one contains all values.

        The first one comes as soon as the source has read them. A slow consumer gets the newest view and misses older
        ones. The watch does not end by itself. If the source cannot be read, it yields `Failed`, and goes on. Values
        that the source has lost, but that nobody has deleted, stay in its views.
        """
