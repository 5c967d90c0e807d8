"""Writes what the section `stream-scale` found into a folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.report import Report, goal_line
from benchmarks.scale.section import SECTION


def write_scale(report: Report, folder: Path) -> list[Path]:
    """Write it as JSON and in Markdown. Returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "stream-scale.json", folder / "stream-scale.md"]
    files[0].write_bytes(msgspec.json.encode(report) + b"\n")
    files[1].write_text(markdown(report), encoding="utf-8")
    return files


def markdown(report: Report) -> str:
    """The rows, goals and notes, with all that the figures depend on."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    rows = [each for each in report.rows if each.section == SECTION]
    lines = [
        "# The stream channel at scale",
        "",
        f"{report.machine}. {versions}.",
        "",
        "| what | p50 us | p99 us | calls/s |",
        "|---|---|---|---|",
        *(f"| {each.name} | {_cell(each.p50)} | {_cell(each.p99)} | {_cell(each.rate)} |" for each in rows),
        "",
        "```text",
        *(goal_line(goal).strip() for goal in report.goals),
        "```",
        "",
        *(f"- {note}" for note in report.notes),
    ]
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
