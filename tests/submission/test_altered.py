"""Kinds of altered records, everything else made to fit: each is told, or its field is listed as claimed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from built_in import CATALOGUE
from submissions import TINY, Submission, a_run, confusion_of

from pcbench.clouds import PointClouds
from pcbench.protocols.protocol import QUICK, customised
from pcbench.protocols.variants import Variant
from pcbench.records import layout
from pcbench.records.division import division
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.store import read_distillation, read_run
from pcbench.records.values import accuracies
from pcbench.submission import fields
from pcbench.submission.fields import FIELDS, held_to
from pcbench.submission.manifest import RUNS
from pcbench.submission.rules import data as module
from pcbench.submission.submit import submit
from pcbench.submission.validate import Strictness, validate

Json = dict[str, Any]
TEN = customised(QUICK, {**TINY.changes, "students": 10})


class Forged(Submission):
    """A submission of one run that a careful cheat has in hand: every key, hash and name is made to fit."""

    def forge(self, distillation: Callable[[Json], None], evaluation: Callable[[Json], None]) -> None:
        """Change both records, and whatever follows from them."""
        made, scored = (json.loads(path.read_text()) for path in (self.distillation, self.evaluation))
        distillation(made)
        made["key"] = DistillationInputs.model_validate(made["inputs"]).key
        scored["inputs"]["distillation"] = made["key"]
        evaluation(scored)
        scored["key"] = EvaluationInputs.model_validate(scored["inputs"]).key
        self.evaluation.unlink()
        run = self.run
        run = run.rename(layout.run_folder(run.parent, DistillationInputs.model_validate(made["inputs"])))
        (run / "distillation.json").write_text(json.dumps(made))
        layout.evaluation(run, scored["key"]).write_text(json.dumps(scored))
        manifest = self.manifest()
        for artifact in manifest["artifacts"]:
            artifact["run"] = run.name
        (self.folder / "manifest.json").write_text(json.dumps(manifest))
        self.reseal()

    def rewrite_clouds(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Other points (B, N, 3) in every snapshot, with their hashes in both records."""
        points_of, labels_of = {}, {}
        with h5py.File(self.clouds) as file:
            for name, group in file.items():
                points_of[name], labels_of[name] = change(group["points"][()]), group["labels"][()]
        self._write_clouds(points_of, labels_of)

    def relabel_clouds(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """The same points in another order (B,), each with its label."""
        points_of, labels_of = {}, {}
        with h5py.File(self.clouds) as file:
            for name, group in file.items():
                order = change(group["labels"][()])
                points_of[name], labels_of[name] = group["points"][()][order], group["labels"][()][order]
        self._write_clouds(points_of, labels_of)

    def _write_clouds(self, points_of: dict[str, np.ndarray], labels_of: dict[str, np.ndarray]) -> None:
        import torch

        from pcbench.api import Snapshot
        from pcbench.engine.artifacts import save_snapshots

        record = read_distillation(self.distillation)
        names = tuple(record.inputs.data.class_names)
        snapshots = [
            Snapshot(
                int(name),
                PointClouds(torch.from_numpy(points), torch.from_numpy(labels_of[name]), names),
            )
            for name, points in points_of.items()
        ]
        save_snapshots(self.clouds, snapshots)
        hashes = {each.iteration: each.clouds.content_hash() for each in snapshots}

        def rehash(data: Json) -> None:
            for entry in data["snapshots"]:
                entry["clouds"] = hashes[entry["iteration"]]

        self.forge(rehash, rehash)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run = a_run(folder / "results", protocol=TINY, ppc=2)
    submit(CATALOGUE, [run], folder / "mine", "MIT")
    return folder / "mine"


@pytest.fixture
def given(tmp_path: Path, made: Path) -> Forged:
    shutil.copytree(made, tmp_path / "mine")
    return Forged(tmp_path / "mine")


def codes(given: Submission) -> list[str]:
    return sorted({each.code for each in validate(CATALOGUE, given.folder)})


def nothing(_: Json) -> None:
    pass


def put(place: str, value: Any) -> Callable[[Json], None]:
    """Put a value at a dotted place of a record, `snapshots.-1.seconds`."""

    def change(data: Json) -> None:
        part: Any = data
        *way, last = place.split(".")
        for word in way:
            part = part[int(word) if word.lstrip("-").isdigit() else word]
        part[last] = value

    return change


def both(*changes: Callable[[Json], None]) -> Callable[[Json], None]:
    def change(data: Json) -> None:
        for each in changes:
            each(data)

    return change


def everywhere(place: str, value: Any) -> tuple[Callable[[Json], None], Callable[[Json], None]]:
    return put(place, value), put(place, value)


def counted(totals: list[int], right: Callable[[int], int]) -> Callable[[Json], None]:
    """Totals, and right answers of every student that follow from them; all scores made to fit."""

    def change(data: Json) -> None:
        students = len(data["inputs"]["repetitions"])
        correct = [[right(total) for total in totals]] * students
        data["totals"], data["confusion"] = totals, confusion_of(correct, totals)
        for scores in data["snapshots"]:
            pairs = [accuracies(counts, totals) for counts in correct]
            scores["correct"] = correct
            scores["oa"], scores["macc"] = [oa for oa, _ in pairs], [macc for _, macc in pairs]

    return change


def test_careful_forging_of_nothing_passes(given):
    given.forge(nothing, nothing)
    assert codes(given) == []
    given.rewrite_clouds(lambda points: points)
    assert codes(given) == []


WORK = "work.0"
PROVENANCE = {"distillation": "provenance", "evaluation": f"{WORK}.provenance"}
FALSE: dict[str, tuple[Callable[[Json], None], Callable[[Json], None], str]] = {
    # the data
    "one test cloud a class, all right": (nothing, counted([1] * 10, lambda t: t), "wrong-data"),
    "one test cloud": (nothing, counted([1] + [0] * 9, lambda t: t), "wrong-data"),
    "a few test clouds less": (nothing, counted([50] * 9 + [49], lambda t: t // 2), "wrong-data"),
    "data hash": (*everywhere("inputs.data.hash", "0" * 64), "wrong-data"),
    "test hash": (nothing, put("inputs.data.hash", "0" * 64), "wrong-data"),
    "sampling": (*everywhere("inputs.data.sampling", "farthest"), "wrong-data"),
    "sampling of the test": (nothing, put("inputs.data.sampling", "farthest"), "wrong-data"),
    "variant of made data": (*everywhere("inputs.data.variant", "another"), "wrong-data"),
    "standard of the test": (nothing, put("inputs.data.standard", False), "wrong-data"),
    "standard": (*everywhere("inputs.data.standard", False), "wrong-data"),
    "more clouds than there are": (put("inputs.ppc", 101), nothing, "wrong-data"),
    "a data set nearly called so": (*everywhere("inputs.data.name", "Shapes10"), "reserved-name"),
    # method and networks
    "variation of no parameter": (put("inputs.variation", {"lr": 5.0}), nothing, "wrong-parameters"),
    "a parameter it has not": (put("inputs.params", {"lr": 5.0}), nothing, "wrong-parameters"),
    "a setting it has not": (put("inputs.setting", "paper"), nothing, "wrong-parameters"),
    "the whole split by random": (put("inputs.ppc", 0), nothing, "wrong-parameters"),
    "unknown preset of the distilling network": (
        put("inputs.network.preset", "huge"),
        nothing,
        "unknown-preset",
    ),
    "unknown preset of the student": (nothing, put("inputs.network.preset", "huge"), "unknown-preset"),
    "unknown source of random": (put("inputs.source", "0" * 64), nothing, "reserved-name"),
    "another method's source": (
        put("inputs.source", CATALOGUE.methods.get("sadm").source_hash()),
        nothing,
        "reserved-name",
    ),
    "a name nearly random": (put("inputs.method", "Random"), nothing, "reserved-name"),
    "unknown source of the student": (nothing, put("inputs.network.source", "0" * 64), "reserved-name"),
    # the protocol
    "one iteration": (put("inputs.iterations", 1), nothing, "changed-protocol"),
    "a thousand million iterations": (put("inputs.iterations", 10**9), nothing, "changed-protocol"),
    "a draw that nobody has": (put("inputs.draw", "best of 30"), nothing, "changed-protocol"),
    "quick called paper": (nothing, put("inputs.protocol.name", "paper"), "changed-protocol"),
    "another recipe": (nothing, put("inputs.protocol.recipe.epochs", 99), "changed-protocol"),
    "a later engine": (*everywhere("inputs.engine", 7), "odd-provenance"),
    "repetition 3 alone": (put("inputs.repetition", 3), nothing, "missing-repetition"),
    # times
    "no time at all": (
        both(put("clock.seconds", 0.0), put("snapshots.-1.seconds", 0.0)),
        nothing,
        "impossible-times",
    ),
    "iterations in no time": (put("snapshots.-1.seconds", 0.0), nothing, "impossible-times"),
    "decreasing": (put("snapshots.0.seconds", 1.5), nothing, "impossible-times"),
    "less than the snapshots'": (put("clock.seconds", 0.5), nothing, "impossible-times"),
    "more than all processors have": (put("clock.processor_seconds", 1e4), nothing, "impossible-times"),
    "trained in no time": (nothing, put(f"{WORK}.train.seconds", 0.0), "impossible-times"),
    "tested in no time": (nothing, put(f"{WORK}.test.seconds", 0.0), "impossible-times"),
    # where and when
    "more memory than there is": (put("memory.host_bytes", 1 << 50), nothing, "odd-provenance"),
    "memory of a GPU without one": (put("memory.device_bytes", 1), nothing, "odd-provenance"),
    "a walled process of one byte": (put("isolation", "walled"), nothing, "odd-provenance"),
    "in the year 2999": (put("provenance.created", "2999-01-01T00:00:00+00:00"), nothing, "odd-provenance"),
    "in the year 2999, evaluated": (
        nothing,
        put(f"{WORK}.provenance.created", "2999-01-01T00:00:00+00:00"),
        "odd-provenance",
    ),
    "before there was a pcbench": (
        put("provenance.created", "1999-01-01T00:00:00Z"),
        nothing,
        "odd-provenance",
    ),
    "at no time": (put("provenance.created", "yesterday"), nothing, "odd-provenance"),
    "by a pcbench to come": (put("provenance.packages.pcbench", "99.0"), nothing, "odd-provenance"),
    "by no version": (put("provenance.packages.torch", "the newest"), nothing, "odd-provenance"),
    "without packages": (put("provenance.packages", {}), nothing, "odd-provenance"),
    "no commit": (
        both(put("provenance.git_commit", "HEAD"), put("provenance.git_dirty", False)),
        nothing,
        "odd-provenance",
    ),
    # scores
    "trained nothing": (
        nothing,
        both(
            put(f"{WORK}.iterations", []),
            put(f"{WORK}.train.seconds", 0.0),
            put(f"{WORK}.test.seconds", 0.0),
        ),
        "untrained-scores",
    ),
    "a reason without a failure": (put("reason", "slow"), nothing, "changed-protocol"),
}


@pytest.mark.parametrize("kind", FALSE)
def test_what_cannot_be_true_is_told(given, kind):
    distillation, evaluation, code = FALSE[kind]
    given.forge(distillation, evaluation)
    assert code in codes(given)


CLOUDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "more points": lambda points: np.concatenate([points] * 4, axis=1),
    "one point": lambda points: points[:, :1],
    "3e38": lambda points: points * np.float32(0) + np.float32(1e37),
    "far away": lambda points: points + 1000,
    "zero": lambda points: points * 0,
    "denormal": lambda points: points * np.float32(1e-40),
    "identical": lambda points: np.broadcast_to(points[:1], points.shape).copy(),
    "single points": lambda points: np.broadcast_to(points[:, :1], points.shape).copy(),
}


@pytest.mark.parametrize("kind", CLOUDS)
def test_clouds_that_no_method_gives_are_told(given, kind):
    given.rewrite_clouds(CLOUDS[kind])
    assert codes(given) == ["unfit-clouds"]


def test_clouds_stand_in_the_order_of_their_classes(given):
    given.relabel_clouds(lambda labels: np.argsort(labels, kind="stable")[::-1].copy())
    assert codes(given) == ["unfit-clouds"]


def test_clouds_of_fewer_classes_are_told(given):
    given.relabel_clouds(lambda labels: np.flatnonzero(labels != 3))
    assert codes(given) == ["unfit-clouds"]


# Fields that are claimed: an altered value passes, and `held_to` says that it does

CLAIMED: dict[str, tuple[Callable[[Json], None], Callable[[Json], None]]] = {
    "distillation.provenance.command": (put("provenance.command", ["other"]), nothing),
    "distillation.provenance.platform": (put("provenance.platform", "another"), nothing),
    "distillation.provenance.hardware.name": (put("provenance.hardware.name", "a slow one"), nothing),
    "distillation.provenance.hardware.threads": (put("provenance.hardware.threads", 1), nothing),
    "distillation.provenance.load": (put("provenance.load", 9.0), nothing),
    "distillation.provenance.git_dirty": (
        both(put("provenance.git_commit", "0" * 40), put("provenance.git_dirty", True)),
        nothing,
    ),
    "distillation.provenance.created": (put("provenance.created", "2025-01-01T00:00:00Z"), nothing),
    "distillation.provenance.packages": (put("provenance.packages.torch", "2.0.0"), nothing),
    "distillation.memory.host_bytes": (put("memory.host_bytes", 0), nothing),
    "distillation.clock.seconds": (put("clock.seconds", 100.0), nothing),
    "distillation.snapshots.seconds": (put("snapshots.-1.seconds", 0.01), nothing),
    "distillation.inputs.draw": (put("inputs.draw", "nested"), nothing),
    "evaluation.work.stacks": (nothing, put(f"{WORK}.stacks", 2)),
    "evaluation.work.train.seconds": (nothing, put(f"{WORK}.train.seconds", 1e-3)),
    "evaluation.snapshots.correct": (nothing, counted([50] * 10, lambda t: t - 3)),
}


@pytest.mark.parametrize("path", CLAIMED)
def test_what_nobody_can_see_passes_and_is_listed_as_claimed(given, path):
    given.forge(*CLAIMED[path])
    assert codes(given) == []
    (check,) = [each for each in held_to() if each.path == path]
    assert "claimed" in check.label
    assert check.claimed


def test_departures_are_open_division(given):
    """Other students than the first, and other training on the whole split, are no fault: they are shown."""
    labels = {each.path: each.checked for each in held_to()}
    for path in ("evaluation.inputs.repetitions", "distillation.inputs.whole", "evaluation.inputs.protocol"):
        assert "open division" in labels[path]
    given.forge(nothing, put("inputs.repetitions", [5, 6]))
    assert codes(given) == []
    run, _ = read_run(given.run)
    assert division(run) == "open"


# The list of fields


def test_every_field_of_a_record_is_listed_and_nothing_else():
    """A new field is described before it is written: add it to FIELDS, with its rule or as claimed."""
    checks = held_to()
    assert len({each.path for each in checks}) == len(checks)
    for model, described in FIELDS.items():
        nested = {
            name for name, field in model.model_fields.items() if fields._inner(field.annotation) is not None
        }
        assert set(described) == set(model.model_fields) - nested, model.__name__
    assert all(each.checked or each.claimed for each in checks)


def test_the_command_says_what_each_field_is_held_to(pcbench):
    done = pcbench("results", "fields")
    assert done.code == 0
    assert "evaluation.work.provenance.command: unchecked, claimed: nobody can tell" in done.out
    document = json.loads(pcbench("results", "fields", "--json").out)
    assert {each["path"] for each in document} == {each.path for each in held_to()}
    assert {"path", "checked", "claimed"} == set(document[0])


# Details of the rules


@pytest.mark.parametrize(
    ("correct", "alike"),
    [
        ([[46, 47, 45]] * 10, 10),
        ([[46, 47, 45]] * 6 + [[40 + k, 47, 45] for k in range(4)], 6),
        ([[46, 47, 45]] * 5 + [[40 + k, 47, 45] for k in range(5)], 0),
        ([[50, 0, 0]] * 10, 0),
        ([[50, 50, 49]] * 10, 0),
        ([[50, 49, 49]] * 10, 0),
        ([[46, 47, 45]] * 2, 0),
    ],
)  # fmt: skip
def test_students_that_are_one(correct, alike):
    from pcbench.submission.rules.scores import repeated

    assert repeated(correct, [50] * 3) == alike


def test_ten_students_that_are_one_are_named(tmp_path):
    """What a backbone gives whose layers were not stacked: all ten scores are 92.4."""
    run = a_run(tmp_path / "results", protocol=TINY)
    given = Forged(tmp_path / "given")
    (given.folder / RUNS).mkdir(parents=True)
    shutil.copytree(run.folder, given.folder / RUNS / run.folder.name)
    (given.folder / "manifest.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "kind": "submission",
                "pcbench": "0.1.0",
                "license": "MIT",
                "files": [],
                "artifacts": [{"run": run.folder.name, "sha256": "0" * 64, "bytes": 0}],
                "plugins": [],
            }
        )
    )

    def ten(data: Json) -> None:
        data["inputs"]["protocol"] = TEN.model_dump(mode="json")
        data["inputs"]["repetitions"] = list(range(10))
        counted([50] * 10, lambda total: total - 4)(data)

    given.forge(nothing, ten)
    assert codes(given) == ["repeated-students"]
    assert "10 of 10 students" in str(validate(CATALOGUE, given.folder)[0])


