"""The page of a method: what it says about itself, and all that was measured with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcbench.catalogue import Registry
from pcbench.catalogue.describe import limits_text, parameters, value_text
from pcbench.common.installed import has_torch
from pcbench.errors import UsageError
from pcbench.records.labels import amount
from pcbench.report import stale
from pcbench.report.cells import Board, BoardRow, BoardSection, Place
from pcbench.report.details import Confusion, by_class, confusion, learning_curves
from pcbench.report.tables import Block, Heading, Line, Table, Value
from pcbench.report.text import plain, plain_lines, shown, spread
from pcbench.report.values import (
    data_title,
    default_row,
    draw_remark,
    head,
    method_page,
    scored,
    setting_title,
    timed,
)

MAX_CITATION = 10_000
UNKNOWN_PARAMETERS = "Its parameters are not shown, for torch is not installed where the site was built."


@dataclass(frozen=True)
class Parameter:
    """One documented parameter, as text."""

    name: str
    """Its name."""
    default: str
    """Its default."""
    kind: str
    """Its type."""
    unit: str
    """Its unit, empty for none."""
    limits: str
    """What it must lie within, empty for none."""
    source: str
    """Where the default is from."""
    description: str
    """What it does."""


@dataclass(frozen=True)
class About:
    """What the catalogue knows of a method."""

    name: str
    """Its name."""
    page: str
    """Its page within the site."""
    paragraphs: tuple[str, ...] = ()
    """What it says about itself."""
    parameters: tuple[Parameter, ...] = ()
    """Its parameters."""
    citation: str = ""
    """Its BibTeX entry, empty for none."""
    problem: str = ""
    """Why something of this is not known, in a sentence; empty where all is."""


@dataclass(frozen=True)
class MethodPage:
    """The page of a method."""

    about: About
    """What is known of the method itself."""
    blocks: tuple[Block, ...]
    """Its results."""
    confusions: tuple[Confusion, ...]
    """The confusion matrices of its defaults."""
    clouds: tuple[tuple[str, str], ...]
    """Cells of its defaults whose clouds are shown: what they are of, and the name of the run's page."""


def about(name: str, registry: Registry[Any]) -> About:
    """What is known of a method by its name; one that is not installed, or broken, still has a page.

    What it says about itself is read from its source; only its parameters need the class, and so torch.
    """
    page = method_page(name)
    if name not in registry:
        return About(name, page, problem="This method is not installed where the site was built.")
    plugin = registry.get(name)
    paragraphs = tuple(plain(part) for part in plugin.docstring().split("\n\n") if part.strip())
    citation = _citation(plugin.path, name)
    if not has_torch():
        return About(name, page, paragraphs, (), citation, UNKNOWN_PARAMETERS)
    try:
        loaded = plugin.load()
    except UsageError:
        return About(name, page, problem="This method could not be loaded where the site was built.")
    known = tuple(
        Parameter(
            p["name"], value_text(p["default"]), p["type"], p["unit"], limits_text(p["limits"]), p["source"],
            p["description"],
        )
        for p in parameters(loaded)
    )  # fmt: skip
    return About(name, page, paragraphs, known, citation)


def _citation(path: Path, name: str) -> str:
    """The BibTeX of a method: the file NAME.bib beside the method's own; empty where there is none."""
    file = path.with_name(f"{name}.bib")
    if not file.is_file() or file.stat().st_size > MAX_CITATION:
        return ""
    return plain_lines(file.read_text(encoding="utf-8", errors="replace")).strip()


def page(known: About, board: Board, with_clouds: Collection[str] = ()) -> MethodPage:
    """All results of the method; curves, classes, confusion and clouds of its defaults, a block a data set.

    with_clouds: the names of the pages of runs whose clouds are shown.
    """
    blocks: list[Block] = []
    matrices: list[Confusion] = []
    clouds: dict[str, str] = {}
    for number, section in enumerate(board.sections, 1):
        rows = [row for row in section.rows if row.entry.method == known.name]
        if not rows:
            continue
        blocks.append(_results(board, section, rows, f"r{number}"))
        if not section.setting.test:
            for part, found in _closer(board, section, rows, f"d{number}"):
                blocks.append(part)
                matrices += found
            clouds |= {name: words for words, name in _clouds(board, section, rows) if name in with_clouds}
    pairs = tuple((words, name) for name, words in clouds.items())
    return MethodPage(known, (*blocks, *stale.blocks(board, known.name)), tuple(matrices), pairs)


