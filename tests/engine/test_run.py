"""One cell after another: what is not computed twice, and the row of the whole training split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from built_in import CATALOGUE

from pcbench.engine import distil as run
from pcbench.engine import evaluate, students
from pcbench.engine.artifacts import load_snapshots
from pcbench.engine.plan import Request, cells
from pcbench.records import layout, predictions
from pcbench.records.models import Run
from pcbench.records.state import Snapshots
from pcbench.records.store import read_distillation, read_evaluation, read_runs, write_evaluation
from pcbench.report.board import board
from pcbench.report.results import results

SMALL = {"points": "16", "iterations": "2", "recipe.epochs": "2", "recipe.batch": "16", "whole.epochs": "1"}


def executed(out: Path, *methods: str, snapshots: Snapshots = "all", **settings: str) -> list[Run]:
    request = Request(
        methods=methods,
        datasets=("shapes10",),
        ppcs=(1,),
        protocol="quick",
        students=2,
        settings=SMALL | settings,
    )
    cpu = torch.device("cpu")
    outcomes = [
        run.execute(cell, out, cpu, lambda *_: None, snapshots=snapshots)
        for cell in cells(CATALOGUE, request)
    ]
    assert not any(outcome.problem for outcome in outcomes)
    return [outcome.run for outcome in outcomes]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of clouds of every training of students."""
    sizes: list[int] = []
    train = students.train

    def counted(build, clouds, *rest, **named):
        sizes.append(len(clouds))
        return train(build, clouds, *rest, **named)

    monkeypatch.setattr(students, "train", counted)
    return sizes


def test_clouds_that_were_scored_are_not_scored_again(tmp_path, trainings):
    (random,) = executed(tmp_path, "random")
    assert trainings == [10]
    (dm,) = executed(tmp_path, "dm")
    assert trainings == [10, 10]
    first, last = dm.evaluations[0].snapshots
    assert (first.iteration, last.iteration) == (0, 2)
    assert first == random.evaluations[0].snapshots[0]
    fresh = executed(tmp_path / "elsewhere", "dm")[0].evaluations[0]
    assert trainings == [10] * 4
    assert fresh.snapshots == dm.evaluations[0].snapshots


def test_snapshots_trained_on_together_have_the_scores_that_they_have_one_by_one(
    tmp_path, trainings, monkeypatch
):
    (one_by_one,) = executed(tmp_path / "one", "dm")
    assert trainings == [10, 10]
    monkeypatch.setattr(evaluate, "groups_at_once", lambda *_: 5)
    (together,) = executed(tmp_path / "all", "dm")
    assert trainings == [10, 10, 20]
    (expected,), (found,) = one_by_one.evaluations, together.evaluations
    assert found.snapshots == expected.snapshots
    assert found.confusion == expected.confusion
    assert found.trained == expected.trained == [0, 2]


def test_what_students_answered_is_kept_beside_their_scores(tmp_path):
    (dm,) = executed(tmp_path / "one", "dm")
    (record,) = dm.evaluations
    kept = predictions.read(dm.folder, record)
    assert kept is not None
    request = Request(("dm",), ("shapes10",), (1,), protocol="quick", students=2, settings=SMALL)
    (cell,) = cells(CATALOGUE, request)
    network = evaluate.train_students(
        cell.evaluation,
        [load_snapshots(layout.clouds(dm.folder), dm.distillation.snapshots)[-1]],
        cell.evaluation.protocol.recipe,
        range(2),
        torch.device("cpu"),
        lambda *_: None,
    )
    network.eval()
    tested = cell.evaluation.splits.test
    logits = [network(cloud.expand(2, 1, *cloud.shape))[:, 0] for cloud in tested.points[:40]]
    assert kept.predicted[:, :40].tolist() == torch.stack([each.argmax(-1) for each in logits], 1).tolist()
    assert kept.labels.tolist() == tested.labels.tolist()


