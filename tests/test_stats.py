"""Statistics: published examples, SciPy and slow loops agree; properties; what intervals cover is simulated.

The oracles are written here, from the definitions: scikit-posthocs and statsmodels would bring in plotting
and modelling libraries for two short formulas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from pcbench import stats
from pcbench.stats import Interval, Ranks

Cells = dict[str, dict[str, list[float]]]

# Student (1908), table of additional hours of sleep by two drugs, ten patients.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Darwin's maize, crossed minus selfed in eighths of an inch (Fisher 1935, The Design of Experiments, ch. 3).
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

scores = st.integers(-1000, 1000).map(
    lambda value: value / 8
)  # exact in binary: shifts and sums do not round
sample = st.lists(scores, min_size=2, max_size=9)


def between(count: int, tries: int, chance: float) -> bool:
    """Whether a binomial count is one that happens but for a chance of a millionth."""
    low, high = oracle.binom.interval(1 - 1e-6, tries, chance)
    return low <= count <= high


# McNemar's test

answered = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=50)
@given(answered)
def test_of_two_students_it_is_the_exact_binomial_test(pairs):
    first, other = zip(*pairs, strict=True)
    found = stats.mcnemar(first, other)
    alone = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (found.only_first, found.only_other) == alone
    expected = oracle.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=10))
def test_of_several_pairs_it_counts_all_patterns_of_signs_of_the_clouds(clouds):
    """Each cloud has so many of three first, and of three other, students right."""
    first, other = (np.array([[n < each[side] for each in clouds] for n in range(3)]) for side in (0, 1))
    found = stats.mcnemar(first, other)
    sizes = [b - a for a, b in clouds]
    patterns = list(itertools.product((1, -1), repeat=len(sizes)))
    sums = [sum(s * d for s, d in zip(signs, sizes, strict=True)) for signs in patterns]
    far = sum(abs(each) >= abs(sum(sizes)) for each in sums)
    assert found.p == pytest.approx(far / len(patterns), rel=1e-9)
    assert stats.mcnemar(other, first).p == found.p


def test_of_many_clouds_it_comes_near_its_normal_form():
    draw = np.random.default_rng(1)
    easy = draw.random(900)
    first, other = (draw.random((10, 900)) < easy * share for share in (0.98, 1.0))
    differences = other.sum(0) - first.sum(0)
    normal = math.erfc(abs(differences.sum()) / math.sqrt(2 * (differences**2).sum()))
    assert stats.mcnemar(first, other).p == pytest.approx(normal, rel=0.1)


def test_students_who_answer_alike_are_not_told_apart_and_shapes_must_fit():
    assert stats.mcnemar([True, False], [True, False]) == stats.McNemar(0, 0, 1.0)
    assert 0 < stats.mcnemar([False] * 3000, [True] * 3000).p < 1e-300
    with pytest.raises(ValueError, match="are not of the same clouds and pairs"):
        stats.mcnemar([True], [True, False])


# Intervals of one sample


def test_interval_of_students_sleep_data():
    differences = [b - a for a, b in zip(SLEEP_1, SLEEP_2, strict=True)]
    found = stats.t_interval(differences)
    assert (found.mean, found.n, found.covers) == (pytest.approx(1.58), 10, "evaluation")
    assert (found.low, found.high) == (pytest.approx(0.7001142, abs=1e-7), pytest.approx(2.4598858, abs=1e-7))
    assert found.std == pytest.approx(1.2299955, abs=1e-7)


@settings(max_examples=50)
@given(sample, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(values, level):
    found = stats.t_interval(values, level)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.std == pytest.approx(
        math.sqrt(sum((v - found.mean) ** 2 for v in values) / (len(values) - 1))
    )
    if len(set(values)) == 1:
        assert found.low == found.mean == found.high
    else:
        expected = oracle.ttest_1samp(values, 0).confidence_interval(level)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


@given(sample, scores, st.sampled_from([0.25, 0.5, 2.0, 100.0]))
def test_an_interval_moves_and_scales_with_its_scores(values, shift, scale):
    before = stats.t_interval(values)
    after = stats.t_interval([scale * value + shift for value in values])
    assert after.std == pytest.approx(scale * before.std, rel=1e-9, abs=1e-9)
    moved = [scale * end + shift for end in (before.low, before.mean, before.high)]
    assert [after.low, after.mean, after.high] == pytest.approx(moved, rel=1e-9, abs=1e-9)


def test_one_score_has_no_spread_and_none_is_refused():
    assert stats.t_interval([0.5]) == Interval(0.5, None, None, None, 1)
    for bad in ([], [0.5, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="scores"):
            stats.t_interval(bad)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="between 0 and 1"):
            stats.t_interval([0, 1], level)


def test_an_interval_of_95_percent_covers_the_mean_in_95_of_100():
    rng = np.random.default_rng(1)
    found = [stats.t_interval(list(rng.normal(7, 3, 10))) for _ in range(3000)]
    assert between(sum(each.low < 7 < each.high for each in found), 3000, 0.95)


# Several distillations


def test_the_hierarchical_interval_by_hand():
    found = stats.hierarchical_interval([[1, 2], [3, 4], [5, 6]])
    half = 4.302652729911275 * 2 / math.sqrt(3)  # t(2) at 97.5 %; the means are 1.5, 3.5 and 5.5, their std 2
    assert (found.mean, found.std, found.n, found.covers) == (3.5, 2, 3, "distillation")
    assert (found.low, found.high) == pytest.approx((3.5 - half, 3.5 + half))


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(scores, min_size=n, max_size=n), min_size=2)))
def test_balanced_its_variance_is_that_of_the_analysis_of_variance(groups):
    """The variance of the grand mean of a balanced random-effects model: MS between / number of scores."""
    k, n = len(groups), len(groups[0])
    grand = sum(map(sum, groups)) / (k * n)
    between_groups = sum(n * (sum(group) / n - grand) ** 2 for group in groups) / (k - 1)
    found = stats.hierarchical_interval(groups)
    assert found.mean == pytest.approx(grand, abs=1e-9)
    assert found.std**2 / k == pytest.approx(between_groups / (k * n), rel=1e-9, abs=1e-9)


def test_one_distillation_shows_evaluation_noise_alone_and_says_so():
    found = stats.hierarchical_interval([SLEEP_1])
    assert found == stats.t_interval(SLEEP_1)
    assert found.covers == "evaluation"
    assert stats.hierarchical_interval([[1], [3]]).covers == "distillation"


@pytest.mark.parametrize(
    ("sizes", "exact"), [((10, 10, 10, 10), True), ((1, 2, 10, 10), False), ((1, 1, 1, 20, 20), False)]
)
@pytest.mark.parametrize("between_std", [0.0, 0.5, 2.0])
def test_what_the_hierarchical_interval_covers(sizes, exact, between_std):
    """Exactly 95 % of true means where balanced, at least that where not."""
    rng, tries = np.random.default_rng(2), 2000
    hits = 0
    for _ in range(tries):
        shift = rng.normal(0, between_std, len(sizes))
        groups = [list(rng.normal(5 + a, 1, n)) for a, n in zip(shift, sizes, strict=True)]
        found = stats.hierarchical_interval(groups)
        hits += found.low < 5 < found.high
    low, _ = oracle.binom.interval(1 - 1e-6, tries, 0.95)
    assert between(hits, tries, 0.95) if exact else hits >= low


def test_students_of_several_distillations_are_not_taken_for_independent():
    """What the hierarchical interval is for: the plain one covers the mean far too seldom."""
    rng, tries = np.random.default_rng(3), 1000
    hits = {"plain": 0, "hierarchical": 0}
    for _ in range(tries):
        groups = [list(rng.normal(a, 1, 10)) for a in rng.normal(0, 2, 4)]
        plain, own = (
            stats.t_interval([score for group in groups for score in group]),
            stats.hierarchical_interval(groups),
        )
        hits["plain"] += plain.low < 0 < plain.high
        hits["hierarchical"] += own.low < 0 < own.high
    assert between(hits["hierarchical"], tries, 0.95)
    assert hits["plain"] < 0.6 * tries


# Against a printed mean, and means of means


def printed(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, std and number, as a paper prints them."""
    own = stats.t_interval(values)
    return own.mean, own.std, own.n


