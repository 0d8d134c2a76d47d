"""Records of older versions are read with the same numbers, and fields that are added later lose none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from pcbench.errors import DataError
from pcbench.records import layout, store, values
from pcbench.records.models import DistillationRecord, EvaluationRecord
from pcbench.records.store import read_runs, write_distillation, write_evaluation

EXAMPLES = Path(__file__).parent / "examples"
PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results"


def raw(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_are_examples_of_every_older_version():
    older = range(1, values.SCHEMA_VERSION)
    assert sorted(folder.name for folder in EXAMPLES.iterdir()) == [f"version{number}" for number in older]


def test_records_of_version_1_keep_every_number():
    runs, problems = read_runs(EXAMPLES / "version1")
    assert problems == []
    assert len(runs) == 2
    assert sum(len(run.evaluations) for run in runs) == 3
    for run in runs:
        old = raw(run.folder / "distillation.json")
        assert run.distillation.seconds == old["seconds"]
        assert [entry.model_dump() for entry in run.distillation.snapshots] == old["snapshots"]
        assert run.distillation.inputs.params == old["inputs"]["params"]
        assert run.distillation.inputs.engine == 1
        scored = [raw(path) for path in layout.evaluations(run.folder)]
        before_of = {
            (e["inputs"]["network"]["name"], json.dumps(e["inputs"].get("variant"))): e for e in scored
        }
        for new in run.evaluations:
            variant = None if new.inputs.variant.kind == "plain" else {"kind": new.inputs.variant.kind}
            before = before_of[new.inputs.network.name, json.dumps(variant)]
            assert [s.oa for s in new.snapshots] == [s["oa"] for s in before["snapshots"]]
            assert [s.macc for s in new.snapshots] == [s["macc"] for s in before["snapshots"]]
            assert [s.correct for s in new.snapshots] == [s["correct"] for s in before["snapshots"]]
            assert [s.clouds for s in new.snapshots] == before["inputs"]["clouds"]
            assert (new.totals, new.confusion) == (before["totals"], before.get("confusion"))
            assert (new.train.seconds, new.test.seconds) == (before["train_seconds"], before["test_seconds"])
            assert new.trained == before["trained"]
            assert new.provenance.command == before["provenance"]["command"]
            assert new.distillation == run.distillation.key


def test_a_verification_of_version_1_still_belongs_to_its_evaluation():
    runs, _ = read_runs(EXAMPLES / "version1")
    (verified,) = [(run, v) for run in runs for v in run.verifications]
    run, verification = verified
    (evaluation,) = [e for e in run.evaluations if e.key == verification.evaluation]
    assert verification.published == evaluation.headline.oa
    assert verification.verdict == "verified"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A run of version 1 that may be changed."""
    (source,) = (EXAMPLES / "version1").glob("sadm-*")
    folder = tmp_path / source.name
    shutil.copytree(source, folder)
    return folder


@pytest.mark.parametrize(
    ("file", "field", "value", "words"),
    [
        ("distillation.json", "inputs.ppc", 2, "the key is not the hash of the inputs"),
        ("evaluation-176dcd86dc.json", "inputs.repetitions", [0, 2], "the key is not the hash of the inputs"),
        ("evaluation-176dcd86dc.json", "distillation", "0" * 64, "belongs to another distillation"),
        ("evaluation-176dcd86dc.json", "snapshots", [], "as many scored snapshots"),
        ("evaluation-176dcd86dc.json", "snapshots.2.oa.0", 0.99, "a score does not follow from its counts"),
        ("evaluation-176dcd86dc.json", "mood", "good", "there is no such field"),
        ("evaluation-176dcd86dc.json", "train_seconds", None, ""),
        ("verification-176dcd86dc.json", "evaluation", "0" * 64, "the evaluation that it verifies is not"),
        ("distillation.json", "seconds", "1.5", "clock: is not written as a record writes it"),
    ],
)
def test_an_altered_record_of_version_1_is_refused_still(example, file, field, value, words):
    data = raw(example / file)
    *way, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    place = data
    for part in way:
        place = place[part]
    place[last] = value
    (example / file).write_text(json.dumps(data), encoding="utf-8")
    try:
        _, problems = store.read_run(example)
    except DataError as error:
        problems = [str(error)]
    assert any(line.startswith(str(example / file)) and words in line for line in problems), problems


@pytest.mark.parametrize("gone", ["inputs", "key", "seconds", "provenance"])
def test_a_record_of_version_1_that_lacks_a_field_is_refused_in_one_line(example, gone):
    data = raw(example / "distillation.json")
    del data[gone]
    (example / "distillation.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        store.read_run(example)
    assert gone in str(caught.value)
    assert "\n" not in str(caught.value)


# Fields that are added later


def test_a_field_that_is_added_with_a_default_loses_no_record_and_changes_no_key(monkeypatch, tmp_path):
    """The three additions that voided every record of version 1: to a record, its provenance, a recipe."""
    before, _ = read_runs(PUBLISHED)
    assert len(before) >= 15

    class Noted(DistillationRecord):
        note: values.Text = ""

    class Scored(EvaluationRecord):
        remark: list[int] = Field(default_factory=list)

    for run in before:
        folder = tmp_path / run.folder.name
        write_distillation(folder, run.distillation)
        for record in run.evaluations:
            write_evaluation(folder, record)
    monkeypatch.setattr(store, "DistillationRecord", Noted)
    monkeypatch.setattr(store, "EvaluationRecord", Scored)
    for folder in (PUBLISHED, tmp_path):
        after, problems = read_runs(folder)
        assert problems == []
        assert [run.distillation.key for run in after] == [run.distillation.key for run in before]
        assert all(isinstance(run.distillation, Noted) for run in after)
        assert [len(run.evaluations) for run in after] == [len(run.evaluations) for run in before]


def test_a_field_of_a_newer_pcbench_gives_one_clear_error(example):
    run, _ = store.read_run(example)
    write_distillation(example, run.distillation)
    data = raw(example / "distillation.json") | {"mood": "good"}
    (example / "distillation.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match=r"mood: there is no such field: was it written by a newer pcbench\?"):
        store.read_run(example)
    data = raw(example / "distillation.json") | {"schema_version": 3}
    (example / "distillation.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match=r"written by a newer pcbench \(schema_version 3.*update pcbench"):
        store.read_run(example)
