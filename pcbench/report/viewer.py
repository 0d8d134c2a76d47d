"""A run's clouds for the viewer, as a script that the page loads, and as a picture where that cannot run."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pcbench.api import Splits
from pcbench.catalogue import Registry
from pcbench.catalogue.registry import redistributable
from pcbench.clouds import PointClouds, as_stored
from pcbench.common.files import digest
from pcbench.engine.artifacts import load_snapshots
from pcbench.errors import DataError, PcbenchError
from pcbench.look import pictures
from pcbench.records import layout
from pcbench.records.labels import ppc_label
from pcbench.records.models import DistillationInputs, Run
from pcbench.report.cells import page_name
from pcbench.report.text import plain

STEPS = 32767
KEPT = 200
"""So many runs' clouds are kept for the next build of a site that is served."""

MOST_TILES = 180
"""A picture shows so many clouds at most; the viewer has all."""


@dataclass(frozen=True)
class Shown:
    """What a run's page needs for its clouds. script: for the viewer; picture: a PNG."""

    script: str
    picture: bytes


@dataclass
class Clouds:
    """Decides which clouds may be shown, and makes what shows them.

    with_real: also those of data sets whose owners do not let clouds be passed on. Only a data set that
    stands here and is the run's own, by its hash, can say that they may be. problems: a line for every run
    whose clouds should be shown and cannot.
    """

    datasets: Registry[Any]
    with_real: bool
    problems: list[str] = field(default_factory=list)
    _loaded: dict[tuple[str, int], Splits | None] = field(default_factory=dict)
    _made: dict[str, Shown] = field(default_factory=dict)

    def of(self, run: Run) -> Shown | None:
        """The clouds of a run: as they began, distilled, the nearest training clouds; None if not shown."""
        made = run.distillation
        if made.inputs.is_whole or not made.snapshots or not layout.clouds(run.folder).is_file():
            return None
        free = redistributable(made.inputs.data.name, self.datasets)
        if not (free or self.with_real):
            return None
        splits = self._splits(made.inputs)
        if splits is None and not self.with_real:
            return None
        key = digest([made.key, *(entry.clouds for entry in made.snapshots)])
        if key in self._made:
            return self._made[key]
        try:
            ends = [made.snapshots[0], made.snapshots[-1]] if len(made.snapshots) > 1 else made.snapshots
            *initial, distilled = (each.clouds for each in load_snapshots(layout.clouds(run.folder), ends))
            name, up = page_name(made.key), self._up(made.inputs)
            shown = _shown(made.inputs, name, initial, distilled, splits, up)
        except DataError as error:
            self.problems.append(f"the clouds of {run.folder}: {error}")
            return None
        if len(self._made) < KEPT:
            self._made[key] = shown
        return shown

    def _up(self, inputs: DistillationInputs) -> pictures.Up:
        known = inputs.data.name in self.datasets.names()
        return self.datasets.load(inputs.data.name).up_axis if known else "y"

    def _splits(self, inputs: DistillationInputs) -> Splits | None:
        """The data set of a run, where this machine has it with the same content."""
        key = inputs.data.name, inputs.data.points
        if key not in self._loaded:
            try:
                self._loaded[key] = self.datasets.load(key[0])().load(key[1])
            except PcbenchError:
                self._loaded[key] = None
        found = self._loaded[key]
        return found if found and found.content_hash == inputs.data.hash else None


def _shown(
    inputs: DistillationInputs, name: str, initial: Sequence[PointClouds], distilled: PointClouds,
    splits: Splits | None, up: pictures.Up,
) -> Shown:  # fmt: skip
    order = torch.argsort(distilled.labels, stable=True)
    alike = [clouds for clouds in initial if clouds.labels.equal(distilled.labels)]
    began = alike[0].select(order) if alike else None
    distilled = distilled.select(order)
    if distilled.counts().tolist() != [inputs.ppc] * distilled.classes:
        raise DataError(f"it does not hold {inputs.ppc} clouds of every class")
    near, nearest = None, []
    if splits is not None and splits.train.class_names == distilled.class_names:
        nearest = pictures.nearest_clouds(distilled, splits.train, lambda *_: None)
        near = splits.train.select(torch.tensor([each.row for each in nearest]))
    sets = {"initial": began, "distilled": distilled, "neighbour": near}
    script = _script(name, inputs, {key: clouds for key, clouds in sets.items() if clouds is not None}, up)
    groups = 1 + (began is not None) + (near is not None)
    few = max(1, MOST_TILES // (distilled.classes * groups))
    rows = torch.arange(len(distilled)) % inputs.ppc < few
    title = plain(f"{inputs.method} · {inputs.data.name} · {ppc_label(inputs.ppc)}")
    sheet = pictures.contact_sheet(
        title,
        pictures.run_sections(
            distilled.select(rows),
            began.select(rows) if began else None,
            splits.train if splits and nearest else None,
            [each for each, kept in zip(nearest, rows.tolist(), strict=False) if kept],
        ),
        up,
        legend="grey: the nearest training cloud of the class, with its Chamfer distance" if nearest else "",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pictures.save_sheet(path, sheet)
        return Shown(script, path.read_bytes())


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
