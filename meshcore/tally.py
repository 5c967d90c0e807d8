"""Counts which instance answered which attempt of a call, for the demonstration: an advice around the channels."""

from __future__ import annotations

from collections import Counter
from typing import Any

from meshcore.aspects import Invocation, advice, around, methods
from meshcore.declare import ChannelMark
from meshcore.errors import MeshError
from meshcore.injection import injectable, module
from meshcore.marks import find_mark
from meshcore.ports import Channel


@injectable()
class Tally:
    """Counts attempts of calls."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str]] = Counter()  # by channel and URL
        self.lost: Counter[str] = Counter()  # by channel


@advice
class TallyAdvice:
    """Stands around `invoke` of the channels, where the mesh has chosen the instance that it asks."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    @around(methods().named("invoke").of_type(Channel))
    async def count(self, invocation: Invocation) -> Any:
        """Count one attempt."""
        mark = find_mark(type(invocation.instance), ChannelMark)
        name = mark.name if mark else ""
        try:
            answer = await invocation.proceed()
        except MeshError:
            self._tally.lost[name] += 1
            raise
        self._tally.answered[name, invocation.args[2].url] += 1
        return answer


@module()
class TallyModule:
    """Adds the tally to a mesh."""
