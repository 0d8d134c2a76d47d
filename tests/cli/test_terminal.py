"""What people see in a terminal of a given width, and what a log file keeps where there is none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import in_terminal

from pcbench.cli import progress
from pcbench.cli.progress import Log

WORDS = ("run", "--method", "random", "--ppc", "1,2", "--seeds", "2", "--protocol", "quick")
TINY = ("--set", "points=16", "--set", "recipe.epochs=1", "--set", "whole.epochs=1")


def printed(columns: int, folder: Path, *words: str) -> str:
    """What the command prints into a terminal of that width, standard error elsewhere."""
    command = [sys.executable, "-m", "pcbench", *words]
    code, text = in_terminal(command, folder, columns, errors=False)
    assert code == 0, text
    return text


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    subprocess.run(
        [sys.executable, "-m", "pcbench", *WORDS, *TINY], cwd=folder, check=True, capture_output=True
    )
    return folder


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_numbers_are_whole_at_every_width(records: Path, columns: int) -> None:
    text = printed(columns, records, *WORDS, *TINY)
    assert "…" not in text
    rows = [line for line in text.splitlines() if line.startswith("random")]
    assert len(rows) == 2
    for row in rows:
        assert re.search(r"\d+\.\d ± \d+\.\d", row), row
        assert len(row.rstrip()) <= columns
    header = next(line for line in text.splitlines() if line.startswith("method"))
    assert "OA" in header
    assert ("mAcc" in header) == (columns == 120)


@pytest.mark.parametrize("words", [("info", "sadm"), ("list", "methods"), ("info", "shapes10")])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_other_tables_keep_their_names_at_every_width(
    tmp_path: Path, columns: int, words: tuple[str, ...]
) -> None:
    assert "…" not in printed(columns, tmp_path, *words)


def test_a_log_file_hears_of_every_phase_and_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    cell = Log().cell("[1/1] dm")
    for seconds, done in ((0, 0), (1, 240), *((done - 239, done) for done in range(241, 401))):
        clock[0] = seconds
        cell("distil", done, 400)
    for seconds, done in ((150, 0), (151, 1)):
        clock[0] = seconds
        cell("train students", done, 1)
    cell.end()
    assert capsys.readouterr().err.splitlines() == [
        "[1/1] dm: begins",
        "[1/1] dm: distil begins, 400 steps",
        "[1/1] dm: distil goes on from iteration 240",
        "[1/1] dm: distil 299 of 400, about 1 min 41 s left",
        "[1/1] dm: distil 359 of 400, about 41 s left",
        "[1/1] dm: distil ended after 2 min 40 s",
        "[1/1] dm: train students begins, 1 steps",
    ]


def test_a_run_in_a_pipe_says_what_it_does_before_it_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pcbench", *WORDS, *TINY],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Protocol ")
    assert lines[1] == "2 cells to do; time: unknown for 2 cells."
    assert lines[2].endswith("begins")
    assert any("distil begins" in line for line in lines)
    assert any("train students begins" in line for line in lines)


BUGGY = '''
from pcbench.api import Method


class Buggy(Method):
    """Fails."""

    name = "buggy"

    def distill(self, task):
        return self.helper(task.train.points)

    def helper(self, points):
        raise ValueError("shapes do not fit")
'''


@pytest.mark.parametrize("place", [None, 0, 1, -1])
def test_an_error_of_a_plugin_names_its_line_and_debug_shows_its_frames(
    tmp_path: Path, place: int | None
) -> None:
    """place: where --debug stands among the words; None: nowhere."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "buggy.py").write_text(BUGGY)
    words = ["run", "--method", "buggy", "--plugins", "mine", "--ppc", "1", *TINY]
    if place is not None:
        words.insert(len(words) if place == -1 else place, "--debug")
    done = subprocess.run(
        [sys.executable, "-m", "pcbench", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"failed: ValueError: shapes do not fit ({tmp_path}/mine/buggy.py:14)" in done.stderr
    assert ("in helper" in done.stderr) == (place is not None)
    assert "Next:" not in done.stdout


def test_pdb_opens_where_a_method_fails_and_the_run_ends_as_without(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "buggy.py").write_text(BUGGY)
    words = ["run", "--pdb", "--method", "buggy", "--plugins", "mine", "--ppc", "1", *TINY]
    done = subprocess.run(
        [sys.executable, "-m", "pcbench", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        input="p points.shape\nq\n",
    )
    assert done.returncode == 1
    assert "ValueError: shapes do not fit; 'q' goes on" in done.stderr
    assert "torch.Size([1000, 16, 3])" in done.stderr
    assert "failed: ValueError: shapes do not fit (" in done.stderr
