"""Draws the comparison: bars, with lines from the first to the third quartile. Needs matplotlib: the extra `bench`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.comparison.figures import Comparison, Result, Spread
from benchmarks.comparison.measure import MANY, ONE
from benchmarks.comparison.payload import Workload

OURS, THEIRS, BOUNDS = "C0", "C7", "0.8"
BOUND_PEERS = ("HTTP by hand", "TCP echo")
"""Not alternatives, but what no alternative of their kind can surpass."""


class Bar(msgspec.Struct, frozen=True):
    """A bar of one panel."""

    name: str
    color: str
    spread: Spread


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Attributes:
        title: of the panel.
        callers: of the load.
        of: the figure.
        better: which bars are.
    """

    title: str
    callers: int
    of: Callable[[Result], Spread]
    better: str


PANELS = (
    Panel("calls/s, 64 callers", MANY, lambda result: result.rate, "longer"),
    Panel("median call, us, one caller", ONE, lambda result: result.p50, "shorter"),
    Panel("CPU of both sides, us per call, 64 callers", MANY, lambda result: result.cpu, "shorter"),
)


def bars(comparison: Comparison, panel: Panel) -> list[Bar]:
    """The bars of a panel, the candidate with most calls per second first, whatever the panel shows."""
    found: list[tuple[float, Bar]] = []
    for subject in comparison.subjects:
        shown, rated = (subject.under(Workload.TREE, callers) for callers in (panel.callers, MANY))
        if shown is not None and rated is not None:
            color = OURS if subject.peer == "meshcore" else BOUNDS if subject.peer in BOUND_PEERS else THEIRS
            found.append((rated.rate.median, Bar(subject.name, color, panel.of(shown))))
    return [bar for _, bar in sorted(found, key=lambda each: -each[0])]


def draw(comparison: Comparison, file: Path) -> None:
    """Write the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - the figures can be had without
    from matplotlib.figure import Figure  # noqa: PLC0415

    from benchmarks.simulation.pictures import STYLE  # noqa: PLC0415 - imports matplotlib

    with mpl.rc_context({**STYLE, "axes.axisbelow": True}):
        height = 1.2 + 0.26 * len(bars(comparison, PANELS[0]))
        figure = Figure(figsize=(12.0, height), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
            _draw_panel(axes, bars(comparison, panel), panel)
        figure.axes[0].invert_yaxis()
        figure.savefig(file, dpi=110)


def _draw_panel(axes: Any, shown: Sequence[Bar], panel: Panel) -> None:
    medians = [bar.spread.median for bar in shown]
    errors = [
        [bar.spread.median - bar.spread.low for bar in shown],
        [bar.spread.high - bar.spread.median for bar in shown],
    ]
    drawn = axes.barh(
        [bar.name for bar in shown],
        medians,
        xerr=errors,
        color=[bar.color for bar in shown],
        error_kw={"elinewidth": 1.2, "capsize": 2.5},
    )
    axes.bar_label(drawn, [f" {value:,.0f}" for value in medians], fontsize="x-small", padding=3)
    # Bars of a logarithmic scale have no zero to begin at, so they begin at a power of ten.
    left = 10 ** floor(log10(0.8 * min(bar.spread.low for bar in shown)))
    right = 4 * max(bar.spread.high for bar in shown)  # room for the numbers
    axes.set(title=panel.title, xscale="log", xlim=(left, right), xlabel=f"logarithmic; {panel.better} is better")
    axes.title.set_fontsize("medium")
    axes.grid(visible=False, axis="y")
