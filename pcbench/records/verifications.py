"""The record of a repetition of published work, and the verdict that follows from it."""

from __future__ import annotations

import statistics
from typing import Literal, Self

from pydantic import Field, model_validator

from pcbench.common.schema import Model, Sha256
from pcbench.records.circumstances import Provenance
from pcbench.records.values import LARGEST, SCHEMA_VERSION, Count, Name, Seconds, Text, accuracies

Verdict = Literal["verified", "refuted", "inconclusive"]
Judgement = Literal["margin", "equal counts", "same hardware", "equivalence"]
STANDARD_MARGIN = 3.0
"""Points of accuracy within which scores count as equal; beyond it nothing is verified."""
DOUBTFUL, REFUTED = 0.05, 0.001
"""What claims that look too high are doubted at, and refuted at: the shares of honest ones that meet it."""


class VerificationRecord(Model):
    """Students of a published evaluation trained and tested again by somebody else."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["verification"] = "verification"
    evaluation: Sha256
    """Key of the evaluation."""
    distillation: Sha256
    """Key of its distillation."""
    iteration: Count
    """The snapshot, the last one."""
    clouds: Sha256
    """Content hash of the clouds that were trained on."""
    redistilled: bool
    """Whether the method made these clouds anew; else they are those of the record."""
    same_clouds: bool | None = None
    """Whether these clouds are those of the record, bit for bit; None in older records."""
    distil_seconds: Seconds | None = None
    """Wall time of distilling anew, on the verifier's clock; None where nothing was."""
    claimed_seconds: Seconds | None = None
    """The distillation's wall time by the record; None in older records."""
    repetitions: list[Count] = Field(min_length=1)
    """The students' axes of the seeds, (S,)."""
    published: list[float]
    """The overall accuracy that the record gives to each, (S,), in [0, 1]."""
    totals: list[Count]
    """Test clouds per class, (K,)."""
    correct: list[list[int]]
    """Right answers that were counted now, (S, K)."""
    alike: list[float] = Field([], max_length=10_000)
    """The share of test clouds that each student takes for the class that the answers beside the record say,
    (S,), in [0, 1]; empty where no answers were there. No verdict depends on it."""
    more: list[list[int]] = Field([], max_length=10_000)
    """Right answers of further students, of the seeds that follow, (E, K)."""
    same_hardware: bool | None = None
    """Whether packages, processor or GPU, and instruction set are those of the record; None if unknown."""
    judgement: Judgement = "margin"
    """The rule that was used. `equal counts`: every student has as many right answers in every class as the
    record says. `same hardware`: they should have, and have not. `equivalence`: elsewhere, by an interval.
    `margin`: that of older records, which refuted by the mean alone."""
    low: float = Field(ge=-100, le=100)
    """Lower end of the 90 % interval of the mean difference, now less published, in points of accuracy."""
    high: float = Field(ge=-100, le=100)
    """Its upper end."""
    p_lower: float | None = Field(None, ge=0, le=1)
    """One-sided p of the scores now being no lower than the published ones; None in older records."""
    margin: float = Field(gt=0, le=100)
    """What counts as equal, in points; beyond the standard margin nothing is verified."""
    fresh_repetitions: list[Count] = Field([], max_length=1000)
    """Repetitions of the distillation that were drawn and distilled for this, (F,)."""
    fresh: list[float] = Field([], max_length=1000)
    """The mean overall accuracy of the students of each, (F,), in [0, 1]."""
    p_chosen: float | None = Field(None, ge=0, le=1)
    """One-sided p of the published mean being one more of these draws; None without them."""
    copies: list[Text] = Field([], max_length=1000)
    """The synthetic clouds whose points stand in test clouds, a line each."""
    likenesses: list[Text] = Field([], max_length=1000)
    """Those that have the surface of a test cloud, and of no training cloud."""
    compared: bool | None = None
    """Whether the clouds were compared with the test clouds; None in older records."""
    verdict: Verdict
    """What follows from all this, as `concluded` says; `inconclusive` is shown as "cannot tell"."""
    by: Name = ""
    """Who verified; empty where that was not said."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic that trained."""
    provenance: Provenance
    """When, where and with what they were trained."""

    @property
    def how(self) -> Literal["re-evaluated", "re-distilled"]:
        """What was done again."""
        return "re-distilled" if self.redistilled else "re-evaluated"

    @property
    def oa(self) -> list[float]:
        """The overall accuracies that were found now, in [0, 1]."""
        return [accuracies(counts, self.totals)[0] for counts in self.correct]

    @property
    def all_oa(self) -> list[float]:
        """Those of the further students too."""
        return [accuracies(counts, self.totals)[0] for counts in (*self.correct, *self.more)]

    @property
    def difference(self) -> float:
        """The mean of now less published, in points of accuracy; of pairs where there are as many of both."""
        if self.more:
            return 100 * (statistics.fmean(self.all_oa) - statistics.fmean(self.published))
        return 100 * statistics.fmean(a - b for a, b in zip(self.oa, self.published, strict=True))

    @property
    def badge(self) -> Verdict:
        """What may be shown of it: a wider margin than the standard one verifies nothing."""
        wide = self.verdict == "verified" and self.margin > STANDARD_MARGIN and self.judgement == "margin"
        return "inconclusive" if wide else self.verdict

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (
            not len(set(self.repetitions))
            == len(self.repetitions)
            == len(self.published)
            == len(self.correct)
        ):
            raise ValueError("one published and one new score per distinct student is needed")
        if not self.low <= self.difference + 1e-9 or not self.difference - 1e-9 <= self.high:
            raise ValueError("the mean difference does not lie in its interval")
        if self.judgement == "equal counts" and (self.oa != self.published or self.more):
            raise ValueError("the counts are not equal")
        if self.alike and (
            len(self.alike) != len(self.correct) or not all(0 <= share <= 1 for share in self.alike)
        ):
            raise ValueError("one share of equal answers per student is needed")
        if len(self.fresh) != len(self.fresh_repetitions) or bool(self.fresh) != (self.p_chosen is not None):
            raise ValueError("one score for each fresh repetition, and their p, are needed")
        if self.verdict != concluded(self):
            raise ValueError("the verdict does not follow from what was found")
        return self


