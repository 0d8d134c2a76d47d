"""The records that are published with pcbench: valid, and told by the table beside them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from badges import Badges, explanations, unexplained
from built_in import CATALOGUE

from pcbench.common.files import digest
from pcbench.records import layout, predictions
from pcbench.records.layout import CLOUDS
from pcbench.records.store import read_runs
from pcbench.submission.rules.clouds import check_clouds
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


def test_clouds_are_among_them_only_where_their_data_set_may_be_passed_on():
    """Those of shapes10, so that the board has pictures; none of ModelNet. Each is what its record says."""
    found, _ = read_runs(RESULTS)
    free = {
        run.folder / CLOUDS
        for run in found
        if CATALOGUE.datasets.load(run.distillation.inputs.data.name).redistributable
    }
    answers = {layout.predictions(run.folder, scored.key) for run in found for scored in run.evaluations}
    there = {*RESULTS.rglob("*.h5")} - answers
    assert there <= free
    for run in found:
        if run.folder / CLOUDS in there:
            check_clouds(run)


def test_answers_of_students_are_those_that_records_name():
    found, _ = read_runs(RESULTS)
    kept = [(run, scored) for run in found for scored in run.evaluations]
    answered = [each for each in kept if layout.predictions(each[0].folder, each[1].key).exists()]
    assert answered
    for run, scored in answered:
        assert predictions.read(run.folder, scored) is not None  # which compares them with the record


def test_the_table_is_of_these_records_and_every_badge_is_explained_by_one(pcbench, tmp_path):
    site = tmp_path / "site"
    records = shutil.copytree(RESULTS, tmp_path / "records", ignore=shutil.ignore_patterns(CLOUDS))
    done = pcbench("leaderboard", "build", "--results", records, "--out", site)  # pictures take longest
    assert done.code == 0, done.err
    assert "left out" not in done.err
    built = (site / "leaderboard.md").read_text(encoding="utf-8")
    assert (LEADERBOARD / "leaderboard.md").read_text(encoding="utf-8") == built
    runs, _ = read_runs(RESULTS)
    pages = {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert unexplained(pages, runs) == []
    kinds = {words for text in pages.values() for words, _ in Badges(text).found}
    assert kinds == {"run here", "re-evaluated", "re-distilled", "reported"}
    exported = json.loads((site / "data" / "leaderboard.json").read_text(encoding="utf-8"))
    cells = [cell for section in exported["sections"] for cell in section["cells"]]
    assert {(cell["status"], cell["status_by"]) for cell in cells} <= explanations(runs)


def test_the_first_published_runs_keep_every_number():
    """The right answers of every student, and the clocks, as they were published on 2026-11-26."""
    found, _ = read_runs(RESULTS)
    first = [
        [made.inputs.method, made.inputs.ppc, [scores.correct for scores in scored.snapshots], made.seconds]
        for run in found
        for made in [run.distillation]
        for scored in run.evaluations
        if made.provenance.created < "2026-11-27"
    ]
    assert len(first) == 15
    assert digest(sorted(first)) == "0868328c17fd24c8105b2edd447eab1a7669756cf165dfba3f934bf8110b4ae8"


def test_figures_of_the_documentation_are_those_of_records():
    """Every line of a table that names a run has the mean and standard deviation of an evaluation of it."""
    found, _ = read_runs(RESULTS)
    runs = {run.folder.name: run for run in found}
    text = (LEADERBOARD.parent / "docs" / "reproducing.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\|.*?([\d.]+ ± [\d.]+)(?: \|[^|]*)? \| `([a-z0-9-]+)` \|$", text, re.MULTILINE)
    assert len(lines) >= 10
    for printed, name in lines:
        scores = [100 * np.array(scored.headline.oa) for scored in runs[name].evaluations]
        assert printed in [f"{oa.mean():.1f} ± {oa.std(ddof=1):.1f}" for oa in scores], name
