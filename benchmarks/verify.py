"""How often `pcbench verify` comes to which verdict on other hardware, by simulation: docs/statistics.md.

python benchmarks/verify.py           # two minutes on one core
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from pcbench.records.verifications import VerificationRecord, concluded
from pcbench.submission.judgement import compared

BOARDS = 10_000


def verdicts(students: int, published: int, s: float, raised: float, boards: int = BOARDS) -> Counter[str]:
    """Verdicts on scores raised by so many points, where every student is another normal draw."""
    generator = np.random.default_rng([students, published, round(10 * s), round(10 * raised)])
    counts: Counter[str] = Counter()
    for _ in range(boards):
        now = 50 + s * generator.standard_normal(students)
        claimed = 50 + raised + s * generator.standard_normal(published)
        comparison = compared(now / 100, claimed / 100)
        found = VerificationRecord.model_construct(
            judgement="equivalence",
            low=comparison.low,
            high=comparison.high,
            p_lower=comparison.p_lower,
            margin=3.0,
        )
        counts[concluded(found)] += 1
    return counts


def main() -> None:
    """Print the table."""
    raises = (0.0, 1.5, 2.9, 8.0)
    print(
        "| students now / published | s | " + " | ".join(f"raised by {raised:g}" for raised in raises) + " |"
    )
    print("|---|---|" + "---|" * len(raises))
    for students, published in ((3, 3), (5, 5), (10, 10), (30, 10)):
        for s in (1, 3, 5, 9):
            cells = []
            for raised in raises:
                counts = verdicts(students, published, s, raised)
                shares = [100 * counts[word] / BOARDS for word in ("verified", "inconclusive", "refuted")]
                cells.append(f"{shares[0]:.0f} / {shares[1]:.0f} / {shares[2]:.2f}")
            print(f"| {students} / {published} | {s} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
