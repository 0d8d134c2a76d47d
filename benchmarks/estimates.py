"""Sets what first steps say of a cell against what it takes: every method, students of every backbone.

    python -m benchmarks.estimates --dataset shapes10

Each cell is tried as a dry run tries it (`pcbench.engine.estimates`), and then done, under `lite` with fewer
iterations and epochs, in a temporary folder. Of both it is the seconds that a machine without other work
would have taken, as `estimates.steps.undisturbed` says; the load is printed beside.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pcbench.catalogue import open_catalogue
from pcbench.engine import distil, machine
from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins
from pcbench.engine.estimates.first_steps import try_distillation
from pcbench.engine.estimates.steps import BRISK, CAREFUL, undisturbed
from pcbench.engine.estimates.training import of_shape, recipe_of, try_students
from pcbench.engine.evaluate import evaluate
from pcbench.engine.plan import Request, cells
from pcbench.errors import PcbenchError
from pcbench.records.models import Run
from pcbench.report.text import duration, size

LONGEST = 1200.0
"""Wall seconds after which first steps are given up: the machine may be busy."""
SHORTER: Mapping[str, Mapping[str, int]] = {
    "dance": {"pool": 1, "pool_epochs": 4},
    "ncfm": {"pool": 1, "pool_epochs": 4},
    "el2n": {"networks": 1, "epochs": 6},
    "forgetting": {"epochs": 6},
    "mtt": {"experts": 2, "expert_epochs": 6},
}
"""Parameters of methods that prepare for minutes: less of the same."""


@dataclass(frozen=True)
class Row:
    """A phase of a cell, estimated and measured."""

    what: str
    """`distil sadm`, `students of dgcnn:paper`."""
    estimated: float
    """Seconds by its first steps."""
    stood_in: float
    """Seconds by those of its stand-in."""
    measured: float
    """Seconds that it took."""
    tried: float
    """Seconds that the first steps took, the start of a process included."""
    memory_estimated: int | None
    """Peak bytes by its first steps."""
    memory_measured: int | None
    """Peak bytes."""
    load: float
    """Processes that wanted a processor meanwhile, on average over a minute."""

    def __str__(self) -> str:
        values = [
            self.what,
            *(duration(each) for each in (self.estimated, self.measured)),
            f"{self.estimated / max(self.measured, 1e-3):.2f}",
            f"{self.stood_in / max(self.measured, 1e-3):.2f}",
            duration(self.tried),
            *(size(each) if each else "" for each in (self.memory_estimated, self.memory_measured)),
            f"{self.load:.1f}",
        ]
        return f"| {' | '.join(values)} |"


def rows(cell: Cell, device: torch.device, with_students: bool) -> Iterator[Row]:
    """What a cell was expected to take, and took."""
    name, folder = cell.inputs.method, Path(tempfile.mkdtemp(prefix="pcbench-estimates-"))
    begun = machine.now(device)
    trial = try_distillation(cell, device, LONGEST)
    tried = machine.now(device) - begun
    small, train = stand_ins.of_cell(cell, torch.get_num_threads()), cell.evaluation.splits.train
    by_few = try_distillation(small, device, LONGEST, BRISK).grown(train.classes, len(train))
    record = distil.distil(cell, folder, device, lambda *_: None)
    if record.status != "ok":
        raise PcbenchError(f"{record.status}: {record.reason}")
    yield Row(
        f"{name}, {cell.inputs.network.label}",
        trial.seconds(cell.inputs.iterations),
        by_few.seconds(cell.inputs.iterations),
        undisturbed(record.clock, record.provenance.hardware),
        tried,
        trial.host_bytes,
        record.memory.host_bytes,
        os.getloadavg()[0],
    )
    if not with_students:
        return
    evaluation = cell.evaluation
    recipe = recipe_of(cell)
    batch = of_shape(evaluation.splits.train, min(trial.clouds, recipe.batch), trial.points)
    begun = machine.now(device)
    expected = try_students(evaluation, batch, recipe, device, CAREFUL)
    tried = machine.now(device) - begun
    few = of_shape(small.evaluation.splits.train, recipe_of(small).batch, trial.points)
    by_two = try_students(small.evaluation, few, recipe_of(small), device, BRISK)
    by_two = by_two.grown(evaluation.protocol.students, len(batch))
    (scored,) = evaluate(evaluation, Run(folder, record, ()), device, lambda *_: None, "last").run.evaluations
    yield Row(
        f"students of {evaluation.network.label}, PPC {cell.inputs.ppc}",
        expected.seconds(trial.clouds, recipe.epochs, len(evaluation.splits.test)),
        by_two.seconds(trial.clouds, recipe.epochs, len(evaluation.splits.test)),
        undisturbed(scored.train + scored.test, scored.provenance.hardware),
        tried,
        expected.host_bytes,
        scored.memory.host_bytes,
        os.getloadavg()[0],
    )


def main(words: Sequence[str] | None = None) -> None:
    """Print a line a phase, as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", default="shapes10")
    parser.add_argument("--ppc", type=int, default=1)
    parser.add_argument("--methods", default="", help="by name; all where none is named")
    parser.add_argument("--backbones", default="", help="likewise, of students; none: -")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--whole-epochs", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    catalogue, device = open_catalogue(), machine.choose_device("auto")
    methods = given.methods.split(",") if given.methods else catalogue.methods.names()
    backbones = given.backbones.split(",") if given.backbones else catalogue.backbones.names()
    settings = {
        "iterations": given.iterations,
        "snapshot_every": given.iterations,
        "recipe.epochs": given.epochs,
        "whole.epochs": given.whole_epochs,
    }
    asked = [(method, "pointnet", False) for method in methods if method != "-"]
    asked += [("random", backbone, True) for backbone in backbones if backbone != "-"]
    if not given.json:
        print("| | estimated | measured | ratio | by a stand-in | tried in | memory | measured | load |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for method, backbone, with_students in asked:
        more = SHORTER.get(method, {})
        request = Request(
            (method,), (given.dataset,), (given.ppc,), backbone, "lite", settings=settings | more
        )
        (cell,) = cells(catalogue, request)
        try:
            for row in rows(cell, device, with_students):
                print(json.dumps(asdict(row)) if given.json else row, flush=True)
        except PcbenchError as error:
            print(f"{method}, {backbone}: {error}", flush=True)


if __name__ == "__main__":
    main()
