"""A true score is verified, one raised by five points is refuted, and the same seeds give the same scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from built_in import CATALOGUE
from submissions import Submission, a_run
from typer.testing import CliRunner

from pcbench.cli.main import app
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.models import Run, accuracies
from pcbench.records.store import read_run, read_runs
from pcbench.submission import verify as module
from pcbench.submission.validate import validate
from pcbench.submission.verify import claims, judged, sample

TINY = ("--set", "recipe.epochs=2", "--set", "recipe.drop_after=1", "--seeds", "4", "--set", "points=16")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A true run of random selection on the embedded data, submitted."""
    folder = tmp_path_factory.mktemp("made")
    run = (
        "run",
        "-m",
        "random",
        "-d",
        "shapes10",
        "-p",
        "quick",
        "--ppc",
        "1",
        "-o",
        f"{folder / 'results'}",
    )
    submit = ("submit", f"{folder / 'results'}", "--license", "MIT", "--out", f"{folder / 'mine'}")
    for words in ((*run, *TINY), submit):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    return folder / "mine"


@pytest.fixture
def submitted(tmp_path: Path, made: Path) -> Submission:
    shutil.copytree(made, tmp_path / "mine")
    return Submission(tmp_path / "mine")


def raised(given: Submission, points: float) -> None:
    """Let every student of the submission have `points` more of accuracy, everything else made to fit."""

    def change(data: dict[str, Any]) -> None:
        data.pop("confusion", None)
        totals = data["totals"]
        scores = data["snapshots"][-1]
        for student, counts in enumerate(scores["correct"]):
            extra = round(points / 100 * sum(totals))
            for place, total in enumerate(totals):
                more = min(extra, total - counts[place])
                counts[place] += more
                extra -= more
            scores["oa"][student], scores["macc"][student] = accuracies(counts, totals)

    given.edit(given.evaluation, change)
    given.reseal()


