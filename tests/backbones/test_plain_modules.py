"""Networks of plain torch layers go through check, run, evaluate and the site with no change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcbench.catalogue import open_catalogue
from pcbench.conformance import check
from pcbench.records.store import read_runs

HERE = Path(__file__).parent
TINY = ("--ppc", "1", "--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1")


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("plain_pointnet", []),
        ("plain_dgcnn", []),
        ("plain_pointnet2", ["shapes", "same clouds, same logits", "order of the points"]),
        ("plain_transformer", ["shapes"]),
    ],
)
def test_such_networks_keep_the_contract(name: str, warned: list[str]) -> None:
    (report,) = check(name, open_catalogue([HERE]))
    assert report.passed, report.items
    assert [item.clause for item in report.items if item.result == "warning"] == warned


def test_a_summary_and_a_name_are_read_without_an_import(pcbench: Callable[..., Any]) -> None:
    listed = json.loads(pcbench("list", "backbones", "--plugins", HERE, "--json").out)
    (row,) = (each for each in listed if each["name"] == "plain_dgcnn")
    assert row["summary"] == "DGCNN as it is written with Conv2d over edges."


def test_such_a_network_distils_and_is_a_student_and_its_records_say_so(pcbench: Callable[..., Any]) -> None:
    own = ("--plugins", HERE, "--out", "out")
    methods = "random,dm,dc"
    done = pcbench("run", "-m", methods, "-b", "plain_pointnet", "--seeds", "2", *TINY, *own)
    assert done.code == 0, done.err
    runs, problems = read_runs(Path("out"))
    assert (len(runs), problems) == (3, [])
    for run in runs:
        (evaluation,) = run.evaluations
        assert run.distillation.inputs.network.one_by_one
        assert evaluation.inputs.network.one_by_one
    crossed = pcbench("evaluate", "out", "-b", "plain_dgcnn,pointnet", *own[:2])
    assert crossed.code == 0, crossed.err
    again = pcbench("run", "-m", methods, "-b", "plain_pointnet", "--seeds", "2", *TINY, *own)
    assert again.err.count("done already") == 3
    built = pcbench("leaderboard", "build", "--results", "out", "--out", "site", *own[:2])
    assert built.code == 0, built.err
    pages = "".join(page.read_text() for page in Path("site").rglob("*.html"))
    assert "a plain torch module: one after another" in pages
    assert "student plain_dgcnn:canonical" in pages


def test_a_method_that_needs_what_the_network_does_not_name_says_so(pcbench: Callable[..., Any]) -> None:
    done = pcbench("run", "-m", "sadm", "-b", "plain_pointnet2", *TINY, "--plugins", HERE)
    assert done.code == 1
    assert "backbone plain_pointnet2 does not say where its point_features is" in done.err
    assert 'features = {"point_features": "input fc3"}' in done.err