def test_welchs_interval_of_students_sleep_data():
    found = stats.printed_difference([stats.t_interval(SLEEP_1)], *printed(SLEEP_2))
    assert found.mean == pytest.approx(-1.58)
    assert (found.low, found.high) == (
        pytest.approx(-3.3654832, abs=1e-7),
        pytest.approx(0.2054832, abs=1e-7),
    )


@settings(max_examples=50)
@given(sample, sample)
def test_the_interval_of_two_printed_deviations_is_welchs(first, second):
    assume(len({*first}) > 1 and len({*second}) > 1)
    found = stats.printed_difference([stats.t_interval(first)], *printed(second))
    expected = oracle.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


def test_constants_have_intervals_without_width():
    own = stats.t_interval(SLEEP_1)
    found = stats.printed_difference([own], 1.0, 0.0, 3)
    assert (found.low, found.high) == (pytest.approx(own.low - 1), pytest.approx(own.high - 1))
    constant = stats.printed_difference([stats.t_interval([3, 3])], 1.0, 0.0, 3)
    assert (constant.low, constant.mean, constant.high) == (2, 2, 2)


def test_a_difference_from_a_printed_mean_is_no_sharper_than_the_test_split():
    """Ten students of one score, a printed mean without a deviation: two test clouds apart prove nothing."""
    ours = [stats.t_interval([70.0] * 10)]
    without = stats.printed_difference(ours, 70.0 + 2 * ONE_CLOUD, None, 10)
    assert without.low == without.high == without.mean < 0
    found = stats.printed_difference(ours, 70.0 + 2 * ONE_CLOUD, None, 10, resolution=ONE_CLOUD)
    assert found.low < 0 < found.high


