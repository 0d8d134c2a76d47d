"""Contact sheets of point clouds as PNG: what they show, how it is laid out, and a small rasteriser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

import pcbench
from pcbench.clouds import PointClouds
from pcbench.common.files import atomic_path
from pcbench.errors import DataError, UsageError
from pcbench.ops.chamfer import chamfer
from pcbench.seeds import Streams

Array: TypeAlias = NDArray[np.float64]
Bytes: TypeAlias = NDArray[np.uint8]
Up: TypeAlias = Literal["x", "y", "z", "none"]
Ink: TypeAlias = Literal["colour", "grey"]

TILE = 160
"""Width and height of one cloud, in pixels."""

MOST_TILES = 2000
FARTHEST = 1.5
"""Half of what a tile shows at most, in radii of the unit sphere; points beyond are left out and counted."""

OF_NEAREST = "grey: the nearest training cloud of the class, with its Chamfer distance"
"""The legend of a sheet that shows such clouds."""

_FINE = 3  # a pixel is the mean of 3 x 3
_POINTS_AT_ONCE = 1 << 14
_MARGIN, _GAP, _LABEL, _CAPTION, _LINE = 16, 14, 22, 18, 28
_TILES_ACROSS = 20
_ASPECT = 1.5
_TURN, _TILT = math.radians(35), math.radians(22)
_LIGHT = (-0.36, 0.58, 0.73)
_DEPTH_LEVELS = 1 << 22
_CLOUD_COLOURS, _WORD_COLOURS = 52, 6
_SAMPLE = 1 << 16
"""Pixels that stand for all of a page when its colours are chosen."""

# Stops of viridis (van der Walt, Smith 2015; CC0) without its ends: lightness rises evenly, so that it reads
# in grey and with any colour vision, and every colour stands out from white as well as from black.
_RAMPS: dict[Ink, tuple[tuple[int, int, int], ...]] = {
    "colour": ((70, 51, 127), (54, 92, 141), (39, 127, 142), (31, 161, 135), (74, 193, 109), (141, 205, 62)),
    "grey": ((84, 84, 84), (176, 176, 176)),
}


@dataclass(frozen=True)
class Theme:
    """Colours of a page: red, green, blue in 0..255."""

    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    quiet: tuple[int, int, int]


WHITE = Theme((255, 255, 255), (24, 24, 24), (96, 96, 96))
DARK = Theme((18, 18, 22), (236, 236, 236), (160, 160, 160))


@dataclass(frozen=True)
class Tile:
    """One cloud, (N, 3), and a few words below it."""

    points: Tensor
    caption: str = ""
    ink: Ink = "colour"


@dataclass(frozen=True)
class Section:
    """The clouds of one class, in groups that stay side by side."""

    label: str
    groups: Sequence[Sequence[Tile]]


@dataclass(frozen=True)
class Sheet:
    """A finished page. outside: points that lie beyond the edge of their tiles."""

    image: Image.Image
    title: str
    outside: int


@dataclass(frozen=True)
class Neighbour:
    """The training cloud, by its row, that is nearest to another cloud, and its Chamfer distance."""

    row: int
    distance: float


def nearest_clouds(
    clouds: PointClouds, train: PointClouds, report: Callable[[int, int], None]
) -> list[Neighbour]:
    """For every cloud the nearest training cloud of its class, by the Chamfer distance; the first of equals.

    report: called with the clouds done and their number. Raises DataError for a class without training cloud.
    """

    def nearest(points: Tensor, label: int) -> Neighbour:
        rows = (train.labels == label).nonzero().flatten()
        if not len(rows):
            raise DataError(f"class {clouds.class_names[label]!r} has no training cloud")
        distances = chamfer(points, train.points[rows])
        best = int((distances == distances.min()).nonzero()[0])
        return Neighbour(int(rows[best]), float(distances[best]))

    neighbours: list[Neighbour] = []
    threads = torch.get_num_threads()
    try:  # a thread a cloud: torch's own threads would meet after each of many short operations
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for neighbour in pool.map(nearest, clouds.points, clouds.labels.tolist()):
                neighbours.append(neighbour)
                report(len(neighbours), len(clouds))
    finally:
        torch.set_num_threads(threads)
    return neighbours


def drawn_sections(clouds: PointClouds, labels: Sequence[int], count: int, streams: Streams) -> list[Section]:
    """Of each of some classes `count` clouds, or all where it has fewer, drawn by a stream of the class."""
    sections = []
    for label in labels:
        rows = (clouds.labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=streams.stream("picture", label=label))
        chosen = rows[order[:count].sort().values]
        sections.append(Section(clouds.class_names[label], [[Tile(clouds.points[row])] for row in chosen]))
    return sections


def run_sections(
    distilled: PointClouds,
    initial: PointClouds | None,
    train: PointClouds | None,
    neighbours: Sequence[Neighbour],
) -> list[Section]:
    """Of each class that has clouds all of them: as they began if `initial` is given, distilled, the nearest.

    neighbours: one for every distilled cloud; they are rows of `train`, which is drawn in grey.
    """
    groups: dict[int, list[list[Tile]]] = {label: [] for label in distilled.labels.unique().tolist()}
    for place, label in enumerate(distilled.labels.tolist()):
        alone = initial is None and train is None
        group = [Tile(distilled.points[place], "" if alone else "distilled")]
        if initial is not None:
            group.insert(0, Tile(initial.points[place], "initial"))
        if train is not None:
            nearest = neighbours[place]
            group.append(Tile(train.points[nearest.row], f"nearest, {nearest.distance:.4f}", "grey"))
        groups[label].append(group)
    return [Section(distilled.class_names[label], group) for label, group in groups.items()]


def require_room(clouds: int) -> None:
    """Raise UsageError for more clouds than a picture shows, MOST_TILES, or none."""
    if not 1 <= clouds <= MOST_TILES:
        raise UsageError(f"a picture shows 1 to {MOST_TILES} clouds, not {clouds}: choose classes", "class")


def contact_sheet(
    title: str, sections: Sequence[Section], up: Up = "y", theme: Theme = WHITE, legend: str = ""
) -> Sheet:
    """All clouds at one scale, class by class, seen from the front, from the right and from above.

    The page is as wide as about one and a half times its height. Colour is the height within the cloud, from
    dark to light. Raises UsageError for more than MOST_TILES clouds, or none.
    """
    tiles = [tile for section in sections for group in section.groups for tile in group]
    require_room(len(tiles))
    reach = min(max(1.0, *(_radius(tile.points) for tile in tiles)), FARTHEST)
    views = [_view(tile.points, up) for tile in tiles]
    outside = sum(int((np.abs(view[:, :2]) > reach).any(1).sum()) for view in views)
    heading = [title, *_legend(legend, outside)]
    page = _Page.around(sections, heading)
    canvas = np.full((page.height, page.width, 3), theme.paper, np.uint8)
    places = list(page.places())
    for number, picture in _rendered(tiles, views, reach, theme):
        left, top = places[number]
        canvas[top : top + TILE, left : left + TILE] = picture
    image = _few_colours(canvas, page.words(sections, heading), theme)
    return Sheet(image, title, outside)


def column(title: str, clouds: Sequence[Tensor], up: Up = "y", theme: Theme = WHITE) -> Sheet:
    """Clouds (N, 3) one below another at one scale, seen as those of a contact sheet, without words."""
    require_room(len(clouds))
    tiles = [Tile(points) for points in clouds]
    reach = min(max(1.0, *(_radius(points) for points in clouds)), FARTHEST)
    views = [_view(points, up) for points in clouds]
    canvas = np.full((TILE * len(tiles), TILE, 3), theme.paper, np.uint8)
    for number, picture in _rendered(tiles, views, reach, theme):
        canvas[number * TILE : (number + 1) * TILE] = picture
    return Sheet(_few_colours(canvas, [], theme), title, 0)


def save_sheet(path: Path, sheet: Sheet) -> None:
    """Write a PNG atomically; it names its title and the version of pcbench.

    The same clouds give the same bytes with the same versions of pcbench, numpy and Pillow.
    """
    about = PngInfo()
    about.add_itxt("Title", _printable(sheet.title))
    about.add_text("Software", f"pcbench {pcbench.__version__}")
    try:
        with atomic_path(path) as temporary:
            sheet.image.save(temporary, "PNG", pnginfo=about, optimize=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror or error})") from error


def render(points: Array, reach: float, ink: Ink = "colour", theme: Theme = WHITE) -> Bytes:
    """Clouds as seen, (T, N, 3) with x right, y up and z to the viewer, as (T, TILE, TILE, 3) pictures.

    A point is a small lit ball; the nearest ball wins. A tile shows `reach` to each side of its centre.
    """
    clouds, number = points.shape[:2]
    ball = min(max(0.85 / math.sqrt(number), 0.008), 0.055) * reach
    scale = TILE * _FINE / 2 / (reach + ball)
    edge = max(1, round(ball * scale))
    width = TILE * _FINE + 2 * edge
    place = np.floor(points[..., :2] * (scale, -scale) + width / 2)
    cloud, point = np.nonzero(((place >= edge) & (place < width - edge)).all(-1))
    column, row = place[cloud, point].astype(np.int64).T
    centre = (cloud * width + row) * width + column
    depth = np.clip(points[cloud, point, 2] / (4 * reach) + 0.5, 0.1, 0.9)

    dy, dx = (each.ravel() for each in np.mgrid[-edge : edge + 1, -edge : edge + 1])
    inside = dx**2 + dy**2 <= (edge + 0.2) ** 2
    right, up = dx[inside] / (edge + 0.2), -dy[inside] / (edge + 0.2)
    towards = np.sqrt(1 - right**2 - up**2)
    nearest = np.zeros(clouds * width * width, np.int64)
    for number_of_spot, (x, y, z) in enumerate(zip(dx[inside], dy[inside], towards, strict=True)):
        levels = ((depth + z * ball / (4 * reach)) * _DEPTH_LEVELS).astype(np.int64)
        key = ((levels << 10 | number_of_spot) << 30) | point
        np.maximum.at(nearest, centre + (y * width + x), key)

    light = right * _LIGHT[0] + up * _LIGHT[1] + towards * _LIGHT[2]
    brightness = (0.62 + 0.5 * np.clip(light, 0, 1)) * (0.78 + 0.22 * towards)
    seen = np.flatnonzero(nearest)
    key = nearest[seen]
    which = seen // (width * width) * number + (key & ((1 << 30) - 1))
    colours = _colours(points, reach, ink, theme).reshape(-1, 3).astype(np.float32)[which]
    colours *= brightness.astype(np.float32)[(key >> 30) & 1023, None]
    fine = np.full((clouds * width * width, 3), theme.paper, np.uint8)
    fine[seen] = np.rint(np.minimum(colours, 255, out=colours), out=colours)
    tiles = fine.reshape(clouds, width, width, 3)[:, edge:-edge, edge:-edge]
    column_of_tiles = Image.fromarray(np.ascontiguousarray(tiles).reshape(-1, TILE * _FINE, 3))
    return np.asarray(column_of_tiles.reduce(_FINE)).reshape(clouds, TILE, TILE, 3)


def _colours(points: Array, reach: float, ink: Ink, theme: Theme) -> Array:
    """The colour of every point, (T, N, 3): by height within its cloud, paler the farther away it is."""
    height = points[..., 1]
    low, high = np.quantile(height, (0.02, 0.98), axis=1, keepdims=True)
    fraction = np.clip((height - low) / np.maximum(high - low, 1e-9), 0, 1)
    stops = np.array(_RAMPS[ink], np.float64)
    at = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(fraction, at, channel) for channel in stops.T], -1)
    haze = 0.3 * np.clip(0.5 - points[..., 2:] / (2 * reach), 0, 1)
    mixed: Array = colours + haze * (np.array(theme.paper) - colours)
    return mixed


def _rendered(
    tiles: Sequence[Tile], views: Sequence[Array], reach: float, theme: Theme
) -> Iterator[tuple[int, Bytes]]:
    """Every tile's number and picture; those with as many points and one ink are made together."""
    kinds: dict[tuple[Ink, int], list[int]] = {}
    for number, tile in enumerate(tiles):
        kinds.setdefault((tile.ink, len(tile.points)), []).append(number)
    for (ink, points), numbers in kinds.items():
        together = max(1, _POINTS_AT_ONCE // max(points, 1024))
        for first in range(0, len(numbers), together):
            some = numbers[first : first + together]
            pictures = render(np.stack([views[number] for number in some]), reach, ink, theme)
            yield from zip(some, pictures, strict=True)


def _few_colours(canvas: Bytes, words: Sequence[Bytes], theme: Theme) -> Image.Image:
    """A page (H, W, 3) in a few colours, which makes its file small, with its words in colours of their own.

    words: how much of each pixel is covered by words in `ink` and in `quiet`, (H, W) in 0..255;
    none of a page without words.
    """
    index, colours = _reduced(canvas)
    palette = np.zeros((_CLOUD_COLOURS + len(words) * _WORD_COLOURS, 3), np.uint8)
    palette[: len(colours)] = colours
    palette[index[0, 0]] = theme.paper
    pixels = index.ravel()
    shade_of = np.rint(np.arange(256) * (_WORD_COLOURS / 255)).astype(np.uint8)
    parts = np.arange(1, _WORD_COLOURS + 1)[:, None] / _WORD_COLOURS
    for number, (covered, ink) in enumerate(zip(words, (theme.ink, theme.quiet), strict=False)):
        first = _CLOUD_COLOURS + number * _WORD_COLOURS
        at = np.flatnonzero(covered)
        shade = shade_of[covered.ravel()[at]]
        pixels[at[shade > 0]] = first - 1 + shade[shade > 0]
        palette[first : first + _WORD_COLOURS] = np.rint(theme.paper + parts * np.subtract(ink, theme.paper))
    image = Image.fromarray(index)
    image.putpalette(palette.ravel().tolist())
    return image


def _reduced(canvas: Bytes) -> tuple[Bytes, Bytes]:
    """A page (H, W, 3) in _CLOUD_COLOURS colours: which of them each pixel has, (H, W), and the colours.

    Pixels are told apart to 5, 6 and 5 bits, so that what is divided by the median cut is a table of at most
    65,536 colours, each as often as the page has it, and not the page.
    """
    red, green, blue = (canvas[..., channel].astype(np.uint16) for channel in range(3))
    coarse = red >> 3 << 11 | green >> 2 << 5 | blue >> 3
    counts = np.bincount(coarse.ravel(), minlength=1 << 16)
    kinds = np.flatnonzero(counts)
    fine = np.stack([(kinds >> 11) / 31, (kinds >> 5 & 63) / 63, (kinds & 31) / 31], -1) * 255
    often = np.ceil(counts[kinds] * (_SAMPLE / coarse.size)).astype(np.int64)
    sample = np.repeat(np.rint(fine).astype(np.uint8), often, axis=0)
    cut = Image.fromarray(sample[None]).quantize(
        _CLOUD_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    colour_of = np.zeros(1 << 16, np.uint8)
    colour_of[kinds] = np.asarray(cut)[0, np.cumsum(often) - often]
    return colour_of[coarse], np.array(cut.getpalette(), np.uint8).reshape(-1, 3)[:_CLOUD_COLOURS]


def _view(points: Tensor, up: Up) -> Array:
    """A cloud (N, 3) turned and tilted before the viewer: x right, y up, z to the viewer."""
    x, y, z = points.detach().cpu().double().numpy().T
    right, upward, front = {"x": (z, x, y), "z": (x, z, -y)}.get(up, (x, y, z))
    c, s = math.cos(_TURN), math.sin(_TURN)
    right, front = c * right - s * front, s * right + c * front
    c, s = math.cos(_TILT), math.sin(_TILT)
    return np.stack([right, c * upward - s * front, s * upward + c * front], -1)


def _radius(points: Tensor) -> float:
    return float(torch.linalg.vector_norm(points.double(), dim=-1).max())


def _legend(legend: str, outside: int) -> list[str]:
    left_out = (
        f"{outside} {'point lies' if outside == 1 else 'points lie'} outside the tiles" if outside else ""
    )
    words = [each for each in (legend, left_out) if each]
    return [" · ".join(words)] if words else []


@dataclass(frozen=True)
class _Page:
    """Where everything stands, in pixels. Sections stand row by row, `across` of them in each."""

    groups: list[list[int]]
    across: int
    caption: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, sections: Sequence[Section], heading: Sequence[str]) -> _Page:
        groups = [[len(group) for group in section.groups] for section in sections]
        caption = _CAPTION if any(t.caption for s in sections for group in s.groups for t in group) else 0
        top = _MARGIN + _LINE * len(heading)
        wide, high = _section_size(groups, caption)
        pages = [
            (k * (wide + _GAP) - _GAP, math.ceil(len(groups) / k) * (high + _GAP) - _GAP)
            for k in range(1, len(groups) + 1)
        ]
        best = min(pages, key=lambda size: abs(math.log(size[0] / (size[1] + top) / _ASPECT)))
        needed = min(900, max(round(_font(size).getlength(_printable(t))) for t, size in _sized(heading)))
        width, height = max(best[0], needed) + 2 * _MARGIN, best[1] + top + _MARGIN
        return cls(groups, pages.index(best) + 1, caption, top, width, height)

    def corners(self) -> Iterator[tuple[int, int]]:
        """Left and top of every section."""
        wide, high = _section_size(self.groups, self.caption)
        for number in range(len(self.groups)):
            row, column = divmod(number, self.across)
            yield _MARGIN + column * (wide + _GAP), self.top + row * (high + _GAP)

    def places(self) -> Iterator[tuple[int, int]]:
        """Left and top of every tile."""
        for (left, top), groups in zip(self.corners(), self.groups, strict=True):
            many, size = _per_line(self.groups), max(map(max, filter(None, self.groups)))
            for number, tiles in enumerate(groups):
                line, column = divmod(number, many)
                x = left + column * (size * TILE + (_GAP if size > 1 else 0))
                y = top + _LABEL + line * (TILE + self.caption)
                yield from ((x + k * TILE, y) for k in range(tiles))

    def words(self, sections: Sequence[Section], heading: Sequence[str]) -> tuple[Bytes, Bytes]:
        """Headings, labels and captions, each cut to its room: in ink and in quiet, (H, W) in 0..255."""
        layers = Image.new("L", (self.width, self.height)), Image.new("L", (self.width, self.height))
        ink, quiet = (ImageDraw.Draw(layer) for layer in layers)
        for line, (text, size) in enumerate(_sized(heading)):
            draw = quiet if line else ink
            fitted = _fitted(text, size, self.width - 2 * _MARGIN)
            draw.text((_MARGIN, _MARGIN - 4 + 26 * line), fitted, fill=255, font=_font(size), anchor="la")
        wide = _section_size(self.groups, self.caption)[0]
        for (left, top), section in zip(self.corners(), sections, strict=True):
            text = _fitted(section.label, 15, wide)
            ink.text((left, top), text, fill=255, font=_font(15), anchor="la")
        tiles = [tile for section in sections for group in section.groups for tile in group]
        for (left, top), tile in zip(self.places(), tiles, strict=True):
            text, middle = _fitted(tile.caption, 12, TILE), left + TILE // 2
            quiet.text((middle, top + TILE - 2), text, fill=255, font=_font(12), anchor="ma")
        return np.asarray(layers[0]), np.asarray(layers[1])


def _per_line(groups: Sequence[Sequence[int]]) -> int:
    """Groups that stand beside one another in a section."""
    most = max(_TILES_ACROSS // max(map(max, filter(None, groups))), 1)
    return min(most, max(map(len, groups)))


def _section_size(groups: Sequence[Sequence[int]], caption: int) -> tuple[int, int]:
    """Width and height of the largest section, label included."""
    many, size = _per_line(groups), max(map(max, filter(None, groups)))
    wide = many * size * TILE + (many - 1) * (_GAP if size > 1 else 0)
    return wide, _LABEL + math.ceil(max(map(len, groups)) / many) * (TILE + caption)


def _sized(heading: Sequence[str]) -> list[tuple[str, int]]:
    return [(text, 13 if line else 18) for line, text in enumerate(heading)]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow carries: the same on every machine."""
    return ImageFont.load_default(size)


def _printable(text: str) -> str:
    """One line without control characters, of at most 200 characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _fitted(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as fits into `width` pixels, with dots."""
    text = _printable(text)
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
