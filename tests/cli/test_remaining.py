"""What is said of the remaining time of all cells."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from pcbench.cli.output import progress_bars
from pcbench.cli.progress import Bars, Log


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that says what stands in it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_where_nothing_is_expected_cells_take_as_long_as_those_before(clock: list[float]) -> None:
    screen = Log()
    screen.overall(4)
    clock[0] += 60
    assert screen.one_done(1, computed=False) == ""
    clock[0] += 60
    assert screen.one_done(2, computed=True) == "; 2 left, about 4 min 00 s"
    assert screen.one_done(3, computed=False) == "; 1 left, about 2 min 00 s"
    assert screen.one_done(4, computed=True) == ""


def test_cells_that_are_left_take_as_much_longer_than_expected_as_those_before(clock: list[float]) -> None:
    """Of an unknown one the mean is expected, here 20 s; nothing of one that is done already."""
    screen = Log([10.0, 30.0, None, 0.0])
    screen.overall(4)
    clock[0] += 20  # twice as long as expected
    assert screen.one_done(1, computed=True) == "; 3 left, about 1 min 40 s"
    clock[0] += 60
    assert screen.one_done(2, computed=True) == "; 2 left, about 40 s"


def test_two_at_once_halve_it(clock: list[float]) -> None:
    screen = Log([10.0] * 4)
    screen.overall(4)
    clock[0] += 10
    screen.one_done(1, computed=True)
    assert screen.one_done(2, computed=True) == "; 2 left, about 10 s"


def test_the_bar_of_all_cells_counts_down(clock: list[float]) -> None:
    bars, page = progress_bars(), io.StringIO()
    screen = Bars(bars, [10.0, 3600.0])
    screen.overall(2)

    def shown() -> str:
        page.seek(0)
        page.truncate()
        Console(file=page, width=120).print(bars.make_tasks_table(bars.tasks))
        return page.getvalue()

    assert "-:--:--" in shown()
    clock[0] += 10
    screen.one_done(1, computed=True)
    assert "1/2 1:00:00" in shown()
    clock[0] += 15
    assert "1/2 0:59:45" in shown()
    screen.one_done(2, computed=True)
    assert "2/2" in shown()