def test_without_a_printed_deviation_ten_more_students_are_predicted():
    """mean ± t(n − 1) · s · √(1/n + 1/m), as for the mean of m further observations."""
    own = stats.t_interval(SLEEP_1)
    found = stats.printed_difference([own], 2.0, None, 10)
    half = oracle.t.ppf(0.975, 9) * own.std * math.sqrt(1 / 10 + 1 / 10)
    assert (found.low, found.high) == (pytest.approx(own.mean - 2 - half), pytest.approx(own.mean - 2 + half))


@pytest.mark.parametrize("std", [None, 0.01])
def test_beside_several_distillations_the_printed_one_is_one_more(std):
    """mean ± t(k − 1) · s · √(1 + 1/k), whatever the spread of its students."""
    own = stats.hierarchical_interval([[1, 2], [3, 4], [5, 6], [7, 9]])
    found = stats.printed_difference([own], 4.0, std, 10)
    half = oracle.t.ppf(0.975, 3) * own.std * math.sqrt(1 + 1 / 4)
    assert (found.low, found.high) == (pytest.approx(own.mean - 4 - half), pytest.approx(own.mean - 4 + half))
    assert found.covers == "distillation"


@pytest.mark.parametrize("kind", ["printed", "predicted", "distillations", "three cells"])
def test_equal_truths_agree_in_95_of_100(kind):
    rng, tries, hits = np.random.default_rng(4), 2000, 0
    for _ in range(tries):
        if kind == "distillations":
            shifts = rng.normal(0, 2, 6)
            groups = [list(rng.normal(a, 1, 10)) for a in shifts]
            parts, theirs = [stats.hierarchical_interval(groups[:5])], groups[5]
        elif kind == "three cells":
            truths = ((1, 1), (2, 4), (6, 2))
            parts = [stats.t_interval(list(rng.normal(m, s, 10))) for m, s in truths]
            theirs = list(np.mean([rng.normal(m, s, 10) for m, s in truths], axis=0))
        else:
            parts, theirs = [stats.t_interval(list(rng.normal(5, 2, 10)))], list(rng.normal(5, 2, 10))
        mean, std, n = printed(theirs)
        found = stats.printed_difference(parts, mean, std if kind == "printed" else None, n)
        hits += found.low <= 0 <= found.high
    # Satterthwaite's degrees of freedom are approximate where variances differ
    slack = 0.005 if kind in ("printed", "three cells") else 0
    low, high = oracle.binom.interval(1 - 1e-6, tries, 0.95)
    assert low - slack * tries <= hits <= high + slack * tries


def test_the_mean_of_cells_and_its_interval():
    parts = [stats.t_interval(SLEEP_1), stats.t_interval(SLEEP_2), stats.t_interval([1, 2, 4])]
    found = stats.mean_interval(parts)
    assert found.mean == pytest.approx(np.mean([part.mean for part in parts]))
    variances = [part.std**2 / part.n / 9 for part in parts]
    freedom = sum(variances) ** 2 / sum(v**2 / (p.n - 1) for v, p in zip(variances, parts, strict=True))
    half = oracle.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    assert (found.high - found.mean, found.mean - found.low) == (pytest.approx(half), pytest.approx(half))
    assert (found.n, found.covers) == (3, "evaluation")
    alone = stats.mean_interval(parts[:1])
    assert (alone.low, alone.high) == (pytest.approx(parts[0].low), pytest.approx(parts[0].high))


def test_one_unit_anywhere_leaves_no_interval():
    parts = [stats.t_interval(SLEEP_1), stats.t_interval([1])]
    assert stats.mean_interval(parts) == Interval(pytest.approx(0.875), None, None, None, 1)
    found = stats.printed_difference(parts, 1.0, 0.1, 10)
    assert (found.mean, found.low, found.high) == (pytest.approx(-0.125), None, None)


