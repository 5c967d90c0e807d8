"""Decides when to warn that a certificate ends soon: a pure machine."""

from __future__ import annotations

from typing import Final

from meshcore.ports.identity import Credentials

# A bit less than a third: cert-manager renews when exactly a third is left, and files follow within minutes.
_SHARES: Final = (0.3, 0.1, 0.0)


class ExpiryWarnings:
    """Gives a warning when less than a third of a certificate's life is left, less than a tenth, and nothing."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, float], int] = {}  # how many warnings were given, by identity and end

    def look(self, credentials: tuple[Credentials, ...], now: float) -> list[str]:
        """Return the warnings that are due now.

        Args:
            credentials: the newest ones.
            now: in seconds since the epoch.
        """
        credentials = tuple(each for each in credentials if each.key)  # roots alone do not end
        self._told = {(each.identity, each.ends): self._told.get((each.identity, each.ends), 0) for each in credentials}
        due: list[str] = []
        for each in credentials:
            left = share_left(each, now)
            count = sum(left <= share for share in _SHARES)
            if count > self._told[each.identity, each.ends]:
                self._told[each.identity, each.ends] = count
                due.append(_text(each, left, now))
        return due


def share_left(credentials: Credentials, now: float) -> float:
    """The share of its life that a certificate has left, at most 1; not above 0 if it has expired."""
    life = credentials.ends - credentials.begins
    return min((credentials.ends - now) / life, 1.0) if life > 0 else 0.0


def span(seconds: float) -> str:
    """A time for people, in its largest unit."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _text(credentials: Credentials, left: float, now: float) -> str:
    who = f"the certificate of {credentials.identity}"
    if left <= 0:
        return f"{who} has expired: no connection can be made with it; nobody has renewed it"
    return f"{who} expires in {span(credentials.ends - now)}: {left:.0%} of its life is left, and nobody has renewed it"
