"""What a score is worth, by who made it and who made it again: the badges, each from a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pcbench.records import layout
from pcbench.records.models import EvaluationRecord, Run
from pcbench.records.verifications import VerificationRecord
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
MAINTAINERS = "this board's maintainers"
COLLECTED = "submissions-"
"""What the name of a submission's run begins with, where the runs of all were copied into one folder."""


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


def submitter(run: Run) -> str | None:
    """The submission that a run belongs to, by its name; None of a run that was made here.

    A submission has its manifest above the folder of its runs. Where the runs of several were copied into one
    folder, as the publisher does, their names say it.
    """
    folder = run.folder
    if folder.parent.name == RUNS and (folder.parent.parent / MANIFEST).is_file():
        return plain(folder.parent.parent.resolve().name)
    if not folder.name.startswith(COLLECTED):
        return None
    own = layout.run_folder(Path(), run.distillation.inputs).name
    return plain(folder.name.removeprefix(COLLECTED).removesuffix(f"-{own}").removesuffix(f"-{RUNS}"))


def status_of(run: Run, evaluation: EvaluationRecord) -> Status:
    """The state of an evaluation: that of the weightiest verification, or else of who submitted it."""
    again = [each for each in run.verifications if each.evaluation == evaluation.key]
    name = submitter(run)
    heavier: tuple[State, ...] = ("refuted", "re-distilled", "re-evaluated")
    for state in heavier:
        for verification in again:
            if _shows(verification) == state:
                who, made = verification.by or MAINTAINERS, verification.provenance
                words = plain(who), plain(made.created), plain(made.hardware.label), finding(verification)
                return Status(state, *words, submitted=name or "")
    provenance = evaluation.provenance
    made_on = plain(provenance.created), plain(provenance.hardware.label)
    tried = "; ".join(sorted(f"made again, {finding(each)}" for each in again))
    if name is None:
        return Status("run here", MAINTAINERS, *made_on, tried)
    return Status("claimed", name, *made_on, tried, submitted=name)


def _shows(verification: VerificationRecord) -> State | None:
    """The state that a verification gives; one that could not tell gives none."""
    badge = verification.badge
    return "refuted" if badge == "refuted" else verification.how if badge == "verified" else None


VERDICTS: Mapping[str, str] = {
    "verified": "found to be so",
    "refuted": "refuted",
    "inconclusive": "cannot tell",
}
"""The verdicts of verifications as people read them."""


def finding(verification: VerificationRecord) -> str:
    """What somebody found who trained students again: `found to be so, 10 students on the same clouds …`."""
    clouds = "clouds that were distilled anew" if verification.redistilled else "the same clouds"
    low, high = signed(verification.low), signed(verification.high)
    words = [
        f"{VERDICTS[verification.badge]}, {len(verification.all_oa)} students on {clouds} scored "
        f"{signed(verification.difference)} points ({low} to {high}) against these, with ± "
        f"{number(verification.margin)} counting as equal"
    ]
    words += ["every student has as many right answers"] if verification.judgement == "equal counts" else []
    copies = len(verification.copies)
    words += [f"{copies} synthetic clouds have points of test clouds"] if copies else []
    return "; ".join(words)


def weakest(all_of_them: Iterable[Status]) -> Status:
    """Of several scores the state that carries least; ValueError of none."""
    return min(all_of_them, key=lambda status: (WEAKEST.index(status.state), status.text))