# Paired comparison with an anchor


def flipped(differences: Sequence[int]) -> Fraction:
    """The sign-flip p by its definition: every pattern of signs, in whole numbers."""
    seen = abs(sum(differences))
    patterns = itertools.product((-1, 1), repeat=len(differences))
    far = sum(abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= seen for signs in patterns)
    return Fraction(far, 2 ** len(differences))


def test_fishers_count_for_darwins_maize():
    """863 of 32 768 patterns reach the sum of 314 (Fisher 1935); both tails are twice as many."""
    assert stats.sign_flip(MAIZE) == pytest.approx(2 * 863 / 32768, rel=1e-12)


@settings(max_examples=30)
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=9), st.sampled_from([1, 2468, 908]))
def test_sign_flips_are_counted_exactly_with_ties(counts, clouds):
    assert stats.sign_flip([count / clouds for count in counts]) == pytest.approx(float(flipped(counts)))


def test_sign_flips_are_scipys_exact_permutations():
    values = np.random.default_rng(5).normal(0.4, 1, 10)
    expected = oracle.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert stats.sign_flip(list(values)) == pytest.approx(expected.pvalue)


def test_ten_pairs_reach_two_in_1024_and_holm_over_more_than_25_never_rejects():
    best = stats.sign_flip([1.0] * 10)
    assert best == 2 / 1024
    assert max(stats.holm([best] * 25)) < 0.05 < min(stats.holm([best] * 26))


def test_beyond_thirty_pairs_student_takes_over_and_hardly_differs():
    values = list(np.random.default_rng(6).normal(0.3, 1, 31))
    assert stats.sign_flip(values) == pytest.approx(oracle.ttest_1samp(values, 0).pvalue)
    assert stats.sign_flip(values[:30]) == pytest.approx(oracle.ttest_1samp(values[:30], 0).pvalue, rel=0.05)
    assert (stats.sign_flip([0.0] * 31), stats.sign_flip([2.0] * 31)) == (1, 0)


def test_sign_flips_reject_no_more_than_they_may():
    rng, tries = np.random.default_rng(7), 1500
    found = [stats.sign_flip(list(rng.standard_t(3, 8))) for _ in range(tries)]
    for level in (0.01, 0.05, 0.2):
        assert sum(p <= level for p in found) <= oracle.binom.ppf(1 - 1e-6, tries, level)


def test_holms_step_down():
    """The example of Wikipedia's page on the method: 0.005 and 0.01 are rejected at 0.05, the rest not."""
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holms_adjustment_by_its_definition(p, random):
    found = stats.holm(p)
    for value, adjusted in zip(p, found, strict=True):
        below = sorted(q for q in p if q <= value)
        assert adjusted == pytest.approx(min(1, max((len(p) - i) * q for i, q in enumerate(below))))
    assert all(adjusted >= value for value, adjusted in zip(p, found, strict=True))
    pairs = sorted(zip(p, found, strict=True))
    assert [adjusted for _, adjusted in pairs] == sorted(found)
    shuffled = random.sample(range(len(p)), len(p))
    assert stats.holm([p[i] for i in shuffled]) == [found[i] for i in shuffled]


def test_the_paired_p_holds_its_level():
    rng, tries = np.random.default_rng(14), 1500
    found = [
        stats.compare(list(rng.normal(0, 1, 5)), {"m": list(rng.normal(0, 3, 5))})["m"].p
        for _ in range(tries)
    ]
    for level in (0.01, 0.05, 0.2):
        assert between(sum(p <= level for p in found), tries, level)


def test_every_method_is_compared_with_the_anchor_and_only_with_it():
    others = {"drug": SLEEP_2, "same": SLEEP_1, "worse": [value - 1 for value in SLEEP_1]}
    found = stats.compare(SLEEP_1, others)
    assert list(found) == ["drug", "same", "worse"]
    drug = found["drug"].difference
    assert (drug.mean, drug.low, drug.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-7)
    assert found["drug"].p == pytest.approx(0.002833, abs=1e-6)
    assert found["drug"].p_exact == pytest.approx(
        2 * 2 / 1024
    )  # nine gains and a nought, whose sign is nothing
    assert (found["same"].difference, found["same"].p) == (Interval(0, 0, 0, 0, 10), 1)
    assert found["worse"].difference.high == pytest.approx(-1)
    assert found["worse"].p == found["worse"].p_exact == 2 / 1024  # no spread to measure by
    assert [each.p_holm for each in found.values()] == stats.holm([each.p for each in found.values()])
    assert stats.compare(SLEEP_1, {}) == {}


