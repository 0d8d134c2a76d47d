"""`pcbench.predictions` has a row for every student and test cloud, with what it answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_parts import keep_answers
from report_records import a_run

import pcbench
from pcbench import Outcomes
from pcbench.protocols.protocol import QUICK, customised


def test_every_answer_has_a_row(tmp_path: Path) -> None:
    folder = a_run(tmp_path, protocol=customised(QUICK, {"students": 2}))
    keep_answers(folder, [[0] * 10 + [1] * 20, [1] * 30])
    frame = pcbench.predictions(folder)
    assert list(frame) == [
        "student_backbone", "protocol", "test", "student", "cloud", "label", "predicted", "right"
    ]  # fmt: skip
    assert len(frame) == 60
    assert frame.groupby("student")["right"].mean().tolist() == pytest.approx([1, 2 / 3])
    wrong = frame[~frame["right"]]
    assert set(zip(wrong["label"], wrong["predicted"], strict=True)) == {("chair", "table")}
    assert wrong["cloud"].tolist() == list(range(10))
    assert set(frame["test"]) == {"plain"}


def test_the_answers_of_a_run_have_its_scores(ran: Outcomes) -> None:
    """Other tests have the same run evaluated in other ways too."""
    frame = pcbench.predictions(ran[1])
    (record,) = ran[1].run.evaluations
    asked = record.inputs
    own = (frame["protocol"] == asked.protocol.label) & (frame["test"] == "plain")
    frame = frame[own & (frame["student_backbone"] == asked.network.label)]
    assert frame.groupby("student")["right"].mean().tolist() == pytest.approx(record.headline.oa)


def test_a_run_that_kept_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pcbench.DataError, match="has kept no student's answers"):
        pcbench.predictions(a_run(tmp_path))
