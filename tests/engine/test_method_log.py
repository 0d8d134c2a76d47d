"""What a method logs stands beside its record, whichever process it works in, and changes no result."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcbench.records import layout
from pcbench.records.log import Entry, read
from pcbench.records.store import read_runs

TALKING = '''
import torch

from pcbench.api import Method, Snapshot


class Talking(Method):
    """Logs."""

    name = "talking"

    def distill(self, task):
        clouds = task.initial_clouds()
        yield Snapshot(0, clouds)
        for iteration in task.steps():
            NAMES
        yield Snapshot(task.iterations, clouds)
'''
TINY = (
    "--set",
    "points=16",
    "--set",
    "iterations=3",
    "--set",
    "recipe.epochs=1",
    "--seeds",
    "2",
    "--ppc",
    "1",
)


def told(folder: Path, lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "talking.py").write_text(TALKING.replace("NAMES", lines))


@pytest.mark.parametrize("where", [(), ("--in-process",)])
def test_it_is_kept_beside_the_record_and_shown_on_the_page(
    pcbench, tmp_path: Path, where: tuple[str, ...]
) -> None:
    told(tmp_path / "mine", "task.log(loss=torch.tensor(1 / iteration), worst=float('inf'))")
    words = ("run", "--method", "talking", "--plugins", "mine", *TINY, *where)
    done = pcbench(*words)
    assert done.code == 0, done.err
    (run,) = read_runs(tmp_path / "results")[0]
    entries = read(layout.log(run.folder))
    assert [entry.iteration for entry in entries] == [1, 1, 2, 2, 3, 3]
    assert entries[2] == Entry(2, "loss", 0.5)
    assert "log" not in run.distillation.model_dump_json()
    assert pcbench("leaderboard", "build", "--plugins", "mine").code == 0
    name = layout.short(run.distillation.key)
    page = (tmp_path / "site" / "runs" / f"{name}.html").read_text()
    assert "Log of the method" in page
    assert (tmp_path / "site" / "data" / name / "log.csv").read_text() == layout.log(run.folder).read_text()


def test_what_cannot_be_logged_is_the_methods_fault(pcbench, tmp_path: Path) -> None:
    told(tmp_path / "mine", "task.log(**{'no name': 1.0})")
    done = pcbench("run", "--method", "talking", "--plugins", "mine", *TINY)
    assert done.code == 1
    assert "failed: task.log: 'no name' is no name: up to 40 letters, digits and _" in done.err