def test_scores_of_equal_clouds_in_another_run_are_no_fault(tmp_path):
    """Two methods that begin with the same clouds are evaluated once; alone the second proves nothing."""
    one = a_run(tmp_path / "results", ppc=1)
    two = tmp_path / "results" / "two"
    shutil.copytree(one.folder, two)

    def other(data: Json) -> None:
        data["inputs"]["draw"] = "nested"

    def untrained(data: Json) -> None:
        both(*(put(f"{WORK}.{name}.seconds", 0.0) for name in ("train", "test")))(data)
        data["work"][0]["iterations"] = []

    record = json.loads((two / "distillation.json").read_text())
    scored = json.loads(next(two.glob("evaluation-*")).read_text())
    other(record)
    untrained(scored)
    record["key"] = DistillationInputs.model_validate(record["inputs"]).key
    scored["inputs"]["distillation"] = record["key"]
    scored["key"] = EvaluationInputs.model_validate(scored["inputs"]).key
    next(two.glob("evaluation-*")).unlink()
    (two / "distillation.json").write_text(json.dumps(record))
    layout.evaluation(two, scored["key"]).write_text(json.dumps(scored))
    two = two.rename(layout.run_folder(two.parent, DistillationInputs.model_validate(record["inputs"])))
    assert validate(CATALOGUE, tmp_path / "results") == []
    shutil.move(one.folder, tmp_path / "elsewhere")
    assert [each.code for each in validate(CATALOGUE, tmp_path / "results")] == ["untrained-scores"]


