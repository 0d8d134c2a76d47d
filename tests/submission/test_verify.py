"""True scores are verified, raised ones refuted or doubted, and every claim gets its verdict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from built_in import CATALOGUE
from record_parts import provenance
from submissions import Submission, a_run
from typer.testing import CliRunner

from pcbench.api import PointClouds, Snapshot
from pcbench.cli.main import app
from pcbench.engine import shares, students
from pcbench.engine.artifacts import load_snapshots, save_snapshots
from pcbench.engine.likeness import Copy
from pcbench.errors import DataError
from pcbench.records import layout, predictions
from pcbench.records.circumstances import Provenance
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.models import Run, SnapshotEntry
from pcbench.records.predictions import Predictions
from pcbench.records.store import read_run, read_runs
from pcbench.records.values import accuracies
from pcbench.submission.claims import Claim, claims, sample
from pcbench.submission.judgement import p_chosen
from pcbench.submission.validate import validate
from pcbench.submission.verify import Found, Made, Wish, recorded, same_hardware

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


def verdicts(done: Any) -> list[dict[str, Any]]:
    return [row["verification"] for row in json.loads(done.out)["verified"]]


def forget_hardware(given: Submission, name: str = "Another CPU") -> None:
    """Let the records say that they were made elsewhere."""

    def change(data: dict[str, Any]) -> None:
        for share in data.get("work", [data]):
            share["provenance"]["hardware"]["name"] = name

    given.edit(given.evaluation, change)
    given.edit(given.distillation, change)
    given.reseal()


def test_a_true_score_is_verified_by_equal_counts(pcbench, submitted):
    done = pcbench("verify", "mine", "--json", "--by", "Ada")
    assert done.code == 0, done.err
    (found,) = verdicts(done)
    assert (found["verdict"], found["judgement"], found["same_hardware"]) == (
        "verified",
        "equal counts",
        True,
    )
    assert (found["low"], found["high"], found["by"], found["compared"]) == (0, 0, "Ada", True)
    run, problems = read_run(submitted.run)
    assert problems == []
    assert run.verification(run.evaluations[0]).verdict == "verified"
    assert run.verification(run.evaluations[0]).how == "re-evaluated"
    assert validate(CATALOGUE, submitted.folder) == []


def test_answers_beside_a_record_are_compared_student_by_student(pcbench, made, tmp_path):
    """Five answers of one student are exchanged for others that are wrong too: all counts stay."""
    shutil.copytree(made.parent / "results", tmp_path / "results")
    (path,) = (tmp_path / "results").glob("*/predictions-*.h5")
    (record,) = path.parent.glob("evaluation-*.json")
    (found,) = verdicts(pcbench("verify", "results", "--json"))
    assert found["alike"] == [1.0] * 4
    kept = predictions.load(path, 4, read_run(path.parent)[0].evaluations[0].totals)
    predicted = kept.predicted.copy()
    wrong = np.flatnonzero(predicted[1] != kept.labels)[:5]
    others = (predicted[1, wrong] + 1) % 10
    predicted[1, wrong] = np.where(others == kept.labels[wrong], (others + 1) % 10, others)
    changed = Predictions.of(predicted, kept.labels, 10)
    assert changed.correct == kept.correct
    predictions.save(path, changed)
    said = {"predictions": changed.content_hash(), "confusion": changed.confusion}
    record.write_text(json.dumps(json.loads(record.read_text()) | said))
    (found,) = verdicts(pcbench("verify", "results", "--json"))
    assert (found["verdict"], found["judgement"]) == ("verified", "equal counts")
    assert found["alike"] == [1.0, 1 - 5 / 500, 1.0, 1.0]
    told = pcbench("verify", "results").out.replace("\n", " ")
    assert "answers: 99.0 to 100.0 % of the test clouds a student as its file of answers says" in told
    predictions.save(path, kept)
    refused = pcbench("verify", "results")
    assert refused.code == 3
    assert "are other answers than the record says" in refused.err.replace("\n", " ")


def test_a_true_score_from_elsewhere_is_verified_by_equal_counts(pcbench, submitted):
    forget_hardware(submitted)
    (found,) = verdicts(pcbench("verify", "mine", "--json"))
    assert (found["verdict"], found["judgement"], found["same_hardware"]) == (
        "verified",
        "equal counts",
        False,
    )


@pytest.mark.parametrize("points", [0.2, 1, 1.5, 2.8, 5])
def test_a_raised_score_is_refuted_at_once_on_the_same_hardware(pcbench, submitted, points):
    raised(submitted, points)
    assert validate(CATALOGUE, submitted.folder) == []  # nothing in the folder tells
    done = pcbench("verify", "mine", "--json", "--margin", "50")
    assert done.code == 1, done.err
    (found,) = verdicts(done)
    assert (found["verdict"], found["judgement"]) == ("refuted", "same hardware")
    run, problems = read_run(submitted.run)
    assert problems == []
    assert run.verifications[0].difference == pytest.approx(-points, abs=0.11)


def test_one_test_cloud_of_one_student_is_seen_on_the_same_hardware(pcbench, submitted):
    def change(data: dict[str, Any]) -> None:
        data.pop("confusion", None)
        scores = data["snapshots"][-1]
        counts = scores["correct"][2]
        counts[counts.index(min(counts))] += 1
        scores["oa"][2], scores["macc"][2] = accuracies(counts, data["totals"])

    submitted.edit(submitted.evaluation, change)
    submitted.reseal()
    assert [found["verdict"] for found in verdicts(pcbench("verify", "mine", "--json"))] == ["refuted"]


def test_elsewhere_a_small_raise_is_doubted_and_more_students_are_trained_for_it(pcbench, submitted):
    raised(submitted, 2.8)
    forget_hardware(submitted)
    done = pcbench("verify", "mine", "--json", "--students", "7")
    assert done.code == 1, done.err
    (found,) = verdicts(done)
    assert (found["judgement"], len(found["correct"]), len(found["more"])) == ("equivalence", 4, 3)
    assert found["verdict"] != "verified"
    done = pcbench("verify", "mine", "--students", "7")
    assert "cannot tell" in done.out
    assert "with 7 students of s = " in done.out


def test_with_other_kernels_a_true_score_is_not_refuted(submitted):
    """The kernels of an older processor, as torch lets them be chosen."""
    words = [
        sys.executable,
        "-c",
        "from pcbench.cli.main import main; main()",
        "verify",
        submitted.folder,
        "--json",
    ]
    variables = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    (row,) = json.loads(done.stdout)["verified"]
    assert row["verification"]["verdict"] in ("verified", "inconclusive")
    assert row["verification"]["same_hardware"] is False
    assert done.returncode == (0 if row["verification"]["verdict"] == "verified" else 1)


def test_a_record_of_more_or_fewer_threads_is_tried_with_as_many(pcbench, submitted):
    def change(data: dict[str, Any]) -> None:
        for share in data["work"]:
            share["provenance"]["hardware"]["threads"] = torch.get_num_threads() + 1

    submitted.edit(submitted.evaluation, change)
    submitted.reseal()
    before = torch.get_num_threads()
    (found,) = verdicts(pcbench("verify", "mine", "--json"))
    assert (found["verdict"], found["same_hardware"]) == ("verified", True)
    assert found["provenance"]["hardware"]["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_the_students_of_a_record_are_divided_as_they_were(pcbench, submitted, monkeypatch):
    """Rounding depends on the stacks, so that counts are equal only with as many of them."""
    stacks: list[int] = []

    def at_once(work, parts):
        stacks.append(len(parts))
        return shares.at_once(work, parts)

    def change(data: dict[str, Any]) -> None:
        data["work"][0]["stacks"] = 2

    submitted.edit(submitted.evaluation, change)
    submitted.reseal()
    monkeypatch.setattr(students, "at_once", at_once)
    (found,) = verdicts(pcbench("verify", "mine", "--json"))
    assert found["verdict"] == "verified"
    assert stacks == [2]


def test_distilling_anew_tells_its_own_time_and_compares_the_clouds(pcbench, submitted):
    def change(data: dict[str, Any]) -> None:
        data["clock"]["seconds"] = 12345.0

    submitted.edit(submitted.distillation, change)
    submitted.reseal()
    done = pcbench("verify", "mine", "--redistill", "--sample", "3", "--seed", "5")
    assert done.code == 0, done.err
    assert "1 of 1 evaluations, drawn with --seed 5" in done.out
    assert "s, claimed 12345.0 s: the record's clouds" in done.out
    run, _ = read_run(submitted.run)
    (found,) = run.verifications
    assert (found.how, found.same_clouds, found.claimed_seconds) == ("re-distilled", True, 12345)
    assert found.distil_seconds < 100
    assert found.clouds == run.evaluations[0].headline.clouds


PATCHER = """
import json

