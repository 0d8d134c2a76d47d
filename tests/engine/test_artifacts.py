"""The clouds beside a record are read back as they were written, or refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch

from pcbench.api import Snapshot
from pcbench.clouds import PointClouds
from pcbench.engine.artifacts import load_snapshots, save_snapshots
from pcbench.errors import DataError
from pcbench.records.models import SnapshotEntry


@pytest.fixture
def snapshots(few_clouds: PointClouds) -> list[Snapshot]:
    return [Snapshot(0, few_clouds), Snapshot(1500, few_clouds.select(torch.tensor([2, 1, 0])))]


@pytest.fixture
def saved(tmp_path: Path, snapshots: list[Snapshot]) -> Path:
    path = tmp_path / "run" / "clouds.h5"
    save_snapshots(path, snapshots)
    return path


def entries(snapshots: list[Snapshot]) -> list[SnapshotEntry]:
    return [
        SnapshotEntry(iteration=snapshot.iteration, seconds=1, clouds=snapshot.clouds.content_hash())
        for snapshot in snapshots
    ]


def test_round_trip(saved, snapshots):
    read = load_snapshots(saved, entries(snapshots))
    assert [snapshot.iteration for snapshot in read] == [0, 1500]
    for ours, theirs in zip(read, snapshots, strict=True):
        assert torch.equal(ours.clouds.points, theirs.clouds.points)
        assert torch.equal(ours.clouds.labels, theirs.clouds.labels)
        assert ours.clouds.class_names == theirs.clouds.class_names
    assert [path.name for path in saved.parent.iterdir()] == ["clouds.h5"]


def test_no_snapshot_is_a_file_too(tmp_path):
    save_snapshots(tmp_path / "clouds.h5", [])
    assert load_snapshots(tmp_path / "clouds.h5", []) == []


def test_missing_snapshot_is_refused(saved, snapshots):
    asked = SnapshotEntry(iteration=250, seconds=1, clouds="0" * 64)
    with pytest.raises(DataError, match=r"clouds\.h5 lacks the snapshot of iteration 250"):
        load_snapshots(saved, [*entries(snapshots), asked])


def test_an_array_in_the_place_of_a_snapshot_is_refused(saved, snapshots):
    with h5py.File(saved, "r+") as file:
        del file["001500"]
        file["001500"] = [1.0]
    with pytest.raises(DataError, match="lacks the snapshot of iteration 1500"):
        load_snapshots(saved, entries(snapshots))


@pytest.mark.parametrize("array", ["points", "labels"])
def test_changed_clouds_are_refused(saved, snapshots, array):
    with h5py.File(saved, "r+") as file:
        values = file[f"001500/{array}"][()]
        file[f"001500/{array}"][...] = values[::-1]
    load_snapshots(saved, entries(snapshots)[:1])
    with pytest.raises(
        DataError, match=r"clouds\.h5: the clouds of iteration 1500 are not those of the record"
    ):
        load_snapshots(saved, entries(snapshots))


def test_swapped_snapshots_are_refused(saved, snapshots):
    with h5py.File(saved, "r+") as file:
        file.move("000000", "first")
        file.move("001500", "000000")
        file.move("first", "001500")
    with pytest.raises(DataError, match="the clouds of iteration 0 are not"):
        load_snapshots(saved, entries(snapshots))


def test_a_missing_or_truncated_file_is_refused(saved, snapshots, tmp_path):
    with pytest.raises(DataError, match="is not there"):
        load_snapshots(tmp_path / "none.h5", entries(snapshots))
    saved.write_bytes(saved.read_bytes()[:100])
    with pytest.raises(DataError, match="truncated or corrupt"):
        load_snapshots(saved, entries(snapshots))