def concluded(record: VerificationRecord) -> Verdict:
    """What follows from what a verification found, its own verdict left aside.

    Points of test clouds, and other counts where they had to be equal, refute. Elsewhere scores are equal
    where the 90 % interval lies inside ± margin, the standard one at most, and the published ones are not
    seen to be higher; they are refuted only where all of the interval lies beyond the margin, below the
    published ones, and as few honest records would come so low as REFUTED says. What looks chosen, or like a
    test cloud, is not verified.
    """
    if record.judgement == "margin":
        return verdict(record.difference, record.low, record.high, record.margin)
    if record.copies or record.judgement == "same hardware":
        return "refuted"
    chosen = record.p_chosen if record.p_chosen is not None else 1.0
    if chosen <= REFUTED:
        return "refuted"
    if record.judgement == "equivalence":
        margin = min(record.margin, STANDARD_MARGIN)
        lower = record.p_lower if record.p_lower is not None else 1.0
        if record.high < -record.margin and lower <= REFUTED:
            return "refuted"
        if not (-margin < record.low and record.high < margin) or lower <= DOUBTFUL:
            return "inconclusive"
    return "inconclusive" if chosen <= DOUBTFUL or record.likenesses else "verified"


def verdict(mean: float, low: float, high: float, margin: float) -> Verdict:
    """The rule of older records: what a mean difference with its 90 % interval says, all in points."""
    if -margin < low and high < margin:
        return "verified"
    return "refuted" if abs(mean) >= margin else "inconclusive"