from pcbench.api import Method, Snapshot


class Patcher(Method):
    \"\"\"Random clouds, and a judge that would find everything right.\"\"\"

    name = "patcher"

    def distill(self, task):
        import sys
        json.patched = True
        engine = sys.modules.get("pcbench.engine.students")
        if engine is not None:

            def all_right(network, clouds, count, answers=None):
                return clouds.labels.expand(count, -1)

            engine.predictions = all_right
        yield Snapshot(0, task.initial_clouds())
"""


def test_a_method_that_would_patch_the_judge_never_meets_it(pcbench, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "patcher.py").write_text(PATCHER)
    words = ("-m", "patcher", "-d", "shapes10", "-p", "quick", "--ppc", "1", "--plugins", "theirs", *TINY)
    done = pcbench("run", *words, "-o", "results")
    assert done.code == 0, done.err
    submit = ("submit", "results", "--plugins", "theirs", "--license", "MIT", "--out", "mine")
    done = pcbench(*submit)
    assert done.code == 0, done.err
    given = Submission(tmp_path / "mine")
    assert pcbench("verify", "mine", "--redistill").code == 0

    def all_right(data: dict[str, Any]) -> None:
        data.pop("confusion", None)
        for scores in data["snapshots"]:
            scores["correct"] = [data["totals"] for _ in scores["correct"]]
            scores["oa"] = scores["macc"] = [1.0] * len(scores["correct"])

    layout.verification(given.run, json.loads(given.evaluation.read_text())["key"]).unlink()
    given.edit(given.evaluation, all_right)
    given.reseal()
    done = pcbench("verify", "mine", "--redistill", "--json")
    assert [found["verdict"] for found in verdicts(done)] == ["refuted"]
    assert not hasattr(json, "patched")


@pytest.mark.usefixtures("submitted")
def test_fresh_repetitions_are_drawn_anew_and_stand_in_the_record(pcbench):
    assert pcbench("verify", "mine", "--fresh", "3").code == 2
    assert pcbench("verify", "mine", "--redistill", "--fresh", "1").code == 2
    done = pcbench("verify", "mine", "--redistill", "--fresh", "2", "--json")
    (found,) = verdicts(done)
    assert len(found["fresh"]) == len(set(found["fresh_repetitions"])) == 2
    assert min(found["fresh_repetitions"]) >= 1000
    assert found["p_chosen"] == p_chosen(sum(found["published"]) / 4, found["fresh"])
    assert found["verdict"] == ("verified" if found["p_chosen"] > 0.05 else "inconclusive")


def test_test_clouds_are_refuted_whatever_they_score(pcbench, submitted):
    """Clouds, scores and hashes all fit one another: only a comparison with the test clouds tells."""
    splits = CATALOGUE.datasets.load("shapes10")().load(16)
    first = [int((splits.test.labels == label).nonzero()[0]) for label in range(10)]
    clouds = splits.test.select(torch.tensor(first))
    made = json.loads(submitted.distillation.read_text())
    snapshots = [Snapshot(entry["iteration"], clouds) for entry in made["snapshots"]]
    save_snapshots(submitted.clouds, snapshots)

    def named(data: dict[str, Any]) -> None:
        for entry in data["snapshots"]:
            entry["clouds"] = clouds.content_hash()

    submitted.edit(submitted.distillation, named)
    submitted.edit(submitted.evaluation, named)
    submitted.reseal()
    done = pcbench("verify", "mine", "--json")
    (found,) = verdicts(done)
    assert found["verdict"] == "refuted"
    assert len(found["copies"]) == 10
    assert f"100% of its points stand in test cloud {first[3]}" in found["copies"][3]
    assert "stand in test cloud" in pcbench("verify", "mine").out


# One verdict a claim


def two_runs(tmp_path: Path, made: Path) -> tuple[Path, Path]:
    """A good run and a copy of it under another name, in `both`."""
    (run,) = (made / "runs").iterdir()
    for name in ("bad", "good"):
        shutil.copytree(run, tmp_path / "both" / name)
    return tmp_path / "both" / "bad", tmp_path / "both" / "good"


def wrong_totals(run: Path) -> None:
    (path,) = run.glob("evaluation-*.json")
    data = json.loads(path.read_text())
    data.pop("confusion")
    data["totals"] = [1] * 10
    for scores in data["snapshots"]:
        scores["correct"] = [[1] * 10 for _ in scores["correct"]]
        scores["oa"] = scores["macc"] = [1.0] * len(scores["correct"])
    path.write_text(json.dumps(data))


def other_clouds(run: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Other clouds in a run, with hashes to fit."""
    path = run / "distillation.json"
    made = json.loads(path.read_text())
    entries = [SnapshotEntry.model_validate(entry) for entry in made["snapshots"]]
    snapshots = [
        Snapshot(snapshot.iteration, replace(snapshot.clouds, points=change(snapshot.clouds.points)))
        for snapshot in load_snapshots(run / "clouds.h5", entries)
    ]
    save_snapshots(run / "clouds.h5", snapshots)
    for file in (path, *run.glob("evaluation-*.json")):
        data = json.loads(file.read_text())
        for entry, snapshot in zip(data["snapshots"], snapshots[-len(data["snapshots"]) :], strict=True):
            entry["clouds"] = snapshot.clouds.content_hash()
        file.write_text(json.dumps(data))


