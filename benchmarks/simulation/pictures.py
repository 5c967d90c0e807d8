"""Draws what the simulation finds. Needs matplotlib: the extra `pictures`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.simulation.fleet import Sample
from benchmarks.simulation.plan import BARE, BARE_ROUND_ROBIN, DEFAULT, NO_SHEDDING, ROUND_ROBIN
from benchmarks.simulation.run import WARM_UP, Run, quantile, simulate
from benchmarks.simulation.scenario import Fault, Scenario, Variant

SECONDS = 8.0
BELOW = (0.5, 0.6, 0.7, 0.8, 0.9)
BEYOND = (0.6, 0.8, 1.0, 1.2, 1.5, 2.0)
STEP = 0.5
"""Seconds that a point of a curve over time stands for."""

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def draw(folder: Path, seed: int) -> None:
    """Write the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[Figure, int], None]] = {
        "slow-instance.png": _latency_over_load,
        "overload.png": _goodput_over_load,
        "over-time.png": _over_time,
    }
    with mpl.rc_context(STYLE):
        for name, picture in pictures.items():
            figure = Figure(figsize=(8.0, 3.6), layout="constrained")
            picture(figure, seed)
            figure.savefig(folder / name, dpi=110)
            print(folder / name)


def _latency_over_load(figure: Figure, seed: int) -> None:
    axes = figure.subplots()
    slow = (Fault.SLOW,)
    curves: list[tuple[str, Variant, tuple[Fault, ...], str]] = [
        ("round robin, nothing else", BARE_ROUND_ROBIN, slow, "C3:"),
        ("round robin, hedged", ROUND_ROBIN, slow, "C1-"),
        ("least loaded, nothing else", BARE, slow, "C0:"),
        ("the defaults: least loaded, hedged", DEFAULT, slow, "C0-"),
        ("the defaults, healthy fleet", DEFAULT, (), "C2--"),
    ]
    for label, variant, faults, style in curves:
        found = [simulate(Scenario(load, faults), variant, SECONDS, seed).found() for load in BELOW]
        axes.plot([load * 100 for load in BELOW], [each.p99 * 1e3 for each in found], style, label=label, marker=".")
    axes.set(
        title="One of ten instances is 10 times slower",
        xlabel="load, % of what the healthy fleet can do",
        ylabel="99th percentile, ms",
        yscale="log",
    )
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def _goodput_over_load(figure: Figure, seed: int) -> None:
    axes = figure.subplots()
    for label, variant, style in (
        ("with the adaptive limit", DEFAULT, "C0-"),
        ("without", NO_SHEDDING, "C3-"),
        ("without, and without retries and hedges", BARE, "C7:"),
    ):
        found = [simulate(Scenario(load), variant, SECONDS, seed).found() for load in BEYOND]
        axes.plot(
            [load * 100 for load in BEYOND], [each.goodput * 100 for each in found], style, label=label, marker="."
        )
    axes.set(
        title="More calls than the fleet can do",
        xlabel="load, % of what the fleet can do",
        ylabel="answered in time, % of that",
        ylim=(0, 110),
    )
    axes.legend(fontsize="small", loc="lower left")


def _over_time(figure: Figure, seed: int) -> None:
    left, right = figure.subplots(1, 2)
    for label, variant, style in (
        ("round robin, nothing else", BARE_ROUND_ROBIN, "C3-"),
        ("least loaded, nothing else", BARE, "C0:"),
        ("the defaults", DEFAULT, "C0-"),
    ):
        failing = simulate(Scenario(0.8, (Fault.FAILING,)), variant, SECONDS, seed)
        left.plot(*_over(failing, _failed), style, label=label)
        slow = simulate(Scenario(0.8, (Fault.SLOW,)), variant, SECONDS, seed)
        right.plot(*_over(slow, _p99), style)
    left.set(title="One of ten begins to fail at once", ylabel="calls that fail, %")
    right.set(title="One of ten becomes 10 times slower", ylabel="99th percentile, ms", yscale="log")
    for axes in (left, right):
        axes.set(xlabel="seconds", xlim=(-2, SECONDS - STEP))
        axes.axvline(0, color="C7", linewidth=0.8)
    left.legend(fontsize="small")


def _failed(samples: Sequence[Sample]) -> float:
    return 100 * sum(not each.succeeded for each in samples) / len(samples)


def _p99(samples: Sequence[Sample]) -> float:
    return quantile(sorted(each.seconds for each in samples), 0.99) * 1e3


def _over(run: Run, of: Callable[[Sequence[Sample]], float]) -> tuple[list[float], list[float]]:
    """The curve over time, from the last seconds of the warm-up on."""
    bins: dict[int, list[Sample]] = {}
    for each in run.samples:
        bins.setdefault(int((each.begun - WARM_UP) // STEP), []).append(each)
    ordered = sorted(bins.items())
    return [(at + 0.5) * STEP for at, _ in ordered], [of(samples) for _, samples in ordered]
