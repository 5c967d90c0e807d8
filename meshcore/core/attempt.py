"""What was tried: the record of one sending of a call."""

from __future__ import annotations

import msgspec


class Attempt(msgspec.Struct):
    """One sending of a call to one instance.

    Attributes:
        instance: the id of the instance that was asked.
        channel: over which channel.
        began: when, on the clock of the mesh.
        seconds: how long it took, None while it is under way.
        outcome: "ok", the code of the error that it ended with or the name of the declared exception, "given up" if
            nobody waited for it any more, "hung" if it was overtaken because it took too long, empty while it is under
            way.
        hangs: whether it takes so long that another instance was asked: then it is a failure, unless it succeeds.
    """

    instance: str
    channel: str
    began: float
    seconds: float | None = None
    outcome: str = ""
    hangs: bool = False

    def __str__(self) -> str:
        took = "under way" if self.seconds is None else f"{self.outcome} after {self.seconds:.3g} s"
        return f"{self.instance} over {self.channel}: {took}"
