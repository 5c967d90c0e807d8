"""What the demo closes with: a table of its calls, and of who answered them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich import box
from rich.table import Table

from meshcore.cli.demo.tally import Tally


@dataclass
class Outcome:
    """What became of the calls over one channel.

    Attributes:
        seconds: that each call took which succeeded.
        failures: what is to be said of each of the others.
    """

    seconds: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])


def table_of(outcomes: Mapping[str, Outcome], servers: Mapping[str, str], tally: Tally) -> Table:
    """The table.

    Args:
        outcomes: by channel.
        servers: the identity of each, by label.
        tally: who answered what.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="Calls, and who answered them", title_justify="left")
    for heading in ("channel", "calls", "failed", "resent", "p50 ms", "p99 ms", *servers):
        table.add_column(heading, justify="left" if heading == "channel" else "right", no_wrap=True)
    for channel, outcome in outcomes.items():
        failed = len(outcome.failures)
        answered = [tally.answered[channel, identity] for identity in servers.values()]
        figures = [len(outcome.seconds) + failed, failed, tally.lost[channel]]
        times = [f"{_percentile(outcome.seconds, share) * 1000:.1f}" for share in (0.50, 0.99)]
        table.add_row(channel, *map(str, figures), *times, *map(str, answered))
    return table


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else 0.0
