"""The validation part of a data set: a fifth of every class's training clouds, and never a test cloud."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import PointClouds, Splits
from pcbench.catalogue import open_catalogue
from pcbench.catalogue.held_out import held_out_clouds, split
from pcbench.errors import DataError, UsageError


def clouds(labels: list[int], classes: int) -> PointClouds:
    """B clouds of one point each, all of them different."""
    points = torch.arange(3.0 * len(labels)).reshape(-1, 1, 3)
    return PointClouds(points, torch.tensor(labels), tuple("abcdef"[:classes]))


def test_a_fifth_of_every_class_is_held_out_rounded_up() -> None:
    train = clouds([0] * 11 + [1] * 5 + [2] * 2, classes=3)
    held_out = train.select(held_out_clouds(train, "name"))
    assert held_out.counts().tolist() == [3, 1, 1]


def test_both_parts_together_are_the_training_split_and_no_test_cloud_is_among_them() -> None:
    dataset, whole = (CATALOGUE.datasets.load(f"shapes10{suffix}")() for suffix in (":validation", ""))
    part, all_of_it = dataset.load(16), whole.load(16)
    everything = {points.numpy().tobytes() for points in all_of_it.train.points}
    trained, tested = (
        {points.numpy().tobytes() for points in clouds.points} for clouds in (part.train, part.test)
    )
    assert trained | tested == everything
    assert not trained & tested
    assert not tested & {points.numpy().tobytes() for points in all_of_it.test.points}
    assert part.content_hash != all_of_it.content_hash
    assert not part.standard


def test_the_part_is_the_same_each_time_and_another_one_of_another_data_set() -> None:
    train = clouds([0] * 50, classes=1)
    one, again, other = (held_out_clouds(train, name) for name in ("one", "one", "other"))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_class_of_one_cloud_is_named() -> None:
    splits = Splits(clouds([0, 0, 1], 2), clouds([0], 2), "0" * 64, "all")
    with pytest.raises(DataError, match="few: class 'b' has 1 training clouds"):
        split(splits, "few")


def test_only_a_data_set_has_a_part() -> None:
    assert "shapes10:validation" in CATALOGUE.datasets
    assert "shapes10:validation" not in CATALOGUE.datasets.names()
    assert "nothing:validation" not in CATALOGUE.datasets
    with pytest.raises(UsageError, match="unknown data set 'nothing'"):
        CATALOGUE.datasets.load("nothing:validation")


def test_a_data_set_that_is_called_so_is_itself(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from pcbench.api import Dataset\n\n\n"
        "class Own(Dataset):\n"
        '    name = "shapes10:validation"\n    variant = "own"\n    up_axis = "z"\n'
        "    classes, train_size, test_size = 2, 4, 4\n\n"
        "    def present(self):\n        return True\n\n"
        "    def how_to_get(self):\n        return ''\n\n"
        "    def load(self, points):\n        raise NotImplementedError\n"
    )
    assert open_catalogue([tmp_path]).datasets.load("shapes10:validation").variant == "own"
