"""Predictions are kept bit for bit, counts follow from them, and a stranger's file cannot ask for more."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from record_parts import keep_answers
from report_records import TOTALS, a_run

from pcbench.errors import DataError
from pcbench.protocols.protocol import QUICK, customised
from pcbench.records import layout
from pcbench.records.models import EvaluationRecord
from pcbench.records.predictions import Predictions, load, read, save
from pcbench.records.store import read_evaluation, read_run, write_record

LABELS = [0, 0, 1, 2]
ANSWERED = [[0, 1, 1, 2], [2, 2, 1, 1]]


def few() -> Predictions:
    """Two students and four clouds of three classes."""
    return Predictions.of(ANSWERED, LABELS, 3)


def test_counts_follow_from_the_answers() -> None:
    answered = few()
    assert answered.totals == [2, 1, 1]
    assert answered.correct == [[1, 1, 1], [0, 1, 0]]
    assert answered.confusions.tolist() == [
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 2], [0, 1, 0], [0, 1, 0]],
    ]
    assert answered.confusion == [[1, 1, 2], [0, 2, 0], [0, 1, 1]]
    assert answered.right.tolist() == [[True, False, True, True], [False, False, True, False]]
    first, second = answered.split(1)
    assert (first.predicted.tolist(), second.correct) == ([ANSWERED[0]], [[0, 1, 0]])


def test_answers_are_alike_where_the_same_students_say_the_same_of_the_same_clouds() -> None:
    answered = few()
    assert answered.alike(answered) == [1.0, 1.0]
    assert answered.alike(Predictions.of([[0, 1, 1, 0], [0, 0, 2, 1]], LABELS, 3)) == [0.75, 0.25]
    assert answered.alike(Predictions.of(ANSWERED, [0, 1, 0, 2], 3)) == []  # other clouds
    assert answered.alike(answered.student(0)) == []


@pytest.mark.parametrize(("classes", "size"), [(256, 1), (257, 2)])
def test_a_class_takes_a_byte_where_that_is_enough(tmp_path: Path, classes: int, size: int) -> None:
    last = classes - 1
    answered = Predictions.of([[last, 0], [3, last]], [last, 0], classes)
    assert answered.predicted.itemsize == answered.labels.itemsize == size
    save(tmp_path / "answers.h5", answered)
    totals = [1, *[0] * (classes - 2), 1]
    found = load(tmp_path / "answers.h5", 2, totals)
    assert found.predicted.tolist() == [[last, 0], [3, last]]
    assert (found.totals, found.content_hash()) == (totals, answered.content_hash())


def test_the_hash_is_of_every_answer_label_and_of_the_classes() -> None:
    others = [
        Predictions.of([[0, 1, 1, 2], [2, 2, 1, 0]], LABELS, 3),
        Predictions.of(ANSWERED, [0, 1, 1, 2], 3),
        Predictions.of(ANSWERED, LABELS, 4),
        Predictions.of([[0, 1], [1, 2], [2, 2], [1, 1]], [0, 0], 3),
    ]
    assert len({few().content_hash(), *(each.content_hash() for each in others)}) == 5
    assert few().content_hash() == few().content_hash()


def test_ten_students_on_the_test_clouds_of_modelnet10_take_few_bytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), [100, 50, 100, 86, 86, 100, 86, 100, 100, 100])
    wrong = draw.random((10, 908)) < 0.3
    answered = np.where(wrong, draw.integers(0, 10, (10, 908)), labels)
    save(tmp_path / "answers.h5", Predictions.of(answered, labels, 10))
    assert (tmp_path / "answers.h5").stat().st_size < 8000
    with h5py.File(tmp_path / "answers.h5") as file:  # as anybody reads it
        assert np.array_equal(file["predicted"][()], answered)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, EvaluationRecord]:
    """A run of two students with their answers, its folder and the record."""
    folder = a_run(tmp_path, protocol=customised(QUICK, {"students": 2}))
    first = [0] * 12 + [1] * 18
    return folder, keep_answers(folder, [first, [1] * 30])


def test_the_answers_of_a_record_are_read_where_they_are_there(kept: tuple[Path, EvaluationRecord]) -> None:
    folder, record = kept
    found = read(folder, record)
    assert found is not None
    assert found.correct == record.headline.correct == [[10, 18], [0, 20]]
    assert read(folder, record.model_copy(update={"predictions": None})) is None
    layout.predictions(folder, record.key).unlink()
    assert read(folder, record) is None
    assert read_run(folder)[0].evaluations == (record,)


def test_a_record_without_predictions_is_written_as_it_was(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    (path,) = layout.evaluations(folder)
    text = path.read_text()
    assert "predictions" not in text
    write_record(path, read_evaluation(path))
    assert path.read_text() == text


def test_answers_that_are_not_the_records_are_refused(kept: tuple[Path, EvaluationRecord]) -> None:
    folder, record = kept
    with pytest.raises(DataError, match="are other answers than the record says"):
        read(folder, record.model_copy(update={"predictions": "0" * 64}))
    scores = record.headline.model_copy(update={"correct": [[10, 17], [0, 20]]})
    with pytest.raises(DataError, match="right answers do not follow"):
        read(folder, record.model_copy(update={"snapshots": [scores]}))
    other = [[10, 0], [0, 0]]
    with pytest.raises(DataError, match="confusion does not follow"):
        read(folder, record.model_copy(update={"confusion": other}))


def _bomb(file: h5py.File) -> None:
    """A few kilobytes that inflate to a gigabyte; HDF5's own reader would allocate them."""
    squeezed = zlib.compressobj()
    zeros = bytes(1 << 20)
    content = b"".join(squeezed.compress(zeros) for _ in range(64)) + squeezed.flush()
    file["predicted"].id.write_direct_chunk((0, 0), content)


