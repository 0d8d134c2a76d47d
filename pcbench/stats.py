"""What scores can carry: intervals, paired comparisons, ranks and tiers; docs/statistics.md has the formulas.

Scores are those of one distillation's students, or a sequence of such sequences, one a distillation. Where
there are several distillations they are the units of which the statistics are made, each by the mean of its
students; else the students are. Everything is float64 and in the unit of the scores. Nothing is imputed.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pcbench.common.files import digest

Scores: TypeAlias = Sequence[float] | Sequence[Sequence[float]]
Floats: TypeAlias = NDArray[np.float64]
Noise: TypeAlias = Literal["evaluation", "distillation"]
K = TypeVar("K", bound=Hashable)

LEVEL = 0.95
EXACT_PAIRS = 30  # sign patterns are counted up to here: two halves of 2 ** 15 sums
SAME = 1e-9  # differences that spread by less than this share of the values do not spread
TIE = 12  # decimals of the largest mean; means that agree so far are equal


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    """The mean of the units."""
    low: float | None
    """The lower end of the interval; None of one unit, which has no spread."""
    high: float | None
    """The upper end of the interval; None of one unit."""
    std: float | None
    """The standard deviation of the units, ddof 1; None of one unit."""
    n: int
    """The number of units."""
    covers: Noise = "evaluation"
    """`evaluation` where the units are students of one distillation, so that the spread between distillations
    is not in it; `distillation` where the units are distillations, which has both."""


@dataclass(frozen=True)
class Comparison:
    """A method against the anchor, paired."""

    difference: Interval
    """Method minus anchor; the interval is for this comparison alone."""
    p: float
    """Two-sided, of no difference, by Student's t as the interval is."""
    p_holm: float
    """The same, adjusted for all methods that were compared with the anchor."""
    p_exact: float
    """That of the sign-flip test, not adjusted; never below 2 / 2 ** n."""


@dataclass(frozen=True)
class McNemar:
    """Answers of two students, or of several pairs of them, to the same test clouds."""

    only_first: int
    """Answers that the first student alone, of a pair, has right; of all pairs."""
    only_other: int
    """Answers that the other alone has right; of all pairs."""
    p: float
    """Exact and two-sided, of no difference on test clouds of this kind, for these trained students alone."""


@dataclass(frozen=True)
class Ranks:
    """The rank of a method, 1 the best, ties averaged."""

    median: float
    """The median of the draws."""
    low: float | None
    """The lower end of the interval; None where nothing can be drawn."""
    high: float | None
    """The upper end of the interval; None where nothing can be drawn."""


def t_interval(scores: Sequence[float], level: float = LEVEL, covers: Noise = "evaluation") -> Interval:
    """mean ± t(n − 1) · s / √n of independent scores; ValueError for none, for NaN and for infinities."""
    values = _checked(scores)
    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Interval(mean, None, None, None, n, covers)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = _quantile(level, n - 1) * std / n**0.5
    return Interval(mean, mean - half, mean + half, std, n, covers)


def hierarchical_interval(groups: Sequence[Sequence[float]], level: float = LEVEL) -> Interval:
    """The interval over distillations, from the scores of each one's students.

    Model: score = μ + distillation + student, both random and normal, students within distillations. The
    k means of distillations give mean ± t(k − 1) · s / √k: exact where all have as many students. If not,
    the means differ in variance; s² / k still estimates the variance of their mean without bias, and
    intervals of 95 % cover at least that (Ibragimov, Müller 2010). One distillation shows evaluation noise
    only, and `covers` says so.
    """
    return t_interval(units(groups), level, _noise(groups))


def units(scores: Scores) -> list[float]:
    """The independent units: the mean of each of several distillations, or the students of the only one."""
    groups = _groups(scores)
    return [statistics.fmean(_checked(group)) for group in groups] if len(groups) > 1 else _checked(groups[0])


def mean_interval(parts: Sequence[Interval], level: float = LEVEL) -> Interval:
    """The mean of independent means, each weighted alike, with Satterthwaite's degrees of freedom.

    std: of the mean of one unit of each part; n: of the smallest. No spread where a part has none.
    """
    k, n = len(parts), min(part.n for part in parts)
    mean, stds = sum(part.mean for part in parts) / k, [part.std for part in parts if part.std is not None]
    if len(stds) < k:
        return Interval(mean, None, None, None, n, _covered(parts))
    terms = [(std**2 / part.n / k**2, part.n - 1) for std, part in zip(stds, parts, strict=True)]
    low, high = _bounds(mean, terms, level)
    return Interval(mean, low, high, sum(std**2 for std in stds) ** 0.5 / k, n, _covered(parts))


