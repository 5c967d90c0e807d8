"""The port of value sources, such as Consul's key-value store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar, Self, TypeAlias

from meshcore.core.instances import Failed

View: TypeAlias = Mapping[str, object]
"""All values of a source by dotted key, each text, or bytes that are none."""


class ValueSource(ABC):
    """Where values live that operators change while processes run.

    One object may be watched several times.
    """

    scheme: ClassVar[str] = ""
    """The scheme of the setting `MESHCORE_VALUE_SOURCE` that selects this source."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """The source that a setting describes.

        Raises:
            ValueError: the URL does not fit; the text says what is expected.
        """

    @abstractmethod
    def watch(self) -> AsyncGenerator[View | Failed, None]:
        """Full views of all values, newest wins, only when something changed.

        The first comes as soon as the source can tell. It never ends by itself and raises nothing for what the outside
        does: that is `Failed`, after which it goes on. What a source has lost, rather than been told to delete, stays
        in its views.
        """
