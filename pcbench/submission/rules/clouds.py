"""Synthetic clouds of a record: its own, as many and as large as it says, and such as a method can give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcbench.common.installed import has_torch
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import Run, SnapshotEntry

if TYPE_CHECKING:
    from pcbench.api import PointClouds, Stored

REACH = 10.0
"""Training clouds lie in the unit sphere; no point of a synthetic one is farther out than this."""
EXTENT = 1e-3
"""Most clouds of a set are larger than this, from their mean to their farthest point."""


SIZES = ("bytes", "trained_on", "trained_points")
"""What a record says of how large a parameterised set is."""
MARKS = {
    "soft": "soft labels",
    "weighted": "weights of clouds",
    "student_lr": "the students' learning rate",
}
"""What a record says that students learn beside clouds and classes, in words."""


class UnfitClouds(DataError):
    """Clouds that are those of their record, and not such as the record says."""


def check_clouds(run: Run) -> None:
    """DataError unless the clouds beside a record are its own, nothing left out; UnfitClouds where unfit.

    Every snapshot has PPC clouds of each class in the order of the classes, each of N points within REACH,
    most of them no single points, and no one cloud makes up more than half of them. UsageError where torch is
    not installed: clouds are never taken for checked that were not.
    """
    if not has_torch():
        raise UsageError(f"{layout.clouds(run.folder)} cannot be checked without torch: install it")
    from pcbench.engine.artifacts import load_snapshots

    path, inputs = layout.clouds(run.folder), run.distillation.inputs
    entries = run.distillation.snapshots
    for entry, snapshot in zip(entries, load_snapshots(path, entries), strict=True):
        clouds, stored = snapshot.clouds, snapshot.stored
        wrong = _shape(clouds, inputs) if stored is None else _kept(clouds, stored, entry)
        wrong = wrong or _classes(clouds, inputs) or _content(clouds)
        if wrong:
            raise UnfitClouds(f"{path}: iteration {snapshot.iteration} {wrong}")


def _shape(clouds: PointClouds, inputs: DistillationInputs) -> str:
    """What is wrong with numbers, classes and order; empty where nothing is."""
    if clouds.points_per_cloud != inputs.data.points:
        return f"has clouds of {clouds.points_per_cloud} points, and the record says {inputs.data.points}"
    if set(clouds.counts().tolist()) != {inputs.ppc}:
        return f"has not {inputs.ppc} clouds of every class"
    return ""


def _kept(clouds: PointClouds, stored: Stored, entry: SnapshotEntry) -> str:
    """What is wrong with the numbers of a parameterised set, which the record states; empty for nothing."""
    there = stored.described(clouds)
    kept, said = (tuple(values[name] for name in SIZES) for values in (there, vars(entry)))
    if kept != said:
        return f"has {kept} bytes, clouds and points of a cloud, and the record says {said}"
    for name, what in MARKS.items():
        if there[name] != getattr(entry, name):
            return f"has {what}: {there[name]}, and the record says {getattr(entry, name)}"
    return ""


def _classes(clouds: PointClouds, inputs: DistillationInputs) -> str:
    """What is wrong with classes and order; empty where nothing is."""
    counts = set(clouds.counts().tolist())
    if list(clouds.class_names) != inputs.data.class_names or len(counts) != 1:
        return "has other classes than the record, or not as many clouds of each"
    if counts.pop() % inputs.ppc:
        return f"has clouds of other than {inputs.ppc} slots of every class"
    if bool((clouds.labels.diff() < 0).any()):
        return "has clouds that are not in the order of their classes"
    return ""


def _content(clouds: PointClouds) -> str:
    """What is wrong with the coordinates; empty where nothing is."""
    import torch

    points = clouds.points.double()
    reach = float(torch.linalg.vector_norm(points, dim=-1).max())
    if not reach <= REACH:
        return f"reaches {reach:.3g} from the origin, where clouds lie in the unit sphere"
    centred = points - points.mean(1, keepdim=True)
    extent = torch.linalg.vector_norm(centred, dim=-1).amax(1)
    if clouds.points_per_cloud > 1 and float(extent.median()) < EXTENT:
        return f"has clouds that are single points: most are smaller than {EXTENT:g}"
    _, times = torch.unique(points.flatten(1), dim=0, return_counts=True)
    most = int(times.max())
    if 2 * most > max(len(clouds), 2):
        return f"has the same cloud {most} times among {len(clouds)}"
    return ""
