"""Loads a data set with fewer points a cloud than are stored, by their order, at random or as the farthest.

An import keeps as many points as it is asked for (`pcbench data import … --points 2048`); which of them a run
uses is chosen here, later. What was chosen is kept in the cache: farthest points of 12 311 clouds, 1024 of
2048, take about two minutes of one core.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from pcbench.api import Dataset, Splits
from pcbench.common.files import digest
from pcbench.common.places import cache_root
from pcbench.datasets.store import Importable, load_splits, save_splits, splits_hash
from pcbench.errors import DataError
from pcbench.ops.sampling import Sampling, resample
from pcbench.seeds import Streams

OF = " of "
"""Between the sampling of a run and that of the import, where that had chosen points itself."""


def load(dataset: Dataset, points: int, sampling: str | None = None) -> Splits:
    """A data set with `points` points a cloud, by a `Sampling`, or by the words of a record.

    sampling: by default the first of those that are stored. Where there are no more to choose among, or the
    words are no `Sampling`, it is the first ones too: what was loaded says so itself. DataError for more
    points than are stored.
    """
    splits = dataset.load(points)
    if sampling is None or sampling == splits.sampling:
        return splits
    manifest = dataset.manifest() if isinstance(dataset, Importable) else None
    if manifest is None or manifest.points == points:
        return splits
    match how := sampling.partition(OF)[0]:
        case "random" | "farthest":
            return _chosen(dataset.load(manifest.points), points, how)
        case _:
            return splits


def _chosen(dense: Splits, points: int, how: Sampling) -> Splits:
    """Some of the points of dense clouds, from the cache where they were chosen before."""
    key = digest({"stored": dense.content_hash, "sampling": how, "points": points})
    path = cache_root() / "sampled" / f"{key[:16]}.h5"
    try:
        train, test, chosen_hash = load_splits(path)
    except DataError:
        streams = Streams({"level": "sampling", "data": key})
        train = resample(dense.train, points, how, streams.stream("training clouds")).normalised()
        test = resample(dense.test, points, how, streams.stream("test clouds")).normalised()
        chosen_hash = splits_hash(train, test)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs the choice and no more
            save_splits(path, train, test)
    return replace(
        dense,
        train=train,
        test=test,
        content_hash=digest({"chosen": chosen_hash, "sampling": how, "points": points}),
        sampling=how if dense.sampling == "first" else f"{how}{OF}{dense.sampling}",
    )
