"""A true submission passes; whatever was tampered with is found and called by its name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from built_in import CATALOGUE
from record_parts import provenance
from submissions import RIGHT, TINY, TOTALS, Submission, a_run, a_submission

from pcbench.errors import DataError, UsageError
from pcbench.protocols.protocol import QUICK, customised
from pcbench.records import layout
from pcbench.records.store import write_record
from pcbench.records.verifications import VerificationRecord
from pcbench.submission import manifest as rules
from pcbench.submission import sources
from pcbench.submission import validate as module
from pcbench.submission.manifest import MANIFEST, REMEDIES
from pcbench.submission.validate import Strictness, published_at, validate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Submission:
    return a_submission(tmp_path_factory.mktemp("made"))


@pytest.fixture
def given(tmp_path: Path, made: Submission) -> Submission:
    shutil.copytree(made.folder, tmp_path / "submission")
    return Submission(tmp_path / "submission")


def codes(given: Submission, *words: Any, **options: Any) -> list[str]:
    found = validate(CATALOGUE, given.folder, *words, **options)
    for each in found:
        assert each.remedy == REMEDIES[each.code]
        assert str(each).isprintable()
    return sorted({each.code for each in found})


def test_a_true_submission_passes(given):
    assert validate(CATALOGUE, given.folder) == []


def test_published_results_pass_without_a_manifest(tmp_path):
    a_run(tmp_path / "results")
    a_run(tmp_path / "results", ppc=3)
    assert validate(CATALOGUE, tmp_path / "results") == []
    assert validate(CATALOGUE, tmp_path / "results", tmp_path / "results") == []


def a_verification(given: Submission) -> VerificationRecord:
    """Of the submission's first evaluation, true to its scores."""
    return VerificationRecord(
        evaluation=json.loads(given.evaluation.read_text())["key"],
        distillation=json.loads(given.distillation.read_text())["key"],
        iteration=20,
        clouds=json.loads(given.distillation.read_text())["snapshots"][-1]["clouds"],
        redistilled=False,
        repetitions=[0, 1],
        published=[0.5, 0.5],
        totals=TOTALS,
        correct=RIGHT,
        low=-1,
        high=1,
        margin=3,
        verdict="verified",
        provenance=provenance(),
    )


# Tampering


def _raise(data: dict[str, Any]) -> None:
    data["snapshots"][-1]["oa"][0] += 0.05


def _raise_counts(data: dict[str, Any]) -> None:
    from pcbench.records.values import accuracies

    scores = data["snapshots"][-1]
    scores["correct"][0] = [26] * 10
    scores["oa"][0], scores["macc"][0] = accuracies([26] * 10, data["totals"])


@pytest.mark.parametrize("change", [_raise, _raise_counts])
def test_one_altered_score(given, change):
    """Also where the counts are altered to fit, and the manifest: the confusion tells."""
    given.edit(given.evaluation, change)
    assert codes(given) == ["altered-file", "altered-score"]
    given.reseal()
    assert codes(given) == ["altered-score"]


def test_an_altered_artifact(given):
    with h5py.File(given.clouds, "r+") as file:
        file["000020/points"][0, 0, 0] += 1
    assert codes(given) == ["altered-artifact", "altered-file"]
    given.reseal()
    assert codes(given) == ["altered-artifact"]


def test_an_artifact_that_is_no_hdf5(given):
    given.clouds.write_bytes(b"\x00" * 2000)
    given.reseal()
    assert codes(given) == ["altered-artifact"]


def test_repeated_seeds(given):
    given.edit(given.evaluation, lambda data: data["inputs"].update(repetitions=[1, 1]), rekeyed=True)
    given.reseal()
    assert codes(given) == ["repeated-seeds"]


def test_a_changed_protocol(given):
    given.edit(
        given.evaluation, lambda data: data["inputs"]["protocol"]["recipe"].update(epochs=99), rekeyed=True
    )
    given.reseal()
    assert codes(given) == ["changed-protocol"]


def test_a_custom_protocol_called_by_a_standard_name(given):
    given.edit(given.evaluation, lambda data: data["inputs"]["protocol"].update(name="quick"), rekeyed=True)
    given.reseal()
    assert codes(given) == ["changed-protocol"]


