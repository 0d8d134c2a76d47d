"""`results list`, `results table` and `compare` show every state, add up repetitions, and print JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report_records import a_run

from pcbench.records import layout


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two repetitions of random, one of dm; a stale run, a failed one, one interrupted, one not evaluated."""
    out = tmp_path / "results"
    for repetition in range(2):
        a_run(out, method="random", repetition=repetition, engine=2, right=[(4 + repetition, 10)] * 10)
    a_run(out, method="dm", variation={"lr": 5.0}, engine=2, right=[(8, 10)] * 10)
    a_run(out, method="dc", engine=1)
    a_run(out, method="m3d", status="failed", reason="ValueError: no", engine=2)
    a_run(out, method="mtt", status="interrupted", reason="interrupted by the user", engine=2)
    a_run(out, method="sadm", evaluated=False, engine=2)
    return out


@pytest.fixture(autouse=True)
def engine_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcbench.records.identity.ENGINE", 2)


def test_the_list_has_every_run_with_its_state(pcbench, results: Path) -> None:
    done = pcbench("results", "list", "--json")
    assert done.code == 0, done.err
    lines = json.loads(done.out)
    states = sorted((line["method"], line["repetitions"], line["state"]) for line in lines)
    assert states == [
        ("dc", [0], "stale"),
        ("dm", [0], "finished"),
        ("m3d", [0], "failed"),
        ("mtt", [0], "interrupted"),
        ("random", [0], "finished"),
        ("random", [1], "finished"),
        ("sadm", [0], "not evaluated"),
    ]
    by_method = {line["method"]: line for line in lines}
    assert by_method["dc"]["reason"] == "ENGINE 1, now 2"
    assert by_method["dm"]["parameters"] == {"lr": "5.0"}
    assert by_method["dm"]["oa"] == pytest.approx(60)
    assert all((results / name).is_dir() for line in lines for name in line["runs"])
    text = pcbench("results", "list").out
    assert "failed, 1 of 7: ValueError: no" in text
    assert "stale, 1 of 7: ENGINE 1, now 2" in text


def test_the_table_adds_up_repetitions_and_is_printed_in_every_form(pcbench, results: Path) -> None:
    (random,) = [
        each for each in json.loads(pcbench("results", "table", "--json").out) if each["method"] == "random"
    ]
    assert random["repetitions"] == [0, 1]
    assert (random["oa"], random["oa_std"]) == pytest.approx((48.333, 2.357), abs=0.01)
    rows = list(csv.DictReader(pcbench("results", "table", "--format", "csv").out.splitlines()))
    assert {row["method"]: row["state"] for row in rows}["mtt"] == "interrupted"
    assert {row["method"]: row["parameters"] for row in rows}["dm"] == "lr=5.0"
    for form, line in (
        ("md", r"| dm lr=5.0 | shapes10 | 1 | quick | pointnet:paper | 0 | 10 | finished | 60.0 ± 0.0 |"),
        (
            "latex",
            r"dm lr=5.0 & shapes10 & 1 & quick & pointnet:paper & 0 & 10 & finished & 60.0 $\pm$ 0.0 \\",
        ),
        ("text", "dm lr=5.0  shapes10    1  quick"),
    ):
        assert line in pcbench("results", "table", str(results), "--format", form).out


def test_a_run_that_was_killed_is_told_and_a_folder_without_runs_is_an_error(pcbench, results: Path) -> None:
    begun = results / "dm-begun"
    begun.mkdir()
    layout.checkpoint(begun).touch()
    assert f"{Path('results', 'dm-begun')} was begun and has no record yet" in pcbench("results", "list").err
    done = pcbench("results", "list", "nowhere")
    assert done.code == 3
    assert "no finished run in nowhere" in done.err


def test_compare_names_methods_and_runs_and_prints_the_interval(pcbench, results: Path) -> None:
    run = next(results.glob("dm-*")).name
    for name in ("dm", "dm lr=5.0", run, run[:18], f"results/{run}"):
        done = pcbench("compare", "random", name)
        assert done.code == 0, done.err
        assert "+13.3" in done.out
    (found,) = json.loads(pcbench("compare", "random", "dm", "--json").out)["comparisons"]
    assert (found["repetitions"], found["students"]) == (1, 10)
    assert found["difference"]["mean"] == pytest.approx(13.333, abs=0.01)
    assert found["difference"]["low"] < found["difference"]["mean"] < found["difference"]["high"]
    a_run(results, method="kcenter", ppc=3, engine=2)
    done = pcbench("compare", "random", "dm", "kcenter")
    assert (done.code, "kcenter has no cell in common with random" in done.err) == (0, True)
    assert pcbench("compare", "random").code == pcbench("compare", "random", "random").code == 2
    assert pcbench("compare", "random", "sadm").code == 3
