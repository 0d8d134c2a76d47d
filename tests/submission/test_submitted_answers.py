"""Students' answers go into a submission where that is asked for, and fit its records and the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from built_in import CATALOGUE
from record_parts import keep_answers
from submissions import TOTALS, Submission, a_run

from pcbench.records import layout, predictions
from pcbench.records.predictions import Predictions
from pcbench.submission.collect import collect, publish
from pcbench.submission.validate import validate

LABELS = np.repeat(np.arange(10), TOTALS)
ANSWERED = [np.where(np.arange(500) % 50 < right, LABELS, (LABELS + 1) % 10) for right in (25, 27)]


@pytest.fixture
def given(pcbench, tmp_path: Path) -> Submission:
    """A submission with answers, as the command makes it."""
    keep_answers(a_run(tmp_path / "results").folder, ANSWERED)
    done = pcbench("submit", "results", "--license", "MIT", "--out", "mine", "--predictions")
    assert done.code == 0, done.err
    return Submission(tmp_path / "mine")


def codes(given: Submission) -> list[str]:
    return sorted(problem.code for problem in validate(CATALOGUE, given.folder))


def kept(given: Submission) -> Path:
    """The file of answers."""
    (path,) = layout.all_predictions(given.run)
    return path


def test_answers_are_in_a_submission_where_they_are_asked_for(pcbench, given: Submission) -> None:
    assert codes(given) == []
    listed = [entry["path"] for entry in given.manifest()["files"]]
    assert f"runs/{given.run.name}/{kept(given).name}" in listed
    assert pcbench("submit", "results", "--license", "MIT", "--out", "without").code == 0
    without = Submission(given.folder.with_name("without"))
    assert layout.all_predictions(without.run) == []
    assert codes(without) == []  # the record has their hash alone


def test_they_are_published_with_their_run(given: Submission, tmp_path: Path) -> None:
    given.folder.rename(tmp_path / "one")
    (tmp_path / "submissions").mkdir()
    (tmp_path / "one").rename(tmp_path / "submissions" / "mine")
    collected = collect(CATALOGUE, [tmp_path / "submissions"])
    assert collected.problems == []
    publish(collected, tmp_path / "records")
    assert len(list((tmp_path / "records").glob("*/predictions-*.h5"))) == 1


def test_other_answers_than_the_records(given: Submission) -> None:
    others = [ANSWERED[0], ANSWERED[1][::-1]]
    predictions.save(kept(given), Predictions.of(others, LABELS, 10))
    given.reseal()
    assert codes(given) == ["altered-predictions"]


def test_counts_that_do_not_follow_from_the_answers_though_the_hash_fits(given: Submission) -> None:
    better = Predictions.of([LABELS, ANSWERED[1]], LABELS, 10)
    predictions.save(kept(given), better)
    given.edit(given.evaluation, lambda data: data.update(predictions=better.content_hash()))
    given.reseal()
    assert codes(given) == ["altered-predictions"]


def test_answers_to_test_clouds_in_another_order(given: Submission) -> None:
    """All counts follow, and the hash fits: the data say what the order is."""
    turned = Predictions.of([each[::-1] for each in ANSWERED], LABELS[::-1], 10)
    predictions.save(kept(given), turned)
    given.edit(given.evaluation, lambda data: data.update(predictions=turned.content_hash()))
    given.reseal()
    assert codes(given) == ["altered-predictions"]


def test_answers_of_no_record(given: Submission) -> None:
    kept(given).rename(given.run / "predictions-0123456789.h5")
    given.reseal()
    assert codes(given) == ["unexpected-file"]


def test_merged_folders_have_the_answers_of_both(pcbench, given: Submission) -> None:
    done = pcbench("results", "merge", given.folder / "runs", "--out", "all", "--json")
    assert [each["done"] for each in json.loads(done.out)] == ["copied", "copied"]
    assert len(list(Path("all").glob("*/predictions-*.h5"))) == 1
