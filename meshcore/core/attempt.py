"""The record of one attempt of a call."""

from __future__ import annotations

import msgspec


class Attempt(msgspec.Struct):
    """One attempt of a call: it was sent once, to one instance.

    Attributes:
        instance: the id of the instance.
        channel: the name of the channel.
        began: the start, in seconds on the clock of the mesh.
        seconds: the duration, None while the attempt runs.
        outcome: "ok", the code of the error, the name of the declared exception, "given up" if the caller stopped
            waiting, or "hung" if it took too long and another attempt was faster. Empty while the attempt runs.
        hangs: whether it takes so long that another instance was asked. It then counts as a failure unless it
            succeeds.
        connecting: seconds of the duration until there was a connection, 0 if that is unknown.
        unanswered: whether the instance may have begun with the call and has not answered it.
        url: where the instance was asked. It may contain a password.
    """

    instance: str
    channel: str
    began: float
    seconds: float | None = None
    outcome: str = ""
    hangs: bool = False
    connecting: float = 0.0
    unanswered: bool = True
    url: str = ""

    def __repr__(self) -> str:
        """Without the URL."""
        return f"<Attempt: {self}>"

    def __str__(self) -> str:
        took = "under way" if self.seconds is None else f"{self.outcome} after {self.seconds:.3g} s"
        return f"{self.instance} over {self.channel}: {took}"
