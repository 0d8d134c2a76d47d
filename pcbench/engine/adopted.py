"""A set that another program distilled, as a run of the open division: its clouds, and what is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pcbench.api import PointClouds, Snapshot
from pcbench.datasets.formats.sets import ForeignSet
from pcbench.engine import guard, machine
from pcbench.engine.artifacts import save_snapshots
from pcbench.engine.cell import Cell
from pcbench.engine.distil import copies_of_test
from pcbench.errors import DataError, UsageError
from pcbench.ops.names import UNKNOWN
from pcbench.records import layout
from pcbench.records.circumstances import NOTHING, Memory
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import DistillationRecord, Run, SnapshotEntry
from pcbench.records.store import read_distillation, write_distillation


def slots_of(found: ForeignSet) -> int:
    """Clouds of every class, PPC; DataError where classes have different numbers of them."""
    counts = sorted({int(count) for count in torch.bincount(torch.from_numpy(found.labels))})
    if len(counts) > 1:
        raise DataError(f"its classes have {counts[0]} to {counts[-1]} clouds: all need as many")
    return counts[0]


def adopt(
    cell: Cell,
    found: ForeignSet,
    method: str,
    out: Path,
    params: Mapping[str, Any],
    class_names: Sequence[str] = (),
    origin: str = "",
) -> Run:
    """Keep the clouds as a run below `out`, whose students `evaluate` then trains; or the run that is there.

    cell: one of the same data set, protocol and PPC, of whatever method. method: what this one is called from
    now on, with `params` as they are declared. class_names: the names in the order of the labels; else those
    of a folder, or the data set's in its own order. origin: where the set is from, in words. UsageError or
    DataError for what does not fit; nothing is written then.
    """
    if method in cell.catalogue.methods:
        raise UsageError(
            f"{method!r} is a method that pcbench runs itself: name this one otherwise, as {method}-authors",
            "method",
        )
    train = cell.evaluation.splits.train
    clouds = _in_order(found, class_names or found.class_names, train)
    expected = guard.Expected(False, train, cell.inputs.ppc, (0,))
    try:
        snapshot = guard.checked(expected, Snapshot(0, clouds), [])
    except guard.MethodFault as fault:
        raise DataError(f"the set cannot be used: {fault}") from fault
    declared = {
        "method": method,
        "params": dict(params),
        "variation": dict(params),
        "setting": "",
        "source": snapshot.identity,
        "draw": UNKNOWN,
        "files": [],
    }
    inputs = DistillationInputs.model_validate(cell.inputs.model_dump() | declared)
    folder = layout.run_folder(out, inputs)
    if layout.is_run_folder(folder):
        return Run(folder, read_distillation(layout.distillation(folder)), ())
    record = DistillationRecord(
        key=inputs.key,
        status="ok",
        inputs=inputs,
        snapshots=[SnapshotEntry(iteration=0, seconds=0.0, clouds=snapshot.identity)],
        clock=NOTHING,
        memory=Memory(host_bytes=0, device_bytes=None),
        isolation="external",
        origin=origin,
        copies=copies_of_test(cell, snapshot),
        provenance=machine.provenance(torch.device("cpu")),
    )
    save_snapshots(layout.clouds(folder), [snapshot])
    write_distillation(folder, record)
    return Run(folder, record, ())


def _in_order(found: ForeignSet, names: Sequence[str], train: PointClouds) -> PointClouds:
    """The clouds with the labels of the data set; DataError where classes are others."""
    wanted = train.class_names
    highest = int(found.labels.max())
    if not names and highest >= len(wanted):
        raise DataError(f"a label is {highest}, and the data set has {len(wanted)} classes")
    if names and (sorted(names) != sorted(wanted) or highest >= len(names)):
        missing, more = sorted({*wanted} - {*names}), sorted({*names} - {*wanted})
        raise DataError(
            f"its classes are not those of the data set: {', '.join(missing[:5]) or 'none'} missing, "
            f"{', '.join(more[:5]) or 'none'} too many"
        )
    places = torch.tensor([wanted.index(name) for name in names or wanted])
    points = torch.from_numpy(found.points).float()
    if points.shape[1] != train.points_per_cloud:
        raise DataError(
            f"its clouds have {points.shape[1]} points, and this protocol has {train.points_per_cloud}: "
            "name the protocol that has as many, or set points"
        )
    return PointClouds(points, places[torch.from_numpy(found.labels)], wanted)
