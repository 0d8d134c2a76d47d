"""What a score is worth, by who made it and who made it again: the badges, each from a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pcbench.records.models import EvaluationRecord, Run, VerificationRecord
from pcbench.report.text import number, plain, signed
from pcbench.submission.manifest import MANIFEST, RUNS

State: TypeAlias = Literal["refuted", "claimed", "run here", "re-evaluated", "re-distilled"]
WEAKEST: tuple[State, ...] = ("refuted", "claimed", "run here", "re-evaluated", "re-distilled")
"""The states of a score, the one that carries least first: that of several scores is the first they have."""

MEANING: Mapping[str, str] = {
    "reported": "printed in a paper",
    "claimed": "made by whoever submitted it, and by nobody else yet",
    "run here": "made by this board's maintainers",
    "re-evaluated": "scored again from its clouds, by this board's maintainers",
    "re-distilled": "distilled and scored again, by this board's maintainers",
    "refuted": "made again by this board's maintainers, who found other scores; it has no rank",
}
"""What each badge says, `reported` of a paper's figures included."""
WIDEST = 3.0
"""Points: a verification with a wider margin than the usual one of `pcbench verify` gives no badge."""
MAINTAINERS = "this board's maintainers"
COLLECTED = re.compile(r"submissions-(.+)-runs-.+")
"""A run of a submission, where the runs of all were copied into one folder."""


@dataclass(frozen=True)
class Status:
    """The state of a score, with the record that says so."""

    state: State
    """What the badge says."""
    who: str
    """Who made the score, or made it again."""
    when: str
    """The time of the record, ISO 8601 in UTC."""
    hardware: str
    """What it was computed on."""
    details: str = ""
    """What was found by who made it again; empty where nobody did."""
    submitted: str = ""
    """The submission that the score came with; empty where this board's maintainers made it."""

    @property
    def text(self) -> str:
        """`re-evaluated by this board's maintainers, 2026-11-27, AMD EPYC, 2 threads: …`."""
        words = f"{self.state} by {self.who}, {self.when[:10]}, {self.hardware}"
        return f"{words}: {self.details}" if self.details else words


def submitter(folder: Path) -> str | None:
    """The submission that a run's folder belongs to, by its name; None of a run that was made here.

    A submission has its manifest above the folder of its runs. Where runs of several were copied into one
    folder, as a publisher does, their names say it.
    """
    if folder.parent.name == RUNS and (folder.parent.parent / MANIFEST).is_file():
        return plain(folder.parent.parent.resolve().name)
    if folder.name.startswith("submissions-"):
        named = COLLECTED.fullmatch(folder.name)
        return plain(named[1] if named else folder.name)
    return None


def status_of(run: Run, evaluation: EvaluationRecord) -> Status:
    """The state of an evaluation: that of the weightiest verification, or else of who submitted it."""
    found = [each for each in run.verifications if each.evaluation == evaluation.key]
    heavier: tuple[State, ...] = ("refuted", "re-distilled", "re-evaluated")
    for state in heavier:
        for verification in found:
            if _shows(verification) == state:
                return _verified(verification, state, submitter(run.folder) or "")
    name, provenance = submitter(run.folder), evaluation.provenance
    made = plain(provenance.created), plain(provenance.hardware.label)
    tried = "; ".join(sorted(f"tried again, {finding(each)}" for each in found))
    if name is None:
        return Status("run here", MAINTAINERS, *made, tried)
    return Status("claimed", name, *made, tried, name)


def _shows(verification: VerificationRecord) -> State | None:
    """The state that a verification gives; a margin wider than the usual one gives none."""
    if verification.verdict == "refuted":
        return "refuted"
    if verification.verdict != "verified" or verification.margin > WIDEST:
        return None
    return "re-distilled" if verification.redistilled else "re-evaluated"


def _verified(verification: VerificationRecord, state: State, name: str) -> Status:
    made = verification.provenance
    hardware = plain(made.hardware.label)
    return Status(state, MAINTAINERS, plain(made.created), hardware, finding(verification), name)


def finding(verification: VerificationRecord) -> str:
    """What somebody found who trained students again: `verified, 10 students on the same clouds …`."""
    clouds = "distilled anew" if verification.redistilled else "the same clouds"
    low, high = signed(verification.low), signed(verification.high)
    return (
        f"{verification.verdict}, {len(verification.repetitions)} students on {clouds} scored "
        f"{signed(verification.difference)} points ({low} to {high}) against these, with ± "
        f"{number(verification.margin)} counting as equal"
    )


def weakest(all_of_them: Iterable[Status]) -> Status:
    """Of several scores the state that carries least; ValueError of none."""
    return min(all_of_them, key=lambda status: (WEAKEST.index(status.state), status.text))