def test_several_distillations_are_compared_by_their_means():
    anchor, other = [[1, 2], [3, 5], [4, 4]], [[2, 4], [3, 8], [7, 8]]
    found = stats.compare(anchor, {"other": other})["other"]
    assert found.difference == stats.hierarchical_interval([[1, 2], [0, 3], [3, 4]])
    assert (found.difference.covers, found.p_exact) == ("distillation", 2 / 8)
    assert found.p == pytest.approx(oracle.ttest_1samp([1.5, 1.5, 3.5], 0).pvalue)


ONE_CLOUD = 100 / 908  # percent, of ModelNet10's test split


def _copy(clouds: float, students: int = 10) -> tuple[list[float], list[float]]:
    """Scores in percent of some students, and the same with so many test clouds more for each."""
    right = np.random.default_rng(5).integers(600, 700, students)
    return list(right * ONE_CLOUD), list((right + clouds) * ONE_CLOUD)


@pytest.mark.parametrize("students", [5, 10, 20])
@pytest.mark.parametrize("clouds", [0, 0.5, 1, 2, 3])
def test_a_copy_with_a_test_cloud_more_is_told_from_nothing(students, clouds):
    scores, more = _copy(clouds, students)
    cells = {"x": {"copy": more, "honest": scores, "far": [s - 30 for s in scores]}}
    assert stats.tiers(cells, resolution={"x": ONE_CLOUD})["honest"] == 1
    found = stats.compare(scores, {"copy": more}, resolution=ONE_CLOUD)["copy"]
    assert found.p > 0.05
    assert found.difference.low <= 0 <= found.difference.high
    assert found.difference.mean == pytest.approx(clouds * ONE_CLOUD)


def test_a_copy_with_hardly_any_spread_is_told_from_nothing_either():
    """One test cloud more for nine students and two for the tenth: Student's p alone is below 1e-5."""
    scores, more = _copy(1)
    more[0] += ONE_CLOUD
    assert stats.compare(scores, {"copy": more})["copy"].p < 1e-5
    assert stats.tiers({"x": {"copy": more, "honest": scores}}) == {"copy": 1, "honest": 2}
    assert stats.compare(scores, {"copy": more}, resolution=ONE_CLOUD)["copy"].p > 0.2
    cells = {cell: {"copy": more, "honest": scores} for cell in ("x", "y")}
    assert stats.tiers(cells, resolution=dict.fromkeys(cells, ONE_CLOUD)) == {"copy": 1, "honest": 1}


def test_without_spread_tiers_are_those_of_the_exact_p():
    for students, expected in ((5, 1), (10, 2)):  # 2 / 2 ** 5 is above 0.05, 2 / 2 ** 10 below
        scores, more = _copy(40, students)
        assert stats.tiers({"x": {"copy": more, "honest": scores}})["honest"] == expected


def test_large_differences_are_told_whatever_the_resolution():
    rng = np.random.default_rng(3)
    scores = list(rng.normal(60, 3, 10))
    better = [score + 8 + rng.normal(0, 2) for score in scores]
    cells = {"x": {"better": better, "worse": scores}}
    assert stats.tiers(cells, resolution={"x": ONE_CLOUD}) == {"better": 1, "worse": 2}
    found = stats.compare(scores, {"better": better}, resolution=ONE_CLOUD)["better"]
    assert found.p < 1e-4
    # 7.7 points are 70 test clouds of 908: by chance as many would come with a deviation of sqrt(70)
    half = 2.262157 * math.sqrt(found.difference.mean * ONE_CLOUD)
    assert found.difference.high - found.difference.mean == pytest.approx(half, rel=1e-6)


def test_pairs_with_an_anchor_of_their_own_are_adjusted_together():
    first, second = (SLEEP_1, SLEEP_2), (SLEEP_1[:5], [value + 1 for value in SLEEP_2[:5]])
    found = stats.compare_pairs({"a": first, "b": second})
    assert found["a"].p == stats.compare(SLEEP_1, {"a": SLEEP_2})["a"].p
    assert [each.p_holm for each in found.values()] == stats.holm([each.p for each in found.values()])
    assert found["b"].difference.n == 5


def test_one_pair_proves_nothing():
    found = stats.compare([1.0], {"other": [9.0]})["other"]
    assert (found.p, found.p_exact, found.difference.low) == (1, 1, None)


