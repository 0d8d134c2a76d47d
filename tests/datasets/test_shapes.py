"""Generated shapes: determinism, counts, uniform sampling of each surface, scans, and the cache."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from pcbench.datasets import shapes, store
from pcbench.datasets.shapes import MAKERS, Build, Shapes10, Shapes10Rotated, build, generate, sample, scan
from pcbench.errors import DataError

NAMES = ("bed", "bench", "bookshelf", "cabinet", "chair", "desk", "lamp", "sofa", "stool", "table")
BOTH = [Shapes10, Shapes10Rotated]


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def few(monkeypatch):
    """Three training objects and two test objects a class."""
    monkeypatch.setattr(shapes, "_PER_CLASS", {"train": 3, "test": 2})


def rng():
    return np.random.default_rng(0)


def empty():
    return Build(rng())


class TestDataset:
    @pytest.mark.parametrize("dataset", BOTH)
    def test_is_as_it_says(self, dataset):
        splits = dataset().load(16)
        assert splits.train.class_names == splits.test.class_names == NAMES
        assert splits.train.points.shape == (dataset.train_size, 16, 3) == (1000, 16, 3)
        assert splits.test.points.shape == (dataset.test_size, 16, 3) == (500, 16, 3)
        assert splits.train.counts().tolist() == [100] * 10
        assert splits.test.counts().tolist() == [50] * 10
        assert splits.standard
        assert dataset().present()
        for split in (splits.train, splits.test):
            assert torch.allclose(split.points.norm(dim=2).amax(1), torch.ones(len(split)))
            assert split.points.mean(1).abs().max() < 1e-6

    def test_is_the_same_on_every_machine(self):
        """Whoever changes what is generated raises VERSION, and then this hash."""
        assert shapes.VERSION == 1
        assert generate("shapes10", "test", 8).content_hash() == (
            "26f8cb66ed3fc4e11484c7866d9a4d29c3e15b7a91b5fcd7470ffc167784a8d2"
        )
        assert generate("shapes10_rotated", "test", 8).content_hash() == (
            "a159d45bb194c1d0cdb00c9ac874f9daeab1ed14ec2d8a9990d35d8f0eff6322"
        )

    @pytest.mark.usefixtures("few")
    def test_is_the_same_in_another_process(self):
        code = (
            "from pcbench.datasets import shapes; shapes._PER_CLASS.update(train=3, test=2);"
            "names = 'shapes10', 'shapes10_rotated';"
            "print(*(shapes.generate(name, 'train', 8).content_hash() for name in names))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        here = [generate(dataset.name, "train", 8).content_hash() for dataset in BOTH]
        assert done.stdout.split() == here

    @pytest.mark.usefixtures("few")
    def test_leaves_global_random_state_alone(self):
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        generate("shapes10_rotated", "train", 8)
        assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[1])

    @pytest.mark.usefixtures("few")
    def test_hash_tells_data_sets_and_numbers_apart(self):
        hashes = [dataset().load(points).content_hash for dataset in BOTH for points in (8, 9)]
        assert len(set(hashes)) == 4
        assert Shapes10().load(8).content_hash == hashes[0]

    def test_objects_differ_within_and_between_splits(self):
        kept = {tuple(build(split, "chair", i).boxes) for split in ("train", "test") for i in range(20)}
        assert len(kept) == 40

    @pytest.mark.parametrize("points", [0, -1])
    def test_refuses_no_points(self, points):
        with pytest.raises(DataError, match="at least 1"):
            Shapes10().load(points)


class TestObjects:
    @pytest.mark.usefixtures("few")
    def test_points_lie_on_the_same_objects_whatever_their_number(self):
        """Every sampled point is at distance zero from a part of its object."""
        for points in (5, 64):
            clouds = generate("shapes10", "test", points)
            for cloud, label, number in zip(clouds.points, clouds.labels, [0, 1] * 10, strict=True):
                made = build("test", NAMES[label], number)
                distance = np.min([far(cloud.double().numpy()) for far in parts(made)], axis=0)
                assert distance.max() < 2**-15

    @pytest.mark.parametrize("name", NAMES)
    def test_fills_the_extent_of_its_parts(self, name):
        made = build("train", name, 0)
        xyz = sample([made], 4000, rng())[0]
        corners = extent(made)
        size = corners[1] - corners[0]
        assert (xyz.min(0) >= corners[0] - 1e-9).all()
        assert (xyz.max(0) <= corners[1] + 1e-9).all()
        assert (xyz.max(0) - xyz.min(0) > 0.9 * size).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_stands_on_the_floor_upright_and_of_a_size_for_people(self, name):
        for number in range(10):
            low, high = extent(build("train", name, number))
            assert -0.05 < low[1] < 0.3
            assert 0.3 < high[1] < 2.5
            assert (high - low).max() < 2.6

    def test_have_all_the_classes(self):
        assert tuple(MAKERS) == NAMES


def parts(made):
    """For every part of an object, a function from points (N, 3) to their distances, zero on its surface."""
    found = [lambda xyz, box=box: off_box(xyz, np.array(box)) for box in made.boxes]
    found += [lambda xyz, band=band: off_band(xyz, np.array(band)) for band in made.bands]
    found += [lambda xyz, e=e: off_ellipsoid(xyz, np.array(e)) for e in made.ellipsoids]
    return found


def off_box(xyz, box):
    edges = box[3:].reshape(3, 3)
    size = np.linalg.norm(edges, axis=1)
    place = np.abs((xyz - box[:3]) @ (edges / size[:, None]).T) - size / 2
    return np.abs(np.where((place > 0).any(1), np.linalg.norm(place.clip(0), axis=1), place.max(1)))


def off_band(xyz, band):
    """The distance to the segment that turns about the axis."""
    axis, r0, r1 = band[3:6], band[6], band[7]
    height = np.linalg.norm(axis)
    along = axis / height if height else np.array([0.0, 1.0, 0.0])
    y = (xyz - band[:3]) @ along
    r = np.linalg.norm((xyz - band[:3]) - y[:, None] * along, axis=1)
    side = np.array([r1 - r0, height])
    t = np.clip(((r - r0) * side[0] + y * side[1]) / (side @ side), 0, 1)
    return np.hypot(r - r0 - t * side[0], y - t * side[1])


def off_ellipsoid(xyz, ellipsoid):
    return np.abs(np.linalg.norm((xyz - ellipsoid[:3]) / ellipsoid[3:], axis=1) - 1) * ellipsoid[3:].min()


def extent(made):
    """The lowest and highest corner of an object's parts."""
    corners = []
    for row in np.array(made.boxes).reshape(-1, 12):
        half = np.abs(row[3:].reshape(3, 3)).sum(0) / 2
        corners += [row[:3] - half, row[:3] + half]
    for row in np.array(made.bands).reshape(-1, 8):
        height = np.linalg.norm(row[3:6])
        along = row[3:6] / height if height else np.array([0.0, 1.0, 0.0])
        wide = np.sqrt(1 - along**2)
        for centre, radius in ((row[:3], row[6]), (row[:3] + row[3:6], row[7])):
            corners += [centre - radius * wide, centre + radius * wide]
    for row in np.array(made.ellipsoids).reshape(-1, 6):
        corners += [row[:3] - row[3:], row[:3] + row[3:]]
    return np.min(corners, axis=0), np.max(corners, axis=0)


