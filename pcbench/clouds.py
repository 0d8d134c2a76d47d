"""The one value that flows through the benchmark: labelled point clouds, checked, hashed, kept in HDF5."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from pcbench.common.files import canonical_json
from pcbench.common.hdf5 import open_hdf5, own_array, write_hdf5
from pcbench.errors import DataError

MAX_NAMES_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class PointClouds:
    """B labelled clouds of N points each.

    points: (B, N, 3) float32, finite. labels: (B,) int64 in [0, K). class_names: the K names, in label order.
    Raises DataError for anything else.

    A synthetic set may say more of its clouds. answers: (B, K) float32, the probabilities that students learn
    in place of the labels. weights: (B,) float32, how much each cloud counts in their loss, 1 in the mean. No
    file of clouds holds these two, and no hash covers them: `pcbench.ops.stored` keeps what they come from.
    """

    points: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    answers: Tensor | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        points, labels = self.points, self.labels
        if points.dtype != torch.float32 or points.ndim != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
            raise DataError(f"points must be float32 (B, N, 3), not {points.dtype} {tuple(points.shape)}")
        if labels.dtype != torch.int64 or labels.shape != points.shape[:1]:
            raise DataError(
                f"labels must be int64 ({len(points)},), not {labels.dtype} {tuple(labels.shape)}"
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError("two classes share a name")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.class_names)):
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise DataError(f"labels {span} do not fit {len(self.class_names)} classes")
        if not torch.isfinite(points.sum()) and not torch.isfinite(points).all():
            bad = int((~torch.isfinite(points)).flatten(1).any(1).nonzero()[0])
            raise DataError(f"cloud {bad} holds a coordinate that is not finite")
        if self.answers is not None and self.answers.shape != (len(points), self.classes):
            raise DataError(f"answers must be (B, K), not {tuple(self.answers.shape)}")
        if self.weights is not None and self.weights.shape != labels.shape:
            raise DataError(f"weights must be (B,), not {tuple(self.weights.shape)}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def points_per_cloud(self) -> int:
        """N."""
        return self.points.shape[1]

    def counts(self) -> Tensor:
        """Clouds per class, (K,) int64."""
        return torch.bincount(self.labels, minlength=self.classes)

    def select(self, index: Tensor) -> PointClouds:
        """The clouds at `index`, (M,) int64 or (B,) bool."""
        return self._with(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> PointClouds:
        """The same clouds on a device."""
        return self._with(lambda tensor: tensor.to(device))

    def _with(self, change: Callable[[Tensor], Tensor]) -> PointClouds:
        """The clouds with every tensor changed alike."""
        answers = None if self.answers is None else change(self.answers)
        weights = None if self.weights is None else change(self.weights)
        return PointClouds(change(self.points), change(self.labels), self.class_names, answers, weights)

    def normalised(self) -> PointClouds:
        """Every cloud with its mean at the origin and its farthest point at distance one."""
        return replace(self, points=unit_sphere(self.points))

    def content_hash(self) -> str:
        """SHA-256 over shapes, names, labels and coordinates, little-endian, as 64 hexadecimal digits."""
        points, labels = as_stored(self)
        header = canonical_json({"points": list(points.shape), "class_names": list(self.class_names)})
        state = hashlib.sha256(header.encode())
        state.update(labels.tobytes())
        state.update(points.data)
        return state.hexdigest()


def unit_sphere(points: Tensor) -> Tensor:
    """Centre clouds (..., N, 3) at their mean, scale the farthest point to one; a collapsed cloud stays 0."""
    centred = points - points.mean(-2, keepdim=True)
    radius: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True).amax(-2, keepdim=True)
    return centred / radius.clamp_min(torch.finfo(points.dtype).tiny)


def concatenate(parts: Sequence[PointClouds]) -> PointClouds:
    """All clouds of several sets of the same classes; other class names raise DataError."""
    names = parts[0].class_names
    if any(part.class_names != names for part in parts):
        raise DataError("clouds of different classes cannot be put together")
    answers = [part.answers for part in parts if part.answers is not None]
    weights = [part.weights for part in parts if part.weights is not None]
    if len(answers) not in (0, len(parts)) or len(weights) not in (0, len(parts)):
        raise DataError("clouds with answers or weights cannot be put together with clouds without")
    return PointClouds(
        torch.cat([part.points for part in parts]),
        torch.cat([part.labels for part in parts]),
        names,
        torch.cat(answers) if answers else None,
        torch.cat(weights) if weights else None,
    )


def of_classes(clouds: PointClouds, names: Sequence[str]) -> PointClouds:
    """The clouds of the named classes, in their order, labelled anew in the order of the names."""
    relabel = torch.full((clouds.classes,), -1)
    relabel[[clouds.class_names.index(name) for name in names]] = torch.arange(len(names))
    labels = relabel[clouds.labels]
    kept = labels >= 0
    return PointClouds(clouds.points[kept], labels[kept], tuple(names))


def as_stored(clouds: PointClouds) -> tuple[np.ndarray, np.ndarray]:
    """Points (B, N, 3) '<f4' and labels (B,) '<i8' as they stand in a file."""
    points = np.ascontiguousarray(clouds.points.detach().cpu().numpy(), dtype="<f4")
    labels = np.ascontiguousarray(clouds.labels.cpu().numpy(), dtype="<i8")
    return points, labels


def write_clouds(group: h5py.Group, clouds: PointClouds) -> None:
    """Put clouds into an open HDF5 group: `points`, `labels`, and the attribute `class_names`."""
    points, labels = as_stored(clouds)
    group.create_dataset("points", data=points)
    group.create_dataset("labels", data=labels)
    write_class_names(group, clouds.class_names)


def write_class_names(group: h5py.Group, names: Sequence[str]) -> None:
    """Put the names of classes, in label order, into an open HDF5 group."""
    # Of fixed length: a damaged string of variable length can take the HDF5 library down.
    group.attrs["class_names"] = np.bytes_(canonical_json(list(names)).encode())


def read_clouds(group: h5py.Group, max_bytes: int = 16 << 30) -> PointClouds:
    """The clouds of an HDF5 group; raises DataError that names the file and what is wrong in it.

    Shapes and types are looked at before anything is read, so that a hostile file cannot ask for more than
    `max_bytes` of memory.
    """
    where = f"{group.file.filename}:{group.name}"
    points, labels = own_array(group, "points"), own_array(group, "labels")
    if points.dtype != np.dtype("<f4") or points.ndim != 3 or points.shape[2] != 3:
        raise DataError(f"{where}: points must be float32 (B, N, 3), not {points.dtype} {points.shape}")
    if labels.dtype != np.dtype("<i8") or labels.shape != points.shape[:1]:
        raise DataError(
            f"{where}: labels must be int64 ({points.shape[0]},), not {labels.dtype} {labels.shape}"
        )
    claimed = 4 * math.prod(points.shape) + 8 * math.prod(labels.shape)
    if claimed > max_bytes:
        raise DataError(f"{where}: the clouds claim {claimed} bytes, more than the {max_bytes} allowed")
    names = read_class_names(group)
    try:
        return PointClouds(torch.from_numpy(points[()]), torch.from_numpy(labels[()]), names)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def read_class_names(group: h5py.Group) -> tuple[str, ...]:
    """The names that `write_class_names` wrote; DataError where there are none."""
    names = None
    stored = group.attrs.get_id("class_names") if "class_names" in group.attrs else None
    if stored is not None and stored.dtype.kind == "S" and stored.get_storage_size() <= MAX_NAMES_BYTES:
        try:
            names = json.loads(bytes(group.attrs["class_names"]))
            canonical_json(names).encode()  # refuses lone surrogates
        except (TypeError, ValueError, RecursionError):
            names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{group.file.filename}:{group.name} lacks the list of its class names")
    return tuple(names)


def save_clouds(path: Path, clouds: PointClouds) -> None:
    """Write clouds as an HDF5 file of their own, atomically."""
    with write_hdf5(path) as file:
        write_clouds(file, clouds)


def load_clouds(path: Path) -> PointClouds:
    """Read clouds that `save_clouds` wrote; raises DataError for a missing, corrupt or invalid file."""
    with open_hdf5(path) as file:
        return read_clouds(file)
