"""Records to a site: every run read once, its page written at once, the tables when all are known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcbench.catalogue import Catalogue
from pcbench.common.garbage import seldom_searched
from pcbench.common.installed import has_torch
from pcbench.common.packaged import builtin
from pcbench.errors import DataError
from pcbench.records.labels import amount
from pcbench.records.layout import run_folders, short
from pcbench.report import against_papers, comparisons, front, methods, overview, stale, timing
from pcbench.report.answers import Answers
from pcbench.report.board import board as of_results
from pcbench.report.cells import Board, BoardSection, CellScores
from pcbench.report.current import Current
from pcbench.report.gather import Gathered, Progress, Written, write_runs
from pcbench.report.output import SiteFolder
from pcbench.report.pages import Renderer
from pcbench.report.papers import load
from pcbench.report.selection import marked
from pcbench.report.side_by_side import compare_page
from pcbench.report.strips import Strips
from pcbench.report.tables import Block, Head, Heading, Line, Table, Value, exported
from pcbench.report.text import as_json
from pcbench.report.values import run_page
from pcbench.report.viewer import WITHOUT_TORCH, Clouds

NOTHING = "no finished run in {source}: do 'pcbench run' first, or name its folder"


@dataclass(frozen=True)
class Built:
    """What a build made."""

    files: int
    """The number of files."""
    removed: tuple[str, ...]
    """Files of an older build that were taken away."""
    problems: tuple[str, ...]
    """What was left out of it, and why: a line each."""
    remarks: tuple[str, ...] = ()
    """What holds for all of it: a line each."""


def build(
    source: Path,
    out: Path,
    catalogue: Catalogue,
    clouds: Clouds,
    base_url: str = "",
    report: Progress = lambda *_: None,
) -> Built:
    """Write the site of all records below `source` into `out`: the same records give the same bytes.

    catalogue: the methods that are described. clouds: which clouds are shown. report: called with the phase,
    what is done of it, and its whole.
    DataError where there is no finished run.
    """
    if not run_folders(source):
        raise DataError(NOTHING.format(source=source), "results")
    clouds.problems.clear()
    with seldom_searched(), SiteFolder(out) as target:
        gathered = write_runs(
            source,
            target,
            clouds,
            base_url,
            Current.of(catalogue),
            lambda done, total: report("runs", done, total),
        )
        board = board_of(gathered)
        if not (board.sections or board.stale):
            raise DataError(NOTHING.format(source=source), "results")
        shown = frozenset(Path(file).stem for file in target.written if file.startswith("pictures/"))
        for path, content in _tables(gathered, board, clouds, shown, base_url, catalogue, report):
            target.write(path, content)
        for file in sorted(builtin("leaderboard/static").iterdir()):
            target.write(f"static/{file.name}", file.read_bytes())
        removed = target.finish()
    remarks = () if has_torch() else (WITHOUT_TORCH,)
    return Built(len(target.written), tuple(removed), (*gathered.told(), *clouds.problems), remarks)


def board_of(gathered: Gathered) -> Board:
    """The board of all runs that were read."""
    slims = gathered.runs
    without = [slim.without for slim in slims if slim.without]
    return of_results(marked([result for slim in slims for result in slim.results]), without)


def markdown_of(gathered: Gathered, base_url: str = "") -> str:
    """leaderboard.md as `build` writes it."""
    board = board_of(gathered)
    return Renderer(base_url).markdown(
        [
            *overview.blocks(board),
            *comparisons.robustness(board),
            *stale.blocks(board),
            *_without_score(board),
        ]
    )


def _tables(
    gathered: Gathered,
    board: Board,
    clouds: Clouds,
    shown: Collection[str],
    base_url: str,
    catalogue: Catalogue,
    report: Progress,
) -> Iterator[Written]:
    """All pages but those of runs. shown: the names of the pages of runs whose clouds are shown."""
    sections = (*board.sections, *board.stale)
    with_rows = {row.entry.method for section in sections for row in section.rows}
    names = sorted(with_rows | set(catalogue.methods.names()))
    known = [methods.about(name, catalogue.methods) for name in names]
    renderer = Renderer(base_url, {each.name: each.citation for each in known})
    main, without = overview.blocks(board), [*stale.blocks(board), *_without_score(board)]
    views = {name: view(board) for name, view in comparisons.VIEWS.items()}
    yield from _fronts(gathered, board, clouds, renderer)
    yield renderer.reading()
    yield from renderer.tables("tables", [*main, *without])
    yield "leaderboard.md", renderer.markdown([*main, *views["robustness"], *without])
    for name, blocks in views.items():
        yield from renderer.tables(name, blocks)
    yield from renderer.tables("timing", timing.blocks(board))
    yield from renderer.tables("paper", against_papers.blocks(board))
    yield from renderer.tables("runs/index", [_all_runs([slim.line for slim in gathered.runs])])
    yield renderer.methods(known)
    for number, each in enumerate(known, 1):
        yield from renderer.method(methods.page(each, board, shown))
        report("methods", number, len(known))
    yield "data/leaderboard.json", as_json(exported_board(board))


def _fronts(gathered: Gathered, board: Board, clouds: Clouds, renderer: Renderer) -> Iterator[Written]:
    """The pages of the board, and the first of them once more as the site's own."""
    pages, figures = front.Pages(board), load()
    apart, folders, strips = _apart(board), gathered.folders, Strips(pages.choices, gathered, clouds)
    yield from strips.files
    for choice in pages.choices:
        answers = Answers(folders)  # of this page's runs alone: those of all would fill the memory
        shown = front.page(pages, choice, strips.of(choice), figures, answers)
        yield renderer.compare(compare_page(shown, answers))
        yield renderer.front(choice.page, shown, apart)
        if choice is pages.first:
            yield renderer.front("index", shown, apart)
    if not pages.choices:
        yield renderer.front("index", None, apart)


