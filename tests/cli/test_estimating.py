"""A dry run times first steps where no run tells, says so, stops in time, and leaves no record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pcbench.cli import estimating
from pcbench.engine.cell import Cell
from pcbench.engine.estimates.steps import DistilTrial, StudentTrial
from pcbench.engine.estimates.trials import Trials
from pcbench.errors import PcbenchError

WORDS = ("run", "--method", "random,dm", "--ppc", "1,3", "--protocol", "quick", "--dry-run")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which cells were tried, where trying takes a second and gives what is written here."""
    monkeypatch.setattr(estimating, "UNASKED", 10.0)
    seen: list[str] = []

    def measure(self: Trials, cell: Cell, longest: float) -> None:
        """As `Trials.measure` and `Trials.measure_soon`."""
        seen.append(f"{cell.inputs.method} {cell.inputs.ppc}")
        assert 0 < longest <= 60
        clouds = 10 * cell.inputs.ppc
        made = DistilTrial(
            before=1, step=0.5, host_bytes=5 << 20, set_bytes=9, clouds=clouds, points=64, iterates=True,
            start=0, prepared=0, classes=10, train=1000,
        )  # fmt: skip
        self._write(self._distillation(cell.inputs), made)
        trained = StudentTrial(
            step=0.1, batch=8, tested=0.001, host_bytes=7 << 20, device_bytes=None, idle_bytes=0, students=10
        )
        self._write(self._students(cell, clouds, 64), trained)

    for name in ("measure", "measure_soon"):
        monkeypatch.setattr(Trials, name, measure)
    return seen


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_newcomers_first_dry_run_knows_every_cell(pcbench, measured: list[str]) -> None:
    done = pcbench(*WORDS, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["unknown"], len(found["cells"])) == (0, 4)
    assert measured == ["random 1", "dm 1", "random 3", "dm 3"]  # every method first
    assert found["seconds"] == pytest.approx(sum(cell["seconds"] for cell in found["cells"]))
    assert {cell["memory_bytes"] for cell in found["cells"]} == {7 << 20}
    assert all(cell["disk_bytes"] > 0 for cell in found["cells"])
    assert {each for cell in found["cells"] for each in cell["based_on"]} == {"its first steps"}
    (line,) = done.err.splitlines()
    assert line.startswith("Timing first steps where no run tells, 4 cells, for about 10 s at most")
    assert not Path("results").exists()
    shown = pcbench(*WORDS)
    assert len(measured) == 4  # they were kept
    assert shown.err == ""
    assert "7.0 MiB" in shown.out
    assert "; disk: " in shown.out.splitlines()[-1]


def test_when_time_is_up_the_rest_is_told_by_what_is_like_it(
    pcbench, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter((0.0, 1.0, 2.0, 11.0))
    monkeypatch.setattr(estimating, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    done = pcbench(*WORDS, "--json")
    assert measured == ["random 1", "dm 1"]
    cells = json.loads(done.out)["cells"]
    assert all(cell["seconds"] for cell in cells)
    assert cells[2]["based_on"][0] == "first steps at PPC 1 on shapes10"


@pytest.mark.usefixtures("measured")
def test_what_cannot_be_timed_is_named_and_stays_unknown(pcbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        raise PcbenchError("no step came within 10 s")

    monkeypatch.setattr(Trials, "measure_soon", measure)
    done = pcbench(*WORDS)
    assert done.code == 0
    told = "Unknown, 4 cells: no step came within 10 s; --calibrate takes the time that it needs."
    assert told in done.out.replace("\n", " ")
    assert "unknown for 4 cells" in done.out
    cells = json.loads(pcbench(*WORDS, "--json").out)["cells"]
    assert {cell["why_unknown"] for cell in cells} == {f"no step came within 10 s{estimating.ASKED}"}


@pytest.mark.usefixtures("measured")
def test_ctrl_c_ends_the_timing_and_the_plan_is_printed(pcbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trials, "measure_soon", measure)
    done = pcbench(*WORDS)
    assert done.code == 0
    assert "Stopped: what was timed is kept." in done.err
    assert "4 cells: 4 to do" in done.out


def test_many_cells_are_timed_only_where_that_is_asked_for(
    pcbench, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "MANY", 4)
    unasked = json.loads(pcbench(*WORDS, "--json").out)
    assert unasked["unknown"] == 4
    told = f"from 4 cells on none is timed unasked{estimating.ASKED}"
    assert {cell["why_unknown"] for cell in unasked["cells"]} == {told}
    assert measured == []
    assert json.loads(pcbench(*WORDS, "--calibrate", "--json").out)["unknown"] == 0
    assert len(measured) == 4


def test_calibration_is_of_a_dry_run(pcbench) -> None:
    done = pcbench("run", "--calibrate")
    assert (done.code, done.out) == (2, "")
    assert "add --dry-run" in done.err
