"""What counts as published: one command says it, and the gate and the publisher both ask that command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from built_in import CATALOGUE
from submissions import Submission, a_run, a_submission
from test_validate import a_verification

from pcbench.errors import UsageError
from pcbench.records import layout
from pcbench.records.store import read_runs, write_record
from pcbench.submission.collect import collect, publish
from pcbench.submission.manifest import MANIFEST
from pcbench.submission.published import Corrections
from pcbench.submission.validate import Strictness, validate

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one submission and one run of our own."""
    top = tmp_path_factory.mktemp("checkout")
    a_run(top / "leaderboard" / "results", ppc=3)
    a_submission(top / "made", "mine")
    (top / "submissions").mkdir()
    (top / "made" / "mine").rename(top / "submissions" / "mine")
    shutil.rmtree(top / "made")
    return top


@pytest.fixture
def checkout(tmp_path: Path, whole: Path) -> Path:
    shutil.copytree(whole, tmp_path / "checkout")
    return tmp_path / "checkout"


def sources(checkout: Path) -> list[Path]:
    return [checkout / "submissions", checkout / "leaderboard" / "results"]


def codes(checkout: Path, published: Path | None = None, **options: object) -> list[str]:
    against = [str(each) for each in sources(published)] if published else []
    found = collect(CATALOGUE, sources(checkout), against, **options)  # type: ignore[arg-type]
    assert all(str(checkout) in each.file for each in found.problems)
    return sorted({each.code for each in found.problems})


def test_submissions_and_our_own_runs_are_collected_with_their_clouds(checkout, tmp_path):
    found = collect(CATALOGUE, sources(checkout))
    assert found.problems == []
    publish(found, tmp_path / "records")
    runs, problems = read_runs(tmp_path / "records")
    assert problems == []
    assert sorted(run.distillation.inputs.ppc for run in runs) == [1, 3]
    assert all(layout.clouds(run.folder).is_file() for run in runs)
    assert {run.folder.name[:17] for run in runs} == {"submissions-mine-", "random-shapes10-p"}
    with pytest.raises(UsageError, match="is there already"):
        publish(found, tmp_path / "records")


def test_who_works_at_our_own_runs_is_not_published(checkout, tmp_path):
    work = checkout / "leaderboard" / "results" / layout.WORK / "plans"
    work.mkdir(parents=True)
    (work / "0123456789.json").write_text("{}")
    found = collect(CATALOGUE, sources(checkout))
    assert found.problems == []
    assert validate(CATALOGUE, checkout / "leaderboard" / "results") == []
    publish(found, tmp_path / "records")
    assert not (tmp_path / "records" / layout.WORK).exists()


@pytest.mark.parametrize("place", [".x", ".x/run", "run", "mine/.x", "deep/er/run", "näme", "a b"])
def test_records_that_no_submission_holds_are_no_way_in(checkout, place):
    """Hidden folders and loose runs, which one workflow skipped and the other published."""
    stray = checkout / "submissions" / place
    shutil.copytree(Submission(checkout / "submissions" / "mine").run, stray)
    assert set(codes(checkout)) & {"loose-file", "invalid-manifest", "odd-file"}


@pytest.mark.parametrize("what", ["file", "link", "link to a submission", "hidden file"])
def test_nothing_lies_loose_beside_submissions(checkout, what):
    place = checkout / "submissions"
    if what == "link":
        (place / "x").symlink_to(checkout / "leaderboard" / "results")
    elif what == "link to a submission":
        (place / "x").symlink_to(place / "mine")
    else:
        (place / (".gitattributes" if what == "hidden file" else "distillation.json")).write_text("{}")
    assert codes(checkout) == ["loose-file"]


@pytest.mark.parametrize("place", [".x", "x", "x.json"])
def test_nothing_lies_loose_beside_our_own_runs(checkout, place):
    target = checkout / "leaderboard" / "results" / place
    if place == "x.json":
        target.write_text("{}")
    else:
        target.mkdir()
        (target / "evaluation-0000000000.json").write_text("{}")
    assert codes(checkout)


