"""A run's clouds as the viewer's script, and as a picture for where that cannot run. Needs torch."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pcbench.api import Splits
from pcbench.clouds import PointClouds, as_stored
from pcbench.engine.artifacts import load_snapshots
from pcbench.errors import DataError
from pcbench.look import pictures
from pcbench.records import labels
from pcbench.records.models import DistillationInputs, DistillationRecord
from pcbench.report.text import plain

STEPS = 32767
"""Coordinates are whole numbers of this many steps from the origin to the farthest of all points."""

MOST_TILES = 180
"""A picture shows so many clouds at most; the viewer has all."""


def scene(
    file: Path, distillation: DistillationRecord, name: str, splits: Splits | None, up: pictures.Up
) -> tuple[str, bytes]:
    """The script and the PNG of a run's clouds: as they began, distilled, the nearest training clouds.

    file: the clouds. name: of the run's page. splits: the data set, where it is here. DataError where the
    clouds are not those of the record.
    """
    snapshots = distillation.snapshots
    ends = [snapshots[0], snapshots[-1]] if len(snapshots) > 1 else snapshots
    *initial, distilled = (each.clouds for each in load_snapshots(file, ends))
    return _drawn(distillation.inputs, name, initial, distilled, splits, up)


def _drawn(
    inputs: DistillationInputs, name: str, initial: Sequence[PointClouds], distilled: PointClouds,
    splits: Splits | None, up: pictures.Up,
) -> tuple[str, bytes]:  # fmt: skip
    order = torch.argsort(distilled.labels, stable=True)
    alike = [clouds for clouds in initial if clouds.labels.equal(distilled.labels)]
    began = alike[0].select(order) if alike else None
    distilled = distilled.select(order)
    if len(set(distilled.counts().tolist())) != 1:
        raise DataError("it does not hold as many clouds of every class")
    near, nearest = None, []
    if splits is not None and splits.train.class_names == distilled.class_names:
        nearest = pictures.nearest_clouds(distilled, splits.train, lambda *_: None)
        near = splits.train.select(torch.tensor([each.row for each in nearest]))
    sets = {"initial": began, "distilled": distilled, "neighbour": near}
    script = _script(name, inputs, {key: clouds for key, clouds in sets.items() if clouds is not None}, up)
    groups = 1 + (began is not None) + (near is not None)
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pictures.save_sheet(path, sheet)
        return script, path.read_bytes()


def _script(name: str, inputs: DistillationInputs, sets: dict[str, PointClouds], up: pictures.Up) -> str:
    """`pcbenchClouds(name, clouds)`: each set as little-endian int16 (classes, PPC, points, 3) in base64."""
    first = next(iter(sets.values()))
    scale = max(float(clouds.points.abs().max()) for clouds in sets.values()) or 1.0
    data = {
        "classes": [plain(each) for each in first.class_names],
        "ppc": inputs.ppc,
        "points": first.points_per_cloud,
        "scale": scale,
        "up": "y" if up == "none" else up,
        "sets": {key: _encoded(clouds, scale) for key, clouds in sets.items()},
    }
    # < is written so that the file stays harmless where somebody pastes it into a page
    text = json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f"pcbenchClouds({json.dumps(name)}, {text});\n"


def _encoded(clouds: PointClouds, scale: float) -> str:
    points, _ = as_stored(clouds)
    steps = np.rint(points.astype(np.float64) * (STEPS / scale)).astype("<i2")
    return base64.b64encode(steps.tobytes()).decode("ascii")
