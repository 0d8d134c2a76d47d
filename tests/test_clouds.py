"""Point clouds: what is accepted, how they are normalised, hashed, saved and read."""

import hashlib
import math
import resource
import struct

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcbench.clouds import (
    PointClouds,
    concatenate,
    load_clouds,
    read_clouds,
    save_clouds,
    unit_sphere,
    write_clouds,
)
from pcbench.common.hdf5 import open_hdf5
from pcbench.errors import DataError

NAMES = ("long", "tall", "round")


@pytest.fixture
def clouds():
    points = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    return PointClouds(points, torch.tensor([0, 2, 2, 1]), NAMES)


class TestValidation:
    def test_sizes(self, clouds):
        assert (len(clouds), clouds.points_per_cloud, clouds.classes) == (4, 5, 3)
        assert clouds.counts().tolist() == [1, 1, 2]

    def test_no_clouds_are_clouds(self):
        empty = PointClouds(torch.empty(0, 5, 3), torch.empty(0, dtype=torch.int64), NAMES)
        assert empty.counts().tolist() == [0, 0, 0]

    @pytest.mark.parametrize(
        "points",
        [
            torch.zeros(4, 5, 3, dtype=torch.float64),
            torch.zeros(4, 5, 3, dtype=torch.int32),
            torch.zeros(4, 5, 2),
            torch.zeros(4, 0, 3),
            torch.zeros(5, 3),
            torch.zeros(3, 5, 3),
        ],
    )
    def test_refuses_other_points(self, clouds, points):
        with pytest.raises(DataError):
            PointClouds(points, clouds.labels, NAMES)

    @pytest.mark.parametrize(
        "labels",
        [
            torch.zeros(4, dtype=torch.int32),
            torch.zeros(4),
            torch.zeros(4, 1, dtype=torch.int64),
            torch.zeros(5, dtype=torch.int64),
            torch.tensor([0, 1, 2, 3]),
            torch.tensor([0, 1, 2, -1]),
        ],
    )
    def test_refuses_other_labels(self, clouds, labels):
        with pytest.raises(DataError, match="labels"):
            PointClouds(clouds.points, labels, NAMES)

    def test_refuses_classes_of_one_name(self, clouds):
        with pytest.raises(DataError, match="share a name"):
            PointClouds(clouds.points, clouds.labels, ("a", "b", "a"))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_refuses_a_coordinate_that_is_not_finite(self, clouds, value):
        clouds.points[2, 1, 0] = value
        with pytest.raises(DataError, match="cloud 2 "):
            PointClouds(clouds.points, clouds.labels, NAMES)

    def test_accepts_coordinates_whose_sum_overflows(self):
        PointClouds(torch.full((1, 8, 3), 3e38), torch.tensor([0]), ("a",))

    def test_parts(self, clouds):
        picked = clouds.select(torch.tensor([3, 0]))
        assert picked.labels.tolist() == [1, 0]
        assert torch.equal(picked.points, clouds.points[[3, 0]])
        assert clouds.select(clouds.labels == 2).labels.tolist() == [2, 2]
        assert torch.equal(concatenate([picked, clouds]).points, torch.cat([picked.points, clouds.points]))

    def test_refuses_to_put_other_classes_together(self, clouds):
        with pytest.raises(DataError, match="different classes"):
            concatenate([clouds, PointClouds(clouds.points, clouds.labels, ("a", "b", "c"))])


coordinates = st.floats(-100, 100, width=32).map(lambda x: round(x, 3))
one_cloud = st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=12)


