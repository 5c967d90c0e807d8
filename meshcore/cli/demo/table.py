"""The table at the end of the demo: calls and latencies by channel, and which server answered them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich import box
from rich.table import Table

from meshcore.cli.demo.tally import Tally


@dataclass
class Outcome:
    """The results of the calls over one channel.

    Attributes:
        seconds: the latency of each successful call.
        failures: the error of each failed call.
    """

    seconds: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])


def table_of(outcomes: Mapping[str, Outcome], servers: Mapping[str, str], tally: Tally) -> Table:
    """Make the table.

    Args:
        outcomes: by channel.
        servers: the identity of each server, by label.
        tally: the counts of answers and of lost attempts.
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
