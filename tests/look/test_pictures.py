"""Pictures of clouds: the near hides the far, up is up, the same clouds give the same bytes, all fits."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.look import pictures
from pcbench.look.pictures import DARK, TILE, WHITE, Neighbour, Section, Tile, contact_sheet, render
from pcbench.seeds import Streams


def cloud(points: int, seed: int = 3) -> torch.Tensor:
    made = torch.randn(points, 3, generator=torch.Generator().manual_seed(seed))
    return made / made.norm(dim=-1).max()


def pixels(points: torch.Tensor, **options: object) -> np.ndarray:
    sheet = contact_sheet("title", [Section("class", [[Tile(points)]])], **options)
    return np.asarray(sheet.image.convert("RGB"))


def luminance(colour: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB in 0..255, (..., 3) -> (...), as WCAG defines it."""
    value = np.asarray(colour, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.sort([luminance(a), np.broadcast_to(luminance(b), luminance(a).shape)], axis=0)
    return (high + 0.05) / (low + 0.05)


VISIONS = {
    "all cones": np.eye(3),
    "no red cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}
"""Linear sRGB as people see it (Machado, Oliveira, Fernandes 2009, severity 1)."""


@pytest.mark.parametrize("ink", ["colour", "grey"])
@pytest.mark.parametrize("vision", VISIONS)
def test_the_ramp_gets_lighter_all_the_way_whoever_looks(ink, vision):
    stops = np.array(pictures._RAMPS[ink], np.float64) / 255
    linear = np.where(stops <= 0.04045, stops / 12.92, ((stops + 0.055) / 1.055) ** 2.4)
    seen = linear @ np.array(VISIONS[vision]).T @ (0.2126, 0.7152, 0.0722)
    assert all(lighter > 1.1 * darker for darker, lighter in pairwise(seen + 0.05))


@pytest.mark.parametrize("theme", [WHITE, DARK])
def test_colours_and_words_stand_out_from_the_page(theme):
    for ramp in pictures._RAMPS.values():
        assert contrast(np.array(ramp), np.array(theme.paper)).min() > 1.7
    assert contrast(np.array([theme.ink, theme.quiet]), np.array(theme.paper)).min() > 4.5


@pytest.mark.parametrize("theme", [WHITE, DARK])
def test_page_and_words_keep_their_colours(theme):
    seen = pixels(cloud(500), theme=theme).reshape(-1, 3)
    colours, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(colours) <= 64
    assert tuple(colours[counts.argmax()]) == theme.paper
    assert theme.ink in {tuple(colour) for colour in colours.tolist()}


def test_the_near_hides_the_far_in_any_order():
    generator = np.random.default_rng(0)
    behind = generator.uniform(-0.3, 0.3, (400, 3)) * (1, 1, 0) - (0, 0, 0.5)
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 20), np.linspace(-0.3, 0.3, 20))
    front = np.stack([x.ravel(), y.ravel(), np.full(400, 0.5)], 1)
    both = np.concatenate([front, behind])
    middle = slice(TILE // 2 - 15, TILE // 2 + 15)
    seen = render(both[None], 1.0)[0]
    assert np.array_equal(seen, render(both[None, ::-1], 1.0)[0])
    alone = render(np.concatenate([front, front])[None], 1.0)[0]
    assert np.array_equal(seen[middle, middle], alone[middle, middle])
    turned = render(both[None] * (1, 1, -1), 1.0)[0]
    assert not np.array_equal(seen[middle, middle], turned[middle, middle])


def test_a_point_is_where_it_should_be():
    seen = render(np.array([[[0.5, 0.25, 0.0]]]), 1.0)[0]
    rows, columns = np.nonzero((seen != 255).any(-1))
    scale = TILE / 2 / 1.055
    assert abs(columns.mean() + 0.5 - (TILE / 2 + 0.5 * scale)) < 0.5
    assert abs(rows.mean() + 0.5 - (TILE / 2 - 0.25 * scale)) < 0.5
    assert abs(np.ptp(columns) + 1 - 2 * 0.055 * scale) < 2


def test_clouds_drawn_together_are_as_if_drawn_alone():
    views = np.stack([cloud(50, seed).double().numpy() for seed in range(5)])
    together = render(views, 1.0)
    assert all(
        np.array_equal(one, render(view[None], 1.0)[0]) for one, view in zip(together, views, strict=True)
    )


def test_every_up_axis_stands_upright():
    x, y, z = cloud(200).T
    upright = pixels(torch.stack([x, y, z], 1), up="y")
    assert np.array_equal(upright, pixels(torch.stack([x, -z, y], 1), up="z"))
    assert np.array_equal(upright, pixels(torch.stack([y, z, x], 1), up="x"))
    assert np.array_equal(upright, pixels(torch.stack([x, y, z], 1), up="none"))
    assert not np.array_equal(upright, pixels(torch.stack([x, y, z], 1), up="z"))


def test_the_same_clouds_give_the_same_bytes(tmp_path):
    def save(name: str, seed: int) -> bytes:
        sheet = contact_sheet("a\ntitle", [Section("class", [[Tile(cloud(100, seed), "words")]])])
        pictures.save_sheet(tmp_path / name, sheet)
        return (tmp_path / name).read_bytes()

    assert save("a.png", 1) == save("b.png", 1) != save("c.png", 2)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.text["Title"] == "a?title"
        assert image.text["Software"].startswith("pcbench ")


def test_points_outside_their_tiles_are_counted_and_said():
    stray = cloud(100)
    stray[:2] = torch.tensor([50.0, 0, 0])
    stray[2] = torch.tensor([-1e38, 1e38, 1e38])
    sheet = contact_sheet("title", [Section("class", [[Tile(stray)], [Tile(cloud(100))]])])
    assert sheet.outside == 3
    plain = contact_sheet("title", [Section("class", [[Tile(cloud(100))], [Tile(cloud(100))]])])
    assert plain.outside == 0
    assert sheet.image.height > plain.image.height  # a line says so


def test_clouds_that_outgrew_the_unit_sphere_are_shown_whole():
    assert contact_sheet("title", [Section("class", [[Tile(1.4 * cloud(100))]])]).outside == 0


@given(st.lists(st.lists(st.integers(1, 3), max_size=25), min_size=1, max_size=12), st.booleans())
@settings(max_examples=60)
def test_all_tiles_lie_on_the_page_and_apart(sizes, captions):
    if not any(sizes):
        return
    tile = Tile(torch.zeros(1, 3), "words" if captions else "")
    sections = [Section(f"class {k}", [[tile] * size for size in groups]) for k, groups in enumerate(sizes)]
    page = pictures._Page.around(sections, ["title"])
    corners = list(page.places())
    assert len(corners) == sum(map(sum, sizes))
    for left, top in corners:
        assert 0 <= left <= page.width - TILE
        assert page.top <= top <= page.height - TILE
    if len(corners) <= 60:
        for (a, b), (c, d) in combinations(corners, 2):
            assert abs(a - c) >= TILE or abs(b - d) >= TILE


@pytest.mark.parametrize("words", ["x" * 5000, "line\nbreak", "\x00\x1b[31m", "", "椅子", "‮gnp", "\ud800"])
def test_any_words_can_be_written(tmp_path, words):
    sheet = contact_sheet(words, [Section(words, [[Tile(cloud(10), words)]])], legend=words)
    assert sheet.image.width < 1000
    pictures.save_sheet(tmp_path / "a.png", sheet)


def test_no_picture_has_no_or_too_many_clouds(monkeypatch):
    with pytest.raises(UsageError, match="1 to 2000 clouds, not 0"):
        contact_sheet("title", [Section("class", [])])
    monkeypatch.setattr(pictures, "MOST_TILES", 2)
    with pytest.raises(UsageError, match="1 to 2 clouds, not 3: choose classes"):
        contact_sheet("title", [Section("class", [[Tile(cloud(4))] * 3])])


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    sheet = contact_sheet("title", [Section("class", [[Tile(cloud(4))]])])
    with pytest.raises(DataError, match=r"file/a\.png cannot be written"):
        pictures.save_sheet(tmp_path / "file" / "a.png", sheet)


def test_the_nearest_cloud_is_of_the_same_class_and_the_first_of_equals(few_clouds):
    near = PointClouds(few_clouds.points + 0.001, few_clouds.labels, few_clouds.class_names)
    twice = PointClouds(
        torch.cat([few_clouds.points, few_clouds.points]),
        torch.cat([few_clouds.labels, few_clouds.labels]),
        few_clouds.class_names,
    )
    told: list[tuple[int, int]] = []
    found = pictures.nearest_clouds(near, twice, lambda *each: told.append(each))
    assert [each.row for each in found] == list(range(9))
    assert all(0 < each.distance < 1e-5 for each in found)
    assert told[-1] == (9, 9)
    other = PointClouds(few_clouds.points, (few_clouds.labels + 1) % 3, few_clouds.class_names)
    assert all(each.distance > 0.001 for each in pictures.nearest_clouds(few_clouds, other, lambda *_: None))


def test_a_class_without_training_clouds_has_no_nearest(few_clouds):
    with pytest.raises(DataError, match="class 'round' has no training cloud"):
        pictures.nearest_clouds(few_clouds, few_clouds.select(few_clouds.labels < 2), lambda *_: None)


def test_a_run_shows_each_cloud_as_it_began_as_it_is_and_the_nearest(few_clouds):
    chosen = few_clouds.select(torch.tensor([0, 3, 2]))
    began = few_clouds.select(torch.tensor([6, 6, 5]))
    nearest = [Neighbour(3, 0.25), Neighbour(0, 0.5), Neighbour(8, 0.125)]
    sections = pictures.run_sections(chosen, began, few_clouds, nearest)
    assert [(each.label, len(each.groups)) for each in sections] == [("long", 2), ("round", 1)]
    first = sections[0].groups[0]
    assert [tile.caption for tile in first] == ["initial", "distilled", "nearest, 0.2500"]
    assert [tile.ink for tile in first] == ["colour", "colour", "grey"]
    for tile, points in zip(first, (began.points[0], chosen.points[0], few_clouds.points[3]), strict=True):
        assert torch.equal(tile.points, points)
    (alone,) = pictures.run_sections(chosen, None, None, [])[1].groups
    assert [tile.caption for tile in alone] == [""]


def test_clouds_of_a_data_set_are_drawn_the_same_way_every_time(few_clouds):
    def draw(labels: list[int], count: int, name: str = "a") -> list[list[float]]:
        sections = pictures.drawn_sections(few_clouds, labels, count, Streams({"dataset": name}))
        return [[float(tile.points[0, 0]) for (tile,) in section.groups] for section in sections]

    assert draw([0, 1, 2], 2) == draw([0, 1, 2], 2)
    assert draw([2], 2) == draw([0, 1, 2], 2)[2:]
    assert [len(section) for section in draw([0, 1], 9)] == [3, 3]
    assert any(draw([0, 1, 2], 2) != draw([0, 1, 2], 2, name) for name in "bcde")
