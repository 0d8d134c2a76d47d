"""The contract of data sets; what needs the data is left out where this machine does not have it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pcbench.api import Dataset, Splits
from pcbench.conformance.clauses import Failed, NotApplicable

SPHERE_TOLERANCE = 1e-4


class DatasetContract:
    """The clauses of `Dataset`; what needs the data is left out where this machine does not have it."""

    points = (16, 24)

    def __init__(self, dataset: type[Dataset]) -> None:
        self.kind = dataset
        self.loaded: dict[int, Splits] = {}

    def clauses(self) -> dict[str, Callable[[], str]]:
        return {
            "card": self.card,
            "counts and classes": self.counts,
            "points": self.asked_points,
            "unit sphere": self.unit_sphere,
            "content hash": self.content_hash,
        }

    def card(self) -> str:
        kind = self.kind
        if not kind.variant or kind.up_axis not in ("x", "y", "z", "none"):
            raise Failed("variant is empty, or up_axis is none of x, y, z and none")
        if min(kind.classes, kind.train_size, kind.test_size) < 1:
            raise Failed("classes, train_size and test_size are not all positive")
        if not kind().how_to_get():
            raise Failed("how_to_get says nothing: one sentence with the command that makes it present")
        return f"{kind.classes} classes, {kind.train_size} training and {kind.test_size} test clouds"

    def load(self, points: int) -> Splits:
        dataset = self.kind()
        if not dataset.present():
            raise NotApplicable(f"it is not on this machine: {dataset.how_to_get()}")
        if points not in self.loaded:
            self.loaded[points] = dataset.load(points)
        return self.loaded[points]

    def counts(self) -> str:
        splits, kind = self.load(self.points[0]), self.kind
        if splits.train.class_names != splits.test.class_names:
            raise Failed("training and test clouds have other class names")
        for split, clouds in (("training", splits.train), ("test", splits.test)):
            empty = [clouds.class_names[k] for k in (clouds.counts() == 0).nonzero().flatten().tolist()]
            if empty:
                raise Failed(f"class {empty[0]!r} has no {split} cloud")
        found = (splits.train.classes, len(splits.train), len(splits.test))
        card = (kind.classes, kind.train_size, kind.test_size)
        if splits.standard and found != card:
            raise Failed(
                f"classes, training and test clouds are {found}, and its card says {card}: "
                "change the card, or load with standard=False"
            )
        return f"{found[0]} classes, {found[1]} training and {found[2]} test clouds"

    def asked_points(self) -> str:
        for points in self.points:
            splits = self.load(points)
            given = {splits.train.points_per_cloud, splits.test.points_per_cloud}
            if given != {points}:
                raise Failed(f"asked for {points} points a cloud, it gives {given}")
        return " and ".join(map(str, self.points))

    def unit_sphere(self) -> str:
        splits = self.load(self.points[0])
        for split, clouds in (("training", splits.train), ("test", splits.test)):
            centre = clouds.points.mean(1).norm(dim=1)
            radius = clouds.points.norm(dim=2).amax(1)
            off = torch.maximum(centre, (radius - 1).abs())
            if off.max() > SPHERE_TOLERANCE:
                worst = int(off.argmax())
                raise Failed(
                    f"{split} cloud {worst} has its mean {float(centre[worst]):.2g} from the origin and its "
                    f"farthest point at {float(radius[worst]):.4g}: give PointClouds.normalised()"
                )
        return "means at the origin, farthest points at one"

    def content_hash(self) -> str:
        first, other = (self.load(points) for points in self.points)
        again = self.kind().load(self.points[0])
        if again.content_hash != first.content_hash:
            raise Failed("two loads give two content hashes")
        for one, two in ((first.train, again.train), (first.test, again.test)):
            if one.content_hash() != two.content_hash():
                raise Failed("two loads give other clouds under one content hash")
        if other.content_hash == first.content_hash:
            raise Failed("the content hash is the same for another number of points")
        return first.content_hash[:12]
