"""What a method logs is written as it goes, goes on after an interruption, and is read as a stranger's."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pcbench.records import log
from pcbench.records.log import Entry, Log, read


def logged(path: Path, iterations: range) -> Log:
    journal = Log(path)
    for iteration in iterations:
        journal.add(iteration, {"loss": 1 / iteration, "norm": float("inf")})
    return journal


def test_values_are_there_while_the_method_works(tmp_path: Path) -> None:
    journal = logged(tmp_path / "run" / "log.csv", range(1, 3))
    assert read(journal.path) == [
        Entry(1, "loss", 1.0),
        Entry(1, "norm", math.inf),
        Entry(2, "loss", 0.5),
        Entry(2, "norm", math.inf),
    ]
    journal.end()
    assert journal.path.exists()


def test_after_an_interruption_what_was_logged_until_the_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logged(path, range(1, 8))
    journal = Log(path)
    journal.went_on(4)
    journal.add(5, {"loss": 9.0})
    journal.end()
    values = [(entry.iteration, entry.value) for entry in read(path) if entry.name == "loss"]
    assert values == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25), (5, 9.0)]


def test_a_distillation_that_begins_again_leaves_nothing_of_the_old_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logged(path, range(1, 8))
    Log(path)
    assert len(read(path)) == 14
    Log(path).end()
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("a,b", "no name"), ("x" * 41, "no name"), ("loss\n1", "no name"), ("=cmd", "no name")],
)
def test_names_are_those_of_variables(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Log(tmp_path / "log.csv").add(1, {name: 1.0})


def test_names_and_bytes_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="more than 40 names"):
        Log(tmp_path / "log.csv").add(1, {f"n{number}": 1.0 for number in range(41)})
    monkeypatch.setattr(log, "LARGEST", 100)
    with pytest.raises(ValueError, match="log fewer values"):
        logged(tmp_path / "log.csv", range(1, 10))


@pytest.mark.parametrize("text", ["", "\x00\x01", "iteration,name\n", "a\n" * 9, "iteration,name,value\n\n"])
def test_a_file_that_is_none_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    assert read(tmp_path / "log.csv") == []


def test_a_line_that_is_none_ends_a_file(tmp_path: Path) -> None:
    for line in ("2,<script>,1", "2,loss", "-1,loss,1", "2,loss,one", '2,loss,"1\n', "9" * 30 + ",loss,1"):
        (tmp_path / "log.csv").write_text(f"iteration,name,value\n1,loss,0.5\n{line}\n3,loss,1\n")
        assert read(tmp_path / "log.csv") == [Entry(1, "loss", 0.5)]
