"""Whatever stands on the board stays there; what is new beside it is welcome."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from built_in import CATALOGUE
from submissions import RIGHT, TINY, TOTALS, Submission, a_run, a_submission
from test_altered import Forged, put
from test_validate import a_verification

from pcbench.protocols.protocol import QUICK, customised
from pcbench.records import layout
from pcbench.records.store import write_record
from pcbench.submission.manifest import MANIFEST
from pcbench.submission.submit import submit
from pcbench.submission.validate import validate

URL = "https://a.example/clouds"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_submission(tmp_path_factory.mktemp("made"), "mine").folder


@pytest.fixture
def given(tmp_path: Path, made: Path) -> Forged:
    """A submission that is published in tmp_path / "published", to be changed."""
    shutil.copytree(made, tmp_path / "published" / "mine")
    shutil.copytree(made, tmp_path / "mine")
    return Forged(tmp_path / "mine")


def codes(given: Submission, **options: Any) -> list[str]:
    published = given.folder.parent / "published"
    return sorted({each.code for each in validate(CATALOGUE, given.folder, published, **options)})


DISTILLATION = {
    "a time of 0.01 s": [put("clock.seconds", 2.0)],
    "the time of a snapshot": [put("snapshots.-1.seconds", 0.5)],
    "processor time": [put("clock.processor_seconds", 0.5)],
    "memory": [put("memory.host_bytes", 0)],
    "hardware": [put("provenance.hardware.name", "a slower CPU")],
    "command": [put("provenance.command", ["pcbench", "--nothing", "to", "see"])],
    "packages": [put("provenance.packages.torch", "2.0.0")],
    "date": [put("provenance.created", "2025-05-05T00:00:00Z")],
    "isolation": [put("isolation", "process"), put("memory.host_bytes", 0)],
}
EVALUATION = {
    "a time of training": put("work.0.train.seconds", 0.01),
    "a time of testing": put("work.0.test.seconds", 0.01),
    "memory of training": put("work.0.memory.host_bytes", 0),
    "hardware of training": put("work.0.provenance.hardware.name", "a slower CPU"),
    "no confusion": put("confusion", None),
    "another confusion": lambda data: data["confusion"][0].__setitem__(
        slice(1, 3), data["confusion"][0][1:3][::-1]
    ),
}


@pytest.mark.parametrize("kind", DISTILLATION)
def test_a_published_distillation_changes_in_nothing(given, kind):
    for change in DISTILLATION[kind]:
        given.edit(given.distillation, change)
    given.reseal()
    assert "changed-published" in codes(given)
    key = json.loads(given.distillation.read_text())["key"]
    assert "changed-published" not in codes(given, corrected=[key])


@pytest.mark.parametrize("kind", EVALUATION)
def test_a_published_evaluation_changes_in_nothing(given, kind):
    given.edit(given.evaluation, EVALUATION[kind])
    given.reseal()
    assert codes(given) == ["changed-published"]
    key = json.loads(given.evaluation.read_text())["key"]
    assert codes(given, corrected=[key[:10]]) == []


def test_the_licence_stays(given):
    given.edit(given.folder / MANIFEST, lambda data: data.update(license="CC-BY-4.0"))
    assert codes(given) == ["changed-published"]
    assert codes(given, corrected=["license"]) == []


def test_clouds_that_were_public_stay_public(given):
    given.clouds.unlink()
    given.reseal()
    assert codes(given) == ["removed-published"]
    key = json.loads(given.distillation.read_text())["key"]
    assert codes(given, corrected=[key]) == []


def test_clouds_at_an_address_stay_there_or_come_in(tmp_path):
    run = a_run(tmp_path / "results", dataset="modelnet10")
    submit(CATALOGUE, [run], tmp_path / "published" / "mine", "MIT", URL)
    submit(CATALOGUE, [run], tmp_path / "mine", "MIT", URL)
    given = Submission(tmp_path / "mine")
    assert codes(given) == []
    given.edit(given.folder / MANIFEST, lambda data: data["artifacts"][0].update(url=None))
    assert codes(given) == ["removed-published"]
    given.edit(given.folder / MANIFEST, lambda data: data["artifacts"][0].update(url=f"{URL}/elsewhere"))
    assert codes(given) == ["removed-published"]


def test_sources_that_were_public_stay(tmp_path):
    from pcbench.catalogue import open_catalogue

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(
        "from pcbench.api import Method\n\nclass Mine(Method):\n    name = 'mine'\n\n"
        "    def distill(self, task):\n        return\n"
    )
    catalogue = open_catalogue([tmp_path / "plugins"])
    run = a_run(tmp_path / "results", method="mine", origin=catalogue.methods.get("mine").source_hash())
    for place in (tmp_path / "published" / "mine", tmp_path / "mine"):
        submit(catalogue, [run], place, "MIT")
    given = Submission(tmp_path / "mine")
    assert codes(given) == []
    given.edit(given.folder / MANIFEST, lambda data: data.update(plugins=[]))
    shutil.rmtree(given.folder / "plugins")
    given.reseal()
    assert codes(given) == ["missing-plugin", "removed-published"]


# A refutation


@pytest.mark.parametrize("verdict", ["verified", "refuted"])
@pytest.mark.parametrize("how", ["dropped", "replaced"])
def test_a_published_verification_stays_until_a_maintainer_lifts_it(given, verdict, how):
    record = a_verification(given)
    if verdict == "refuted":
        low = [[counts - 5 for counts in student] for student in RIGHT]
        record = record.model_copy(update={"correct": low, "low": -11.0, "high": -9.0, "verdict": verdict})
    earlier = Submission(given.folder.parent / "published" / "mine")
    write_record(layout.verification(earlier.run, record.evaluation), record)
    if how == "replaced":
        other = a_verification(given).model_copy(update={"margin": 2.5})
        write_record(layout.verification(given.run, record.evaluation), other)
    (found,) = validate(CATALOGUE, given.folder, given.folder.parent / "published")
    assert found.code == "removed-published"
    assert f"({verdict}) is gone" in found.told
    assert codes(given, corrected=[record.evaluation]) == ["removed-published"]
    assert codes(given, lifted=[record.evaluation]) == []


def test_a_refuted_evaluation_may_not_go_with_its_refutation(given):
    record = a_verification(given)
    earlier = Submission(given.folder.parent / "published" / "mine")
    write_record(layout.verification(earlier.run, record.evaluation), record)
    shutil.rmtree(given.run)
    other = a_run(given.folder.parent / "results", ppc=2)
    shutil.copytree(other.folder, given.folder / "runs" / other.folder.name)
    given.edit(given.folder / MANIFEST, lambda data: data["artifacts"][0].update(run=other.folder.name))
    given.reseal()
    assert codes(given) == ["removed-published"]


# What is new


def test_snapshots_that_are_evaluated_later_are_welcome(given):
    """The evaluation had the last snapshot alone; another command trained on the first one."""
    earlier = Submission(given.folder.parent / "published" / "mine")
    first = json.loads(given.evaluation.read_text())["snapshots"][0]

    def last_alone(data: dict[str, Any]) -> None:
        del data["snapshots"][0]
        data["work"][0]["iterations"] = [20]

    def later(data: dict[str, Any]) -> None:
        last_alone(data)
        data["snapshots"].insert(0, first)
        data["work"].append(json.loads(json.dumps(data["work"][0])) | {"iterations": [0]})

    earlier.edit(earlier.evaluation, last_alone)
    earlier.reseal()
    given.edit(given.evaluation, later)
    given.reseal()
    assert codes(given) == []


def test_repetitions_evaluations_and_verifications_are_welcome(given, tmp_path):
    more = [
        a_run(tmp_path / "more", repetition=1),
        a_run(tmp_path / "more", ppc=3),
        a_run(tmp_path / "more", protocol=customised(QUICK, {**TINY.changes, "recipe.lr": 0.02})),
    ]
    for run in more:
        shutil.copytree(run.folder, given.folder / "runs" / run.folder.name, dirs_exist_ok=True)
    data = given.manifest()
    names = {run.folder.name for run in more} - {artifact["run"] for artifact in data["artifacts"]}
    data["artifacts"] += [{**data["artifacts"][0], "run": name} for name in sorted(names)]
    (given.folder / MANIFEST).write_text(json.dumps(data))
    given.reseal()
    record = a_verification(given)
    assert record.totals == TOTALS
    write_record(layout.verification(given.run, record.evaluation), record)
    assert codes(given) == []


def test_nobody_else_submits_a_published_distillation_again(given, tmp_path):
    """Beside new evaluations: the board shows one of two runs of one distillation, and hides the other."""
    other = a_run(tmp_path / "other", protocol=customised(QUICK, {**TINY.changes, "recipe.lr": 0.02}))
    submit(CATALOGUE, [other], tmp_path / "others", "MIT")
    published = given.folder.parent / "published"
    found = validate(CATALOGUE, tmp_path / "others", published)
    assert [each.code for each in found] == ["duplicate"]
    assert "add evaluations to that one" in found[0].told