@pytest.mark.parametrize("other", [[1.0, 2.0], [[1.0, 2.0, 3.0], [1.0, 2.0]], [[1.0, 2.0, 3.0]] * 2])
def test_scores_that_are_not_pairs_are_refused_with_the_methods_name(other):
    with pytest.raises(ValueError, match="sadm: its scores and the anchor's are not pairs"):
        stats.compare([1.0, 2.0, 3.0], {"sadm": other})


# Normalised gain


def test_gain_is_the_share_of_the_way_from_random_to_whole():
    assert stats.gain(84.4, 75.2, 91.41) == pytest.approx(9.2 / 16.21)
    assert (stats.gain(75.2, 75.2, 91.41), stats.gain(91.41, 75.2, 91.41)) == (0, 1)
    assert stats.gain(70.0, 75.2, 91.41) < 0


@pytest.mark.parametrize(
    "case", [(None, 1, 2), (1, None, 2), (1, 1, None), (1, 2, 2), (1, 3, 2), (1, 1, math.nan)]
)
def test_gain_is_none_where_it_means_nothing(case):
    assert stats.gain(*case) is None


# Ranks and tiers


def every_draw(cells: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Fraction]]:
    """Sums over cells of resampled means, for every choice of n − 1 of n in every cell, as likely as any."""
    totals: list[dict[str, Fraction]] = [dict.fromkeys(next(iter(cells.values())), Fraction(0))]
    for scored in cells.values():
        n = len(next(iter(scored.values())))
        choices = list(itertools.product(range(n), repeat=n - 1))
        totals = [
            {m: sums[m] + sum(Fraction(scored[m][i]) for i in chosen) / (n - 1) for m in sums}
            for sums in totals
            for chosen in choices
        ]
    return totals


def rank(sums: Mapping[str, Fraction], method: str) -> float:
    better = sum(value > sums[method] for value in sums.values())
    alike = sum(value == sums[method] for value in sums.values())
    return better + (alike + 1) / 2


def small(seed: int) -> Cells:
    rng = np.random.default_rng(seed)
    return {
        cell: {name: [float(v) for v in rng.integers(0, 12, 3) + level] for level, name in enumerate("abcd")}
        for cell in ("x", "y", "z")
    }


@pytest.mark.parametrize("seed", range(6))
def test_rank_intervals_are_those_of_every_possible_draw(seed):
    cells = small(seed)
    draws = every_draw(cells)
    for method, found in stats.rank_intervals(cells, draws=40_000).items():
        ranks = sorted(rank(sums, method) for sums in draws)
        for end, share in ((found.median, 0.5), (found.low, 0.025), (found.high, 0.975)):
            about = [ranks[math.ceil((share + slip) * len(ranks)) - 1] for slip in (-0.01, 0.01)]
            assert end in ranks
            assert about[0] <= end <= about[1]


def told(cells: Cells, one: str, other: str) -> float:
    """Student's p of the difference over the cells by plain loops."""
    mean = variance = squares = 0.0
    for scored in cells.values():
        first, second = scored[one], scored[other]
        mean += sum(first) / len(first) - sum(second) / len(second)
        paired = [[a - b for a, b in zip(first, second, strict=False)]]
        for values in paired if len(first) == len(second) else (first, second):
            center = sum(values) / len(values)
            own = sum((v - center) ** 2 for v in values) / (len(values) - 1) / len(values)
            variance += own
            squares += own**2 / (len(values) - 1)
    return float(2 * oracle.t.sf(abs(mean) / math.sqrt(variance), variance**2 / squares))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sizes", [(8, 8, 8, 8), (8, 3, 8, 3), (10, 8, 5, 3)])
def test_tiers_are_those_of_a_loop_over_all_pairs(seed, sizes):
    rng = np.random.default_rng(seed)
    cells: Cells = {
        c: {m: list(rng.normal(i, 1, n)) for i, (m, n) in enumerate(zip("abcd", sizes, strict=True))}
        for c in ("x", "y")
    }
    pairs = list(itertools.combinations("abcd", 2))
    p = dict(zip(pairs, stats.holm([told(cells, *pair) for pair in pairs]), strict=True))
    means = {m: sum(np.mean(cells[c][m]) for c in cells) for m in "abcd"}
    order = sorted("abcd", key=lambda m: -means[m])
    expected, best = {order[0]: 1}, order[0]
    for before, method in itertools.pairwise(order):
        new = p[min(best, method), max(best, method)] <= 0.05
        expected[method] = expected[before] + new
        best = method if new else best
    assert stats.tiers(cells) == expected


