"""How published and repeated scores are compared, and what so many students can show; docs/statistics.md.

Differences are in points of accuracy, now less published. s is the standard deviation of students. A student
that is trained elsewhere is at worst another draw, so that a difference of two has the deviation √2 · s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import integrate
from scipy import stats as laws

from pcbench.records.verifications import STANDARD_MARGIN

LEVEL = 0.05
"""One-sided, of every test here but that which refutes."""
POWER = 0.8
"""What is asked of a number of students."""
MOST_STUDENTS = 1000
"""No more than these are recommended."""


@dataclass(frozen=True)
class Comparison:
    """Scores now, less the published ones, in points of accuracy."""

    low: float
    """Lower end of the 90 % interval of the mean difference."""
    high: float
    """Its upper end."""
    p_lower: float
    """One-sided p of the mean now being no lower."""


def compared(now: Sequence[float], published: Sequence[float]) -> Comparison:
    """Compare accuracies, in [0, 1].

    As many of both: students with one seed are paired. More of them now: those have seeds that the record
    does not have, and the means are compared as those of independent samples, whose spread is the same where
    the record is honest. Of one student nothing is known: the interval is everything.
    """
    ours, theirs = 100 * np.asarray(now, np.float64), 100 * np.asarray(published, np.float64)
    if len(theirs) < 2:
        return Comparison(-100.0, 100.0, 1.0)
    mean = float(ours.mean() - theirs.mean())
    if len(ours) == len(theirs):
        freedom = len(ours) - 1
        spread = float((ours - theirs).std(ddof=1)) / math.sqrt(len(ours))
    else:
        freedom = len(ours) + len(theirs) - 2
        squares = float(((ours - ours.mean()) ** 2).sum() + ((theirs - theirs.mean()) ** 2).sum())
        spread = math.sqrt(squares / freedom * (1 / len(ours) + 1 / len(theirs)))
    half = float(laws.t.ppf(1 - LEVEL, freedom)) * spread
    p = float(laws.t.cdf(mean / spread, freedom)) if spread else float(mean >= 0)
    return Comparison(max(mean - half, -100.0), min(mean + half, 100.0), p)


def p_chosen(published: float, fresh: Sequence[float]) -> float:
    """One-sided p of a published mean being one more draw from the distribution of fresh ones.

    By the prediction interval: (published − mean) / (s · √(1 + 1 / F)) follows t(F − 1). At least two.
    """
    draws = np.asarray(fresh, np.float64)
    spread = float(draws.std(ddof=1)) * math.sqrt(1 + 1 / len(draws))
    above = published - float(draws.mean())
    if spread == 0:
        return float(above <= 0)
    return float(laws.t.sf(above / spread, len(draws) - 1))


# Power


def power_to_see(raised: float, s: float, students: int, published: int | None = None) -> float:
    """The probability that the one-sided test at LEVEL sees scores raised by so many points, s > 0.

    students: those trained now. published: those of the record, where they are fewer.
    """
    error, freedom = _error(s, students, published)
    critical = laws.t.ppf(1 - LEVEL, freedom)
    return float(laws.nct.sf(critical, freedom, raised / error))


def power_of_equivalence(s: float, students: int, published: int | None = None) -> float:
    """The probability that two one-sided tests at LEVEL find true scores equal, within the standard margin.

    Both reject where |mean| < margin − t · error.
    """
    return _inside(s, students, published, lambda room, _: room)


def power_to_verify(s: float, students: int, published: int | None = None) -> float:
    """The same, and the published scores not seen to be higher: what `concluded` asks of a true score."""
    return _inside(s, students, published, min)


def _inside(s: float, students: int, published: int | None, below: Callable[[float, float], float]) -> float:
    """The probability of −below(room, doubt) < mean < room, integrated over the estimates of the error.

    room: margin − t · estimate. doubt: t · estimate.
    """
    error, freedom = _error(s, students, published)
    critical = float(laws.t.ppf(1 - LEVEL, freedom))
    largest = STANDARD_MARGIN / critical

    def given(estimate: float) -> float:
        room, doubt = STANDARD_MARGIN - critical * estimate, critical * estimate
        inside = laws.norm.cdf(room / error) - laws.norm.cdf(-below(room, doubt) / error)
        density = laws.chi.pdf(estimate / error * math.sqrt(freedom), freedom) * math.sqrt(freedom) / error
        return float(inside * density)

    # The estimate lies within some tenths of the error, or anywhere below it where freedom is small.
    points = [min(error * factor, largest) for factor in (0.5, 1.0, 1.5)]
    return float(integrate.quad(given, 0, largest, points=points, limit=200)[0])


def _error(s: float, students: int, published: int | None) -> tuple[float, int]:
    """The standard error of the mean difference, and its degrees of freedom."""
    theirs = students if published is None else published
    freedom = students - 1 if theirs == students else students + theirs - 2
    return s * math.sqrt(1 / students + 1 / theirs), freedom


def students_to_see(raised: float, s: float) -> int | None:
    """Students, of both sides, with which a raise is seen with POWER; None for more than MOST_STUDENTS."""
    return _fewest(lambda students: power_to_see(raised, s, students))


def students_for_equivalence(s: float) -> int | None:
    """Students, of both sides, with which true scores are found equal with POWER."""
    return _fewest(lambda students: power_of_equivalence(s, students))


def _fewest(power: Callable[[int], float]) -> int | None:
    """The least number with that power, which grows with it."""
    if power(MOST_STUDENTS) < POWER:
        return None
    low, high = 1, MOST_STUDENTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle > 1 and power(middle) >= POWER else (middle, high)
    return high


def power_line(published: Sequence[float], students: int) -> str:
    """What students trained now can show elsewhere of published accuracies: a sentence for people."""
    if len(published) < 2:
        return "one student has no spread: nothing can be tested"
    s = 100 * float(np.std(published, ddof=1))
    if s == 0:
        return "the published students have no spread"
    of = None if students == len(published) else len(published)
    seen = power_to_see(STANDARD_MARGIN - 0.1, s, students, of)
    verified = power_to_verify(s, students, of)
    return (
        f"with {students} students of s = {s:.1f} a raise of {STANDARD_MARGIN - 0.1:g} points is seen with "
        f"{seen:.0%}, and a true score verified with {verified:.0%}"
    )