class TestUnitSphere:
    @given(one_cloud)
    def test_is_the_definition(self, rows):
        cloud = torch.tensor(rows, dtype=torch.float64)
        centre = [math.fsum(axis) / len(rows) for axis in zip(*rows, strict=True)]
        radius = max(math.dist(row, centre) for row in cloud.tolist())
        if radius < 1e-6:
            return
        expected = [[(x - c) / radius for x, c in zip(row, centre, strict=True)] for row in cloud.tolist()]
        assert torch.allclose(unit_sphere(cloud), torch.tensor(expected, dtype=torch.float64), atol=1e-7)

    @given(one_cloud)
    def test_has_its_mean_at_the_origin_and_radius_one_or_zero(self, rows):
        cloud = unit_sphere(torch.tensor(rows, dtype=torch.float64))
        assert torch.isfinite(cloud).all()
        radius = float(cloud.norm(dim=1).max())
        assert radius == pytest.approx(1, abs=1e-6) or len({*rows}) == 1
        if len({*rows}) > 1:
            assert float(cloud.mean(0).abs().max()) < 1e-6

    @given(one_cloud, st.floats(0.1, 10), st.tuples(coordinates, coordinates, coordinates))
    def test_does_not_see_scale_and_place(self, rows, scale, shift):
        cloud = torch.tensor(rows, dtype=torch.float64)
        if float((cloud - cloud.mean(0)).norm(dim=1).max()) < 1e-3:
            return
        moved = cloud * scale + torch.tensor(shift, dtype=torch.float64)
        assert torch.allclose(unit_sphere(moved), unit_sphere(cloud), atol=1e-6)

    def test_a_collapsed_cloud_stays_at_the_origin(self):
        assert unit_sphere(torch.full((2, 4, 3), 0.5)).abs().max() == 0

    def test_clouds_do_not_see_one_another(self, clouds):
        alone = torch.stack([unit_sphere(cloud) for cloud in clouds.points])
        assert torch.equal(clouds.normalised().points, alone)

    def test_its_gradient_is_finite(self, clouds):
        points = clouds.points.clone().requires_grad_()
        unit_sphere(points).square().sum().backward()
        assert torch.isfinite(points.grad).all()


class TestContentHash:
    def test_is_stable(self, clouds):
        same = PointClouds(clouds.points.clone(), clouds.labels.clone(), tuple(clouds.class_names))
        assert same.content_hash() == clouds.content_hash()
        strided = PointClouds(clouds.points.mT.contiguous().mT, clouds.labels, NAMES)
        assert strided.content_hash() == clouds.content_hash()
        differentiable = PointClouds(clouds.points.clone().requires_grad_(), clouds.labels, NAMES)
        assert differentiable.content_hash() == clouds.content_hash()

    def test_is_that_of_the_documented_bytes(self):
        known = PointClouds(torch.arange(12.0).view(2, 2, 3), torch.tensor([1, 0]), ("a", "b"))
        header = b'{"class_names":["a","b"],"points":[2,2,3]}'
        stored = header + struct.pack("<2q", 1, 0) + struct.pack("<12f", *range(12))
        assert known.content_hash() == hashlib.sha256(stored).hexdigest()

    def test_changes_with_every_part(self, clouds):
        moved = clouds.points.clone()
        moved[3, 4, 2] = torch.nextafter(moved[3, 4, 2], torch.tensor(9.0))
        others = [
            PointClouds(moved, clouds.labels, NAMES),
            PointClouds(clouds.points, torch.tensor([0, 2, 1, 2]), NAMES),
            PointClouds(clouds.points, clouds.labels, ("long", "tall", "flat")),
            PointClouds(clouds.points, clouds.labels, (*NAMES, "flat")),
            PointClouds(clouds.points.flatten(0, 1).view(4, 5, 3).flip(0), clouds.labels, NAMES),
            clouds.select(torch.tensor([0, 1, 2])),
        ]
        assert len({clouds.content_hash(), *(other.content_hash() for other in others)}) == 7

    def test_tells_shapes_of_the_same_bytes_apart(self):
        points, labels = torch.arange(18.0), torch.tensor([0])
        one = PointClouds(points.view(1, 6, 3), labels, ("a",))
        other = PointClouds(points.view(2, 3, 3), labels.repeat(2), ("a",))
        assert one.content_hash() != other.content_hash()