def printed_difference(
    ours: Sequence[Interval],
    printed: float,
    std: float | None,
    students: int,
    level: float = LEVEL,
    resolution: float = 0.0,
) -> Interval:
    """The mean of ours minus a printed mean of so many students of one distillation, with a joint interval.

    ours: one interval for each cell that the printed figure is the mean of. Where ours are of several
    distillations, the printed one is taken for one more of them (a prediction interval). Where not, it is
    Welch's interval from our students' std and the printed one, or, where none is printed, the prediction
    interval for so many students that spread as ours do. resolution: what one test cloud of a cell is worth;
    the variance is never taken below `least_variance`.
    """
    k, own = len(ours), mean_interval(ours, level)
    mean = own.mean - printed
    if own.std is None:
        return Interval(mean, None, None, None, own.n, own.covers)
    terms = []
    evaluation = all(part.covers == "evaluation" for part in ours)
    for part in ours:
        variance, theirs = (part.std or 0.0) ** 2 / k**2, 0.0
        if part.covers == "distillation":
            theirs = variance
        elif std is None or not evaluation:
            theirs = variance / students
        terms.append((variance / part.n + theirs, part.n - 1))
    if std is not None and evaluation:
        terms.append((std**2 / students, students - 1))
    least = least_variance(mean, resolution / k)
    if sum(variance for variance, _ in terms) < least:
        terms = [(least, own.n - 1)]
    return Interval(mean, *_bounds(mean, terms, level), own.std, own.n, own.covers)


def compare(
    anchor: Scores, others: Mapping[str, Scores], level: float = LEVEL, resolution: float = 0.0
) -> dict[str, Comparison]:
    """Every other method against the anchor, as `compare_pairs` does."""
    return compare_pairs({name: (anchor, scores) for name, scores in others.items()}, level, resolution)


def compare_pairs(
    pairs: Mapping[str, tuple[Scores, Scores]], level: float = LEVEL, resolution: float = 0.0
) -> dict[str, Comparison]:
    """Methods against an anchor: for each the anchor's scores and its own, the same seeds at the same places.

    Interval and p are Student's of the differences; where these are all the same, p is no smaller than that
    of the sign-flip test, for t would be infinite. Holm's adjustment is over all pairs. resolution: what one
    test cloud is worth, in the unit of the scores; the variance of a mean difference is never taken below
    `least_variance`. ValueError where a pair is not complete.
    """
    differences = {name: _differences(anchor, scores, name) for name, (anchor, scores) in pairs.items()}
    exact = {name: sign_flip(units(groups)) for name, groups in differences.items()}
    p = {name: _paired_p(units(groups), exact[name], resolution) for name, groups in differences.items()}
    adjusted = dict(zip(p, holm([*p.values()]), strict=True))
    return {
        name: Comparison(
            _resolved(hierarchical_interval(groups, level), level, resolution),
            p[name],
            adjusted[name],
            exact[name],
        )
        for name, groups in differences.items()
    }


def least_variance(difference: float, resolution: float) -> float:
    """The least variance of a mean difference on one test split, however alike the students are.

    A difference d of shares on N test clouds takes at least d·N clouds that one method gets right and the
    other does not. Of other test clouds of the same kind as many would come by chance, with that variance:
    d / N. One cloud more is one standard deviation (McNemar's test of the least discordance).
    """
    return abs(difference) * resolution


