"""The port of intention sources, which say which component may call which.

The adapter that comes with meshcore is in `meshcore.registry.consul`. Any installed package can add adapters in the
entry-point group `meshcore.intentions`, by the scheme of their URL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Self, TypeAlias

import msgspec

ANY = "*"
"""The source of an intention that is for every caller."""


class Action(StrEnum):
    """What becomes of a call."""

    ALLOW = "allow"
    DENY = "deny"


class Intention(msgspec.Struct, frozen=True):
    """Whether a caller may call a component.

    Attributes:
        source: the component that calls, or `ANY`.
        action: what becomes of its calls.
        name: how operators find the intention, for the log of a denial.
    """

    source: str
    action: Action
    name: str = ""

    def matches(self, caller: str) -> bool:
        """Whether it is for the calls of a component."""
        return self.source in {ANY, caller}


class Intentions(msgspec.Struct, frozen=True):
    """All intentions for one destination.

    Attributes:
        destination: the component that is called.
        rules: in the order of their precedence.
        default: what becomes of a call that none of them is for.
    """

    destination: str
    rules: tuple[Intention, ...]
    default: Action

    def judge(self, caller: str) -> Intention:
        """Return the intention that decides on the calls of a component: the first that matches.

        Args:
            caller: the component that the caller has proven to be, empty if it has proven nothing. Only `ANY` is for
                the latter.

        Returns:
            The intention. Without one, the default as an intention for `ANY` without a name.
        """
        for rule in self.rules:
            if rule.matches(caller):
                return rule
        return Intention(ANY, self.default)


IntentionsByDestination: TypeAlias = Mapping[str, Intentions]
"""The intentions for each destination that was asked for."""


class IntentionError(Exception):
    """Intentions cannot be read. The text says what is wrong, and what mends it."""


class IntentionSource(ABC):
    """Gives the intentions for the components that this process serves, and tells when they change."""

    # Each port says it anew: whoever writes an adapter reads one of them.
    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Make the source from a setting. Without I/O.

        Raises:
            ValueError: the URL is invalid.
        """

    @abstractmethod
    async def open(self, destinations: Sequence[str]) -> IntentionsByDestination:
        """Read the first intentions. Called once.

        Args:
            destinations: the components that this process serves.

        Raises:
            IntentionError: they cannot be read.
        """

    @abstractmethod
    def changes(self) -> AsyncIterator[IntentionsByDestination]:
        """Yield the intentions after each change, each time for all destinations. It never ends, and raises nothing.

        While they cannot be read, the last ones stay in use. That is logged, a line each time that the reason changes.
        """

    async def aclose(self) -> None:  # noqa: B027 - not every source has something to free
        """Free what it holds. Called once, when the mesh stops."""