class TestFile:
    @pytest.fixture
    def path(self, clouds, tmp_path):
        save_clouds(tmp_path / "clouds.h5", clouds)
        return tmp_path / "clouds.h5"

    def test_round_trip_bit_for_bit(self, path, clouds):
        clouds.points[0, 0] = torch.tensor([-0.0, 1e-42, 3.4e38])
        save_clouds(path, clouds)
        read = load_clouds(path)
        assert torch.equal(read.points.view(torch.int32), clouds.points.view(torch.int32))
        assert torch.equal(read.labels, clouds.labels)
        assert read.class_names == clouds.class_names
        assert read.content_hash() == clouds.content_hash()

    def test_what_the_disk_refuses_is_an_error_and_leaves_the_file_that_was_there(self, path, clouds):
        """A write that failed within the HDF5 library ended the process by a signal in four of seven."""
        many = clouds.select(torch.zeros(5000, dtype=torch.long))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                save_clouds(path, many)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert load_clouds(path).content_hash() == clouds.content_hash()
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_groups_of_one_file(self, tmp_path, clouds):
        with h5py.File(tmp_path / "two.h5", "w") as file:
            write_clouds(file.create_group("a"), clouds)
            write_clouds(file.create_group("b"), clouds.select(torch.tensor([1])))
        with open_hdf5(tmp_path / "two.h5") as file:
            assert len(read_clouds(file["a"])) == 4
            assert len(read_clouds(file["b"])) == 1

    def refused(self, path, *words):
        with pytest.raises(DataError) as caught:
            load_clouds(path)
        for word in (path.name, *words):
            assert word in str(caught.value)

    def test_refuses_an_absent_file(self, tmp_path):
        self.refused(tmp_path / "nothing.h5", "not there")

    @pytest.mark.parametrize("size", [0, 7, 100, 1000])
    def test_refuses_a_truncated_file(self, path, size):
        path.write_bytes(path.read_bytes()[:size])
        self.refused(path, "fetch it again")

    def test_refuses_what_is_no_hdf5(self, path):
        path.write_text("no clouds here" * 100)
        self.refused(path, "fetch it again")

    @pytest.mark.parametrize("key", ["points", "labels"])
    def test_refuses_a_file_without_an_array(self, path, key):
        with h5py.File(path, "r+") as file:
            del file[key]
        self.refused(path, key)

    @pytest.mark.parametrize("key", ["points", "labels"])
    def test_refuses_a_group_in_place_of_an_array(self, path, key):
        with h5py.File(path, "r+") as file:
            del file[key]
            file.create_group(key)
        self.refused(path, key)

    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("points", np.zeros((4, 5, 3), "<f8")),
            ("points", np.zeros((4, 5, 3), ">f4")),
            ("points", np.zeros((4, 5, 2), "<f4")),
            ("points", np.zeros((4, 15), "<f4")),
            ("points", np.zeros((3, 5, 3), "<f4")),
            ("points", np.zeros((4, 0, 3), "<f4")),
            ("points", np.full((4, 5, 3), np.nan, "<f4")),
            ("labels", np.zeros(4, "<i4")),
            ("labels", np.zeros((4, 1), "<i8")),
            ("labels", np.array([0, 1, 2, 3], "<i8")),
            ("labels", np.array([0, 1, 2, -1], "<i8")),
            ("labels", np.array([b"a"] * 4)),
        ],
    )
    def test_refuses_other_arrays(self, path, key, values):
        with h5py.File(path, "r+") as file:
            del file[key]
            file[key] = values
        self.refused(path)

    @pytest.mark.parametrize("names", ["", "{", "3", "[1, 2, 3]", '["a"]', '["a", "a", "b"]', 7, None])
    def test_refuses_other_class_names(self, path, names):
        with h5py.File(path, "r+") as file:
            del file.attrs["class_names"]
            if names is not None:
                file.attrs["class_names"] = names
        self.refused(path)

    def test_refuses_a_claim_of_too_much_memory_before_it_reads(self, tmp_path):
        path = tmp_path / "huge.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("points", (10**9, 1024, 3), "<f4", chunks=(1, 1024, 3))
            file.create_dataset("labels", (10**9,), "<i8", chunks=(1024,))
            file.attrs["class_names"] = '["a"]'
        self.refused(path, f"{10**9 * (1024 * 12 + 8)} bytes")
        with open_hdf5(path) as file, pytest.raises(DataError, match="more than the 100 allowed"):
            read_clouds(file, max_bytes=100)

    def test_damage_anywhere_is_refused_or_changes_the_hash(self, path, clouds):
        content = path.read_bytes()
        with h5py.File(path) as file:
            place = file["points"].id.get_offset()
            coordinates = range(place, place + file["points"].id.get_storage_size())
        outcomes = {}
        for place in range(0, len(content), 7):
            damaged = bytearray(content)
            damaged[place] ^= 0xFF
            path.write_bytes(damaged)
            outcomes[place] = self.outcome(path, clouds)
        assert {outcomes[place] for place in outcomes if place in coordinates} <= {"refused", "changed"}
        assert set(outcomes.values()) >= {"refused", "changed"}

    def outcome(self, path, clouds):
        try:
            read = load_clouds(path)
        except DataError:
            return "refused"
        return "same" if read.content_hash() == clouds.content_hash() else "changed"
