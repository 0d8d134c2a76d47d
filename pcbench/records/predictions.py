"""What the students of an evaluation answered to each test cloud, in a file beside its record.

Scores are counts: two methods can have equal ones and be right on other clouds. The answers themselves tell
where two methods differ, which clouds are hard for all, and what students would say together. They are those
of the last snapshot, as the confusion is. The file is plain HDF5, `predicted` (S, B) and `labels` (B,), both
deflated: ten students take 2 to 5 kB on the 908 test clouds of ModelNet10, 15 kB on the 2468 of ModelNet40.
The record has a hash of what is in it, and its counts must follow from it.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcbench.common.files import canonical_json
from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.models import EvaluationRecord

if TYPE_CHECKING:
    import h5py

Classes: TypeAlias = NDArray[np.unsignedinteger[Any]]

MOST_BYTES = 1 << 28
"""A file that claims more answers than this, unpacked, is not read: a stranger's may claim anything."""
_LEVEL = 6


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of S students to B test clouds of K classes, in the order of the test split."""

    predicted: Classes
    """The class that each student takes each cloud for, (S, B), in [0, K)."""
    labels: Classes
    """The class that each cloud is of, (B,), in [0, K)."""
    classes: int
    """K. Up to 256 of them a class takes one byte, above two."""

    @classmethod
    def of(cls, predicted: Any, labels: Any, classes: int) -> Predictions:
        """The same of whole numbers of any type, (S, B) and (B,)."""
        packed = _packed(classes)
        return cls(np.asarray(predicted).astype(packed), np.asarray(labels).astype(packed), classes)

    def __len__(self) -> int:
        """S."""
        return len(self.predicted)

    def split(self, students: int) -> list[Predictions]:
        """The answers of so many students after another, a set each."""
        parts = range(0, len(self), students)
        return [Predictions(self.predicted[s : s + students], self.labels, self.classes) for s in parts]

    def student(self, row: int) -> Predictions:
        """Those of one student alone."""
        return Predictions(self.predicted[row : row + 1], self.labels, self.classes)

    def same_clouds(self, other: Predictions) -> bool:
        """Whether others answered to as many clouds of the same classes, in the same order."""
        return self.classes == other.classes and np.array_equal(self.labels, other.labels)

    def alike(self, other: Predictions) -> list[float]:
        """The share of clouds that each student takes for the same class as the same student of others, (S,).

        Empty where these answered to other clouds, or in another order, or are as many other students.
        """
        if not self.same_clouds(other) or len(self) != len(other):
            return []
        shares: list[float] = (self.predicted == other.predicted).mean(1).tolist()
        return shares

    @functools.cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which clouds each student classifies rightly, (S, B)."""
        return np.asarray(self.predicted == self.labels)

    @functools.cached_property
    def confusions(self) -> NDArray[np.int64]:
        """Test clouds by student, true class and predicted class, (S, K, K), exact."""
        classes = self.classes
        places = np.arange(len(self))[:, None] * classes + self.labels  # (S, B)
        counts = np.bincount((places * classes + self.predicted).ravel(), minlength=len(self) * classes**2)
        return counts.reshape(len(self), classes, classes)

    @property
    def confusion(self) -> list[list[int]]:
        """The same of all students together, (K, K)."""
        counts: list[list[int]] = self.confusions.sum(0).tolist()
        return counts

    @property
    def correct(self) -> list[list[int]]:
        """Right answers per student and class, (S, K)."""
        counts: list[list[int]] = self.confusions.diagonal(axis1=1, axis2=2).tolist()
        return counts

    @property
    def totals(self) -> list[int]:
        """Test clouds per class, (K,)."""
        counts: list[int] = np.bincount(self.labels, minlength=self.classes).tolist()
        return counts

    def content_hash(self) -> str:
        """SHA-256 of shape, labels and answers, little-endian in two bytes each, as 64 hexadecimal digits."""
        about = canonical_json({"classes": self.classes, "predicted": list(self.predicted.shape)})
        state = hashlib.sha256(about.encode())
        for array in (self.labels, self.predicted):
            state.update(array.astype("<u2").tobytes())
        return state.hexdigest()


