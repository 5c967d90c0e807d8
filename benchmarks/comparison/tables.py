"""The figures as tables, one for each workload: for a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.comparison.figures import Comparison, Result, Spread, Subject
from benchmarks.comparison.measure import MANY, ONE
from benchmarks.comparison.payload import TEXT, Workload

TITLES = {
    Workload.TREE: "A typed tree of seven nodes, there and back",
    Workload.EMPTY: "An empty call",
    Workload.TEXT: "A text of 100 KB, there and back",
    Workload.STREAM: "A stream from the server, per item",
}
HEAD = ("p50 us", "p99 us", "calls/s", "quartiles", "CPU us, client", "CPU us, server", "MB, client", "MB, server")
SHORT_HEAD = ("the tree", "p50, one caller", "calls/s, 64 callers", "quartiles", "CPU per call, both sides", "memory")
MORE = {Workload.TEXT: "MB/s each way"}
STREAM_HEAD = ("items/s", "quartiles", "CPU us, client", "CPU us, server")


@dataclass(frozen=True)
class Table:
    """Cells, ready to be printed.

    Attributes:
        title: what it is about.
        head: of the columns, the first of which has the names.
        rows: a name and its cells.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.head))]
        printed = [
            f"  {line[0]:{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
            for line in lines
        ]
        return "\n".join([f"{self.title}:", *(line.rstrip() for line in printed)])

    def markdown(self) -> str:
        """For a page."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        rows = [f"| {' | '.join(cells)} |" for cells in (self.head, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *rows])


def tables(of: Comparison) -> list[Table]:
    """A table for each workload that somebody has, the fastest on top."""
    return [table for workload in TITLES if (table := _table(of, workload)).rows]


def short_table(of: Comparison) -> str:
    """The calls with the tree in few columns, in Markdown, and the items of streams in a sentence."""
    found = [
        (subject, one, many)
        for subject in of.subjects
        if (one := subject.under(Workload.TREE, ONE)) and (many := subject.under(Workload.TREE, MANY))
    ]
    found.sort(key=lambda each: -each[2].rate.median)
    rows = [
        (
            subject.name,
            f"{_number(one.p50)} us",
            *_rate(many),
            f"{many.cpu.median:,.0f} us",
            f"{subject.client_memory:,.0f} + {subject.server_memory:,.0f} MB",
        )
        for subject, one, many in found
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in (SHORT_HEAD, ["---"] * len(SHORT_HEAD), *rows)]
    streams = [(each.name, result) for each in of.subjects if (result := each.under(Workload.STREAM, ONE))]
    streams.sort(key=lambda each: -each[1].rate.median)
    items = "; ".join(f"{name}: {_number(result.rate)}" for name, result in streams)
    return "\n".join(lines) + (f"\n\nItems/s of a stream from the server: {items}." if items else "")


def summary(of: Comparison) -> str:
    """How it was measured, and what with."""
    peers = "; ".join(
        f"{peer}: {', '.join(f'{name} {version}' for name, version in versions.items())}"
        for peer, versions in of.versions.items()
        if versions
    )
    how = (
        f"{of.rounds} rounds of turns of {of.seconds:g} s, a stream has {of.items:,} items. p50 and p99: one caller,"
        f" the rest: {MANY}; medians of the rounds; quartiles of calls/s; memory: the peak of the whole run."
    )
    return "\n".join([how, *([peers] if peers else [])])


def _table(of: Comparison, workload: Workload) -> Table:
    many = ONE if workload is Workload.STREAM else MANY
    found = [
        (subject, one, loaded)
        for subject in of.subjects
        if (one := subject.under(workload, ONE)) and (loaded := subject.under(workload, many))
    ]
    found.sort(key=lambda each: -each[2].rate.median)
    if workload is Workload.STREAM:
        rows = [[subject.name, *_rate(loaded), *_cpu(loaded)] for subject, _, loaded in found]
        return Table(TITLES[workload], ("", *STREAM_HEAD), rows)
    rows = [_row(*each, workload) for each in found]
    more = (MORE[workload],) if workload in MORE else ()
    return Table(TITLES[workload], ("", *HEAD[:4], *more, *HEAD[4:]), rows)


def _row(subject: Subject, one: Result, loaded: Result, workload: Workload) -> list[str]:
    speed = [f"{loaded.rate.median * len(TEXT) / 1e6:,.0f}"] if workload in MORE else []
    memory = [f"{subject.client_memory:,.0f}", f"{subject.server_memory:,.0f}"]
    return [subject.name, _number(one.p50), _number(one.p99), *_rate(loaded), *speed, *_cpu(loaded), *memory]


def _rate(of: Result) -> list[str]:
    return [_number(of.rate), f"{of.rate.low:,.0f} to {of.rate.high:,.0f}"]


def _cpu(of: Result) -> list[str]:
    digits = 1 if of.cpu.median < 100 else 0  # noqa: PLR2004 - an item of a stream takes some
    return [f"{of.client.median:,.{digits}f}", f"{of.server.median:,.{digits}f}"]


def _number(of: Spread) -> str:
    return f"{of.median:,.0f}"