def test_a_link_is_no_source(checkout):
    shutil.move(checkout / "submissions", checkout / "elsewhere")
    (checkout / "submissions").symlink_to(checkout / "elsewhere")
    with pytest.raises(UsageError, match="is no folder"):
        codes(checkout)


def test_our_own_runs_are_held_to_the_same_rules(checkout):
    folder = checkout / "leaderboard" / "results"
    path = next(folder.glob("*/distillation.json"))
    data = json.loads(path.read_text())
    data["clock"]["seconds"] = 0.0
    path.write_text(json.dumps(data))
    assert codes(checkout) == ["impossible-times"]


def test_one_distillation_in_two_places_hides_one(checkout):
    run = Submission(checkout / "submissions" / "mine").run
    shutil.copytree(run, checkout / "leaderboard" / "results" / run.name)
    assert codes(checkout) == ["duplicate"]


def test_a_repetition_may_stand_in_another_place(checkout):
    a_run(checkout / "leaderboard" / "results", repetition=1)
    assert codes(checkout) == []
    a_run(checkout / "leaderboard" / "results", repetition=3)
    assert codes(checkout) == ["missing-repetition"]


def test_what_is_published_stays(checkout, whole):
    assert codes(checkout, whole) == []
    shutil.rmtree(checkout / "submissions" / "mine")
    assert codes(checkout, whole) == ["removed-published"]


def test_a_first_submission_needs_a_manifest_and_then_is_welcome(checkout, tmp_path):
    base = tmp_path / "base"
    (base / "submissions").mkdir(parents=True)
    shutil.copytree(checkout / "leaderboard", base / "leaderboard")
    assert codes(checkout, base) == []
    (checkout / "submissions" / "mine" / MANIFEST).unlink()
    assert codes(checkout, base) == ["invalid-manifest"]


def test_one_published_folder_is_named_for_each_source(checkout):
    with pytest.raises(UsageError, match="2 folders, and 1 published"):
        collect(CATALOGUE, sources(checkout), ["HEAD"])


# What killed writers left, and attributes of the repository


def test_what_a_killed_writer_left_is_no_fault_and_is_not_published(checkout, tmp_path):
    for folder in (checkout / "submissions", checkout / "leaderboard" / "results"):
        run = next(folder.rglob("distillation.json")).parent
        (run / ".clouds.h5.0123456789abcdef.part").write_bytes(b"half")
        (folder / ".x.0123456789abcdef.part").write_bytes(b"half")
    assert codes(checkout) == []
    assert validate(CATALOGUE, checkout / "submissions" / "mine") == []
    publish(collect(CATALOGUE, sources(checkout)), tmp_path / "records")
    assert not list((tmp_path / "records").rglob("*.part"))
    (checkout / "submissions" / ".x.part").write_text("")
    assert codes(checkout) == ["loose-file"]


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@a.example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("where", ["submissions/.gitattributes", ".gitattributes", ".git/info/attributes"])
def test_no_attribute_hides_what_is_published(checkout, where):
    """git archive leaves out what `export-ignore` names, and the comparison saw nothing there."""
    _git(checkout, "init", "-q")
    _git(checkout, "add", "-A")
    (checkout / where).write_text("* export-ignore\n")
    _git(checkout, "add", "-A")
    _git(checkout, "commit", "-qm", "published")
    (checkout / "submissions" / ".gitattributes").unlink(missing_ok=True)
    against = ["HEAD:submissions", "HEAD:leaderboard/results"]
    archived = _git(checkout, "archive", "--format=tar", "HEAD:submissions")
    assert ("distillation" in archived) is (where == ".gitattributes")
    assert collect(CATALOGUE, sources(checkout), against).problems == []
    shutil.rmtree(checkout / "submissions" / "mine")
    found = collect(CATALOGUE, sources(checkout), against).problems
    assert [each.code for each in found] == ["removed-published"]


# The command, and the workflows that call it