def test_altered_inputs(given):
    given.edit(given.distillation, lambda data: data["inputs"].update(ppc=2))
    given.reseal()
    assert "altered-inputs" in codes(given)


def test_a_changed_published_number(tmp_path, given):
    published = tmp_path / "published"
    shutil.copytree(given.folder / "runs", published)
    assert codes(given, published) == ["duplicate"]

    def lower(data: dict[str, Any]) -> None:
        from pcbench.records.values import accuracies

        for scores in data["snapshots"]:
            scores["correct"][0] = [24] * 10
            scores["oa"][0], scores["macc"][0] = accuracies([24] * 10, data["totals"])
        del data["confusion"]

    given.edit(given.evaluation, lower)
    given.reseal()
    assert codes(given) == []
    assert codes(given, published) == ["changed-published"]
    key = json.loads(given.evaluation.read_text())["key"]
    assert codes(given, published, [key]) == []
    assert codes(given, published, [key[:10]]) == []
    changed = Submission(tmp_path / "changed")
    shutil.copytree(given.folder / "runs", changed.folder)
    assert [each.code for each in validate(CATALOGUE, changed.folder, published)] == ["changed-published"]


def test_published_records_do_not_vanish(tmp_path):
    one, two = a_run(tmp_path / "old"), a_run(tmp_path / "old", ppc=3)
    shutil.copytree(one.folder, tmp_path / "new" / one.folder.name)
    found = validate(CATALOGUE, tmp_path / "new", tmp_path / "old")
    assert [each.code for each in found] == ["removed-published"]
    assert two.distillation.key[:10] in found[0].told
    shutil.copytree(two.folder, tmp_path / "new" / two.folder.name)
    min((tmp_path / "new" / two.folder.name).glob("evaluation-*")).unlink()
    assert {each.code for each in validate(CATALOGUE, tmp_path / "new", tmp_path / "old")} == {
        "no-evaluation",
        "removed-published",
    }


def test_other_clouds_of_a_published_distillation(tmp_path, given):
    published = tmp_path / "published"
    shutil.copytree(given.folder / "runs", published)
    other = Submission(tmp_path / "other")
    shutil.copytree(given.folder / "runs", other.folder / "runs")
    given.edit(given.distillation, lambda data: data["snapshots"][-1].update(seconds=0.5))
    given.reseal()
    assert "changed-published" in codes(given, published)


def test_a_duplicate(given):
    shutil.copytree(given.run, given.run.with_name("another"))
    given.reseal()
    found = codes(given)
    assert "duplicate" in found
    assert "misplaced-record" in found
    shutil.rmtree(given.run.with_name("another"))
    shutil.copy(given.evaluation, given.run / "evaluation-0000000000.json")
    given.reseal()
    assert codes(given) == ["duplicate"]


def test_a_chosen_repetition(tmp_path):
    given = a_run(tmp_path / "results", repetition=2)
    assert [each.code for each in validate(CATALOGUE, tmp_path / "results")] == ["missing-repetition"]
    a_run(tmp_path / "results", repetition=0)
    assert [each.code for each in validate(CATALOGUE, tmp_path / "results")] == ["missing-repetition"]
    a_run(tmp_path / "results", repetition=1)
    assert validate(CATALOGUE, tmp_path / "results") == []
    path = layout.distillation(given.folder)
    record = json.loads(path.read_text())
    record["inputs"]["setting"] = record["inputs"]["data"]["variant"] = "another word for the same"
    path.write_text(json.dumps(record))
    assert not [e for e in validate(CATALOGUE, tmp_path / "results") if "repetition" in e.code]
    alone = tmp_path / "alone" / given.folder.name
    shutil.copytree(given.folder, alone)
    assert validate(CATALOGUE, tmp_path / "alone", None)
    assert not [
        e for e in validate(CATALOGUE, tmp_path / "alone", tmp_path / "results") if "repetition" in e.code
    ]


def test_files_beside_the_manifest(given):
    (given.folder / "extra.txt").write_text("hello")
    assert codes(given) == ["unexpected-file"]
    (given.folder / "extra.txt").unlink()
    given.evaluation.unlink()
    assert codes(given) == ["missing-file", "no-evaluation"]


def test_a_submitter_does_not_verify_himself(given):
    (given.run / "verification-0000000000.json").write_text("{}")
    given.reseal()
    assert "unexpected-file" in codes(given)


