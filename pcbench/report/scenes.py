"""A run's clouds as the viewer's script, and as a picture for where that cannot run. Needs torch."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pcbench.api import Splits
from pcbench.clouds import PointClouds, as_stored
from pcbench.engine.artifacts import load_snapshots
from pcbench.errors import DataError
from pcbench.look import pictures
from pcbench.records import labels
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import DistillationRecord, SnapshotEntry
from pcbench.report.text import plain

STEPS = 32767
"""Coordinates are whole numbers of this many steps from the origin to the farthest of all points."""

MOST_TILES = 180
"""A picture shows so many clouds at most; the viewer has all."""

MOST_POINTS = 250_000
"""So many points of snapshots stand in a run's script, some 2 MB, or those of the first and the last."""


@dataclass(frozen=True)
class Shown:
    """Clouds as the viewer shows them beside others."""

    clouds: PointClouds
    """As many of every class, class by class."""
    words: str
    """What they are."""
    iteration: int | None = None
    """Updates done by then, of snapshots of one run; None of other clouds."""


def scene(
    file: Path, distillation: DistillationRecord, name: str, splits: Splits | None, up: pictures.Up
) -> tuple[str, bytes]:
    """The script and the PNG of a run's clouds: as they began, distilled, the nearest training clouds.

    The script has snapshots between these, too, as many as are no burden. file: the clouds. name: of the
    run's page. splits: the data set, where it is here. DataError for clouds that are not the record's.
    """
    snapshots = [(each.iteration, each.clouds) for each in load_snapshots(file, _some(distillation))]
    return _drawn(distillation.inputs, name, snapshots, splits, up)


def _some(distillation: DistillationRecord) -> list[SnapshotEntry]:
    """The first snapshot, the last, and some between them that lie as evenly as may be."""
    snapshots, inputs = distillation.snapshots, distillation.inputs
    values = len(inputs.data.class_names) * inputs.ppc * inputs.data.points
    many = min(len(snapshots), max(2, MOST_POINTS // max(values, 1)))
    if many < 2:
        return list(snapshots)
    return [snapshots[round(place * (len(snapshots) - 1) / (many - 1))] for place in range(many)]


def _drawn(
    inputs: DistillationInputs,
    name: str,
    snapshots: Sequence[tuple[int, PointClouds]],
    splits: Splits | None,
    up: pictures.Up,
) -> tuple[str, bytes]:
    distilled = snapshots[-1][1]
    order = torch.argsort(distilled.labels, stable=True)
    alike = [
        Shown(clouds.select(order), "distilled" if clouds is distilled else f"iteration {at}", at)
        for at, clouds in snapshots
        if clouds.labels.equal(distilled.labels)
    ]
    if len(alike) > 1:
        alike[0] = replace(alike[0], words="initial")
    began = alike[0].clouds if len(alike) > 1 else None
    distilled, _ = _by_class(distilled)
    near, nearest = [], []
    if splits is not None and splits.train.class_names == distilled.class_names:
        nearest = pictures.nearest_clouds(distilled, splits.train, lambda *_: None)
        rows_of_train = torch.tensor([each.row for each in nearest])
        near = [Shown(splits.train.select(rows_of_train), "nearest real cloud")]
    script = _script(name, inputs.ppc, [*alike, *near], up)
    groups = 1 + (began is not None) + len(near)
    few = max(1, MOST_TILES // (distilled.classes * groups))
    rows = torch.arange(len(distilled)) % inputs.ppc < few
    title = plain(labels.title(inputs))
    sheet = pictures.contact_sheet(
        title,
        pictures.run_sections(
            distilled.select(rows),
            began.select(rows) if began else None,
            splits.train if splits and nearest else None,
            [each for each, kept in zip(nearest, rows.tolist(), strict=False) if kept],
        ),
        up,
        legend=pictures.OF_NEAREST if nearest else "",
    )
    return script, _png(sheet)


def _png(sheet: pictures.Sheet) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pictures.save_sheet(path, sheet)
        return path.read_bytes()


def firsts(file: Path, distillation: DistillationRecord) -> PointClouds:
    """The first distilled cloud of every class; DataError where there is none, or another number of each."""
    (distilled,) = (each.clouds for each in load_snapshots(file, [distillation.snapshots[-1]]))
    ordered, each = _by_class(distilled)
    return ordered.select(torch.arange(0, len(ordered), each))


def _by_class(clouds: PointClouds) -> tuple[PointClouds, int]:
    """Clouds class by class, and how many of each there are; DataError where that differs."""
    counts = set(clouds.counts().tolist())
    if len(counts) != 1:
        raise DataError("it does not hold as many clouds of every class")
    return clouds.select(torch.argsort(clouds.labels, stable=True)), counts.pop()


def strip(name: str, title: str, shown: Sequence[Shown], label: int, up: pictures.Up) -> tuple[str, bytes]:
    """The script and the PNG of clouds of several methods, one of every class each.

    label: the picture's class.
    """
    sheet = pictures.column(plain(title), [each.clouds.points[label] for each in shown], up)
    return _script(name, 1, shown, up), _png(sheet)


def _script(name: str, ppc: int, sets: Sequence[Shown], up: pictures.Up) -> str:
    """`pcbenchClouds(name, clouds)`: each set as little-endian int16 (classes, PPC, points, 3) in base64."""
    first = sets[0].clouds
    scale = max(float(each.clouds.points.abs().max()) for each in sets) or 1.0
    data = {
        "classes": [plain(each) for each in first.class_names],
        "ppc": ppc,
        "scale": scale,
        "up": "y" if up == "none" else up,
        "sets": [
            {
                "words": plain(each.words),
                "points": each.clouds.points_per_cloud,
                "values": _encoded(each.clouds, scale),
                **({} if each.iteration is None else {"iteration": each.iteration}),
            }
            for each in sets
        ],
    }
    # < is written so that the file stays harmless where somebody pastes it into a page
    text = json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f"pcbenchClouds({json.dumps(name)}, {text});\n"


def _encoded(clouds: PointClouds, scale: float) -> str:
    points, _ = as_stored(clouds)
    steps = np.rint(points.astype(np.float64) * (STEPS / scale)).astype("<i2")
    return base64.b64encode(steps.tobytes()).decode("ascii")