def test_a_corrupted_test_has_the_totals_of_the_plain_one(given):
    jitter = Variant(kind="jitter", severity=1, amount=0.01).model_dump(mode="json")
    given.forge(nothing, put("inputs.variant", jitter))
    assert codes(given) == []
    given.forge(nothing, counted([5] * 10, lambda total: total))
    assert codes(given) == ["wrong-data"]


def test_the_axis_of_a_test_is_the_card_s(given):
    up = Variant(kind="up", axis="z").model_dump(mode="json")
    given.forge(nothing, put("inputs.variant", up))
    assert codes(given) == ["wrong-data"]


def test_totals_of_data_that_are_not_at_hand_follow_from_their_card(tmp_path):
    run = a_run(tmp_path / "results", dataset="modelnet10")
    assert validate(CATALOGUE, tmp_path / "results") == []
    path = layout.evaluation(run.folder, run.evaluations[0].key)
    data = json.loads(path.read_text())
    counted([1] * 10, lambda total: total)(data)
    path.write_text(json.dumps(data))
    (found,) = validate(CATALOGUE, tmp_path / "results")
    assert found.code == "wrong-data"
    assert "modelnet10 has [50, 100, 100, 86" in found.told


def test_cards_hold_what_the_data_sets_have():
    for name in ("shapes10", "shapes10_rotated"):
        dataset = CATALOGUE.datasets.load(name)()
        splits = dataset.load(8)
        assert dict(dataset.test_counts) == dict(
            zip(splits.test.class_names, splits.test.counts().tolist(), strict=True)
        )
    for name in ("modelnet10", "modelnet40"):
        dataset = CATALOGUE.datasets.load(name)
        assert len(dataset.test_counts) == dataset.classes
        assert sum(dataset.test_counts.values()) == dataset.test_size


