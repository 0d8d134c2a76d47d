"""The records that are published with pcbench: valid, without clouds, and told by the table beside them."""

from __future__ import annotations

from pathlib import Path

from built_in import CATALOGUE

from pcbench.records.layout import CLOUDS
from pcbench.records.store import read_runs
from pcbench.submission.validate import validate

LEADERBOARD = Path(__file__).parents[1] / "leaderboard"
RESULTS = LEADERBOARD / "results"


def test_they_are_valid_and_finished():
    assert validate(CATALOGUE, RESULTS) == []
    found, problems = read_runs(RESULTS)
    assert problems == []
    assert {run.distillation.status for run in found} == {"ok"}
    assert all(run.evaluations for run in found)
    assert all(run.distillation.provenance.git_dirty is False for run in found)


def test_no_clouds_are_among_them():
    assert not [*RESULTS.rglob(CLOUDS), *RESULTS.rglob("*.h5")]


def test_the_table_is_of_these_records(pcbench, tmp_path):
    done = pcbench("leaderboard", "build", "--results", RESULTS, "--out", tmp_path / "site")
    assert done.code == 0, done.err
    assert "left out" not in done.err
    built = (tmp_path / "site" / "leaderboard.md").read_text(encoding="utf-8")
    assert (LEADERBOARD / "leaderboard.md").read_text(encoding="utf-8") == built
