"""Runs are named by their folder, by the beginning of their name, or as the latest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcbench.errors import UsageError
from pcbench.records.named import named


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("dm-shapes10-ppc1-aa", "dm-shapes10-ppc3-bb", "sadm-shapes10-ppc1-cc")):
        record = tmp_path / "results" / name / "distillation.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
        os.utime(record, (1000 + number % 2, 1000 + number % 2))
    return tmp_path / "results"


def test_a_run_is_named_in_three_ways(results: Path) -> None:
    assert named(results / "dm-shapes10-ppc1-aa") == results / "dm-shapes10-ppc1-aa"
    assert named(Path("sadm")) == Path("results/sadm-shapes10-ppc1-cc")
    assert named(Path("results/dm-shapes10-ppc3")) == Path("results/dm-shapes10-ppc3-bb")
    assert named(Path("latest")) == named(Path("results/latest")) == Path("results/dm-shapes10-ppc3-bb")


@pytest.mark.usefixtures("results")
def test_a_beginning_of_several_names_is_refused_with_them() -> None:
    with pytest.raises(UsageError, match="begins the names of 2 runs in results: dm-shapes10-ppc1-aa, dm-"):
        named(Path("dm"))
    assert named(Path("dc")) == Path("dc")


def test_where_there_are_no_results_a_name_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named(Path("latest")) == Path("latest")


def test_a_folder_that_is_not_there_is_told_as_such(pcbench) -> None:
    done = pcbench("evaluate", "nowhere")
    assert done.code == 3
    assert "there is no nowhere" in done.err