def _resolved(interval: Interval, level: float, resolution: float) -> Interval:
    """The interval of a difference, no narrower than the test split allows."""
    if interval.std is None or interval.low is None:
        return interval
    least = least_variance(interval.mean, resolution)
    if interval.std**2 / interval.n >= least:
        return interval
    low, high = _bounds(interval.mean, [(least, interval.n - 1)], level)
    return replace(interval, low=low, high=high)


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided p of paired differences symmetric about 0: the share of sign patterns as far from 0.

    Exact up to 30 pairs, ties counted as as far; of Student's t above.
    """
    values = np.array(_checked(differences))
    n = len(values)
    if n > EXACT_PAIRS:
        return _student(values)
    least = abs(values.sum()) * (1 - 1e-9)
    if least <= 1e-12 * np.abs(values).sum():
        return 1.0
    left, right = _signed_sums(values[: n // 2]), np.sort(_signed_sums(values[n // 2 :]))
    above = len(left) * len(right) - np.searchsorted(right, least - left).sum()
    return float(2 * above / 2**n)


def mcnemar(first: ArrayLike, other: ArrayLike) -> McNemar:
    """McNemar's test of paired students, (P, B) or (B,): whether each is right on each of the B test clouds.

    The unit is the test cloud: d_i is how many more of the P others than of the first are right on cloud i.
    Without a difference either sign of d_i is as likely, whatever its size, and clouds are independent; p is
    the share of all patterns of signs whose sum is as far from 0. Of one pair it is the exact binomial test
    of the clouds that one student alone has right. ValueError where the shapes differ.
    """
    one, two = (np.atleast_2d(np.asarray(each, dtype=np.bool_)) for each in (first, other))
    if one.shape != two.shape:
        raise ValueError(f"answers {one.shape} and {two.shape} are not of the same clouds and pairs")
    differences = two.sum(0, dtype=np.int64) - one.sum(0, dtype=np.int64)
    return McNemar(int((one & ~two).sum()), int((two & ~one).sum()), _signs_as_far(differences))


def _signs_as_far(differences: NDArray[np.int64]) -> float:
    """The share of all sign patterns of whole numbers whose sum is as far from 0 as theirs; exact.

    The n numbers of size a have the sum a · (2 k − n) with binomial k; sizes are added by convolution.
    """
    from scipy.stats import binom  # slow to import, and few commands need it

    far = abs(int(differences.sum()))
    chances = np.ones(1)  # of the sums −t, …, t, where t is the sum of all sizes so far
    for size, number in enumerate(np.bincount(np.abs(differences))):
        if size and number:
            these = np.zeros(2 * size * number + 1)
            these[:: 2 * size] = binom.pmf(np.arange(number + 1), number, 0.5)
            chances = np.convolve(chances, these)
    below = len(chances) // 2 - far
    share = 2 * float(chances[: below + 1].sum()) if far else 1.0
    return min(max(share, sys.float_info.min), 1.0)


def holm(p: ArrayLike) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in adjusted]


def gain(score: float | None, random: float | None, whole: float | None) -> float | None:
    """(score − random) / (whole − random): 0 as good as random selection, 1 as good as the whole split.

    None where one of them is missing, or where the whole split is not better than random selection.
    """
    if score is None or random is None or whole is None or not whole > random:
        return None
    return (score - random) / (whole - random)


def rank_intervals(
    cells: Mapping[K, Mapping[str, Scores]], seed: int = 0, draws: int = 10_000, level: float = LEVEL
) -> dict[str, Ranks]:
    """The ranks of the methods by their mean over the cells, from a bootstrap stratified by cell.

    cells: scores by method, for each cell. A method without scores in a cell is left out. The answer does not
    depend on the order of methods or cells; every cell has its own stream, from `seed` and the cell's repr.
    Where a cell has one unit of a method there is no spread to draw from, and no interval. Memory: some ten
    times draws × methods × 8 bytes.
    """
    from scipy.stats import rankdata  # slow to import, and few commands rank

    methods, units_of = _complete(cells)
    if not methods:
        return {}
    drawn = np.zeros((draws, len(methods)))
    for cell, those in units_of.items():
        for (covers, n), columns in those.paired.items():
            weights = _weights(n, draws, [seed, int(digest([repr(cell), covers, n]), 16)])
            drawn[:, columns] += weights @ np.array([those.values[i] for i in columns]).T
    ranks = rankdata(-_rounded(drawn), axis=1)
    ends = [0.5, (1 - level) / 2, (1 + level) / 2]
    found = np.quantile(ranks, ends, axis=0, method="inverted_cdf")
    spread = all(n > 1 for those in units_of.values() for _, n in those.paired)
    return {
        name: Ranks(float(median), float(low) if spread else None, float(high) if spread else None)
        for name, median, low, high in zip(methods, *found, strict=True)
    }


def tiers(
    cells: Mapping[K, Mapping[str, Scores]],
    level: float = LEVEL,
    resolution: Mapping[K, float] | None = None,
) -> dict[str, int]:
    """Tiers, 1 the best: in the order of the means over the cells, the first method that is told from the
    best of its tier begins the next one.

    Told: Student's t of the difference of means, paired within cells, Satterthwaite's degrees of freedom, and
    Holm over all pairs of methods: of boards whose methods are all alike, no more than 1 − level get a second
    tier. A method with a single unit in a cell is told from none. Who is left out is as in `rank_intervals`.
    resolution: what one test cloud of a cell is worth, in the unit of the scores; the variance of a
    difference is never taken below `least_variance`. Where a difference has no spread at all, p is no smaller
    than that of the sign-flip test.
    """
    methods, units_of = _complete(cells)
    steps = resolution or {}
    means, p = _all_pairs(len(methods), [(those, steps.get(cell, 0.0)) for cell, those in units_of.items()])
    found: dict[str, int] = {}
    tier, best = 0, -1
    for i in sorted(range(len(methods)), key=lambda i: (-means[i], methods[i])):
        if best < 0 or p[best, i] <= 1 - level:
            tier, best = tier + 1, i
        found[methods[i]] = tier
    return found


def _all_pairs(m: int, cells: Iterable[tuple[_Units, float]]) -> tuple[Floats, Floats]:
    """The sums over cells of the means (m,), and Holm's p of all differences between them (m, m).

    cells: the units of each with its resolution. Variances of differences add up over cells: v = Σ v_c with
    v² / Σ (v_c² / f_c) degrees of freedom. Methods that are not paired in a cell each add their own there.
    """
    sums, variance, squares = np.zeros(m), np.zeros((m, m)), np.zeros((m, m))
    single, alike, fewest = np.full(m, False), np.full((m, m), True), np.full(m, np.inf)
    for those, resolution in cells:
        means = np.array([np.mean(each) for each in those.values])
        sizes = np.array([len(each) for each in those.values])
        sums, single, fewest = sums + means, single | (sizes == 1), np.minimum(fewest, sizes)
        covariance, paired = np.zeros((m, m)), np.full((m, m), False)
        for (_, n), columns in those.paired.items():
            paired[np.ix_(columns, columns)] = True
            if n > 1:
                covariance[np.ix_(columns, columns)] = np.cov([those.values[i] for i in columns]) / n
        own, freedom = covariance.diagonal(), np.maximum(sizes - 1, 1)
        here = np.add.outer(own, own) - 2 * covariance
        here[here <= (SAME * max(np.abs(each).max(initial=0) for each in those.values)) ** 2] = 0
        alike &= here == 0
        unpaired = np.add.outer(own**2 / freedom, own**2 / freedom)
        least = least_variance(1.0, resolution) * np.abs(_rounded(np.subtract.outer(means, means)))
        smaller = np.minimum.outer(freedom, freedom)
        squares += np.where(here < least, least**2 / smaller, np.where(paired, here**2 / freedom, unpaired))
        variance += np.maximum(here, least)
    sums = _rounded(sums)
    pairs = np.triu_indices(m, 1)
    differences = np.subtract.outer(sums, sums)[pairs]
    p = _two_sided(differences, variance[pairs], squares[pairs])
    exact = np.where(differences == 0, 1.0, 2.0 ** (1 - np.minimum.outer(fewest, fewest)[pairs]))
    p = np.where(alike[pairs], np.maximum(p, exact), p)
    p[(single[:, None] | single)[pairs]] = 1
    adjusted = np.ones((m, m))
    adjusted[pairs] = adjusted.T[pairs] = holm(p)
    return sums, adjusted


@dataclass(frozen=True)
class _Units:
    """The units of every method in a cell."""

    values: list[list[float]]
    """The units of every method, in the order of the methods."""
    paired: dict[tuple[Noise, int], list[int]]
    """By kind and number of units, the positions of the methods that have them so: of these, the units at one
    position are of one seed."""


def _complete(cells: Mapping[K, Mapping[str, Scores]]) -> tuple[list[str], dict[K, _Units]]:
    """The methods that have scores in all cells, by name, and their units in every cell."""
    methods = sorted(
        name
        for name in {name for scores in cells.values() for name in scores}
        if all(len(scores.get(name, ())) for scores in cells.values())
    )
    found = {}
    for cell in sorted(cells, key=repr):
        scores = [cells[cell][name] for name in methods]
        values = [units(each) for each in scores]
        paired: dict[tuple[Noise, int], list[int]] = {}
        for i, each in enumerate(scores):
            paired.setdefault((_noise(each), len(values[i])), []).append(i)
        found[cell] = _Units(values, paired)
    return methods, found


def _rounded(values: Floats) -> Floats:
    """Without the last digits, which sums in another order change: equal means must be seen as equal."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    return np.asarray(np.round(values / largest, TIE) * largest, dtype=np.float64)


