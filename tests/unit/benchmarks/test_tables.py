"""Tables, picture and goals of the comparison."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.comparison.figures import Comparison, comparison
from benchmarks.comparison.goals import ASPYX, OURS, UNARY, goals
from benchmarks.comparison.measure import Effort, Load, Measured
from benchmarks.comparison.payload import Workload
from benchmarks.comparison.picture import PANELS, bars, draw
from benchmarks.comparison.section import BEGIN, END, markdown, renew, write
from benchmarks.comparison.tables import summary, tables
from benchmarks.comparison.turn import Turn
from benchmarks.report import Goal, Report, render

EFFORT = Effort(rounds=2, seconds=0.5, items=1000)


def measured(peer: str, name: str, per_call: float, *workloads: Workload) -> Measured:
    """A candidate that takes so many seconds per call, and as much CPU on each side."""
    turn = Turn(1.0, round(1 / per_call), per_call, 2 * per_call, client=1.0, server=1.0)
    loads = [Load(workload, callers) for workload in workloads for callers in (1, 64)]
    return Measured(peer, name, {load: [turn, turn] for load in loads}, server_memory=6e7, client_memory=5e7)


CANDIDATES = [
    measured("meshcore", OURS, 1e-5, Workload.TREE, Workload.TEXT, Workload.STREAM),
    measured("TCP echo", "TCP echo", 5e-6, Workload.TREE),
    measured("grpc.aio", UNARY, 2e-4, Workload.TREE, Workload.STREAM),
]


def compared() -> Comparison:
    """The figures of the three."""
    return comparison(CANDIDATES, EFFORT, {"grpc.aio": {"grpcio": "1.2.3"}, "TCP echo": {}})


def test_a_table_for_each_workload_that_somebody_has() -> None:
    """The fastest on top; who has no such call is not in it."""
    found = tables(compared())
    assert [table.title.split()[1] for table in found] == ["typed", "text", "stream"]
    assert [[row[0] for row in table.rows] for table in found] == [["TCP echo", OURS, UNARY], [OURS], [OURS, UNARY]]
    row = dict(zip(found[0].head, found[0].rows[1], strict=True))
    assert row == {
        "": OURS,
        "p50 us": "10",
        "p99 us": "20",
        "calls/s": "100,000",
        "quartiles": "100,000 to 100,000",
        "CPU us, client": "10.0",
        "CPU us, server": "10.0",
        "MB, client": "50",
        "MB, server": "60",
    }
    assert dict(zip(found[1].head, found[1].rows[0], strict=True))["MB/s each way"] == "10,000"


def test_text_and_markdown_say_the_same() -> None:
    """A line for each candidate, columns aligned in the one, divided in the other."""
    table = tables(compared())[0]
    lines = table.text().splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    page = table.markdown().splitlines()
    assert page[3] == "| --- |" + " ---: |" * 8
    assert len(page) == 2 + 2 + 3
    for row in table.rows:
        assert sum(all(cell in line for cell in row) for line in lines) == 1
        assert f"| {' | '.join(row)} |" in page


def test_the_report_tells_versions_and_who_is_missing() -> None:
    """In the text and on the page: a peer is never left out silently."""
    report = Report("a machine", {"CPython": "3.13"}, [], [], ["left out: nats: no network"], compared())
    for text in (render(report), markdown(report, compared())):
        assert "a machine" in text
        assert "CPython 3.13" in text
        assert "grpc.aio: grpcio 1.2.3" in text
        assert "left out: nats: no network" in text
        assert OURS in text
    assert "2 rounds of turns of 0.5 s" in summary(compared())


def test_bars_have_the_order_of_the_rates_in_every_panel() -> None:
    """So that a line across the panels is one candidate; ours stand out."""
    for panel in PANELS:
        assert [bar.name for bar in bars(compared(), panel)] == ["TCP echo", OURS, UNARY]
    echo, ours, grpc = bars(compared(), PANELS[2])
    assert len({echo.color, ours.color, grpc.color}) == 3
    assert ours.spread.median == pytest.approx(20)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    """A PNG, with matplotlib."""
    draw(compared(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_written(tmp_path: Path) -> None:
    """JSON, Markdown and a picture; without the section there is nothing to write."""
    report = Report("a machine", {}, [], [], [], compared())
    files = write(report, tmp_path / "new")
    assert [file.name for file in files] == ["peers.json", "peers.md", "peers.png"]
    assert msgspec.json.decode(files[0].read_bytes(), type=Report) == report
    assert files[1].read_text() == markdown(report, compared())
    assert files[2].stat().st_size
    with pytest.raises(ValueError, match="needs the section peers"):
        write(Report("a machine", {}, [], [], []), tmp_path)


def test_a_page_gets_the_figures_between_its_marks(tmp_path: Path) -> None:
    """And keeps the rest, however often."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    missed = Goal("ours to theirs: calls/s", 10.0, 2.5, at_least=True)
    report = Report("a machine", {"CPython": "3.13"}, [], [missed], [], compared())
    renew(page, report)
    text = page.read_text()
    begin = "2 rounds of turns of 0.5 s, streams of 1,000 items. a machine. CPython 3.13."
    assert text.startswith(f"before\n\n{BEGIN}\n\n{begin}\n\n")
    assert f"\n| {OURS} | 10 us | 100,000 | 100,000 to 100,000 | 20 us | 50 + 60 MB |\n" in text
    assert f"Items/s of a stream from the server: {OURS}: 100,000; {UNARY}: 5,000." in text
    assert "- ours to theirs: calls/s: 2.50 (goal: at least 10)\n" in text
    assert text.endswith(f"\n\n{END}\n\nafter\n")
    renew(page, report)
    assert page.read_text() == text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the marks"):
        renew(page, report)


def test_goals_are_held_against_who_is_there() -> None:
    """20 times the calls of grpc.aio are enough, and twice the time of the echo; aspyx-service is not there."""
    held = goals(CANDIDATES)
    assert all(goal.reached for goal in held if "CPU" not in goal.text)
    assert [goal.found for goal in held if "calls/s" in goal.text] == [pytest.approx(20)]
    assert [goal.found for goal in held if "TCP echo" in goal.text] == [pytest.approx(2)]
    assert not [goal for goal in held if ASPYX in goal.text]
    assert goals(CANDIDATES[1:]) == []


def test_a_goal_about_a_peer_is_held_against_its_fastest() -> None:
    """And missed if that is too fast."""
    slow, fast = (
        measured(ASPYX, f"{ASPYX} {name}", seconds, Workload.TREE) for name, seconds in (("a", 0.01), ("b", 1e-4))
    )
    (goal,) = [goal for goal in goals([CANDIDATES[0], slow, fast]) if ASPYX in goal.text]
    assert goal.text.startswith(f"{OURS} to {ASPYX} b")
    assert goal.found == pytest.approx(10)
    assert not goal.reached