class TestSampling:
    """Points are uniform by area: on each part, and between parts."""

    def test_box_faces_by_area(self):
        made = empty()
        made.box((1, 2, 3), (1.0, 2.0, 3.0), tilt=0.3)
        xyz = sample([made], 60_000, rng())[0]
        edges = np.array(made.boxes[0][3:]).reshape(3, 3)
        size = np.linalg.norm(edges, axis=1)
        assert size == pytest.approx([1, 2, 3])
        place = (xyz - np.array(made.boxes[0][:3])) @ (edges / size[:, None]).T / (size / 2)
        counts = [int((np.abs(place[:, k] - side) < 1e-9).sum()) for k in range(3) for side in (-1, 1)]
        area = np.array([6, 6, 3, 3, 2, 2])
        assert sum(counts) == len(xyz)
        assert stats.chisquare(counts, 60_000 * area / area.sum()).pvalue > 0.01
        face = place[np.abs(place[:, 0] - 1) < 1e-9]
        for k in (1, 2):
            assert stats.kstest(face[:, k], stats.uniform(-1, 2).cdf).pvalue > 0.01

    def test_tilt_leans_the_top_back_and_keeps_the_bottom(self):
        made = empty()
        made.box((0, 1, 0), (1.0, 2.0, 0.0), tilt=math.pi / 6)
        xyz = sample([made], 2000, rng())[0]
        assert np.allclose(xyz[:, 2], -xyz[:, 1] * math.tan(math.pi / 6))
        assert xyz[:, 1].min() == pytest.approx(0, abs=0.01)
        assert xyz[:, 1].max() == pytest.approx(2 * math.cos(math.pi / 6), abs=0.01)

    def test_cylinder_side_and_caps_by_area(self):
        made = empty()
        made.cylinder((0, 0, 0), 2.0, 0.5)
        xyz = sample([made], 40_000, rng())[0]
        r = np.hypot(xyz[:, 0], xyz[:, 2])
        caps = [np.isclose(xyz[:, 1], y, atol=1e-12) for y in (0, 2)]
        side = ~caps[0] & ~caps[1]
        assert np.allclose(r[side], 0.5)
        area = np.array([0.25, 0.25, 2.0])
        counts = [caps[0].sum(), caps[1].sum(), side.sum()]
        assert stats.chisquare(counts, 40_000 * area / area.sum()).pvalue > 0.01
        assert stats.kstest(r[caps[1]] ** 2, stats.uniform(0, 0.25).cdf).pvalue > 0.01
        assert stats.kstest(xyz[side, 1], stats.uniform(0, 2).cdf).pvalue > 0.01
        turn = np.arctan2(xyz[:, 2], xyz[:, 0])
        assert stats.kstest(turn, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 0.01

    @pytest.mark.parametrize("radii", [(0.5, 0.1), (0.1, 0.5), (0.4, 0.0)])
    def test_cone_in_any_direction(self, radii):
        made = empty()
        base, top = np.array([1.0, 2.0, 3.0]), np.array([0.2, 1.0, 4.0])
        made.tube(tuple(base), tuple(top), *radii)
        xyz = sample([made], 20_000, rng())[0]
        assert off_band(xyz, np.array(made.bands[0])).max() < 1e-12
        along = (top - base) / np.linalg.norm(top - base)
        t = (xyz - base) @ along / np.linalg.norm(top - base)
        low, high = radii

        def share_below(t):
            return (low * t + (high - low) * t**2 / 2) / ((low + high) / 2)

        assert stats.kstest(t, share_below).pvalue > 0.01

    def test_ellipsoid_by_area(self):
        """Against the area of latitude bands, integrated numerically, for one that is round about y."""
        made = empty()
        a, b = 0.3, 1.0
        made.ellipsoid((0, 0, 0), (a, b, a))
        xyz = sample([made], 30_000, rng())[0]
        assert np.allclose((xyz**2 / np.array([a, b, a]) ** 2).sum(1), 1)
        y = np.linspace(-b, b, 20_001)
        density = np.sqrt(a**2 * (1 - y**2 / b**2) + a**4 * y**2 / b**4)
        below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
        assert stats.kstest(xyz[:, 1], lambda v: np.interp(v, y, below / below[-1])).pvalue > 0.01

    @pytest.mark.parametrize("radii", [(1.0, 1.0, 1.0), (1.0, 0.2, 0.5), (0.1, 2.0, 0.1)])
    def test_area_of_an_ellipsoid(self, radii):
        theta, phi = np.meshgrid(np.arange(1000.5 - 0.5) * math.pi / 1000, np.arange(400) * math.tau / 400)
        theta = theta + math.pi / 2000
        u = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)])
        stretch = np.prod(radii) / np.array(radii)
        element = np.sqrt(np.einsum("k,kij->ij", stretch**2, u**2)) * np.sin(theta)
        expected = element.sum() * math.pi / 1000 * math.tau / 400
        assert shapes._ellipsoid_area(np.array([[0, 0, 0, *radii]]))[0] == pytest.approx(expected, rel=1e-5)

    def test_parts_of_all_kinds_by_area(self):
        made = empty()
        made.box((0, 0, 0), (1, 1, 1))
        made.disk((10, 0, 0), 1.0)
        made.tube((20, 0, 0), (20, 1, 0), 0.5)
        made.ellipsoid((30, 0, 0), (1, 1, 1))
        xyz = sample([made], 40_000, rng())[0]
        counts = np.bincount(np.round(xyz[:, 0] / 10).astype(int))
        area = np.array([6, math.pi, math.pi, 4 * math.pi])
        assert stats.chisquare(counts, 40_000 * area / area.sum()).pvalue > 0.01

    def test_every_object_gets_its_own_points(self):
        made = [empty() for _ in range(3)]
        made[0].box((0, 0, 0), (1, 1, 1))
        made[1].ellipsoid((10, 0, 0), (1, 1, 1))
        made[2].disk((20, 0, 0), 1)
        xyz = sample(made, 50, rng())
        assert xyz.shape == (3, 50, 3)
        assert np.round(xyz[..., 0].mean(1) / 10).tolist() == [0, 1, 2]