def test_a_published_submission_may_grow_but_not_change(tmp_path, given):
    published = tmp_path / "published"
    shutil.copytree(given.folder, published / "submission")
    assert validate(CATALOGUE, given.folder, published) == []
    renamed = given.folder.rename(tmp_path / "again")
    assert [each.code for each in validate(CATALOGUE, renamed, published)] == ["duplicate"]
    given = Submission(renamed.rename(given.folder))
    more = a_run(tmp_path / "more", ppc=3)
    shutil.copytree(more.folder, given.run.with_name(more.folder.name))
    data = given.manifest()
    data["artifacts"].append({**data["artifacts"][0], "run": more.folder.name})
    (given.folder / MANIFEST).write_text(json.dumps(data))
    given.reseal()
    assert validate(CATALOGUE, given.folder, published) == []
    shutil.rmtree(given.run)
    given.reseal()
    assert "removed-published" in codes(given, published)


def test_a_published_verification_stays_beside_its_evaluation(tmp_path, given):
    shutil.copytree(given.folder, tmp_path / "published" / "submission")
    earlier = Submission(tmp_path / "published" / "submission")
    record = a_verification(given)
    key = record.evaluation
    for each in (given, earlier):
        write_record(layout.verification(each.run, key), record)
    published = tmp_path / "published"
    file = layout.verification(given.run, key)
    assert validate(CATALOGUE, given.folder, published) == []
    assert codes(given) == []
    write_record(file, record.model_copy(update={"margin": 4.0}))
    assert codes(given, published) == ["removed-published"]
    file.unlink()
    (found,) = validate(CATALOGUE, given.folder, published)
    assert (found.code, found.file) == ("removed-published", str(file.relative_to(given.folder)))
    assert codes(given, published, [key]) == ["removed-published"]  # a correction of scores lifts nothing
    assert codes(given, published, lifted=[key[:10]]) == []


def test_a_verification_that_verify_wrote_is_read_and_one_of_a_submitter_is_told(given):
    record = a_verification(given)
    file = layout.verification(given.run, record.evaluation)
    write_record(file, record)
    assert codes(given) == []
    assert codes(given, strictness=Strictness(maintained=False)) == ["forged-verification"]
    data = json.loads(file.read_text())
    data["published"] = [0.75, 0.75]
    file.write_text(json.dumps(data | {"low": -30.0, "high": 30.0, "verdict": "refuted"}))
    assert codes(given) == ["changed-published"]
    given.reseal()
    assert "unexpected-file" in codes(given)


def test_records_without_a_run_are_seen(given):
    stray = given.folder / "runs" / "stray" / "evaluation-0000000000.json"
    stray.parent.mkdir()
    shutil.copy(given.evaluation, stray)
    given.reseal()
    assert codes(given) == ["misplaced-record"]


def test_clouds_that_may_not_be_passed_on(tmp_path):
    given = a_submission(tmp_path, dataset="modelnet10")
    assert not given.clouds.exists()
    assert codes(given) == []
    shutil.copy(a_run(tmp_path / "again", dataset="modelnet10").folder / "clouds.h5", given.clouds)
    given.reseal()
    assert codes(given) == ["forbidden-artifact"]


def test_a_source_that_nobody_has(given):
    given.edit(given.distillation, lambda data: data["inputs"].update(source="0" * 64), rekeyed=True)
    given.reseal()
    assert "missing-plugin" in codes(given)


def test_a_plugin_that_is_not_the_record_s(tmp_path):
    from pcbench.catalogue import open_catalogue
    from pcbench.submission.submit import submit

    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "helper.py").write_text("SIGMA = 0.1\n")
    text = (
        "from pcbench.api import Method\nfrom . import helper\n\nclass Mine(Method):\n    '''A method.'''\n\n"
    )
    (folder / "mine.py").write_text(
        f"{text}    name = 'mine'\n\n    def distill(self, task):\n        return\n"
    )
    catalogue = open_catalogue([folder])
    origin = catalogue.methods.get("mine").source_hash()
    run = a_run(tmp_path / "results", method="mine", origin=origin)
    submit(catalogue, [run], tmp_path / "submission", "Apache-2.0")
    given = Submission(tmp_path / "submission")
    assert codes(given) == []
    (source,) = given.manifest()["plugins"]
    assert sorted(Path(path).name for path in source["files"]) == ["helper.py", "mine.py"]
    helper = given.folder / min(source["files"], key=lambda path: "helper" not in path)
    helper.write_text("SIGMA = 0.1  # a comment more computes the same\n")
    assert codes(given) == ["altered-file"]
    given.reseal()
    assert codes(given) == []
    helper.write_text("SIGMA = 0.2\n")
    given.reseal()
    assert codes(given) == ["altered-plugin", "missing-plugin"]