# Where the data are at hand


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """shapes10 is taken for a data set that was imported here, as modelnet10 is."""
    monkeypatch.setattr(module, "redistributable", lambda name, registry: False)


@pytest.mark.usefixtures("imported")
def test_data_at_hand_are_loaded_where_that_is_asked_for(given):
    """Totals follow from the card always; hash, sampling and clouds only with the data."""
    given.forge(*everywhere("inputs.data.hash", "0" * 64))
    assert codes(given) == []
    with_data = validate(CATALOGUE, given.folder, strictness=Strictness(data=True))
    assert [each.code for each in with_data] == ["wrong-data"]


@pytest.mark.usefixtures("imported")
def test_clouds_of_another_public_copy_cannot_be_compared(given):
    given.forge(
        both(put("inputs.data.variant", "meshes"), put("inputs.data.hash", "0" * 64)),
        both(put("inputs.data.variant", "meshes"), put("inputs.data.hash", "0" * 64)),
    )
    assert validate(CATALOGUE, given.folder, strictness=Strictness(data=True)) == []


@pytest.mark.parametrize("split", ["test", "train"])
def test_test_clouds_are_told_with_the_data_and_training_clouds_are_not(given, split):
    splits = CATALOGUE.datasets.load("shapes10")().load(TINY.points)
    clouds = getattr(splits, split)
    first = [int(place) for label in range(10) for place in (clouds.labels == label).nonzero()[:2, 0]]
    given.rewrite_clouds(lambda _: clouds.points[first].numpy())
    assert codes(given) == []
    with_data = validate(CATALOGUE, given.folder, strictness=Strictness(data=True))
    assert {each.code for each in with_data} == ({"test-clouds"} if split == "test" else set())
    named = [each.told for each in with_data]
    given.forge(put("copies", named), nothing)  # as `run` names them: open division, and no secret
    assert validate(CATALOGUE, given.folder, strictness=Strictness(data=True)) == []
    assert len(named) == (20 if split == "test" else 0)
    assert division(read_run(given.run)[0]) == "open"