def rename_data(run: Path) -> None:
    for file in sorted(run.glob("*.json")):
        data = json.loads(file.read_text())
        data["inputs"]["data"]["name"] = "nowhere"
        kind = DistillationInputs if file.name.startswith("dist") else EvaluationInputs
        if kind is EvaluationInputs:
            data["inputs"]["distillation"] = json.loads((run / "distillation.json").read_text())["key"]
        data["key"] = kind.model_validate(data["inputs"]).key
        file.write_text(json.dumps(data))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "totals": (wrong_totals, "other totals than the test split"),
    "huge": (lambda run: other_clouds(run, lambda points: torch.full_like(points, 3e38)), "from the origin"),
    "points": (lambda run: other_clouds(run, lambda points: points.repeat(1, 4, 1)), "64 points"),
    "unreadable": (lambda run: (run / "clouds.h5").write_bytes(b"x" * 999), "truncated or corrupt"),
    "missing": (lambda run: (run / "clouds.h5").unlink(), "is not there"),
    "no record": (lambda run: (run / "distillation.json").write_text("{"), "distillation.json"),
    "no score": (lambda run: next(run.glob("evaluation-*")).write_text("[]"), "evaluation-"),
    "no data": (rename_data, "nowhere"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_claim_that_cannot_be_tried_gets_a_reason_and_the_others_a_verdict(pcbench, tmp_path, made, what):
    bad, good = two_runs(tmp_path, made)
    spoil, words = WRONG[what]
    spoil(bad)
    done = pcbench("verify", "both", "--json")
    assert done.code == 1
    told = json.loads(done.out)
    assert [(row["folder"], row["verification"]["verdict"]) for row in told["verified"]] == [
        (f"both/{good.name}", "verified")
    ]
    (error,) = told["errors"]
    assert error["folder"] == f"both/{bad.name}"
    assert words in error["error"]
    assert "Traceback" not in done.err
    shutil.rmtree(good)
    assert pcbench("verify", "both").code == 3  # nothing could be tried


def test_one_altered_run_of_a_submission_does_not_hide_the_others(pcbench, submitted):
    shutil.copytree(submitted.run, submitted.run.with_name("zebra"))
    submitted.reseal()
    done = pcbench("verify", "mine", "--json")
    assert done.code == 1
    told = json.loads(done.out)
    assert [row["verification"]["verdict"] for row in told["verified"]] == ["verified"]
    assert "zebra" in told["errors"][0]["error"]


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


# What follows


def found(tmp_path: Path, more: list[int], hardware: str = "Another CPU", **changes: Any) -> Found:
    """Students who have so many right answers more than published in each of two classes of 100 clouds."""
    run = a_run(tmp_path / "results")
    scored = run.evaluations[0]
    base = [[50, 50]] * len(more)
    scores = scored.headline.model_copy(
        update={"oa": [0.5] * len(more), "macc": [0.5] * len(more), "correct": base}
    )
    inputs = scored.inputs.model_copy(update={"repetitions": list(range(len(more)))})
    scored = scored.model_copy(update={"snapshots": [scores], "inputs": inputs, "totals": [100, 100]})
    claim = Claim(Run(run.folder, run.distillation, (scored,)), scored, run.folder)
    clouds = PointClouds(torch.zeros(1, 4, 3), torch.zeros(1, dtype=torch.int64), ("a",))
    here = provenance(hardware=hardware)
    made = Made(Snapshot(0, clouds))
    return Found(claim, made, [[50 + extra, 50 + extra] for extra in more], here, **changes)


@pytest.mark.parametrize(
    ("more", "margin", "verdict"),
    [
        ([1, -1, 1, -1], 3, "verified"),
        ([2, 2, 2, 2], 3, "verified"),
        ([2, 2, 2, 2], 1, "inconclusive"),  # the published scores are lower: nothing is claimed too high
        ([-2, -2, -2, -2], 1, "refuted"),
        ([-2, -2, -2, -2], 3, "inconclusive"),  # inside the margin, and yet seen
        ([9, -9, 8, -8], 3, "inconclusive"),
        ([9, -9, 8, -8], 50, "inconclusive"),  # a wider margin verifies nothing
        ([-5, -5, -5, -5], 3, "refuted"),
        ([-5, -5, -5, -5], 50, "inconclusive"),
        ([5, 5, 5, 5], 3, "inconclusive"),
        ([-5, -4, -6, -5], 3, "refuted"),
        ([-6, -1, -9, -4], 3, "inconclusive"),
        ([5], 3, "inconclusive"),  # one student has no spread
    ],
)
def test_elsewhere_verdicts_follow_from_paired_differences(tmp_path, more, margin, verdict):
    record = recorded(found(tmp_path, more), Wish(margin))
    assert (record.verdict, record.judgement, record.margin) == (verdict, "equivalence", margin)
    assert record.difference == pytest.approx(sum(more) / len(more))
    assert record.low - 1e-9 <= record.difference <= record.high + 1e-9
    if more == [9, -9, 8, -8]:  # s = 9.83, t(0.95; 3) = 2.353
        assert record.high == pytest.approx(2.3534 * 9.8319 / 2, rel=1e-3)


def test_a_verdict_says_whether_hardware_and_packages_were_the_same():
    def on(**changes: Any) -> Provenance:
        base = provenance()
        hardware = {key: value for key, value in changes.items() if key != "packages"}
        packages = changes.get("packages", {})
        return base.model_copy(
            update={"packages": packages, "hardware": base.hardware.model_copy(update=hardware)}
        )

    here = on(instructions="AVX2")
    assert same_hardware(here, here) is True
    assert same_hardware(on(), here) is None  # an older record
    assert same_hardware(on(instructions="AVX512"), here) is False
    assert same_hardware(on(instructions="AVX2", name="B"), here) is False
    assert same_hardware(on(instructions="AVX2", threads=7), here) is False
    assert same_hardware(on(instructions="AVX2", packages={"torch": "1"}), here) is False


def test_what_looks_chosen_or_like_a_test_cloud_is_not_verified(tmp_path):
    surface = Copy(0, "chair", 5, "chair", 0.0, 0.0, 0.1, 0.0)
    points = replace(surface, share=0.5, together=0.5)
    for extra, verdict in [
        ({"copies": [surface]}, "inconclusive"),
        ({"copies": [points, surface]}, "refuted"),
        ({"fresh": {1000: 0.49, 1001: 0.52, 1002: 0.5}}, "verified"),
        ({"fresh": {1000: 0.40, 1001: 0.41, 1002: 0.42}}, "inconclusive"),
        ({"fresh": {1000 + i: 0.40 + i / 1000 for i in range(9)}}, "refuted"),
    ]:
        record = recorded(found(tmp_path, [0, 0, 0], **extra), Wish())
        assert (record.judgement, record.verdict) == ("equal counts", verdict), extra


def test_a_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    for ppc in range(1, 9):
        a_run(tmp_path / "results", ppc=ppc)
    found, unusable = claims(CATALOGUE, tmp_path / "results")
    assert unusable == []
    assert len(found) == 8
    drawn = sample(found, 3, seed=1)
    assert drawn == sample(found, 3, seed=1)
    assert len({id(claim) for claim in drawn}) == 3
    assert any(sample(found, 3, seed=seed) != drawn for seed in range(2, 8))
    assert sample(found, 99, seed=1) == found