def test_answers_to_clouds_that_were_scored_are_taken_over(tmp_path, trainings):
    (first,) = executed(tmp_path, "dm", lr="1e-30")
    (second,) = executed(tmp_path, "dm", lr="1e-31")
    assert trainings == [10]  # both leave the same clouds alone
    answered = [predictions.read(dm.folder, dm.evaluations[0]) for dm in (first, second)]
    assert all(each is not None and each.predicted.shape == (2, 500) for each in answered)
    assert first.evaluations[0].predictions == second.evaluations[0].predictions


def test_a_record_whose_answers_are_gone_keeps_their_hash_and_its_scores(tmp_path, trainings):
    (last,) = executed(tmp_path / "one", "dm", snapshots="last")
    (record,) = last.evaluations
    layout.predictions(last.folder, record.key).unlink()
    shutil.move(tmp_path / "one", tmp_path / "two")  # where nothing is known of these clouds
    (both,) = executed(tmp_path / "two", "dm")
    assert trainings == [10, 10]
    assert both.evaluations[0].predictions == record.predictions
    assert both.evaluations[0].headline == record.headline
    assert predictions.read(both.folder, both.evaluations[0]) is None


@pytest.fixture
def interrupted(tmp_path, monkeypatch) -> Path:
    """The folder of a run that was interrupted in the second of its two trainings of students."""
    train, begun = students.train, []

    def stops(*args, **named):
        begun.append(True)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return train(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(students, "train", stops)
        with pytest.raises(KeyboardInterrupt):
            executed(tmp_path, "dm")
    (folder,) = (path.parent for path in tmp_path.glob("*/distillation.json"))
    return folder


@pytest.mark.parametrize(("threads", "stacks"), [(1, 1), (4, 2)])
def test_a_record_says_into_how_many_stacks_its_students_were_divided(tmp_path, threads, stacks):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (done,) = executed(tmp_path, "random")
    finally:
        torch.set_num_threads(before)
    assert [share.stacks for share in done.evaluations[0].work] == [stacks]


def test_an_interrupted_evaluation_goes_on_with_the_snapshot_that_it_was_at(interrupted, trainings):
    (part,) = map(read_evaluation, layout.evaluations(interrupted))
    assert [scores.iteration for scores in part.snapshots] == part.trained == [2]
    (dm,) = executed(interrupted.parent, "dm")
    assert trainings == [10]
    (record,) = dm.evaluations
    assert record.trained == [0, 2]
    assert record.train.seconds > part.train.seconds
    assert [share.iterations for share in record.work] == [[2], [0]]
    assert record.memory.host_bytes >= part.memory.host_bytes
    (expected,) = executed(interrupted.parent / "at once", "dm")[0].evaluations
    assert (record.key, record.snapshots, record.confusion) == (
        expected.key,
        expected.snapshots,
        expected.confusion,
    )
    assert read_runs(interrupted.parent) == ([dm], [])


def test_a_record_that_is_broken_is_made_again(interrupted, trainings):
    (path,) = layout.evaluations(interrupted)
    path.write_text("{")
    (dm,) = executed(interrupted.parent, "dm")
    assert trainings == [10]  # what the students of the last snapshot scored is known still
    assert [scores.iteration for scores in dm.evaluations[0].snapshots] == [0, 2]
    assert dm.evaluations[0].trained == [0]


def test_scores_are_taken_over_from_no_record_that_lies_around(tmp_path, trainings):
    """A forged record of equal clouds in the same folder, with the packages and hardware of this machine."""
    (random,) = executed(tmp_path / "mine", "random")
    record = random.evaluations[0]
    scores = record.snapshots[0]
    right = [list(record.totals) for _ in scores.correct]
    forged = record.model_copy(
        update={
            "snapshots": [scores.model_copy(update={"correct": right, "oa": [1.0, 1.0], "macc": [1.0, 1.0]})],
            "confusion": None,
        }
    )
    shutil.copytree(random.folder, tmp_path / "out" / random.folder.name)
    write_evaluation(tmp_path / "out" / random.folder.name, forged)
    assert trainings == [10]
    (dm,) = executed(tmp_path / "out", "dm")
    assert trainings == [10, 10, 10]
    assert dm.evaluations[0].snapshots[0].correct == scores.correct


def test_a_finished_distillation_is_replaced_by_no_unfinished_one(tmp_path):
    """A second driver of the same cell is stopped, or fails, after the first one has finished."""
    request = Request(("dm",), ("shapes10",), (1,), protocol="quick", students=2, settings=SMALL)
    (cell,) = cells(CATALOGUE, request)
    folder = tmp_path / "run"
    finished = []

    def beside(what: str, done: int, _: int) -> None:
        if what == "distil" and done == 1:
            finished.append(run.distil(cell, folder, torch.device("cpu"), lambda *_: None))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.distil(cell, folder, torch.device("cpu"), beside)
    assert finished[0].status == "ok"
    assert read_distillation(layout.distillation(folder)) == finished[0]
    kept = load_snapshots(layout.clouds(folder), finished[0].snapshots)
    assert [snapshot.iteration for snapshot in kept] == [0, 2]
    again = run.distil(cell, folder, torch.device("cpu"), lambda *_: None)
    assert again == finished[0]


def test_the_last_snapshot_first_then_only_what_is_missing(tmp_path, trainings):
    (last,) = executed(tmp_path, "dm", snapshots="last")
    assert trainings == [10]
    assert [scores.iteration for scores in last.evaluations[0].snapshots] == [2]
    (again,) = executed(tmp_path, "dm", snapshots="last")
    assert (trainings, again) == ([10], last)
    (both,) = executed(tmp_path, "dm")
    assert trainings == [10, 10]
    assert both.evaluations[0].key == last.evaluations[0].key
    assert both.evaluations[0].headline == last.evaluations[0].headline
    assert [share.iterations for share in both.evaluations[0].work] == [[2], [0]]
    assert read_runs(tmp_path) == ([both], [])
    (at_once,) = executed(tmp_path / "at once", "dm")
    assert both.evaluations[0].snapshots == at_once.evaluations[0].snapshots
    assert both.evaluations[0].confusion == at_once.evaluations[0].confusion


def test_clouds_that_a_method_left_alone_are_scored_once(tmp_path, trainings):
    (dm,) = executed(tmp_path, "dm", lr="1e-30")
    first, last = dm.evaluations[0].snapshots
    assert trainings == [10]
    assert first.correct == last.correct
    assert (first.iteration, last.iteration) == (0, 2)
    assert dm.evaluations[0].trained == [2]


def test_another_training_of_the_students_scores_the_clouds_anew(tmp_path, trainings):
    executed(tmp_path, "random")
    executed(tmp_path, "random", **{"recipe.epochs": "3"})
    assert trainings == [10, 10]


def test_the_whole_split_is_a_row_of_its_own_and_is_not_stored_again(tmp_path, trainings):
    whole, _ = executed(tmp_path, "whole", "random")
    data = whole.distillation.inputs
    assert (data.method, data.ppc) == ("whole", 0)
    assert not layout.clouds(whole.folder).exists()
    assert trainings == [1000, 10]
    assert [scores.iteration for scores in whole.evaluations[0].snapshots] == [0]
    (again,) = executed(tmp_path, "whole")
    assert again.distillation == whole.distillation
    assert trainings == [1000, 10]
    runs, problems = read_runs(tmp_path)
    assert not problems
    (section,) = board([result for each in runs for result in results(each)]).sections
    assert [place.ppc for place in section.places] == [1, 0]
    assert {row.entry.method: section.places[0] in row.cells for row in section.rows} == {
        "random": True,
        "whole": False,
    }


def test_a_finished_distillation_drops_the_evaluations_of_other_clouds(tmp_path):
    (random,) = executed(tmp_path, "random")
    (evaluation,) = random.folder.glob("evaluation-*.json")
    foreign = random.folder / "evaluation-0000000000.json"
    foreign.write_text('{"schema_version": 3}')
    run._drop_replaced(random.folder, random.distillation)
    assert evaluation.exists()
    assert len(layout.all_predictions(random.folder)) == 1
    entries = [entry.model_copy(update={"clouds": "0" * 64}) for entry in random.distillation.snapshots]
    run._drop_replaced(random.folder, random.distillation.model_copy(update={"snapshots": entries}))
    assert not evaluation.exists()
    assert layout.all_predictions(random.folder) == []
    assert foreign.exists()
