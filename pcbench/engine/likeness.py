"""Compares synthetic clouds with the test and training clouds, and names copies of test clouds.

Two things make a copy. *Points*: some of a cloud's points stand exactly in test clouds, also after a turn
about the up axis, a reflection or a scaling, and in no training cloud. *Surface*: its Chamfer distance from a
test cloud is that of another sampling of the same surface, and less than half of that from any training
cloud, also after a turn about the up axis. Training clouds that are near copies of test clouds, of which data
sets have some, are nearer to themselves. A cloud whose points were moved farther than they are from one
another is not seen, whatever it was made from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcbench.api import PointClouds, Splits
from pcbench.clouds import unit_sphere
from pcbench.engine.coincidence import AXES, FEWEST, TOLERANCE, Coincidences, Floats, Standing, UpAxis
from pcbench.ops.chamfer import chamfer

SHARE = 0.05
"""Of a cloud's points: from this share on, points that stand in test clouds are no accident."""
RESAMPLED = 3.0
"""Times the mean squared distance of neighbouring points: two samplings of one surface are 2 apart."""
FEWEST_CANDIDATES, MOST_CANDIDATES, CANDIDATE_POINTS = 4, 24, 3072
"""Other clouds, the likest by their profiles, that are looked at: profiles of few points tell little."""
ROUGH_ROUNDS, ROUNDS = 4, 12
"""Rounds of laying a cloud on all candidates, and on those that are nearest then."""
ROUGH_SAMPLE, SAMPLE = 48, 128
"""Points that decide how it is laid."""
CHUNK_POINTS = 1 << 18
"""Points of other clouds that are looked at together."""

_RADII, _HEIGHTS, _ANGLES = 6, 12, 64


@dataclass(frozen=True)
class Copy:
    """A synthetic cloud that is a copy of a test cloud, or of parts of several."""

    synthetic: int
    """Its index."""
    class_name: str
    """Its class."""
    test: int
    """The index of the test cloud that it is a copy of, or that most of its points stand in."""
    test_class: str
    """The class of that test cloud."""
    share: float
    """The share of its points that stand exactly in that test cloud; 0 where only the surface is the same."""
    together: float
    """The share that stands exactly in any test cloud, and in no training cloud."""
    distance: float
    """Chamfer distance from that test cloud, both in the unit sphere; 0 where the share tells."""
    degrees: float
    """How far it is turned against the test cloud, about the up axis where there is one."""

    def __str__(self) -> str:
        turned = f", turned by {self.degrees:.0f} degrees" if self.degrees > 0.5 else ""
        if self.share:
            several = f", {self.together:.0%} in test clouds" if self.together - self.share > 0.005 else ""
            what = (
                f"{self.share:.0%} of its points stand in test cloud {self.test} ({self.test_class}){several}"
            )
        else:
            what = f"has the surface of test cloud {self.test} ({self.test_class})"
        return f"synthetic cloud {self.synthetic} ({self.class_name}): {what}{turned}"


def copies_of_test(
    clouds: PointClouds, splits: Splits, up_axis: UpAxis, finer: Splits | None = None
) -> list[Copy]:
    """The synthetic clouds that are copies of test clouds, by index; one entry a cloud.

    splits: the data set with as many points as the clouds have. finer: the same with more points, where it
    has more: other points of a test cloud than those that students are tested on make a copy too.
    """
    synthetic = _in_unit_sphere(clouds.points)
    copies = _copied_points(clouds, synthetic, splits, up_axis)
    for data in (splits, finer):
        rest = [index for index in range(len(clouds)) if index not in copies]
        if data is not None and rest:
            copies |= _copied_surfaces(clouds, synthetic, rest, data, up_axis)
    return [copies[index] for index in sorted(copies)]


def _in_unit_sphere(points: Tensor) -> Tensor:
    """Clouds (B, N, 3) in float64, centred and of radius 1, on the processor."""
    return unit_sphere(points.detach().cpu().double())