def _packed(classes: int) -> np.dtype[Any]:
    """The type, little-endian, that a class takes."""
    return np.dtype("u1" if classes <= 256 else "<u2")


def save(path: Path, predictions: Predictions) -> None:
    """Write the file, atomically."""
    from pcbench.common.hdf5 import write_hdf5

    with write_hdf5(path) as file:
        for name, array in (("predicted", predictions.predicted), ("labels", predictions.labels)):
            file.create_dataset(
                name, data=array, chunks=array.shape, compression="gzip", compression_opts=_LEVEL
            )


def load(path: Path, students: int, totals: Sequence[int]) -> Predictions:
    """Read the file of so many students and test clouds per class; DataError for any other.

    Nothing that it says of itself is trusted: types and shapes are those of the record before anything is
    read, and no more is unpacked than these take.
    """
    from pcbench.common.hdf5 import open_hdf5

    classes, clouds = len(totals), sum(totals)
    packed = _packed(classes)
    if (students + 1) * clouds * packed.itemsize > MOST_BYTES:
        raise DataError(f"{path}: {students} students and {clouds} clouds are more answers than are read")
    with open_hdf5(path) as file:
        predicted = _unpacked(file, "predicted", (students, clouds), packed)
        labels = _unpacked(file, "labels", (clouds,), packed)
    if max(int(predicted.max(initial=0)), int(labels.max(initial=0))) >= classes:
        raise DataError(f"{path}: names a class that is none of the {classes}")
    return Predictions.of(predicted, labels, classes)


def _unpacked(file: h5py.File, name: str, shape: tuple[int, ...], packed: np.dtype[Any]) -> NDArray[Any]:
    """An array that `save` has written, inflated here: HDF5 would inflate as much as a file makes it."""
    import h5py

    from pcbench.common.hdf5 import own_array

    array = own_array(file, name)
    made = array.id.get_create_plist()
    filters = [made.get_filter(place)[0] for place in range(made.get_nfilters())]
    as_saved = (array.dtype, array.shape, array.chunks, filters) == (
        packed,
        shape,
        shape,
        [h5py.h5z.FILTER_DEFLATE],
    )
    if not as_saved or array.id.get_num_chunks() != 1:
        raise DataError(f"{file.filename}: {name} is not stored as pcbench stores it, or of other shape")
    chunk = array.id.get_chunk_info(0)
    if chunk.size > Path(file.filename).stat().st_size or chunk.filter_mask:
        raise DataError(f"{file.filename}: {name} claims to be longer than its file")
    size = array.size * packed.itemsize
    try:
        content = zlib.decompressobj().decompress(array.id.read_direct_chunk((0,) * len(shape))[1], size + 1)
    except zlib.error as error:
        raise DataError(f"{file.filename}: {name} is damaged: evaluate again") from error
    if len(content) != size:
        raise DataError(f"{file.filename}: {name} does not hold as much as it says")
    return np.frombuffer(content, packed).reshape(shape)


def read(folder: Path, record: EvaluationRecord) -> Predictions | None:
    """The answers beside an evaluation in a run's folder; None where its record or the folder has none.

    DataError where they are not those of the record: another hash, or counts that do not follow from them.
    """
    path = layout.predictions(folder, record.key)
    if record.predictions is None or not path.is_file():
        return None
    predictions = load(path, len(record.inputs.repetitions), record.totals)
    if predictions.content_hash() != record.predictions:
        raise DataError(f"{path}: are other answers than the record says")
    if predictions.totals != record.totals or predictions.correct != record.headline.correct:
        raise DataError(f"{path}: the record's right answers do not follow from it")
    if record.confusion is not None and predictions.confusion != record.confusion:
        raise DataError(f"{path}: the record's confusion does not follow from it")
    return predictions
