"""What the benchmark found, as a table for people and as JSON."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.comparison.figures import Comparison
from benchmarks.comparison.tables import summary, tables
from benchmarks.load import Figures

PACKAGES = ("hypercorn", "h11", "aiohttp", "msgspec", "uvloop")


class Row(msgspec.Struct):
    """One line of the table. Times in microseconds; what was not measured is None.

    Attributes:
        section: which part of the benchmark.
        name: what was called, and how.
        p50: one caller.
        p99: one caller.
        rate: calls per second of many callers.
        client: CPU of the calling process per call, many callers.
        server: CPU of the serving process per call, many callers.
        one: time per call over the reference's, one caller.
        many: the same, many callers.
        cpu: CPU per call of both processes over the reference's, many callers. On a busy machine it tells more.
    """

    section: str
    name: str
    p50: float
    p99: float | None = None
    rate: float | None = None
    client: float | None = None
    server: float | None = None
    one: float | None = None
    many: float | None = None
    cpu: float | None = None


class Goal(msgspec.Struct):
    """What the project promises, and what was found."""

    text: str
    limit: float
    found: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the promise is kept."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit


class Report(msgspec.Struct):
    """Everything that is printed."""

    machine: str
    versions: dict[str, str]
    rows: list[Row]
    goals: list[Goal]
    notes: list[str]
    peers: Comparison | None = None


def row(section: str, name: str, one: Figures, many: Figures) -> Row:
    """A row from figures under both loads; the ratios are for the caller to add."""
    return Row(
        section,
        name,
        p50=one.p50 * 1e6,
        p99=one.p99 * 1e6,
        rate=many.rate,
        client=many.client * 1e6,
        server=many.server * 1e6,
    )


def machine() -> str:
    """The processor and the system."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions(loop: str) -> dict[str, str]:
    """Of Python and what the figures depend on."""
    packages = [name for name in PACKAGES if name != "uvloop" or loop == "uvloop"]
    return {platform.python_implementation(): platform.python_version()} | {name: version(name) for name in packages}


GROUPS = (("one caller, us", 2), ("64 callers, CPU us per call", 3), ("to hand-written", 3))
HEAD = ("p50", "p99", "calls/s", "client", "server", "one", "64", "CPU")
WIDTH, COLUMN = 34, 10


def render(report: Report) -> str:
    """The table, the goals, the notes."""
    groups = "".join(f"{name:>{columns * COLUMN}}" for name, columns in GROUPS)
    lines = [report.machine, ", ".join(f"{name} {found}" for name, found in report.versions.items()), ""]
    if report.rows:
        lines += [" " * WIDTH + groups, " " * WIDTH + "".join(f"{name:>{COLUMN}}" for name in HEAD)]
        lines.append("-" * (WIDTH + COLUMN * len(HEAD)))
    section = ""
    for each in report.rows:
        if each.section != section:
            section = each.section
            lines.append(f"{section}:")
        lines.append(_line(each))
    if report.peers is not None:
        lines += [summary(report.peers), *(f"\n{table.text()}" for table in tables(report.peers))]
    lines += ["", "goals:"] if report.goals else []
    lines += [goal_line(goal) for goal in report.goals]
    lines += ["", *report.notes] if report.notes else []
    return "\n".join(lines)


def _line(each: Row) -> str:
    digits = 0 if each.p99 is not None else 2  # a local call takes a microsecond
    cells = [
        _cell(each.p50, digits),
        *(_cell(value, 0) for value in (each.p99, each.rate, each.client, each.server)),
        *(_cell(value, 2) for value in (each.one, each.many, each.cpu)),
    ]
    return f"  {each.name:{WIDTH - 2}}{''.join(cells)}".rstrip()


def _cell(value: float | None, digits: int) -> str:
    return " " * COLUMN if value is None else f"{value:{COLUMN},.{digits}f}"


def goal_line(goal: Goal, digits: int = 2) -> str:
    """The line about a goal."""
    sign = ">=" if goal.at_least else "<="
    verdict = "reached" if goal.reached else "MISSED"
    return f"  {verdict:8}{goal.found:7.{digits}f} {sign} {goal.limit:<6g}{goal.text}"
