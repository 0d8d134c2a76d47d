"""How much of the students' spread is the order of their batches, and how much their weights and dropout.

    python -m benchmarks.orders results/random-modelnet10-ppc1-dc1831f372 --orders 4 --students 5

Students of a protocol have an order of batches each; those of SADM's code have one order together. Here
groups of students have one together: what lies between the groups is the order's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from pcbench.catalogue import open_catalogue
from pcbench.common.files import digest
from pcbench.common.places import cache_root
from pcbench.engine import plan, students
from pcbench.engine.evaluate import answers_of, recipe_for, stored_snapshots
from pcbench.engine.unfinished import Unfinished
from pcbench.protocols import protocol
from pcbench.records.store import checked_run
from pcbench.seeds import Axis, Streams

CPU = torch.device("cpu")


@dataclass(frozen=True)
class OneOrder(Streams):
    """The streams of a student whose order of batches is that of a group."""

    group: int = 0
    """Which group."""

    def stream(self, purpose: str, **axes: Axis) -> torch.Generator:
        """As the student's own, but for the order."""
        if purpose == "order":
            return Streams({"experiment": "orders", "group": self.group}).stream(purpose)
        return super().stream(purpose, **axes)


def accuracies(folder: Path, groups: int, of_each: int) -> list[list[float]]:
    """Accuracy in percent of every student on a run's last snapshot, group by group."""
    run = checked_run(folder).run
    inputs = run.evaluations[0].inputs
    ((_, evaluation),) = plan.evaluations(
        open_catalogue(),
        [run],
        [inputs.network.label],
        protocol.named(inputs.protocol.base),
        inputs.protocol.changes,
        [inputs.variant.label],
    )
    last = stored_snapshots(evaluation.splits, folder, run.distillation)[-1]
    streams = [
        OneOrder({"experiment": "orders", "group": group, "student": student}, group)
        for group in range(groups)
        for student in range(of_each)
    ]
    recipe = recipe_for(evaluation, run.distillation, last.iteration)
    about = {"clouds": last.identity, "recipe": recipe.model_dump(mode="json"), "students": [groups, of_each]}
    kept = Unfinished(cache_root() / "training" / f"orders-{digest(about)[:10]}", about, CPU)

    def report(epochs: int, total: int) -> None:
        if epochs % 10 == 0:
            print(f"epoch {epochs} of {total}", file=sys.stderr, flush=True)

    network = students.train(evaluation.build, last.clouds.normalised(), recipe, streams, report, keeper=kept)
    answers = answers_of(evaluation, network, len(streams), evaluation.variants[0], CPU)
    right = torch.tensor(answers.predictions.correct).sum(1) * 100.0
    scores = (right / sum(evaluation.totals(evaluation.variants[0]))).tolist()
    kept.end()
    return [scores[of_each * group : of_each * (group + 1)] for group in range(groups)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run with its clouds and an evaluation")
    parser.add_argument("--orders", type=int, default=4, help="orders of batches")
    parser.add_argument("--students", type=int, default=5, help="students of each order")
    chosen = parser.parse_args()
    groups = accuracies(chosen.run, chosen.orders, chosen.students)
    for number, scores in enumerate(groups):
        mean, spread = sum(scores) / len(scores), statistics.stdev(scores)
        print(f"order {number}: {mean:.1f} ± {spread:.1f} ({', '.join(f'{score:.1f}' for score in scores)})")
    means = [sum(scores) / len(scores) for scores in groups]
    within = (sum(statistics.stdev(scores) ** 2 for scores in groups) / len(groups)) ** 0.5
    print(f"means of orders lie {statistics.stdev(means):.1f} apart; students of one order {within:.1f}")
    print(f"which alone would let means lie {within / chosen.students**0.5:.1f} apart")


if __name__ == "__main__":
    main()
