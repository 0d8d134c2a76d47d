"""Badges say what records say: who made a score, who made it again, when and on what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from badges import Badges, unexplained
from built_in import CATALOGUE
from record_parts import provenance
from report_records import TOTALS, a_run

from pcbench.records import layout
from pcbench.records.store import read_run, read_runs, write_record
from pcbench.records.verifications import VerificationRecord
from pcbench.report import status
from pcbench.report.gather import gather
from pcbench.report.site import board_of, build
from pcbench.report.status import MEANING, WEAKEST, status_of, submitter
from pcbench.report.viewer import Clouds

SCORES = [(5, 9 + n % 2) for n in range(10)]


def verified(folder: Path, **changes: Any) -> VerificationRecord:
    """Put a verification of a run's evaluation beside it: by default the same scores were found again."""
    run, _ = read_run(folder)
    (scored,) = run.evaluations
    values: dict[str, Any] = {
        "evaluation": scored.key,
        "distillation": run.distillation.key,
        "iteration": scored.headline.iteration,
        "clouds": scored.headline.clouds,
        "redistilled": False,
        "repetitions": scored.inputs.repetitions,
        "published": scored.headline.oa,
        "totals": TOTALS,
        "correct": scored.headline.correct,
        "low": -0.5,
        "high": 0.5,
        "margin": 3.0,
        "verdict": "verified",
        "provenance": provenance(hardware="Their CPU"),
    }
    record = VerificationRecord(**values | changes)
    write_record(layout.verification(folder, scored.key), record)
    return record


LOWER: dict[str, Any] = {
    "correct": [[3, 7]] * 10, "low": -20.0, "high": -14.0, "verdict": "refuted",
}  # fmt: skip
WIDE: dict[str, Any] = {**LOWER, "margin": 50.0, "verdict": "verified"}


def state(folder: Path) -> str:
    run, problems = read_run(folder)
    assert not problems
    return status_of(run, run.evaluations[0]).state


def submitted(root: Path, **changes: Any) -> Path:
    """A run in a submission called `lab`."""
    (root / "lab").mkdir(parents=True, exist_ok=True)
    (root / "lab" / "manifest.json").write_text("{}")
    return a_run(root / "lab" / "runs", right=SCORES, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (None, "claimed"),
        ({}, "re-evaluated"),
        ({"redistilled": True}, "re-distilled"),
        (LOWER, "refuted"),
        (WIDE, "claimed"),
        ({"low": -6.0, "high": 6.0, "verdict": "inconclusive"}, "claimed"),
    ],
)
def test_the_state_of_a_submitted_score(
    tmp_path: Path, changes: dict[str, Any] | None, expected: str
) -> None:
    folder = submitted(tmp_path)
    if changes is not None:
        verified(folder, **changes)
    assert state(folder) == expected
    run, _ = read_run(folder)
    found = status_of(run, run.evaluations[0])
    again = expected not in ("claimed", "run here")
    assert (found.who, found.hardware) == (
        (status.MAINTAINERS, "Their CPU, 2 threads") if again else ("lab", "A CPU, 2 threads")
    )
    assert found.submitted == "lab"
    assert found.text.startswith(f"{expected} by {found.who}, {found.when[:10]}, {found.hardware}")


def test_what_is_not_in_a_submission_was_run_here(tmp_path: Path) -> None:
    folder = a_run(tmp_path, right=SCORES)
    assert (state(folder), submitter(read_run(folder)[0])) == ("run here", None)
    verified(folder)
    assert state(folder) == "re-evaluated"


def test_a_run_of_a_submission_keeps_its_name_where_a_publisher_copies_it(tmp_path: Path) -> None:
    folder = a_run(tmp_path, right=SCORES)
    for name, expected in (
        (f"submissions-lab-runs-{folder.name}", "lab"),
        (f"submissions-my-lab-{folder.name}", "my-lab"),
        ("submissions-odd", "odd"),
    ):
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        assert submitter(read_run(copy)[0]) == expected
        assert state(copy) == "claimed"


def test_a_cell_is_worth_what_its_weakest_score_is(tmp_path: Path) -> None:
    first = a_run(tmp_path, right=SCORES)
    second = submitted(tmp_path / "theirs", repetition=1)
    shutil.copytree(second, tmp_path / f"submissions-lab-runs-{second.name}")
    for folder, expected in (
        (first, "claimed"),
        (tmp_path / f"submissions-lab-runs-{second.name}", "re-evaluated"),
    ):
        verified(folder)
        (section,) = board_of(gather(tmp_path)).sections
        (row,) = section.rows
        assert row.status.state == expected
    assert [WEAKEST.index(each) for each in WEAKEST] == [0, 1, 2, 3, 4]