def _chunks(clouds: PointClouds) -> Iterator[tuple[int, Tensor]]:
    """Parts of clouds (B, M, 3), in the unit sphere, each with the index of its first."""
    step = max(1, CHUNK_POINTS // clouds.points_per_cloud)
    for first in range(0, len(clouds), step):
        yield first, _in_unit_sphere(clouds.points[first : first + step])


# Points that stand exactly in other clouds


def _copied_points(
    clouds: PointClouds, synthetic: Tensor, splits: Splits, up_axis: UpAxis
) -> dict[int, Copy]:
    """Copies by their points, of clouds as they are and in the unit sphere: a part has another one."""
    as_stored = clouds.points.detach().cpu().double().clamp(-2, 2)
    both = np.concatenate([synthetic.numpy(), as_stored.numpy()])
    standing = _standing(both, splits.test, up_axis)
    suspects = sorted(index for index, entries in standing.items() if _most(entries) >= SHARE)
    if not suspects:
        return {}
    in_training = _standing(both[suspects], splits.train, up_axis)
    copies: dict[int, Copy] = {}
    for place, suspect in enumerate(suspects):
        honest = np.zeros(both.shape[1], dtype=np.bool_)
        for entry in in_training.get(place, []):
            honest |= entry.points
        index = suspect % len(clouds)
        copy = _copy(clouds, index, standing[suspect], honest, splits.test)
        if copy is not None and (index not in copies or copy.together > copies[index].together):
            copies[index] = copy
    return copies


def _standing(points: Floats, others: PointClouds, up_axis: UpAxis) -> dict[int, list[Standing]]:
    coincidences = Coincidences(points, up_axis)
    for first, part in _chunks(others):
        coincidences.add(part.numpy(), first)
    return coincidences.standing()


def _most(entries: list[Standing]) -> float:
    return max(float(entry.points.mean()) for entry in entries)


def _copy(
    clouds: PointClouds, index: int, entries: list[Standing], honest: NDArray[np.bool_], test: PointClouds
) -> Copy | None:
    """The copy that points standing in test clouds make, those of training clouds left out."""
    most = max(entries, key=lambda entry: int((entry.points & ~honest).sum()))
    stolen = most.points & ~honest
    if stolen.mean() < SHARE or stolen.sum() < FEWEST:
        return None
    in_one = max(entries, key=lambda entry: entry.in_other)
    return Copy(
        index,
        clouds.class_names[int(clouds.labels[index])],
        in_one.other,
        test.class_names[int(test.labels[in_one.other])],
        in_one.in_other / len(stolen),
        float(stolen.mean()),
        0.0,
        in_one.degrees,
    )


# Surfaces that are those of other clouds


@dataclass(frozen=True)
class _Nearest:
    """The nearest of many clouds to one."""

    index: int
    """Its index among them."""
    distance: float
    """Chamfer distance, after the turn."""
    degrees: float
    """The turn about the up axis."""
    share: float
    """The share of the one's points that stand in it exactly, once it is moved and scaled too."""

    @property
    def order(self) -> tuple[float, float]:
        """Smaller is nearer: by points that stand in it, then by distance."""
        return (-self.share if self.share >= SHARE else 0.0, self.distance)


def _copied_surfaces(
    clouds: PointClouds, synthetic: Tensor, indices: list[int], splits: Splits, up_axis: UpAxis
) -> dict[int, Copy]:
    """Copies by their surface, of the synthetic clouds at some indices."""
    copies: dict[int, Copy] = {}
    candidates = CANDIDATE_POINTS // clouds.points_per_cloud
    candidates = min(max(candidates, FEWEST_CANDIDATES), MOST_CANDIDATES)
    tests = dict(zip(indices, _nearest(synthetic[indices], splits.test, up_axis, candidates), strict=True))
    suspects = [
        index
        for index, test in tests.items()
        if test.share >= SHARE or test.distance <= _resampled(splits.test, test.index)
    ]
    # The likest by profile need not be the nearest: where it decides, more of them are tried.
    training = _nearest(synthetic[suspects], splits.train, up_axis, 4 * candidates)
    for index, train in zip(suspects, training, strict=True):
        test = tests[index]
        points = test.share >= SHARE and test.share > train.share
        if points or (train.share < SHARE and test.distance < train.distance / 2):
            name = clouds.class_names[int(clouds.labels[index])]
            test_class = splits.test.class_names[int(splits.test.labels[test.index])]
            share, distance = (test.share, 0.0) if points else (0.0, test.distance)
            copies[index] = Copy(index, name, test.index, test_class, share, share, distance, test.degrees)
    return copies


def _resampled(clouds: PointClouds, index: int) -> float:
    """The largest Chamfer distance of another sampling of a cloud's surface."""
    points = _in_unit_sphere(clouds.points[index : index + 1])[0]
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    return RESAMPLED * float(apart.amin(1).square().mean())


def _nearest(synthetic: Tensor, others: PointClouds, up_axis: UpAxis, candidates: int) -> list[_Nearest]:
    """The nearest of other clouds to each synthetic one, (S, N, 3), among the likest by their profiles."""
    if not len(synthetic):
        return []
    axis = AXES.get(up_axis, 1)
    likeness, angles, straight = [], [], []
    profiles = _profiles(synthetic, axis)
    for _, part in _chunks(others):
        turned = _correlation(profiles, _profiles(part, axis))  # (S, B, A)
        straight.append(turned[:, :, 0])
        best = turned.max(-1)
        likeness.append(best.values)
        angles.append(best.indices)
    at_best, angle, at_rest = (torch.cat(parts, 1) for parts in (likeness, angles, straight))
    count = min(candidates, len(others))
    rest, best_turned = at_rest.topk(count).indices, at_best.topk(count).indices
    return [
        _nearest_of(
            cloud,
            others,
            up_axis,
            [(int(i), 0) for i in rest[row]]
            + ([(int(i), int(angle[row, i])) for i in best_turned[row]] if up_axis != "none" else []),
        )
        for row, cloud in enumerate(synthetic)
    ]


def _nearest_of(
    cloud: Tensor, others: PointClouds, up_axis: UpAxis, candidates: list[tuple[int, int]]
) -> _Nearest:
    """The nearest candidate: an index, and about how many steps to turn the cloud against it."""
    distinct = list(dict.fromkeys(candidates))
    points = _in_unit_sphere(others.points[[index for index, _ in distinct]])
    angles = torch.tensor([2 * np.pi * step / _ANGLES for _, step in distinct], dtype=torch.float64)
    axis = AXES.get(up_axis)
    roughly, turns = _laid_on(
        cloud[:: max(1, len(cloud) // ROUGH_SAMPLE)], points, axis, angles, ROUGH_ROUNDS
    )
    best = _apart(roughly, points).square().mean(1).argsort()[:FEWEST_CANDIDATES]
    indices = [distinct[place][0] for place in best.tolist()]
    laid, angles = _laid_on(cloud, points[best], axis, turns[best], ROUNDS)
    points = points[best]
    apart = _apart(laid, points)
    exact = apart <= TOLERANCE
    shares = torch.where(exact.sum(1) >= FEWEST, exact.double().mean(1), 0.0)
    found = []
    for place in apart.square().mean(1).argsort()[:2].tolist():
        other = points[place : place + 1].float()
        as_is, moved = (float(chamfer(each.float(), other)) for each in (cloud, laid[place]))
        degrees = 0.0 if as_is <= moved else abs((float(angles[place].rad2deg()) + 180) % 360 - 180)
        found.append(_Nearest(indices[place], min(as_is, moved), degrees, float(shares[place])))
    return min(found, key=lambda each: each.order)


def _apart(clouds: Tensor, others: Tensor) -> Tensor:
    """Distances of points to the nearest of the other cloud, (C, N, 3), (C, M, 3) -> (C, N)."""
    nearest = torch.cdist(clouds.float(), others.float()).argmin(2)
    apart: Tensor = torch.linalg.vector_norm(clouds - _at(others, nearest), dim=2)
    return apart


def _at(points: Tensor, index: Tensor) -> Tensor:
    """Points of clouds by index, (C, M, 3), (C, N) -> (C, N, 3)."""
    return torch.gather(points, 1, index[..., None].expand(-1, -1, 3))


def _across(axis: int) -> tuple[int, int]:
    first, second = (each for each in range(3) if each != axis)
    return first, second


def _turned(clouds: Tensor, axis: int, angles: Tensor) -> Tensor:
    """Clouds (C, N, 3), each turned about an axis by its angle, (C,)."""
    a, b = _across(axis)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    turned = clouds.clone()
    turned[..., a] = cosine * clouds[..., a] - sine * clouds[..., b]
    turned[..., b] = sine * clouds[..., a] + cosine * clouds[..., b]
    return turned


def _laid_on(
    cloud: Tensor, others: Tensor, axis: int | None, angles: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """A cloud (N, 3) moved, scaled and, about an axis, turned to lie on each of others (C, M, 3) best.

    Also the turns, (C,); angles: where to begin. Nearest points are paired, the half that is nearest decides,
    and again: a part of the other's points, which in the unit sphere has another centre and size than they,
    ends up on them exactly.
    """
    count = len(others)
    clouds = cloud.expand(count, -1, -1)
    some = cloud[:: max(1, len(cloud) // SAMPLE)].expand(count, -1, -1)
    middle, scale, to = torch.zeros(count, 1, 3), torch.ones(count, 1, 1), torch.zeros(count, 1, 3)

    def moved(points: Tensor) -> Tensor:
        centred = points - middle
        return (centred if axis is None else _turned(centred, axis, angles)) * scale + to

    for _ in range(rounds):
        apart, nearest = torch.cdist(moved(some).float(), others.float()).min(2)
        kept = apart.argsort(1)[:, : max(4, some.shape[1] // 2)]
        ours, theirs = _at(some, kept), _at(others, nearest.gather(1, kept))
        middle, to = ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
        ours, theirs = ours - middle, theirs - to
        if axis is not None:
            a, b = _across(axis)
            sine = (ours[..., a] * theirs[..., b] - ours[..., b] * theirs[..., a]).sum(1)
            cosine = (ours[..., a] * theirs[..., a] + ours[..., b] * theirs[..., b]).sum(1)
            angles = torch.atan2(sine, cosine)
            ours = _turned(ours, axis, angles)
        size = ours.square().sum((1, 2)).clamp_min(1e-12)
        scale = ((ours * theirs).sum((1, 2)) / size).clamp(0.5, 2)[:, None, None]
    return moved(clouds), angles


def _profiles(clouds: Tensor, axis: int) -> Tensor:
    """How the points of clouds (B, N, 3) lie in rings about an axis, (B, rings, A): smoothed, of length 1."""
    a, b = _across(axis)
    radius = torch.hypot(clouds[..., a], clouds[..., b]).clamp(0, 1)
    height = clouds[..., axis].clamp(-1, 1)
    angle = torch.atan2(clouds[..., b], clouds[..., a]) / (2 * np.pi)
    place = (radius * _RADII).long().clamp_max(_RADII - 1)
    place = place * _HEIGHTS + ((height + 1) / 2 * _HEIGHTS).long().clamp_max(_HEIGHTS - 1)
    place = place * _ANGLES + (angle * _ANGLES).floor().long() % _ANGLES
    counts = torch.zeros(len(clouds), _RADII * _HEIGHTS * _ANGLES)
    counts.scatter_add_(1, place, torch.ones(place.shape))
    rings = counts.view(-1, _RADII, _HEIGHTS, _ANGLES)
    for dimension in (1, 2):
        before, after = torch.zeros_like(rings), torch.zeros_like(rings)
        size = rings.shape[dimension]
        before.narrow(dimension, 1, size - 1).copy_(rings.narrow(dimension, 0, size - 1))
        after.narrow(dimension, 0, size - 1).copy_(rings.narrow(dimension, 1, size - 1))
        rings = rings + (before + after) / 2
    for reach in (1, 2):
        rings = rings + (rings.roll(reach, -1) + rings.roll(-reach, -1)) / 2
    rings = rings.flatten(1, 2)
    length: Tensor = torch.linalg.vector_norm(rings, dim=(1, 2), keepdim=True)
    return rings / length.clamp_min(1e-12)


def _correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Cosine of profiles (S, R, A) and (B, R, A) after every turn of ours, (S, B, A)."""
    product = torch.einsum("sra,bra->sba", torch.fft.rfft(ours).conj(), torch.fft.rfft(theirs))
    correlation: Tensor = torch.fft.irfft(product, _ANGLES)
    return correlation