def _weights(n: int, draws: int, seed: list[int]) -> Floats:
    """The weights of n units in every draw, (draws, n).

    n − 1 are drawn with replacement: the variance of a drawn mean is then s² / n (Rao, Wu 1988).
    """
    if n == 1:
        return np.ones((draws, 1))
    counts = np.random.default_rng(seed).multinomial(n - 1, np.full(n, 1 / n), size=draws)
    return np.asarray(counts / (n - 1), dtype=np.float64)


def _groups(scores: Scores) -> list[Any]:
    """One sequence of scores a distillation."""
    if not len(scores):
        raise ValueError("there are no scores")
    return list(scores) if isinstance(scores[0], Sequence | np.ndarray) else [scores]


def _noise(scores: Scores) -> Noise:
    return "distillation" if len(_groups(scores)) > 1 else "evaluation"


def _checked(scores: Sequence[float]) -> list[float]:
    """The scores; a few numbers, for which Python's own are faster than arrays. ValueError for odd ones."""
    values = list(map(float, scores))
    if not values:
        raise ValueError("there are no scores")
    if not all(map(math.isfinite, values)):
        raise ValueError("scores must be finite")
    return values


def _differences(anchor: Scores, other: Scores, name: str) -> list[list[float]]:
    first, second = _groups(anchor), _groups(other)
    if [len(group) for group in first] != [len(group) for group in second]:
        raise ValueError(f"{name}: its scores and the anchor's are not pairs")
    pairs = [zip(_checked(a), _checked(b), strict=True) for a, b in zip(first, second, strict=True)]
    return [[theirs - ours for ours, theirs in group] for group in pairs]