@pytest.fixture
def with_a_plugin(tmp_path: Path) -> Submission:
    """A true submission of a run of a user's method."""
    from pcbench.catalogue import open_catalogue
    from pcbench.submission.submit import submit

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text(
        "from pcbench.api import Method\n\nclass Mine(Method):\n    name = 'mine'\n\n"
        "    def distill(self, task):\n        return\n"
    )
    catalogue = open_catalogue([tmp_path / "mine"])
    run = a_run(tmp_path / "results", method="mine", origin=catalogue.methods.get("mine").source_hash())
    submit(catalogue, [run], tmp_path / "submission", "MIT")
    return Submission(tmp_path / "submission")


@pytest.mark.parametrize(
    "content",
    [
        b"(" * 10_000,
        b"a" + b".b" * 100_000,
        b"x = 1\0",
        b"\xff\xfe\x00",
        b"# coding: nonsense\n",
        b"class (",
        b"x = " + b"9" * 5000,
        b"#" * (1 << 19),
    ],
    ids=["nested", "deep", "nul", "bytes", "coding", "no Python", "digits", "huge"],
)
def test_a_hostile_source_is_a_named_problem(with_a_plugin, content):
    given = with_a_plugin
    (source,) = given.manifest()["plugins"]
    (given.folder / source["entry"]).write_bytes(content)
    given.reseal()
    assert codes(given) == ["altered-plugin", "missing-plugin", "unreadable-plugin"]


def test_sources_are_parsed_only_as_far_as_they_are_few(with_a_plugin, monkeypatch):
    monkeypatch.setattr(sources, "MAX_SOURCE_BYTES", 10)
    assert codes(with_a_plugin) == ["altered-plugin", "missing-plugin", "too-large"]


def test_odd_names(tmp_path):
    a_run(tmp_path / "results", method="<b>bold</b>")
    found = validate(CATALOGUE, tmp_path / "results")
    assert [each.code for each in found] == ["odd-name"]


# Hostile folders, manifests and files


@pytest.mark.parametrize("what", ["link", "folder link", "fifo", "hidden", "odd name", "deep"])
def test_links_and_odd_files(tmp_path, given, what):
    place = given.folder / "runs"
    if what == "link":
        (place / "x.json").symlink_to("/etc/passwd")
    elif what == "folder link":
        (place / "x").symlink_to(tmp_path)
    elif what == "fifo":
        os.mkfifo(place / "x.json")
    elif what == "hidden":
        (place / ".x").write_text("")
    elif what == "odd name":
        (place / "\x1b[31m\u202e.json").write_text("")
    else:
        deep = place.joinpath(*["d"] * 12)
        deep.mkdir(parents=True)
    assert codes(given) == ["odd-file"]


def test_a_record_that_is_a_link(given, tmp_path):
    outside = tmp_path / "outside.json"
    given.distillation.rename(outside)
    given.distillation.symlink_to(outside)
    assert codes(given) == ["odd-file"]


def test_a_file_that_claims_a_terabyte(given):
    with (given.run / "big.bin").open("wb") as file:
        file.truncate(1 << 40)
    assert codes(given) == ["too-large"]


def test_too_many_files_and_too_much_in_all(given, monkeypatch):
    monkeypatch.setattr(rules, "MAX_TOTAL_BYTES", 1000)
    assert codes(given) == ["too-large"]
    monkeypatch.setattr(rules, "MAX_FILES", 3)
    assert "too-many" in codes(given)


def test_too_many_runs(tmp_path, monkeypatch):
    for ppc in (1, 2, 3):
        a_run(tmp_path / "results", ppc=ppc)
    monkeypatch.setattr(module, "MAX_RUNS", 2)
    assert [each.code for each in validate(CATALOGUE, tmp_path / "results")] == ["too-many"]


