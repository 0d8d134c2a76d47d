"""The data frame of results has what the table has, and every record that is published."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from report_records import a_run

import pcbench
from pcbench import Outcomes, results
from pcbench.protocols.protocol import QUICK, customised
from pcbench.records.store import read_runs

PUBLISHED = Path(__file__).parents[2] / "leaderboard" / "results"


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """Records of every status, with parameters, repetitions, another student, a changed test."""
    folder = tmp_path / "varied"
    add = partial(a_run, folder, protocol=customised(QUICK, {"students": 2}))
    add(right=[(5, 9), (7, 12)], seconds=3.0, beginning=1.0)
    add(right=[(8, 9), (6, 12)], repetition=1)
    add(variation={"lr": 5.0}, right=[(3, 9), (4, 9)], student="canonical")
    add(method="random", test="so3")
    add(method="random", ppc=3, engine=2)
    add(method="dm", status="failed", reason="RuntimeError: no", evaluated=False)
    add(method="dc", evaluated=False)
    add(method="herding", snapshots=[0])
    return folder


def agreed(frame: pd.DataFrame, lines: list[dict]) -> int:
    """Compare every line of the table with its rows; how many rows were compared."""
    compared = 0
    frame = frame.assign(run=[Path(folder).name for folder in frame["folder"]])
    reported = frame[frame["reported"]]
    for line in lines:
        if line["oa"] is None:
            (row,) = frame[frame["run"].isin(line["runs"])].drop_duplicates("run").itertuples()
            assert (row.status, row.reason) == (line["state"], line["reason"])
            continue
        rows = reported[
            reported["run"].isin(line["runs"])
            & (reported["student_backbone"] == line["student"])
            & (reported["test"] == line["test"])
            & (reported["protocol"] == line["protocol"])
        ]
        compared += len(rows)
        assert sorted(set(rows["repetition"])) == line["repetitions"]
        assert rows["oa"].mean() == pytest.approx(line["oa"], abs=1e-9)
        assert rows["macc"].mean() == pytest.approx(line["macc"], abs=1e-9)
        assert set(rows["method"]) == {line["method"]}
        assert set(rows["ppc"]) == {line["ppc"]}
        assert set(rows["division"]) == {line["division"]}
        assert set(rows["backbone"]) == {line["distilled_with"]}
        assert set(rows["status"]) == {line["state"]}
        assert set(rows["reason"]) == {line["reason"]}
        clocks = rows[~rows["busy"]].groupby("folder")["seconds"].first()
        assert (clocks.mean() if len(clocks) else None) == line["seconds"]
        for name, value in line["parameters"].items():
            assert {str(each) for each in rows[f"params.{name}"]} == {value}
    assert compared == len(reported)
    return compared


def test_published_records_are_all_there_with_the_figures_of_the_table(pcbench) -> None:
    frame = results(PUBLISHED)
    runs, _ = read_runs(PUBLISHED)
    assert set(frame["folder"]) == {str(run.folder) for run in runs}
    assert len(frame) == sum(
        len(scores.oa) for run in runs for record in run.evaluations for scores in record.snapshots
    )
    assert agreed(frame, json.loads(pcbench("results", "table", PUBLISHED, "--json").out)) > 0
    for run in runs:
        (row, *_) = frame[frame["folder"] == str(run.folder)].to_dict("records")
        params = {name: row[f"params.{name}"] for name in run.distillation.inputs.params}
        assert params == run.distillation.inputs.params


def test_every_status_has_its_rows_with_the_figures_of_the_table(pcbench, varied: Path) -> None:
    frame = results(varied)
    assert agreed(frame, json.loads(pcbench("results", "table", varied, "--json").out)) > 0
    assert set(frame["status"]) == {"finished", "stale", "failed", "not evaluated"}
    first = frame[(frame["method"] == "sadm") & (frame["repetition"] == 0) & (frame["params.lr"] != 5.0)]
    assert list(first[first["reported"]]["oa"]) == pytest.approx([100 * 14 / 30, 100 * 19 / 30])
    assert set(first["snapshot_seconds"]) == {1.0, 3.0}
    (failed,) = frame[frame["status"] == "failed"].itertuples()
    assert (failed.method, failed.reason, failed.seconds) == ("dm", "RuntimeError: no", 1.0)
    assert pd.isna(failed.student)
    assert pd.isna(failed.oa)
    (partly, *_) = frame[frame["method"] == "herding"].itertuples()
    assert (partly.iteration, partly.reported, partly.status) == (0, False, "not evaluated")
    stale = frame[frame["stale"]]
    assert set(stale["method"]) == {"random"}
    assert set(stale["ppc"]) == {3}
    assert all("ENGINE 2, now 1" in reason for reason in stale["reason"])


def test_columns_have_their_types(varied: Path) -> None:
    frame = results(varied)
    expected = "method setting dataset ppc draw repetition backbone protocol division student_backbone test "
    expected += (
        "student iteration reported oa macc seconds snapshot_seconds set_bytes step_factor marks busy "
    )
    expected += "hardware status stale "
    assert list(frame.columns) == [*expected.split(), "reason", "folder", "params.lr"]
    types = frame.dtypes.astype(str)
    assert list(types[["ppc", "student", "oa", "stale"]]) == ["int64", "Int64", "float64", "bool"]


def test_a_run_that_is_there_twice_counts_once(varied: Path) -> None:
    before = results(varied)
    first = Path(before["folder"][before["status"] == "finished"].iloc[0])
    shutil.copytree(first, varied / "a-copy")
    with pytest.warns(UserWarning, match="the same distillation as in .*counted once"):
        assert len(results(varied)) == len(before)


def test_what_cannot_be_used_is_left_out_with_a_warning(varied: Path, tmp_path: Path) -> None:
    before = results(varied)
    broken = next(varied.glob("dm-*")) / "distillation.json"
    broken.write_text("{}")
    with pytest.warns(UserWarning, match=r"left out .*distillation\.json: schema_version None"):
        assert len(results(varied)) == len(before) - 1
    with pytest.raises(pcbench.DataError, match="no finished run in"):
        results(tmp_path / "nowhere")


def test_outcomes_are_a_frame_too(ran: Outcomes, results_folder: Path) -> None:
    frame = ran.frame()
    scored, failed = frame[frame["oa"].notna()], frame[frame["oa"].isna()]
    assert set(scored["method"]) == {"random", "sadm"}
    assert list(failed["method"]) == ["gives_up"]
    assert failed["reason"].iloc[0] == ran[2].problem
    everything = results(results_folder)
    same = everything.merge(scored, on=["folder", "student", "iteration", "student_backbone", "test"])
    assert len(same) == len(scored)
    assert list(same["oa_x"]) == list(same["oa_y"])