def test_one_unit_has_no_interval_of_ranks_and_is_told_from_nothing():
    cells = {"x": {"a": [1.0], "b": [2.0], "c": [3.0]}}
    assert stats.rank_intervals(cells) == {m: Ranks(r, None, None) for m, r in (("a", 3), ("b", 2), ("c", 1))}
    assert stats.tiers(cells) == {"a": 1, "b": 1, "c": 1}
    cells["x"] |= {"d": [9.0, 9.1, 9.2], "e": [7.0, 7.12, 7.19]}
    assert stats.tiers(cells) == {"d": 1, "e": 2, "a": 2, "b": 2, "c": 2}


@st.composite
def boards(draw: st.DrawFn) -> Cells:
    methods, n = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    names = [f"m{i}" for i in range(methods)]
    lists = st.lists(scores, min_size=n, max_size=n)
    return {f"cell{c}": {name: draw(lists) for name in names} for c in range(draw(st.integers(1, 4)))}


@settings(max_examples=30)
@given(boards(), st.randoms())
def test_the_order_of_methods_and_cells_changes_nothing(cells, random):
    def shuffled(values: Mapping[str, object]) -> dict[str, object]:
        return {key: values[key] for key in random.sample([*values], len(values))}

    other = {cell: shuffled(scored) for cell, scored in shuffled(cells).items()}
    assert stats.rank_intervals(other, draws=200) == stats.rank_intervals(cells, draws=200)
    assert stats.tiers(other) == stats.tiers(cells)


@settings(max_examples=30)
@given(boards(), scores, st.sampled_from([0.25, 0.5, 4.0]))
def test_ranks_and_tiers_do_not_depend_on_origin_and_unit(cells, shift, scale):
    moved = {
        c: {m: [scale * v + shift for v in vs] for m, vs in scored.items()} for c, scored in cells.items()
    }
    assert stats.rank_intervals(moved, draws=200) == stats.rank_intervals(cells, draws=200)
    assert stats.tiers(moved) == stats.tiers(cells)


@settings(max_examples=30)
@given(boards())
def test_a_method_that_is_behind_everywhere_is_last(cells):
    for scored in cells.values():
        scored["worst"] = [min(values) - 1 for values in zip(*scored.values(), strict=True)]
    last, shared = len(next(iter(cells.values()))), next(iter(cells.values()))["worst"]
    assert stats.rank_intervals(cells, draws=200)["worst"] == Ranks(
        last, *([last, last] if len(shared) > 1 else [None, None])
    )
    found = stats.tiers(cells)
    assert found["worst"] == max(found.values())


@settings(max_examples=30)
@given(boards())
def test_tiers_follow_the_means_and_are_counted_from_one(cells):
    found = stats.tiers(cells)
    means = {m: sum(Fraction(v) for scored in cells.values() for v in scored[m]) for m in found}
    ordered = [found[m] for m in sorted(found, key=lambda m: (-means[m], found[m]))]
    assert ordered == sorted(ordered)
    assert {*ordered} == {*range(1, max(ordered) + 1)}


def test_equal_methods_share_the_mean_of_their_ranks_and_a_tier():
    """Means of equal scores in another order differ in the last digit; that is no difference."""
    values = [0.1, 0.2, 0.3, 0.7, 0.64, 0.9, 0.35]
    cells = {
        "x": {"a": values, "b": values, "c": [v - 0.001 for v in values]},
        "y": dict.fromkeys("abc", values),
    }
    found = stats.rank_intervals(cells)
    assert found == {"a": Ranks(1.5, 1.5, 1.5), "b": Ranks(1.5, 1.5, 1.5), "c": Ranks(3, 3, 3)}
    assert stats.tiers(cells) == {"a": 1, "b": 1, "c": 2}
    alone = {"x": {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.1, 0.2]}}
    assert stats.tiers(alone) == {"a": 1, "b": 1}


def test_pairing_tells_apart_what_the_spread_hides():
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 5, 10)
    other = rng.permutation(noise)
    paired = {"x": {"good": list(noise + 1), "bad": list(noise)}}
    unpaired = {"x": {"good": list(noise + 1), "bad": list(other)}}
    assert stats.tiers(paired) == {"good": 1, "bad": 2}
    assert stats.tiers(unpaired) == {"good": 1, "bad": 1}


def test_incomplete_methods_are_left_out_and_change_nothing():
    cells = small(0)
    more = {cell: dict(scored) for cell, scored in cells.items()}
    more["x"]["once"] = [99.0] * 3
    more["y"]["once"] = []
    assert stats.rank_intervals(more) == stats.rank_intervals(cells)
    assert stats.tiers(more) == stats.tiers(cells)
    assert stats.rank_intervals({"x": {"a": [1.0]}, "y": {"b": [1.0]}}) == {}
    assert stats.tiers({}) == {}