class TestScan:
    def ball(self, count=3, points=4000):
        made = empty()
        made.ellipsoid((5, 5, 5), (2, 2, 2))
        return sample([made] * count, points, rng())

    def test_sees_one_side(self):
        scanned = scan(self.ball(), 1000, rng(), np.random.default_rng(1))
        assert scanned.shape == (3, 1000, 3)
        for cloud in scanned:
            towards = cloud.mean(0) / np.linalg.norm(cloud.mean(0))
            assert np.linalg.norm(cloud.mean(0)) > 0.8
            assert ((cloud @ towards) < -0.5).mean() < 0.02

    def test_noise_is_a_hundredth_of_the_radius(self):
        scanned = scan(self.ball(points=60_000), 1000, rng(), np.random.default_rng(1))
        assert (np.linalg.norm(scanned, axis=2) - 2).std() == pytest.approx(0.02, rel=0.1)

    def test_has_all_points_even_where_few_are_seen(self):
        assert scan(self.ball(points=64), 64, rng(), np.random.default_rng(1)).shape == (3, 64, 3)

    def test_rotations_are_rotations_and_uniform(self):
        matrices = shapes._rotations(4000, rng())
        assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3))
        assert np.allclose(np.linalg.det(matrices), 1)
        for entry in (matrices[:, 0, 0], matrices[:, 1, 2]):
            assert stats.kstest(entry, stats.uniform(-1, 2).cdf).pvalue > 0.01
        angle = np.arccos((np.trace(matrices, axis1=1, axis2=2) - 1) / 2)
        assert stats.kstest(angle, lambda a: (a - np.sin(a)) / math.pi).pvalue > 0.01

    @pytest.mark.usefixtures("few")
    def test_shares_its_objects_with_shapes10(self):
        """A scan of the upright object has the pairwise distances of the object: its radius is no larger."""
        upright = generate("shapes10", "test", 512).points
        scanned = generate("shapes10_rotated", "test", 512).points
        for one, other in zip(upright, scanned, strict=True):
            assert torch.cdist(other, other).max() < 1.15 * torch.cdist(one, one).max()


