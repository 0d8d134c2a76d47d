"""`pcbench plan`, `run --plan --share`, `status`, `retry`, `results merge` and `gc`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcbench.cli.spans import duration, size
from pcbench.errors import UsageError
from pcbench.records import layout
from pcbench.records.store import read_runs

TINY = (
    *("--method", "random", "--ppc", "1,3", "--seeds", "2", "--set", "points=16", "--set", "iterations=1"),
    *("--set", "recipe.epochs=1"),
)


def test_a_plan_is_worked_through_in_parts_that_come_together(pcbench):
    planned = pcbench("plan", *TINY, "--repetition", "0-1", "--out", "plan.json")
    assert planned.code == 0, planned.err
    assert "plan.json: 4 cells." in planned.out
    for number in (1, 2):
        done = pcbench("run", "--plan", "plan.json", "--share", f"{number}/2", "--out", f"node{number}")
        assert done.code == 0, done.err
        assert "[1/2]" in done.err
        assert len(read_runs(Path(f"node{number}"))[0]) == 2
    assert "4 cells: 2 done, 2 to do" in pcbench("status", "node1").out

    merged = pcbench("results", "merge", "node2", "--out", "node1")
    assert (merged.code, merged.out) == (0, "node1: 4 copied\n")
    assert "4 cells: 4 done" in pcbench("status", "node1").out
    rest = pcbench("run", "--plan", "plan.json", "--out", "node1")
    assert rest.code == 0
    assert rest.err.count("done already") == 4
    assert pcbench("retry", "node1").out == "There is nothing to retry.\n"
    would = pcbench("results", "gc", "node1", "--dry-run")
    assert "all its cells are done" in would.out
    assert len(layout.plans(Path("node1"))) == 1
    assert "1 file removed" in pcbench("results", "gc", "node1").out
    assert layout.plans(Path("node1")) == []
    assert len(read_runs(Path("node1"))[0]) == 4


def test_retry_does_what_is_left_of_a_plan_without_its_words(pcbench):
    pcbench("plan", *TINY, "--out", "plan.json")
    pcbench("run", "--plan", "plan.json", "--share", "1/2")
    nothing = pcbench("retry", "--failed")
    assert nothing.out == "There is nothing to retry.\n"
    done = pcbench("retry")
    assert done.code == 0, done.err
    assert json.loads(pcbench("status", "--json").out)["counts"]["done"] == 2


def test_a_plan_shows_what_it_would_do(pcbench):
    pcbench("plan", *TINY, "--out", "plan.json", "--json")
    shown = pcbench("run", "--plan", "plan.json", "--dry-run", "--json")
    assert [cell["state"] for cell in json.loads(shown.out)["cells"]] == ["to do", "to do"]
    assert not Path("results").exists()


MISTAKES = {
    "words beside a plan": (
        ("run", "--plan", "plan.json", "--method", "sadm"),
        2,
        "a plan says what there is to do: leave --method out",
    ),
    "no share": (("run", *TINY, "--share", "3"), 2, "'3' is no share: the third of eight is 3/8"),
    "no such share": (("run", *TINY, "--share", "9/8"), 2, "share 9/8: parts are numbered from 1 to 8"),
    "no plan": (("run", "--plan", "none.json"), 3, "none.json: cannot be read"),
    "no number": (("run", *TINY, "--jobs", "many"), 2, "'many' is no number of cells at once"),
    "no time": (("run", *TINY, "--timeout", "soon"), 2, "--timeout soon: seconds are needed"),
    "no size": (("run", *TINY, "--memory", "much"), 2, "--memory much: a size is needed"),
    "no profile": (("run", *TINY, "--slurm", "none.toml"), 2, "profile none.toml cannot be read"),
    "a share of a cluster": (("run", *TINY, "--slurm", "x.toml", "--share", "1/2"), 2, "leave --share out"),
    "no folder": (("status", "nowhere"), 3, "there is no nowhere"),
    "nothing to merge": (("results", "merge", "nowhere"), 3, "there is no nowhere"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line(pcbench, mistake):
    words, code, message = MISTAKES[mistake]
    done = pcbench(*words)
    assert done.code == code
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_folder_without_a_plan_says_so(pcbench):
    Path("results").mkdir()
    done = pcbench("status")
    assert (done.code, "results holds no plan" in done.err) == (3, True)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)])
def test_times_are_read_as_they_are_written(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("500M", 500 << 20), ("8G", 8 << 30), ("1.5G", 3 << 29)])
def test_sizes_are_read_as_they_are_written(text, count):
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "8", "0G", "8GB", "-1G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="a size is needed"):
        size(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1w", "h", "٣"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="seconds are needed"):
        duration(text)
