"""Which of the stored points a run uses: by their order, at random, or as the farthest."""

from __future__ import annotations

import json
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from imported import quiet

from pcbench.datasets import sampled
from pcbench.datasets.modelnet import ModelNet10, ModelNet40
from pcbench.datasets.shapes import Shapes10
from pcbench.datasets.store import ImportOptions
from pcbench.errors import DataError
from pcbench.records.models import Run
from pcbench.records.store import read_runs

WAYS = ("first", "random", "farthest")


@pytest.fixture
def stored(tmp_path):
    """Forty classes of one cloud a split, of 1024 points, all of which are kept."""
    layouts.normal_resampled(tmp_path / "in" / "modelnet40_normal_resampled")
    ModelNet40().import_from(tmp_path / "in", quiet, ImportOptions(allow_incomplete=True))
    return ModelNet40()


def farthest(cloud: np.ndarray, count: int) -> np.ndarray:
    """Farthest point sampling, one point after another, in float64, from the point farthest from the mean."""
    cloud = cloud.astype(np.float64)
    chosen = [int(((cloud - cloud.mean(0)) ** 2).sum(1).argmax())]
    while len(chosen) < count:
        apart = ((cloud[:, None] - cloud[chosen][None]) ** 2).sum(2).min(1)
        chosen.append(int(apart.argmax()))
    return cloud[chosen]


def in_sphere(cloud: np.ndarray) -> np.ndarray:
    centred = cloud - cloud.mean(0)
    return centred / np.sqrt((centred**2).sum(1).max())


def test_the_first_are_taken_unless_another_way_is_asked_for(stored):
    default = stored.load(32)
    assert default.sampling == "first"
    for words in (None, "first", "uniform by surface area", "another one"):
        assert sampled.load(stored, 32, words).content_hash == default.content_hash


def test_the_farthest_are_those_of_the_definition(stored):
    splits = sampled.load(stored, 16, "farthest")
    assert splits.sampling == "farthest"
    dense = stored.load(1024)
    for number in (0, 7, 39):
        for split, stored_split in ((splits.train, dense.train), (splits.test, dense.test)):
            expected = in_sphere(farthest(stored_split.points[number].numpy(), 16))
            np.testing.assert_allclose(split.points[number].numpy(), expected, atol=1e-5)


def test_random_ones_are_the_same_every_time_and_differ_between_clouds(stored, tmp_path, monkeypatch):
    splits = sampled.load(stored, 64, "random")
    assert splits.sampling == "random"
    assert splits.train.points.shape == (40, 64, 3)
    monkeypatch.setattr(sampled, "cache_root", lambda: tmp_path / "another cache")
    again = sampled.load(stored, 64, "random")
    assert again.content_hash == splits.content_hash
    assert torch.equal(again.train.points, splits.train.points)
    hashes = {sampled.load(stored, points, how).content_hash for points in (32, 64) for how in WAYS}
    assert len(hashes) == 6


def test_what_was_chosen_is_not_chosen_again(stored, monkeypatch):
    before = sampled.load(stored, 32, "farthest")
    monkeypatch.setattr(sampled, "resample", None)
    after = sampled.load(stored, 32, "farthest")
    assert after.content_hash == before.content_hash
    assert torch.equal(after.test.points, before.test.points)


def test_all_that_are_stored_leave_no_choice(stored):
    assert sampled.load(stored, 1024, "farthest").sampling == "first"
    with pytest.raises(DataError, match="1024 points a cloud, and 2048"):
        sampled.load(stored, 2048, "farthest")


def test_clouds_that_are_made_have_none_either():
    assert sampled.load(Shapes10(), 16, "random").sampling == "uniform by surface area"


def test_a_sampling_of_what_was_sampled_says_so(tmp_path):
    layouts.normal_resampled(tmp_path / "in" / "modelnet40_normal_resampled")
    ModelNet40().import_from(
        tmp_path / "in", quiet, ImportOptions(sampling="random", points=128, allow_incomplete=True)
    )
    splits = sampled.load(ModelNet40(), 32, "farthest")
    assert splits.sampling == "farthest of random"
    assert sampled.load(ModelNet40(), 32, splits.sampling).content_hash == splits.content_hash
    assert sampled.load(ModelNet40(), 32, "random").content_hash == ModelNet40().load(32).content_hash


@pytest.mark.usefixtures("stored")
def test_a_part_of_a_data_set_chooses_likewise():
    splits = sampled.load(ModelNet10(), 16, "farthest")
    assert (len(splits.train), splits.sampling) == (10, "farthest")


def test_a_run_and_all_that_follows_it_have_the_points_that_it_asks_for(stored, pcbench):
    few = ["--set", "iterations=1", "--set", "recipe.epochs=1", "--set", "points=32", "--seeds", "1"]
    words = ["run", "-m", "random", "-d", "modelnet40", "--ppc", "1", "-p", "quick", *few, "--out", "runs"]
    done = pcbench(*words, "--sampling", "farthest")
    assert done.code == 0, done.err
    (run,) = runs()
    data = run.distillation.inputs.data
    assert (data.sampling, data.hash) == ("farthest", sampled.load(stored, 32, "farthest").content_hash)
    assert pcbench("evaluate", str(run.folder), "--test", "so3").code == 0
    verified = pcbench("verify", str(run.folder), "--redistill", "--json")
    assert {row["verification"]["verdict"] for row in json.loads(verified.out)["verified"]} == {"verified"}
    assert pcbench("results", "validate", "runs", "--data").code == 0
    assert pcbench(*words).code == 0
    assert {each.distillation.inputs.data.sampling for each in runs()} == {"farthest", "first"}


def runs() -> list[Run]:
    found, problems = read_runs(Path("runs"))
    assert not problems
    return list(found)


def test_a_sampling_that_there_is_not_is_refused(pcbench):
    done = pcbench("run", "-d", "shapes10", "--sampling", "random", "--dry-run")
    assert done.code == 2
    assert "shapes10: no random sampling of 256 points" in done.err
    assert "(--sampling)" in done.err


def test_what_was_sampled_when_it_was_imported_stays_as_it_is_unless_a_run_asks(tmp_path):
    layouts.normal_resampled(tmp_path / "in" / "modelnet40_normal_resampled")
    for how in ("farthest", "random"):
        options = ImportOptions(sampling=how, points=128, allow_incomplete=True)
        ModelNet40().import_from(tmp_path / "in", quiet, options)
        default, plain = sampled.load(ModelNet40(), 32), ModelNet40().load(32)
        assert (default.sampling, default.content_hash) == (how, plain.content_hash)