class TestCache:
    def path(self):
        return store.cache_root() / "generated" / "shapes10-v1-8.h5"

    @pytest.mark.usefixtures("few")
    def test_second_load_reads_it(self, monkeypatch):
        first = Shapes10().load(8)
        monkeypatch.setattr(shapes, "generate", None)
        second = Shapes10().load(8)
        assert second.content_hash == first.content_hash
        assert torch.equal(second.train.points, first.train.points)
        assert torch.equal(second.test.labels, first.test.labels)

    @pytest.mark.parametrize("damage", ["truncated", "changed", "text"])
    @pytest.mark.usefixtures("few")
    def test_a_damaged_file_is_made_again(self, damage):
        first = Shapes10().load(8)
        content = bytearray(self.path().read_bytes())
        if damage == "truncated":
            self.path().write_bytes(content[:1000])
        elif damage == "changed":
            content[-8] ^= 0xFF
            self.path().write_bytes(content)
        else:
            self.path().write_text("nothing")
        again = Shapes10().load(8)
        assert again.content_hash == first.content_hash
        assert torch.equal(again.test.points, first.test.points)
        assert store.load_splits(self.path())

    @pytest.mark.usefixtures("few")
    def test_a_cache_that_cannot_be_written_is_no_obstacle(self, monkeypatch, tmp_path):
        first = Shapes10().load(8)
        (tmp_path / "file").write_text("no folder")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert Shapes10().load(8).content_hash == first.content_hash
