"""`pcbench tune` tries the defaults and what is asked for on the validation part, and reads no test cloud."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcbench.records.store import read_runs

SMALL = ("--ppc", "1", "--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1")


def test_the_best_of_all_combinations_is_named_with_the_command_that_tests_it(
    pcbench: Callable[..., Any],
) -> None:
    done = pcbench("tune", "dm", "--set", "lr=1,5", *SMALL, "--set", "students=2", "--out", "out")
    assert done.code == 0, done.err
    rows = [re.split("  +", line)[0] for line in done.out.splitlines()[2:5]]
    assert sorted(rows) == ["dm", "dm lr=5.0", "dm:paper lr=1.0"]
    last = done.out.splitlines()[-1]
    assert last.startswith("Best of 3. On the test split: pcbench run --method dm")
    assert "--dataset shapes10 --protocol quick --ppc 1 --set " in last
    words = shlex.split(last.partition("pcbench run ")[2])
    (cell,) = json.loads(pcbench("run", *words, "--out", "out", "--dry-run", "--json").out)["cells"]
    asked = "custom (quick with iterations=2, points=16, recipe.epochs=1, students=2)"
    assert (cell["dataset"], cell["protocol"]) == ("shapes10", asked)
    runs, _ = read_runs(Path("out"))
    assert {run.distillation.inputs.data.name for run in runs} == {"shapes10:validation"}
    again = pcbench("tune", "dm", "--set", "lr=1,5", *SMALL, "--set", "students=2", "--out", "out", "--json")
    tried = json.loads(again.out)["tried"]
    means = [sum(each["oa"]) for each in tried]
    assert means == sorted(means, reverse=True)
    assert [each["variation"] for each in tried].count({}) == 1


def test_run_on_the_validation_part_is_the_same_cell(pcbench: Callable[..., Any]) -> None:
    words = ("--dry-run", "--json", "--repetition", "0-1", "--set", "lr=1,5")
    by_split, by_name = (
        json.loads(pcbench("run", "-m", "dm", *words, "-p", "quick", *how).out)["cells"]
        for how in (("--split", "validation"), ("-d", "shapes10:validation"))
    )
    assert by_split == by_name
    assert [(cell["dataset"], cell["variation"]["lr"]) for cell in by_split] == [
        ("shapes10:validation", lr) for lr in (1.0, 5.0, 1.0, 5.0)
    ]


def test_tune_needs_values_to_try_and_one_protocol(pcbench: Callable[..., Any]) -> None:
    nothing = pcbench("tune", "dm")
    assert (nothing.code, nothing.out) == (2, "")
    assert "tune needs values of a method's parameter to try" in nothing.err
    two = pcbench("tune", "dm", "--set", "lr=1,2", "--set", "points=16,32")
    assert two.code == 2
    assert "--set points: tune chooses a method's parameters, under one protocol" in two.err
