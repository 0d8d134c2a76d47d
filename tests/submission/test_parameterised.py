"""Sets that are kept as parameters: their budget, what they have students learn, what nobody can check."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import pcbench
from pcbench.protocols.protocol import PROTOCOLS
from pcbench.records.division import division
from pcbench.records.models import Run
from pcbench.records.store import read_runs
from pcbench.submission.rules.clouds import UnfitClouds, check_clouds

METHOD = '''"""Sets of clouds that are kept as something else."""

import torch

from pcbench.api import Method, MethodParams, Snapshot, Stored, param

HIDDEN = torch.arange(24).view(1, 2, 4, 3) / 24


class Kept(Method["Kept.Params"]):
    """Clouds of half precision, with what students learn; or clouds that stand in the source."""

    name = "kept"

    class Params(MethodParams):
        how: str = param("soft", "what is kept", source="a test")

    def distill(self, task):
        first = task.initial_clouds().points.unsqueeze(1)
        points = torch.cat([first, first.flip(2) * 0.9], 1)[:, :, : task.train.points_per_cloud - 7]
        clouds, classes = 2 * len(first), task.train.classes
        labels = torch.eye(classes).repeat_interleave(2 * task.ppc, 0) + 0.25
        tensors = {"points": points.half()}
        match self.params.how:
            case "soft":
                more = {"probabilities": labels.half(), "cloud_weights": torch.arange(clouds).half()}
                stored = Stored("plain", tensors | more)
            case "rate":
                stored = Stored("plain", tensors | {"student_lr": torch.tensor(0.05)})
            case "drawn":
                count = torch.tensor(3, dtype=torch.int8)
                stored = Stored("mixtures", {"anchors": points.half(), "count": count})
            case "heavy":
                stored = Stored("plain", {"points": points})
            case _:
                hidden = HIDDEN + torch.arange(len(first)).view(-1, 1, 1, 1) / 100
                stored = Stored("own", {"seed": torch.tensor([3])[:0].float()}, hidden)
        yield Snapshot(0, stored.expand(task.train.class_names, task.ppc), stored)
'''
SETTINGS = {"points": 32, "iterations": 1, "recipe.epochs": 2, "students": 2}
HOW = ("soft", "rate", "heavy", "own", "drawn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every way to keep a set, and their plugin."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "kept.py").write_text(METHOD)
    settings = [{**SETTINGS, "how": how} for how in HOW]
    outcomes = pcbench.run(
        "kept",
        "shapes10",
        1,
        protocol="quick",
        settings=settings,
        plugins=folder / "plugins",
        out=folder / "out",
    )
    assert not outcomes.failed, outcomes
    return folder


@pytest.fixture
def command(request: pytest.FixtureRequest):
    """The command line, under a name that the package does not have."""
    return request.getfixturevalue("pcbench")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    found, problems = read_runs(folder / "out")
    assert problems == []
    return {str(run.distillation.inputs.params["how"]): run for run in found}


def test_records_say_what_is_kept_and_what_students_learn(runs: dict[str, Run]) -> None:
    last = {how: run.distillation.snapshots[-1] for how, run in runs.items()}
    clouds, points, classes = 20, 25, 10
    half = 6 * clouds * points
    assert (last["soft"].expansion, last["soft"].bytes) == ("plain", half + 2 * clouds * classes + 2 * clouds)
    assert (last["soft"].soft, last["soft"].weighted, last["soft"].student_lr) == (True, True, None)
    assert (last["rate"].bytes, last["rate"].student_lr) == (half + 4, pytest.approx(0.05))
    assert (last["heavy"].bytes, last["heavy"].soft) == (2 * half, False)
    assert (last["own"].expansion, last["own"].bytes) == ("own", 0)
    assert (last["own"].trained_on, last["own"].trained_points) == (20, 4)
    assert (last["drawn"].expansion, last["drawn"].bytes, last["drawn"].trained_on) == (
        "mixtures",
        half + 1,
        50,
    )
    assert runs["drawn"].distillation.marks == ["clouds that are drawn anew in every epoch"]
    assert runs["soft"].distillation.marks == ["soft labels", "weights of clouds"]
    assert runs["rate"].distillation.marks == ["the method's learning rate, 0.05"]


def in_standard(run: Run) -> Run:
    """The same under the standard protocol that it departs from, as its points are."""
    (scored,) = run.evaluations
    rules = PROTOCOLS["quick"]
    students = list(range(rules.students))
    inputs = scored.inputs.model_copy(update={"protocol": rules, "repetitions": students})
    distilled = run.distillation.inputs.model_copy(update={"whole": rules.whole})
    return replace(
        run,
        distillation=run.distillation.model_copy(update={"inputs": distilled}),
        evaluations=(scored.model_copy(update={"inputs": inputs}),),
    )


def test_only_what_anybody_can_expand_within_the_bytes_is_closed(runs: dict[str, Run]) -> None:
    divisions = {how: division(in_standard(run)) for how, run in runs.items()}
    assert divisions == {"soft": "closed", "rate": "open", "heavy": "open", "own": "open", "drawn": "closed"}


def test_students_learn_what_the_set_says(runs: dict[str, Run]) -> None:
    """The rate of the set takes the place of the recipe's: the same clouds score otherwise."""
    by_hand = runs["rate"].evaluations[0].inputs.protocol
    assert by_hand.recipe.lr != 0.05
    assert runs["soft"].evaluations[0].headline.correct != runs["rate"].evaluations[0].headline.correct


@pytest.mark.parametrize("how", HOW)
def test_a_submission_is_validated_and_verified(
    command, folder: Path, runs: dict[str, Run], how: str
) -> None:
    shutil.copytree(runs[how].folder, Path("out") / runs[how].folder.name)
    plugins = ("--plugins", folder / "plugins")
    submitted = command("submit", "out", "--license", "MIT", "--out", "mine", *plugins)
    assert submitted.code == 0, submitted.err
    assert command("results", "validate", "mine").code == 0
    done = command("verify", "mine", "--json", *(("--redistill",) if how == "own" else ()))
    assert done.code == 0, done.err
    (verdict,) = (row["verification"] for row in json.loads(done.out)["verified"])
    assert (verdict["verdict"], verdict["same_clouds"]) == ("verified", True), done.err
    assert command("evaluate", Path("out") / runs[how].folder.name, "--seeds", "1").code == 0


@pytest.mark.parametrize(
    ("how", "array", "told"),
    [
        ("soft", "probabilities", "not those of the record"),
        ("own", "expanded points", "not those of the record"),
        ("own", "seed", "of types that are not stored"),
    ],
)
def test_altered_tensors_are_refused(command, runs: dict[str, Run], how: str, array: str, told: str) -> None:
    folder = Path("out") / runs[how].folder.name
    shutil.copytree(runs[how].folder, folder)
    with h5py.File(folder / "clouds.h5", "r+") as file:
        group = file["000000"]
        changed = group[array][()].astype("<f8" if array == "seed" else group[array].dtype) + 1
        del group[array]
        group.create_dataset(array, data=changed if changed.size else np.zeros(3))
    done = command("evaluate", folder, "--backbone", "pointnet:canonical")
    assert done.code != 0
    assert told in done.err


def test_a_record_that_hides_its_soft_labels_is_refused(runs: dict[str, Run]) -> None:
    run = runs["soft"]
    (entry,) = run.distillation.snapshots
    plain = entry.model_copy(update={"soft": False})
    hidden = replace(run, distillation=run.distillation.model_copy(update={"snapshots": [plain]}))
    with pytest.raises(UnfitClouds, match="has soft labels: True, and the record says False"):
        check_clouds(hidden)
