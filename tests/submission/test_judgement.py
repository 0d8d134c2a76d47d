"""Power is what simulations and published figures say, and honest records are hardly ever refuted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pcbench.records.verifications import REFUTED, STANDARD_MARGIN, VerificationRecord, concluded
from pcbench.submission.claims import meeting
from pcbench.submission.judgement import (
    compared,
    p_chosen,
    power_line,
    power_of_equivalence,
    power_to_see,
    power_to_verify,
    students_for_equivalence,
    students_to_see,
)


@pytest.mark.parametrize(("s", "small", "large", "honest"), [(1, 8, 4, 4), (3, 51, 15, 19), (5, 139, 39, 49)])
def test_students_that_are_needed(s, small, large, honest):
    assert students_to_see(1.5, s) == small
    assert students_to_see(2.9, s) == large
    assert students_for_equivalence(s) == honest


def test_no_number_of_students_sees_everything():
    assert students_to_see(0.1, 9) is None
    assert power_to_see(0, 3, 10) == pytest.approx(0.05)


def drawn(seed: int, boards: int, students: int, published: int, s: float, raised: float):
    """Accuracies now (boards, students) and published (boards, published), normal, in [0, 1]."""
    generator = np.random.default_rng(seed)
    now = 50 + s * generator.standard_normal((boards, students))
    claimed = 50 + raised + s * generator.standard_normal((boards, published))
    return now / 100, claimed / 100


@pytest.mark.parametrize(
    ("students", "published", "s", "raised"), [(10, 10, 3, 2.9), (5, 5, 1, 1.5), (30, 10, 3, 2.9)]
)
def test_power_is_what_a_simulation_finds(students, published, s, raised):
    boards = 1500
    now, claimed = drawn(1, boards, students, published, s, raised)
    of = None if students == published else published
    seen = np.mean([compared(a, b).p_lower <= 0.05 for a, b in zip(now, claimed, strict=True)])
    assert seen == pytest.approx(power_to_see(raised, s, students, of), abs=0.04)
    now, claimed = drawn(2, boards, students, published, s, 0)
    intervals = [compared(a, b) for a, b in zip(now, claimed, strict=True)]
    equal = np.array([max(-each.low, each.high) < STANDARD_MARGIN for each in intervals])
    assert equal.mean() == pytest.approx(power_of_equivalence(s, students, of), abs=0.04)
    verified = np.mean([verdict(a, b) == "verified" for a, b in zip(now, claimed, strict=True)])
    assert verified == pytest.approx(power_to_verify(s, students, of), abs=0.04)
    assert verified <= equal.mean()


def verdict(now: np.ndarray, claimed: np.ndarray) -> str:
    comparison = compared(now, claimed)
    found = VerificationRecord.model_construct(
        judgement="equivalence",
        low=comparison.low,
        high=comparison.high,
        p_lower=comparison.p_lower,
        margin=STANDARD_MARGIN,
    )
    return concluded(found)


@pytest.mark.parametrize("students", [3, 5, 10])
@pytest.mark.parametrize("s", [1, 3, 5, 9])
def test_honest_records_are_refuted_in_less_than_one_of_a_thousand(students, s):
    now, claimed = drawn(3, 4000, students, students, s, 0)
    refuted = sum(verdict(a, b) == "refuted" for a, b in zip(now, claimed, strict=True))
    assert refuted <= 4000 * REFUTED + 3 * math.sqrt(4000 * REFUTED)


def test_what_is_far_too_high_is_refuted_elsewhere_too():
    now, claimed = drawn(4, 500, 10, 10, 3, 12)
    assert np.mean([verdict(a, b) == "refuted" for a, b in zip(now, claimed, strict=True)]) > 0.9
    now, claimed = drawn(4, 500, 10, 10, 3, -12)  # published scores that are too low claim nothing
    assert {verdict(a, b) for a, b in zip(now, claimed, strict=True)} == {"inconclusive"}


@pytest.mark.parametrize("raised", [1, 1.5, 2.8])
def test_a_raise_within_the_margin_is_hardly_ever_verified_where_students_suffice(raised):
    """With s = 1 and as many students as see such a raise with 99 %."""
    students = next(n for n in range(3, 99) if power_to_see(raised, 1, n) > 0.99)
    now, claimed = drawn(6, 1000, students, students, 1, raised)
    assert np.mean([verdict(a, b) == "verified" for a, b in zip(now, claimed, strict=True)]) < 0.02


def test_a_score_that_was_chosen_among_many_draws_stands_out():
    """Random clouds of shapes10: mean 19.6, standard deviation 2.9, the best of 30 26.6."""
    generator = np.random.default_rng(5)
    draws = 19.6 + 2.9 * generator.standard_normal((2000, 10))
    assert np.mean([p_chosen(26.6, fresh) <= 0.05 for fresh in draws]) > 0.6
    honest = 19.6 + 2.9 * generator.standard_normal(2000)
    assert np.mean([p_chosen(one, fresh) <= 0.05 for one, fresh in zip(honest, draws, strict=True)]) < 0.07
    assert p_chosen(0.5, [0.5, 0.5]) == 1
    assert p_chosen(0.6, [0.5, 0.5]) == 0


def test_degenerate_scores_have_an_answer():
    assert compared([0.5], [0.4]).p_lower == 1
    assert (compared([0.5], [0.4]).low, compared([0.5], [0.4]).high) == (-100, 100)
    equal = compared([0.5, 0.5, 0.5], [0.5, 0.5])
    assert (equal.low, equal.high, equal.p_lower) == (0, 0, 1)
    assert "no spread" in power_line([0.5], 1)
    assert "no spread" in power_line([0.5, 0.5], 2)
    line = power_line([0.5 + 0.03 * x for x in (-1, 0, 1)], 10)
    assert line.startswith("with 10 students of s = 3.0 a raise of 2.9 points is seen with ")


def test_a_sample_meets_an_altered_one_in_proportion():
    assert meeting(1, 30, 3) == pytest.approx(0.1)
    assert meeting(0, 30, 3) == 0
    assert meeting(5, 30, 30) == 1