def test_one_seed_gives_one_answer_and_another_cell_name_other_draws():
    cells = {"x": {f"m{i}": list(np.random.default_rng(i).normal(i / 9, 1, 10)) for i in range(9)}}
    first = stats.rank_intervals(cells, seed=3, draws=30)
    assert stats.rank_intervals(cells, seed=3, draws=30) == first
    assert stats.rank_intervals(cells, seed=4, draws=30) != first
    assert stats.rank_intervals({"y": cells["x"]}, seed=3, draws=30) != first


def test_distillations_are_resampled_as_wholes():
    """Many students of two distillations that differ by chance tell nothing apart."""
    students = np.random.default_rng(9).normal(0, 0.01, (2, 10))
    grouped = {
        "x": {
            "a": [list(students[0] + 3), list(students[1])],
            "b": [list(students[0]), list(students[1] + 2)],
        }
    }
    found = stats.rank_intervals(grouped)
    assert [(each.low, each.high) for each in found.values()] == [(1, 2), (1, 2)]
    assert stats.tiers(grouped) == {"a": 1, "b": 1}
    flat = {"x": {m: [s for group in groups for s in group] for m, groups in grouped["x"].items()}}
    assert stats.tiers(flat) == {"a": 1, "b": 1}
    one = {"x": {m: [groups[0]] for m, groups in grouped["x"].items()}}
    assert stats.tiers(one) == {"a": 1, "b": 2}


def test_distillations_and_students_are_no_pairs_though_they_be_as_many():
    """Six means that happen to follow six students: paired, the least difference would be told."""
    students = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    means = [[s + 0.1, s + 0.12] for s in students]
    assert stats.tiers({"x": {"a": students, "b": [group[0] for group in means]}}) == {"a": 2, "b": 1}
    assert stats.tiers({"x": {"a": students, "b": means}}) == {"a": 1, "b": 1}
    found = stats.rank_intervals({"x": {"a": students, "b": means}})
    assert [(each.low, each.high) for each in found.values()] == [(1, 2), (1, 2)]


def test_methods_with_other_numbers_of_scores_are_ranked_too():
    rng = np.random.default_rng(10)
    cells = {
        "x": {"three": [[5, 5.1], [5.2, 5.0], [4.9, 5.1]], "ten": list(rng.normal(4, 0.1, 10)), "one": [1.0]}
    }
    found = stats.rank_intervals(cells)
    assert {m: r.median for m, r in found.items()} == {"three": 1, "ten": 2, "one": 3}
    assert stats.tiers(cells) == {"three": 1, "ten": 2, "one": 2}


def test_the_draws_have_the_variance_of_a_mean():
    """n − 1 of n drawn: without that, ten students would seem 5 % closer together than they are."""
    values = np.random.default_rng(11).normal(0, 1, (10, 1))
    drawn = stats._weights(10, 200_000, [0, 10, 1]) @ values
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 10, rel=0.02)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.005)


@pytest.mark.parametrize(("cells", "students", "methods"), [(1, 5, 12), (1, 10, 6), (4, 10, 12)])
def test_methods_that_are_alike_are_seldom_put_in_two_tiers(cells, students, methods):
    """At most 5 % of boards; the bootstrap alone splits most of those of five (benchmarks/stats.py)."""
    rng, tries = np.random.default_rng(12), 200
    wrong = 0
    for _ in range(tries):
        board = rng.normal(0, 1, (cells, 1, students)) + rng.normal(0, 1, (cells, methods, students))
        named = {c: {f"m{i}": list(scores) for i, scores in enumerate(board[c])} for c in range(cells)}
        wrong += max(stats.tiers(named).values()) > 1
    assert wrong <= oracle.binom.ppf(1 - 1e-6, tries, 0.05)


def test_rank_intervals_contain_the_true_rank_as_often_as_they_say():
    rng, tries = np.random.default_rng(13), 150
    truth = [0.0, 0.3, 0.6, 1.2, 2.0]
    hits = 0
    for _ in range(tries):
        cells = {c: {f"m{i}": list(rng.normal(m, 1, 10)) for i, m in enumerate(truth)} for c in range(4)}
        found = stats.rank_intervals(cells, draws=1000)
        hits += sum(found[f"m{i}"].low <= 5 - i <= found[f"m{i}"].high for i in range(5))
    assert hits / (5 * tries) > 0.93, hits