def test_the_command_copies_where_all_is_well_and_nothing_else(pcbench, checkout, tmp_path):
    done = pcbench("results", "collect", *sources(checkout), "--out", tmp_path / "records")
    assert (done.code, done.out.splitlines()[-1][-20:]) == (0, ": 2 runs, no problem"), done.err
    assert len(list((tmp_path / "records").iterdir())) == 2
    shutil.copytree(checkout / "submissions" / "mine", checkout / "submissions" / ".x")
    done = pcbench("results", "collect", *sources(checkout), "--out", tmp_path / "again")
    assert done.code == 3
    assert done.out.startswith(f"loose-file: {checkout}/submissions/.x: ")
    assert not (tmp_path / "again").exists()


def test_a_name_that_is_empty_compares_with_nothing_and_is_refused(pcbench, checkout):
    mine = checkout / "submissions" / "mine"
    assert pcbench("results", "validate", mine, "--against", "").code == 2
    words = ["--against", "", "--against", str(checkout / "leaderboard" / "results")]
    assert pcbench("results", "collect", *sources(checkout), *words).code == 2


def test_a_maintainer_names_corrections_in_the_pull_request(pcbench, checkout, whole, tmp_path):
    given = Submission(checkout / "submissions" / "mine")
    given.edit(given.distillation, lambda data: data["clock"].update(seconds=2.5))
    given.reseal()
    assert codes(checkout, whole) == ["changed-published"]
    key = json.loads(given.distillation.read_text())["key"]
    text = f"A clock that went wrong.\n\n  Corrected: {key[:10]}\nlifted: 0123456789\n"
    assert Corrections.in_text(text) == Corrections([key[:10]], ["0123456789"])
    (tmp_path / "body.txt").write_text(text)
    words = [word for each in sources(whole) for word in ("--against", str(each))]
    assert pcbench("results", "collect", *sources(checkout), *words).code == 3
    done = pcbench("results", "collect", *sources(checkout), *words, "--corrections", tmp_path / "body.txt")
    assert done.code == 0, done.out


@pytest.mark.parametrize("workflow", ["submission", "publish"])
def test_both_workflows_ask_the_command_and_no_loop_of_theirs(workflow):
    text = (REPOSITORY / ".github" / "workflows" / f"{workflow}.yml").read_text()
    assert len(re.findall(r"pcbench results collect \S*submissions \S*leaderboard/results", text)) == 1
    assert not re.search(r"\b(for|while|find|cp)\b .*(submissions|results)", text)
    if workflow == "submission":
        assert '"leaderboard/results/**"' in text
        assert "--against base/submissions --against base/leaderboard/results" in text


def test_the_repository_s_own_results_are_collected(tmp_path):
    (tmp_path / "submissions").mkdir()
    found = collect(CATALOGUE, [tmp_path / "submissions", REPOSITORY / "leaderboard" / "results"])
    assert found.problems == []
    assert len(found.runs) == len(list((REPOSITORY / "leaderboard" / "results").iterdir()))


def test_verifications_of_a_submitter_are_told_by_the_gate(checkout, whole):
    given = Submission(checkout / "submissions" / "mine")
    key = json.loads(given.evaluation.read_text())["key"]
    strict = Strictness(maintained=False)
    assert codes(checkout, whole, strictness=strict) == []
    write_record(layout.verification(given.run, key), a_verification(given))
    assert codes(checkout, whole) == []
    assert codes(checkout, whole, strictness=strict) == ["forged-verification"]


def test_runs_that_a_submitter_puts_among_our_own_are_told_by_the_gate(pcbench, checkout, whole):
    """They would be shown as run here, by the maintainers."""
    a_run(checkout / "leaderboard" / "results", ppc=2)
    assert codes(checkout, whole) == []
    words = [word for each in sources(whole) for word in ("--against", str(each))]
    done = pcbench("results", "collect", *sources(checkout), *words, "--by-submitter")
    assert (done.code, done.out.partition(":")[0]) == (3, "foreign-run")