PATHS = [
    "../x", "/etc/passwd", "runs/../../x", "runs//x", "runs/./x", "C:\\x", "runs/\u202ex", "", ".", "~/x",
    "runs/x\n", "a/" * 20 + "a", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_leave_the_submission(given, path):
    def change(data: dict[str, Any]) -> None:
        data["files"][0]["path"] = path

    given.edit(given.folder / MANIFEST, change)
    assert "invalid-manifest" in codes(given)


@pytest.mark.parametrize("run", ["..", "../x", "/etc", "a/b", ".hidden", ""])
def test_runs_that_leave_the_submission(given, run):
    given.edit(given.folder / MANIFEST, lambda data: data["artifacts"][0].update(run=run))
    assert "invalid-manifest" in codes(given)


@pytest.mark.parametrize(
    "url",
    ["http://a.example/x", "javascript:alert(1)", "https://user:pw@a.example/", "https://a.example/ x",
     "https://a.example/'x", 'https://a.example/"x', "https://", "file:///etc/passwd", "https://a.example:0/",
     "https://a.example/\u202e", "https://[", "https://a.example/" + "x" * 3000, "data:text/html,x"],
)  # fmt: skip
def test_addresses_that_are_none(given, url):
    given.edit(given.folder / MANIFEST, lambda data: data["artifacts"][0].update(url=url))
    assert "invalid-manifest" in codes(given)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", "[" * 100_000, '{"schema_version": 1, "files": ' + "[" * 5000 + "]" * 5000 + "}",
     '{"schema_version": NaN}', '{"schema_version": ' + "9" * 5000 + "}", "\udcff"],
)  # fmt: skip
def test_manifests_that_are_none(given, text):
    (given.folder / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    assert "invalid-manifest" in codes(given)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "1e400", "1" * 400, '"12"', "1.5"])
def test_numbers_that_are_none(given, value):
    text = (given.folder / MANIFEST).read_text()
    size = given.manifest()["files"][0]["bytes"]
    (given.folder / MANIFEST).write_text(text.replace(f'"bytes": {size}', f'"bytes": {value}', 1))
    assert "invalid-manifest" in codes(given)


def _giant(group: h5py.Group) -> None:
    del group["points"], group["labels"]
    group.create_dataset("points", (1 << 40, 8, 3), "<f4", chunks=(1, 8, 3))
    group.create_dataset("labels", (1 << 40,), "<i8", chunks=(1,))


def _never_written(group: h5py.Group) -> None:
    del group["points"], group["labels"]
    group.create_dataset("points", (1 << 30, 8, 3), "<f4")
    group.create_dataset("labels", (1 << 30,), "<i8")


def _overflowing(group: h5py.Group) -> None:
    del group["points"]
    group.create_dataset("points", (2, 1 << 61, 3), "<f4", chunks=(1, 1, 3))


def _packed(group: h5py.Group) -> None:
    del group["points"], group["labels"]
    shape = (1 << 21, 8, 3)
    group.create_dataset("points", shape, "<f4", chunks=(1 << 12, 8, 3), compression="gzip")
    group.create_dataset("labels", shape[:1], "<i8", chunks=(1 << 12,), compression="gzip")


def _filtered(group: h5py.Group) -> None:
    points = group["points"][()]
    del group["points"]
    group.create_dataset("points", data=points, compression="gzip", shuffle=True)


def _elsewhere(group: h5py.Group) -> None:
    path = Path(group.file.filename).with_name("other.h5")
    shutil.copy(group.file.filename, path)
    file = group.file
    del file["000020"]
    file["000020"] = h5py.ExternalLink(str(path), "/000020")


def _soft(group: h5py.Group) -> None:
    file = group.file
    del file["000020"]
    file["000020"] = h5py.SoftLink("/000000")


def _raw(group: h5py.Group) -> None:
    del group["points"]
    group.create_dataset("points", (2, 8, 3), "<f4", external=[("/etc/passwd", 0, 192)])


