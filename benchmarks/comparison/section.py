"""The section `peers`: calls over the mesh beside the calls of other libraries, each in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.calls.wire import Plan
from benchmarks.comparison.candidates import peer_files, running
from benchmarks.comparison.figures import Comparison, comparison
from benchmarks.comparison.goals import goals
from benchmarks.comparison.measure import Effort, measure
from benchmarks.comparison.picture import draw
from benchmarks.comparison.tables import short_table, summary, tables
from benchmarks.report import Report

BEGIN, END = "<!-- figures of the peers, written by the benchmark -->", "<!-- end of these figures -->"
"""The marks in a page between which its figures stand."""

QUICK, THOROUGH = Effort(2, 0.1, 10_000), Effort(10, 0.4, 100_000)


async def peers_section(plan: Plan, report: Report) -> None:
    """Beside other libraries."""
    effort = QUICK if plan.quick else THOROUGH
    files = peer_files()
    async with running([files[name] for name in plan.peers or files], plan.loop) as found:
        measured = await measure(found, effort)
    report.peers = comparison(measured, effort, found.versions)
    report.goals += goals(measured)
    report.notes += found.left_out
    report.notes += [f"logged by {each.name}: {text}" for each in found.candidates for text in each.logged]


def write(report: Report, folder: Path) -> list[Path]:
    """Write the comparison into a folder: as JSON, in Markdown, and as a picture if matplotlib is installed.

    Returns:
        What was written.

    Raises:
        ValueError: there is none in this report.
    """
    if report.peers is None:
        raise ValueError("--write needs the section peers")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("peers.json", "peers.md", "peers.png")]
    files[0].write_bytes(msgspec.json.encode(report) + b"\n")
    files[1].write_text(markdown(report, report.peers), encoding="utf-8")
    try:
        draw(report.peers, files[2])
    except ImportError as error:
        report.notes.append(f"left out: the picture: {error}; it needs the extra bench")
        return files[:2]
    return files


def renew(page: Path, report: Report) -> None:
    """Write the figures into a page, between its two marks.

    Raises:
        ValueError: the section peers is not in this report, or the page has no marks.
    """
    if report.peers is None:
        raise ValueError("--page needs the section peers")
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} lacks the marks {BEGIN} and {END}")
    of = report.peers
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    rounds = f"{of.rounds} rounds of turns of {of.seconds:g} s, streams of {of.items:,} items"
    parts = [f"{rounds}. {report.machine}. {versions}.", short_table(of)]
    if missed := [goal for goal in report.goals if not goal.reached]:
        lines = [
            f"- {goal.text}: {goal.found:.2f} (goal: at {'least' if goal.at_least else 'most'} {goal.limit:g})"
            for goal in missed
        ]
        parts.append("**Goals that are missed**, as ratios:\n\n" + "\n".join(lines))
    page.write_text("\n\n".join([before + begin, *parts, end + after]), encoding="utf-8")


def markdown(report: Report, of: Comparison) -> str:
    """The tables, with all that the figures depend on."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [
        "# Calls beside other libraries",
        f"{report.machine}. {versions}.",
        summary(of),
        *(table.markdown() for table in tables(of)),
    ]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts) + "\n"
