"""Synthetic clouds that are test clouds: looked for where the data set is at hand."""

from __future__ import annotations

from collections.abc import Iterator

from pcbench.catalogue import Catalogue
from pcbench.records import layout
from pcbench.records.models import Run
from pcbench.submission.rules import Finding
from pcbench.submission.rules.data import AtHand

FINER = 1024
"""Points of a test cloud that clouds of fewer points are compared with too."""


def findings(run: Run, catalogue: Catalogue, at_hand: AtHand) -> Iterator[Finding]:
    """The clouds of the last snapshot whose points stand in test clouds, and that the record does not name.

    Those that only have a test cloud's surface are not told here: another sampling of a surface is no proof,
    and `pcbench verify` weighs it.
    """
    inputs = run.distillation.inputs
    loaded = at_hand.load(inputs.data.name, inputs.data.points, inputs.data.sampling)
    if loaded is None:
        return
    from pcbench.engine.artifacts import load_snapshots
    from pcbench.engine.likeness import points_of_test

    path = layout.clouds(run.folder)
    (last,) = load_snapshots(path, run.distillation.snapshots[-1:])
    finer = at_hand.load(inputs.data.name, FINER) if inputs.data.points < FINER else None
    up_axis = catalogue.datasets.load(inputs.data.name).up_axis
    told: set[int] = set()
    for data in filter(None, (loaded, finer)):
        for copy in points_of_test(last.clouds, data.splits, up_axis):
            if copy.synthetic not in told and str(copy) not in run.distillation.copies:
                yield Finding("test-clouds", path, str(copy))
            told.add(copy.synthetic)