def _apart(board: Board) -> str:
    """How many results stand in none of the tables, in a sentence; empty where all do."""
    stale_cells = sum(len(row.cells) for section in board.stale for row in section.rows)
    counts = [
        f"{number} {words}"
        for number, words in ((stale_cells, "stale results"), (len(board.unfinished), "runs without a score"))
        if number
    ]
    return f"Apart from these there are {' and '.join(counts)}." if counts else ""


def exported_board(board: Board) -> dict[str, Any]:
    """All cells with their raw scores, in percent, for programs."""
    return {
        "schema_version": 1,
        "sections": _exported(board.sections),
        "stale": _exported(board.stale),
    }


def _exported(sections: Iterable[BoardSection]) -> list[dict[str, Any]]:
    """Sections with their cells; stale ones say why they are."""
    return [
        {
            "protocol": section.setting.protocol,
            "division": section.setting.division,
            "student": section.setting.student,
            "student_source": section.setting.student_source,
            "test": section.setting.test or "plain",
            "cells": [
                {
                    "method": row.entry.method,
                    "variation": dict(row.entry.variation),
                    "distilled_with": row.entry.network,
                    "draw": row.entry.draw,
                    "version": short(row.entry.digest),
                    "data": place.name,
                    "data_hash": place.data,
                    "standard": place.standard,
                    "ppc": place.ppc,
                    "oa": _statistics(cell.oa),
                    "macc": _statistics(cell.macc),
                    "seconds": {
                        each: seconds
                        for each in section.hardware
                        if (seconds := cell.seconds(each)) is not None
                    },
                    "status": cell.badge,
                    "status_by": cell.status.text,
                    **({"stale": reason} if (reason := stale.why(cell)) else {}),
                    "runs": list(cell.pages),
                }
                for row in section.rows
                for place, cell in sorted(row.cells.items(), key=lambda item: item[0].order)
            ],
        }
        for section in sections
    ]


def _statistics(scores: CellScores) -> dict[str, Any]:
    interval = scores.interval
    ends = {"mean": interval.mean, "std": interval.std, "low": interval.low, "high": interval.high}
    return {
        **{key: None if value is None else float(exported(value)) for key, value in ends.items()},
        "n": interval.n,
        "covers": interval.covers,
        "repetitions": list(scores.groups),
        "scores": [[float(exported(score)) for score in group] for group in scores.by_distillation],
    }


def _without_score(board: Board) -> list[Block]:
    """The runs that were started and have no score, with their reasons."""
    if not board.unfinished:
        return []
    headings = (
        Heading("data", "Data set", "text", brief=True),
        Heading("ppc", "PPC", brief=True),
        Heading("state", "Status", "text", brief=True),
        Heading("reason", "Reason", "text", brief=True),
    )
    lines = tuple(
        Line(
            Head(run.method, run_page(run.page)),
            (
                Value(run.data, run.data),
                Value(amount(run.ppc), float(run.ppc)),
                Value(run.status, run.status),
                Value(run.reason, run.reason),
            ),
        )
        for run in board.unfinished
    )
    table = Table("unfinished-runs", "What was started and has no score, with its reason", headings, lines)
    return [Block("unfinished", "Runs without a score", tables=(table,))]


def _all_runs(listed: Sequence[Line]) -> Block:
    """Every run: what may be compared side by side, the whole split and few clouds first, the best first."""

    def order(line: Line) -> tuple[Any, ...]:
        accuracy, data, ppc, _, protocol, student, *_ = line.values
        alike = data.data, ppc.value, accuracy.value is None, protocol.text, student.text
        return *alike, -float(accuracy.value or 0), line.head.text

    headings = (
        Heading("oa", "Accuracy", note="%, mean ± std"),
        Heading("data", "Data set", "text"),
        Heading("ppc", "PPC"),
        Heading("repetition", "Repetition"),
        Heading("protocol", "Protocol", "text"),
        Heading("student", "Student", "text"),
        Heading("state", "Status", "text"),
        Heading("made", "Made", "text"),
        Heading("evaluations", "Evaluations"),
    )
    lines = tuple(sorted(listed, key=order))
    return Block("all-runs", "Records", tables=(Table("runs", "All runs", headings, lines),))
