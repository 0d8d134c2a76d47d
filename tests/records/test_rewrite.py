"""Old records can be rewritten in today's form without a number changing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pcbench.records import layout
from pcbench.records.rewrite import rewrite
from pcbench.records.store import read_runs

EXAMPLES = Path(__file__).parent / "examples" / "version1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "results")
    for folder in layout.run_folders(tmp_path / "results"):
        layout.clouds(folder).write_bytes(b"clouds")
    return tmp_path / "results"


def test_the_same_records_stand_under_todays_names(old):
    before, _ = read_runs(old)
    assert len(rewrite(old)) == len(before) == 2
    after, problems = read_runs(old)
    assert problems == []
    assert [run.distillation for run in after] == [run.distillation for run in before]
    assert [run.evaluations for run in after] == [run.evaluations for run in before]
    assert [run.verifications for run in after] == [run.verifications for run in before]
    for run in after:
        assert run.folder == layout.run_folder(old, run.distillation.inputs)
        names = {path.name for path in run.folder.iterdir()}
        expected = {layout.evaluation(run.folder, each.key).name for each in run.evaluations}
        expected |= {layout.verification(run.folder, each.evaluation).name for each in run.verifications}
        assert names == expected | {layout.DISTILLATION, layout.CLOUDS}
        assert json.loads(layout.distillation(run.folder).read_text())["schema_version"] == 2
        assert layout.clouds(run.folder).read_bytes() == b"clouds"


def test_a_second_time_nothing_is_left_to_do(old):
    rewrite(old)
    assert rewrite(old) == []


def test_what_cannot_be_read_is_left_alone_and_named(old, pcbench):
    (folder,) = old.glob("random-*")
    layout.distillation(folder).write_text("{")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = pcbench("results", "migrate", old)
    assert done.code == 3
    assert f"{folder} holds what cannot be read" in done.err
    assert "1 rewritten, 1 left as they are" in done.out
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