def _virtual(group: h5py.Group) -> None:
    del group["points"]
    layout = h5py.VirtualLayout((2, 8, 3), "<f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (2, 8, 3))
    group.create_virtual_dataset("points", layout)


def _named(text: bytes) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        del group.attrs["class_names"]
        group.attrs["class_names"] = np.bytes_(text)

    return change


NAMES = [b"[" * (2 << 20), b"[" * 500_000, b'["\\ud800", "x"]', b'["x"]', b'["x", "x"]', b"{}", b"\xff"]


@pytest.mark.parametrize(
    "change",
    [
        _giant,
        _never_written,
        _overflowing,
        _packed,
        _filtered,
        _elsewhere,
        _soft,
        _raw,
        _virtual,
        *map(_named, NAMES),
    ],
)
def test_hostile_clouds_are_refused_without_allocation(
    given: Submission, change: Callable[[h5py.Group], None]
) -> None:
    with h5py.File(given.clouds, "r+", libver="latest") as file:
        change(file["000020"])
    given.clouds.with_name("other.h5").unlink(missing_ok=True)
    given.reseal()
    tracemalloc.start()
    try:
        assert codes(given) == ["altered-artifact"]
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_score_that_is_not_finite(given):
    text = given.evaluation.read_text()
    given.evaluation.write_text(text.replace('"seconds": 1.0', '"seconds": NaN'))
    given.reseal()
    assert codes(given) == ["invalid-record"]


# Against a commit


def _git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@a.example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_against_a_commit(tmp_path):
    top = tmp_path / "repository"
    run = a_run(top / "results")
    _git(top, "init", "-q")
    _git(top, "add", "results/*.json")
    _git(top, "commit", "-qm", "published")
    other = a_submission(tmp_path, ppc=3)
    shutil.copytree(other.folder, top / "submissions" / "mine")
    with published_at("HEAD:results", top / "submissions" / "mine") as published:
        assert validate(CATALOGUE, top / "submissions" / "mine", published) == []
    for name in ("nothing:results", "nothing", "-x", ":results", "", " "):
        with (
            pytest.raises(UsageError, match=r"is no folder|nothing is named"),
            published_at(name, top / "submissions" / "mine"),
        ):
            pass
    for name in ("HEAD", "HEAD:submissions"):  # whoever submits first
        with published_at(name, top / "submissions" / "mine") as published:
            assert validate(CATALOGUE, top / "submissions" / "mine", published) == []
    with published_at("HEAD", top / "results") as published:
        assert validate(CATALOGUE, top / "results", published) == []
    Submission(top).edit(
        run.folder / "distillation.json", lambda data: data["snapshots"][0].update(seconds=0.25)
    )
    with published_at("HEAD", top / "results") as published:
        assert [each.code for each in validate(CATALOGUE, top / "results", published)] == [
            "changed-published"
        ]


def test_published_records_that_cannot_be_read_are_no_excuse(tmp_path, given):
    run = a_run(tmp_path / "published")
    (run.folder / "distillation.json").write_text("{")
    with pytest.raises(DataError, match=r"distillation\.json"):
        validate(CATALOGUE, given.folder, tmp_path / "published")
    with pytest.raises(UsageError, match="no run that is published"):
        validate(CATALOGUE, given.folder, tmp_path / "none")


# The command


def test_the_command_prints_a_line_for_every_problem(pcbench, given):
    done = pcbench("results", "validate", given.folder)
    assert (done.code, done.out) == (0, f"{given.folder}: no problem\n")
    given.edit(given.evaluation, _raise)
    given.reseal()
    done = pcbench("results", "validate", given.folder)
    first, last = done.out.splitlines()
    assert done.code == 3
    assert first.startswith(f"altered-score: {given.evaluation.relative_to(given.folder)}: record: ")
    assert "snapshot 20: a score does not follow from its counts. Scores follow from counts:" in first
    assert last == f"{given.folder}: 1 problem"
    done = pcbench("results", "validate", given.folder, "--json")
    document = json.loads(done.out)
    assert done.code == 3
    assert document["valid"] is False
    assert [each["code"] for each in document["problems"]] == ["altered-score"]


def test_nothing_to_check_is_a_wrong_use(pcbench, tmp_path):
    assert pcbench("results", "validate", tmp_path / "none").code == 2
    (tmp_path / "empty").mkdir()
    assert pcbench("results", "validate", tmp_path / "empty").code == 2


def test_two_protocols_are_two_evaluations_of_one_run(tmp_path):
    a_run(tmp_path / "results")
    a_run(tmp_path / "results", protocol=customised(QUICK, {**TINY.changes, "recipe.lr": 0.02}))
    assert validate(CATALOGUE, tmp_path / "results") == []