def test_true_scores_are_verified_and_raised_ones_refuted(pcbench, submitted, tmp_path):
    done = pcbench("verify", "mine", "--json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["verified"]
    assert row["difference"] == 0
    assert (row["verification"]["verdict"], row["verification"]["low"]) == ("verified", 0)
    run, problems = read_run(submitted.run)
    assert problems == []
    assert run.verification(run.evaluations[0]).verdict == "verified"
    assert validate(CATALOGUE, submitted.folder) == []

    done = pcbench("verify", "mine", "--redistill", "--sample", "3", "--seed", "5")
    assert done.code == 0, done.err
    assert "1 of 1 evaluations, drawn with --seed 5" in done.out
    run, _ = read_run(submitted.run)
    assert run.verifications[0].redistilled
    assert run.verifications[0].clouds == run.evaluations[0].headline.clouds

    raised(submitted, 5)
    _, (problem,) = read_run(submitted.run)
    assert "verified other scores than those beside it" in problem
    layout.verification(submitted.run, run.evaluations[0].key).unlink()
    submitted.reseal()
    assert validate(CATALOGUE, submitted.folder) == []  # nothing in the folder tells
    done = pcbench("verify", "mine")
    assert done.code == 1, done.err
    assert "refuted" in done.out
    (found,), problems = read_runs(tmp_path / "mine" / "runs")
    assert problems == []
    verification = found.verifications[0]
    assert (verification.verdict, round(verification.difference, 6)) == ("refuted", -5)


def test_clouds_of_another_draw_are_distilled_anew_by_that_draw(pcbench, tmp_path):
    words = ("-m", "random", "-d", "shapes10", "-p", "quick", "--ppc", "1", "--draw", "per-ppc")
    assert pcbench("run", *words, "-o", "results", *TINY).code == 0
    done = pcbench("verify", "results", "--redistill")
    assert done.code == 0, done.err
    ((run,), problems) = read_runs(tmp_path / "results")
    assert problems == []
    assert run.distillation.inputs.draw == "per-ppc"
    assert run.verifications[0].clouds == run.evaluations[0].headline.clouds


def test_another_network_or_another_test_split_is_no_verification(pcbench, submitted):
    submitted.edit(
        submitted.evaluation,
        lambda data: data["inputs"]["network"].update(source="0" * 64),
        rekeyed=True,
    )
    done = pcbench("verify", str(submitted.run))
    assert done.code == 3
    assert "is not what this pcbench would do (the network's code has changed)" in done.err


def test_wrong_uses_are_said(pcbench, submitted, tmp_path):
    assert pcbench("verify", "mine", "--margin", "0").code == 2
    assert pcbench("verify", "mine", "--margin", "nan").code == 2
    assert pcbench("verify", "mine", "--sample", "0").code == 2
    (tmp_path / "empty").mkdir()
    assert pcbench("verify", "empty").code == 3
    (submitted.folder / "extra").write_text("x")
    done = pcbench("verify", "mine")
    assert done.code == 3
    assert "unexpected-file: extra" in done.err
    with pytest.raises(DataError, match="no evaluation"):
        claims(CATALOGUE, tmp_path / "empty")


def test_clouds_that_were_fetched_are_taken_from_their_folder(pcbench, submitted, tmp_path):
    elsewhere = tmp_path / "fetched" / submitted.run.name / "clouds.h5"
    elsewhere.parent.mkdir(parents=True)
    submitted.clouds.rename(elsewhere)
    submitted.reseal()
    assert pcbench("verify", "mine").code == 3
    assert pcbench("verify", "mine", "--artifacts", "fetched").code == 0


# The rule


@pytest.mark.parametrize(
    ("more", "margin", "verdict"),
    [
        ([0, 0, 0, 0], 3, "verified"),
        ([1, -1, 1, -1], 3, "verified"),
        ([2, 2, 2, 2], 3, "verified"),
        ([2, 2, 2, 2], 1, "refuted"),
        ([9, -9, 8, -8], 3, "inconclusive"),
        ([5, 5, 5, 5], 3, "refuted"),
        ([-5, -4, -6, -5], 3, "refuted"),
    ],
)
def test_verdicts_follow_from_paired_differences(tmp_path, more, margin, verdict):
    """100 clouds a class, so that one right answer more is a point of one class and half of both."""
    run = a_run(tmp_path / "results")
    scored = run.evaluations[0]
    totals = [100, 100]
    base = [[50, 50]] * 4
    scores = scored.headline.model_copy(update={"oa": [0.5] * 4, "macc": [0.5] * 4, "correct": base})
    inputs = scored.inputs.model_copy(update={"repetitions": [0, 1, 2, 3]})
    scored = scored.model_copy(update={"snapshots": [scores], "inputs": inputs, "totals": totals})
    claim = module.Claim(Run(run.folder, run.distillation, (scored,)), scored, run.folder)
    correct = [[50 + each, 50 + each] for each in more]
    record = judged(claim, correct, "4" * 64, margin, False, torch.device("cpu"))
    assert record.verdict == verdict
    assert record.difference == pytest.approx(sum(more) / 4)
    assert record.low <= record.difference <= record.high
    if more == [9, -9, 8, -8]:  # s = 9.83, t(0.95; 3) = 2.353
        assert record.high == pytest.approx(2.3534 * 9.8319 / 2, rel=1e-3)


def test_one_student_tells_nothing(tmp_path):
    run = a_run(tmp_path / "results")
    scored = run.evaluations[0]
    one = scored.headline.model_copy(update={"oa": [0.5], "macc": [0.5], "correct": [[25] * 10]})
    inputs = scored.inputs.model_copy(update={"repetitions": [0]})
    scored = scored.model_copy(update={"snapshots": [one], "inputs": inputs})
    claim = module.Claim(run, scored, run.folder)
    with pytest.raises(UsageError, match="one student has no spread"):
        judged(claim, [[25] * 10], "4" * 64, 3, False, torch.device("cpu"))


def test_a_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    for ppc in range(1, 9):
        a_run(tmp_path / "results", ppc=ppc)
    found = claims(CATALOGUE, tmp_path / "results")
    assert len(found) == 8
    drawn = sample(found, 3, seed=1)
    assert drawn == sample(found, 3, seed=1)
    assert len({id(claim) for claim in drawn}) == 3
    assert any(sample(found, 3, seed=seed) != drawn for seed in range(2, 8))
    assert sample(found, 99, seed=1) == found