def _covered(parts: Iterable[Interval]) -> Noise:
    return "distillation" if all(part.covers == "distillation" for part in parts) else "evaluation"


def _bounds(mean: float, terms: Sequence[tuple[float, int]], level: float) -> tuple[float, float]:
    """The interval of a sum of independent estimates; terms: their variances and degrees of freedom."""
    variance = sum(each for each, _ in terms)
    if variance == 0:
        return mean, mean
    half = _quantile(level, variance**2 / sum(each**2 / f for each, f in terms)) * variance**0.5
    return mean - half, mean + half


@lru_cache(maxsize=4096)
def _quantile(level: float, freedom: float) -> float:
    from scipy.special import stdtrit  # slow to import, and not every command computes an interval

    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not {level}")
    return float(stdtrit(freedom, (1 + level) / 2))


def _paired_p(differences: Sequence[float], exact: float, resolution: float) -> float:
    values = np.array(_checked(differences))
    alike = np.ptp(values) <= SAME * np.abs(values).max()
    p = _student(values, least_variance(float(values.mean()), resolution))
    return max(p, exact) if alike else p


def _student(values: Floats, least: float = 0.0) -> float:
    """Student's two-sided p of a mean of 0; least: the smallest variance that the mean may have."""
    n = len(values)
    if n == 1:
        return 1.0
    variance = np.maximum(values.var(ddof=1, keepdims=True) / n, least)
    return float(_two_sided(values.mean(keepdims=True), variance, variance**2 / (n - 1))[0])


def _two_sided(difference: Floats, variance: Floats, squares: Floats) -> Floats:
    """Student's two-sided p with Satterthwaite's degrees of freedom, variance² / squares; all (n,)."""
    from scipy.special import stdtr

    exact = variance == 0
    freedom = variance**2 / np.where(exact, 1, squares)
    t = np.abs(difference) / np.sqrt(np.where(exact, 1, variance))
    p = np.where(exact, difference == 0, 2 * stdtr(np.where(exact, 1, freedom), -t))
    return np.asarray(p, dtype=np.float64)


def _signed_sums(values: Floats) -> Floats:
    """The sums of all 2 ** n patterns of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