def test_a_submitted_copy_of_a_run_never_takes_its_place(tmp_path: Path) -> None:
    """Even with more evaluations than the run that was made here has."""
    here = a_run(tmp_path, right=SCORES)
    theirs = a_run(tmp_path / "other", right=[(10, 20)] * 10)
    a_run(tmp_path / "other", right=[(10, 20)] * 10, student="canonical")
    shutil.move(theirs, tmp_path / f"submissions-lab-runs-{here.name}")
    gathered = gather(tmp_path)
    (kept,) = gathered.runs
    assert kept.folder == here


def test_refuted_scores_have_no_rank(tmp_path: Path) -> None:
    from pcbench.report import overview

    a_run(tmp_path, method="dm", right=[(3, 6 + n % 2) for n in range(10)])
    a_run(tmp_path, method="random", right=[(2, 4 + n % 2) for n in range(10)])
    lie = a_run(tmp_path, method="sadm", right=SCORES)
    verified(lie, **LOWER)
    (block,) = overview.blocks(board_of(gather(tmp_path)))
    first, second, third = block.tables[0].lines
    assert [line.head.name for line in (first, second, third)] == ["dm", "random", "sadm"]
    assert (third.values[-3].text, third.values[-1].badge) == ("–", "refuted")
    assert "not ranked" in third.head.remarks


# Built sites


def built(records: Path, out: Path) -> dict[str, str]:
    build(records, out, CATALOGUE, Clouds(CATALOGUE.datasets, False))
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.html")}


def test_every_state_stands_on_the_pages_with_its_record(tmp_path: Path) -> None:
    records = tmp_path / "records"
    changes: dict[str, dict[str, Any] | None] = {
        "claimed": None, "re-evaluated": {}, "re-distilled": {"redistilled": True}, "refuted": LOWER,
    }  # fmt: skip
    for method, verification in changes.items():
        folder = a_run(tmp_path / "made", method=f"m-{method}", right=SCORES)
        if verification is not None:
            verified(folder, **verification)
        shutil.move(folder, records / f"submissions-lab-runs-{folder.name}")
    a_run(records, method="random", right=SCORES)
    pages = built(records, tmp_path / "site")
    runs, _ = read_runs(records)
    assert unexplained(pages, runs) == []
    kinds = {words for words, _ in Badges(pages["tables.html"]).found}
    assert kinds == set(WEAKEST)
    texts = " ".join(text for page, text in pages.items() if page.startswith("runs/"))
    assert "Submitted by lab. Times, memory, hardware, versions and command lines are unchecked" in texts
    assert "Made by this board&#39;s maintainers." in texts
    for state_ in WEAKEST:
        explained = MEANING[state_].replace("'", "&#39;") in texts
        assert explained == (state_ != "run here")  # which says all of it


def test_a_submitted_method_of_a_built_in_name_is_no_anchor_and_in_no_row_of_it(tmp_path: Path) -> None:
    from pcbench.report import overview, stale
    from pcbench.report.current import Current

    records = tmp_path / "records"
    for method, right in (("random", 4), ("sadm", 8)):
        for ppc in (1, 3):
            a_run(records, method=method, ppc=ppc, right=[(2, right + n % 2) for n in range(10)])
    for ppc in (1, 2, 3):
        folder = a_run(
            tmp_path / "x", method="random", source="a" * 64, ppc=ppc, right=[(0, n % 2) for n in range(10)]
        )
        shutil.move(folder, records / f"submissions-lab-runs-{folder.name}")
    board = board_of(gather(records, Current.of(CATALOGUE)))
    (block,) = overview.blocks(board)
    keys = [heading.key for heading in block.tables[0].headings]
    assert "ppc2" not in keys
    found = {line.head.name: dict(zip(keys, line.values, strict=True)) for line in block.tables[0].lines}
    assert list(found) == ["sadm", "random"]
    assert found["random"]["random-ppc1"].text == "anchor"
    assert found["sadm"]["random-ppc1"].value == pytest.approx(100 * 4 / 30)
    (apart,) = stale.blocks(board)
    heads = {line.head.text for line in apart.tables[0].lines}
    assert heads == {"random, not pcbench's own random"}
