"""What goes into a submission, and what is left out and named."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from built_in import CATALOGUE
from hostile import fail
from submissions import a_run

from pcbench.common.files import LEFT_OVER, STALE, remove_left_overs, write_text
from pcbench.errors import DataError, UsageError
from pcbench.records.store import write_distillation
from pcbench.submission.manifest import REMEDIES
from pcbench.submission.submit import found, submit
from pcbench.submission.validate import validate


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two finished runs, one that failed, one without an evaluation, and one that was only begun."""
    out = tmp_path / "results"
    a_run(out)
    a_run(out, ppc=2)
    fail(a_run(out, ppc=3), "out of memory")
    for path in a_run(out, ppc=4).folder.glob("evaluation-*.json"):
        path.unlink()
    begun = a_run(out, ppc=5).folder
    for path in begun.iterdir():
        path.unlink()
    (begun / "checkpoint.h5").write_bytes(b"")
    return out


def test_failed_and_unfinished_runs_are_left_out_and_named(pcbench, results, tmp_path):
    done = pcbench("submit", results, "--license", "MIT", "--out", tmp_path / "mine")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "mine" / "runs").iterdir())) == 2
    lines = sorted(line for line in done.err.splitlines() if line.startswith("left out: "))
    assert [line.rpartition("ppc")[2].partition("-")[0] for line in lines] == ["3", "4", "5"]
    assert "failed: out of memory" in lines[0]
    assert "has no evaluation" in lines[1]
    assert "is not finished" in lines[2]
    assert validate(CATALOGUE, tmp_path / "mine") == []


def test_programs_are_told_what_was_left_out(pcbench, results, tmp_path):
    done = pcbench("submit", results, "--license", "MIT", "--out", tmp_path / "mine", "--json")
    assert len(json.loads(done.out)["left_out"]) == 3


def test_where_nothing_is_finished_there_is_no_submission(results, tmp_path):
    runs, _ = found([results])
    failed = [run for run in runs if run.distillation.status != "ok"]
    with pytest.raises(UsageError, match=r"no finished run to submit:\n.*out of memory"):
        submit(CATALOGUE, failed, tmp_path / "mine", "MIT")
    assert not (tmp_path / "mine").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is no run's folder"):
        found([tmp_path / "empty"])


def test_what_a_killed_writer_left_goes_when_its_run_is_written_again(tmp_path):
    run = a_run(tmp_path / "results")
    old, new = (run.folder / f".clouds.h5.{digit * 16}.part" for digit in "0a")
    other = run.folder / ".notes.part"
    for path in (old, new, other):
        path.write_bytes(b"half")
        os.utime(path, (time.time(), time.time() - 2 * STALE * (path != new)))
    remove_left_overs(run.folder)
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
    os.utime(new, (0, 0))
    write_distillation(run.folder, run.distillation)
    assert not new.exists()


def test_the_name_of_what_a_killed_writer_leaves_is_known(tmp_path, monkeypatch):
    names: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    write_text(tmp_path / "distillation.json", "{}")
    assert len(names) == 1
    assert LEFT_OVER.fullmatch(names[0])


def test_every_kind_of_problem_is_told_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "submitting.md").read_text(encoding="utf-8")
    table = text.partition("| code | what was found |")[2].partition("\n\n")[0]
    codes = {code for row in table.splitlines()[1:] for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert codes == set(REMEDIES)