def _clouds(board: Board, section: BoardSection, rows: list[BoardRow]) -> Iterator[tuple[str, str]]:
    """Of every cell of the defaults what it is of, and its first run."""
    for (data, version), places in section.data.items():
        row = default_row(rows, rows[0].entry.method, places)
        for place in places:
            if row is not None and place in row.cells:
                words = f"{data_title(board, data, version, True)}, {amount(place.ppc)}"
                yield words, row.cells[place].pages[0]


def _results(board: Board, section: BoardSection, rows: list[BoardRow], name: str) -> Block:
    hardware = section.hardware
    lines = []
    for row in rows:
        for place in sorted(row.cells, key=lambda place: place.order):
            cell = row.cells[place]
            title = data_title(board, place.name, place.data, place.standard)
            values = (
                scored(cell),
                Value(title, title),
                Value(amount(place.ppc), float(place.ppc)),
                Value(spread(cell.macc.mean, cell.macc.interval.std), cell.macc.mean),
                *(timed(cell, each) for each in hardware),
            )
            lines.append(Line(head(row.entry, board, section.setting.student), values))
    headings = (
        Heading("oa", "Accuracy", note="%, mean ± std"),
        Heading("data", "Data set", "text"),
        Heading("ppc", "PPC"),
        Heading("macc", "Class mean", note="mean of the classes, %"),
        *(
            Heading(f"time{n}", f"Time on {each}", note="seconds in exports")
            for n, each in enumerate(hardware, 1)
        ),
    )
    title = setting_title(section, board)
    return Block(
        name, f"Results: {title}", tables=(Table(name, f"Results: {title}", headings, tuple(lines)),)
    )


def _closer(
    board: Board, section: BoardSection, rows: list[BoardRow], name: str
) -> Iterator[tuple[Block, list[Confusion]]]:
    for number, ((data, version), places) in enumerate(section.data.items(), 1):
        having = [row for row in rows if any(place in row.cells for place in places)]
        if not having:
            continue
        row = default_row(having, having[0].entry.method, places) or having[0]
        there: Mapping[Place, Any] = {place: row.cells[place] for place in places if place in row.cells}
        cells = {amount(place.ppc): cell for place, cell in there.items()}
        title = ", ".join(
            [
                data_title(board, data, version, True),
                *_differing(row, section),
                setting_title(section, board),
            ]
        )
        plots, tables = learning_curves(f"{name}-{number}-curve", title, cells)
        classes = by_class(f"{name}-{number}-class", title, cells)
        found = [
            confusion(f"{name}-{number}-m{place.ppc}", f"{amount(place.ppc)}, {title}", cell)
            for place, cell in there.items()
        ]
        block = Block(
            f"{name}-{number}",
            f"Closer: {title}",
            tables=tuple(classes),
            plots=tuple(plots),
            notes=(_in_effect(row),),
            folded=tuple(tables),
        )
        yield block, [each for each in found if each is not None]


def _differing(row: BoardRow, section: BoardSection) -> list[str]:
    """What makes a row another than the method with its defaults, by the words of its line."""
    entry = row.entry
    network = [f"distilled with {entry.network}"] if entry.network != section.setting.student else []
    setting = [f"setting {entry.setting}"] if entry.setting else []
    return [
        *(f"{key}={value}" for key, value in entry.variation),
        *setting,
        *network,
        *draw_remark(entry.draw),
    ]


def _in_effect(row: BoardRow) -> str:
    """All parameters of a row, with whether they are the defaults."""
    values = ", ".join(f"{plain(key)} {shown(value)}" for key, value in sorted(row.entry.params.items()))
    if not values:
        return "The method has no parameters."
    return f"Parameters{'' if row.entry.variation else ', the defaults'}: {values}."