def _replaced(**how: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = file["predicted"][()]
        del file["predicted"]
        if "shape" in how:
            file.create_dataset("predicted", **{"dtype": "u1", "compression": "gzip"} | how)
        else:
            file.create_dataset("predicted", **{"data": values, "chunks": (2, 30)} | how)

    return change


def _linked(file: h5py.File) -> None:
    del file["predicted"]
    file["predicted"] = h5py.ExternalLink("other.h5", "predicted")


def _beyond(file: h5py.File) -> None:
    file["predicted"][0, 0] = 2


def _damaged(file: h5py.File) -> None:
    file["predicted"].id.write_direct_chunk((0, 0), b"no deflated bytes")


@pytest.mark.parametrize(
    "change",
    [
        _bomb,
        _linked,
        _beyond,
        _damaged,
        _replaced(),
        _replaced(chunks=None),
        _replaced(compression="gzip", shuffle=True),
        _replaced(compression="lzf"),
        _replaced(compression="gzip", chunks=(1, 30)),
        _replaced(shape=(2, 1 << 40), chunks=(2, 1 << 20)),
        _replaced(shape=(2, 30), dtype="f4", chunks=(2, 30)),
    ],
)
def test_a_hostile_file_is_refused_without_allocation(
    kept: tuple[Path, EvaluationRecord], change: Callable[[h5py.File], None]
) -> None:
    folder, record = kept
    with h5py.File(layout.predictions(folder, record.key), "r+", libver="latest") as file:
        change(file)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=layout.predictions(folder, record.key).name):
            read(folder, record)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_record_that_claims_too_many_test_clouds_reads_nothing(tmp_path: Path) -> None:
    save(tmp_path / "answers.h5", few())
    with pytest.raises(DataError, match="more answers than are read"):
        load(tmp_path / "answers.h5", 2, [1 << 52, 1, 1])
    with pytest.raises(DataError, match="of other shape"):
        load(tmp_path / "answers.h5", 2, TOTALS)
