"""What the leaderboard's statistics cost and what they cover, by simulation: figures of docs/statistics.md.

python benchmarks/stats.py            # some minutes on one core
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pcbench import stats

Board = dict[int, dict[str, list[float]]]
BOARDS = 400


def board(rng: np.random.Generator, means: Sequence[float], cells: int, students: int) -> Board:
    """Normal scores; a student's seed moves all methods of a cell alike, as much as chance moves each."""
    size = (cells, len(means), students)
    scores = np.array(means)[:, None] + rng.normal(size=size) + rng.normal(size=(cells, 1, students))
    return {c: {f"m{i}": scores[c, i].tolist() for i in range(len(means))} for c in range(cells)}


def bootstrap_tiers(scores: Board, rng: np.random.Generator, draws: int = 1000) -> int:
    """The number of tiers by the rule tried first: the head against those below, by the draws alone, Holm."""
    names = sorted(scores[0])
    drawn, means = np.zeros((draws, len(names))), np.zeros(len(names))
    for cell in scores.values():
        values: NDArray[np.float64] = np.array([cell[name] for name in names]).T
        n = len(values)
        drawn += rng.multinomial(n - 1, np.full(n, 1 / n), size=draws) / (n - 1) @ values
        means += values.mean(axis=0)
    order, tiers = list(np.argsort(-means)), 0
    while order:
        tiers += 1
        p = [2 * (1 + (drawn[:, i] >= drawn[:, order[0]]).sum()) / (1 + draws) for i in order[1:]]
        told = [i for i, adjusted in enumerate(stats.holm(np.minimum(p, 1))) if adjusted <= 0.05]
        order = order[1 + told[0] :] if told else []
    return tiers


def split(cells: int, students: int, methods: int, count: Callable[[Board], int]) -> float:
    """The share of boards of equal methods that get more than one tier."""
    rng = np.random.default_rng(0)
    return sum(count(board(rng, [0] * methods, cells, students)) > 1 for _ in range(BOARDS)) / BOARDS


def covered(cells: int, students: int, step: float) -> float:
    """How often the interval of ranks holds the true rank, of six methods whose means are `step` apart."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(BOARDS):
        ranks = stats.rank_intervals(board(rng, [step * i for i in range(6)], cells, students), draws=1000)
        for i in range(6):
            found = ranks[f"m{i}"]
            hits += found.low is not None and found.high is not None and found.low <= 6 - i <= found.high
    return hits / (6 * BOARDS)


def seconds(work: Callable[[], object]) -> float:
    """The best of three calls."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the tables."""
    large = board(np.random.default_rng(0), [i / 50 for i in range(50)], 30, 10)
    print("50 methods, 30 cells, 10 students")
    print(f"  rank intervals of 10 000 draws  {seconds(lambda: stats.rank_intervals(large)):.2f} s")
    print(f"  tiers                           {seconds(lambda: stats.tiers(large)):.2f} s")
    print("equal methods in more than one tier: cells, students, methods, here, by the bootstrap alone")
    rng = np.random.default_rng(1)
    for sizes in ((1, 5, 2), (1, 5, 6), (1, 5, 12), (1, 10, 6), (1, 10, 12), (4, 10, 12)):
        here = split(*sizes, lambda b: max(stats.tiers(b).values()))
        print(" ", *sizes, f"{here:.1%} {split(*sizes, lambda b: bootstrap_tiers(b, rng)):.1%}")
    print("true ranks inside their interval: cells, students, distance of neighbours in std, share")
    for cells, students in ((1, 5), (1, 10), (4, 5), (4, 10)):
        for step in (0.1, 0.5, 2.0):
            print(" ", cells, students, step, f"{covered(cells, students, step):.1%}")


if __name__ == "__main__":
    main()
