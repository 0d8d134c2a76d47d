"""Distilled clouds come as arrays, those of the record."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from report_records import a_run

import pcbench
from pcbench import Outcomes, load_clouds
from pcbench.clouds import PointClouds


def test_the_clouds_of_every_snapshot_are_those_of_the_record(ran: Outcomes) -> None:
    run = ran[1].run
    snapshots = load_clouds(ran[1])
    assert [each.iteration for each in snapshots] == [entry.iteration for entry in run.distillation.snapshots]
    for each, entry in zip(snapshots, run.distillation.snapshots, strict=True):
        assert (each.points.dtype, each.points.shape) == (np.float32, (10, 16, 3))
        assert (each.labels.dtype, each.labels.tolist()) == (np.int64, list(range(10)))
        assert each.names == list(each.class_names) == run.distillation.inputs.data.class_names
        tensors = PointClouds(torch.tensor(each.points), torch.tensor(each.labels), each.class_names)
        assert tensors.content_hash() == entry.clouds
    assert np.array_equal(load_clouds(str(run.folder))[-1].points, snapshots[-1].points)
    assert np.array_equal(load_clouds(run.folder.parent / "sadm")[-1].points, snapshots[-1].points)


def test_clouds_that_are_missing_or_others_are_refused(ran: Outcomes, tmp_path: Path) -> None:
    with pytest.raises(pcbench.DataError, match="nowhere is no run's folder"):
        load_clouds(tmp_path / "nowhere")
    with pytest.raises(pcbench.DataError, match="has no clouds: failed: "):
        load_clouds(ran[2])
    with pytest.raises(pcbench.UsageError, match="is the whole training split and has no distilled clouds"):
        load_clouds(a_run(tmp_path, method="whole", ppc=0))
    copy = Path(shutil.copytree(ran[1].run.folder, tmp_path / "copy"))
    with h5py.File(copy / "clouds.h5", "r+") as file:
        file["000002/points"][0, 0, 0] += 1
    with pytest.raises(pcbench.DataError, match="are not those of the record"):
        load_clouds(copy)
    (copy / "clouds.h5").unlink()
    with pytest.raises(pcbench.DataError, match=r"clouds.h5 is not there"):
        load_clouds(copy)
