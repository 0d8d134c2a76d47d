"""Records to a site: every run read once, its page written at once, the tables when all are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcbench import plugins
from pcbench.errors import DataError
from pcbench.records import Run, ppc_label, read_runs
from pcbench.report import comparisons, methods, overview, reported, runs, timing
from pcbench.report.cells import Board, Result, Unfinished, board, page_name, results, unfinished
from pcbench.report.output import Folder
from pcbench.report.pages import Renderer
from pcbench.report.tables import Block, Heading, Line, Method, Table, Value, exported
from pcbench.report.text import plain
from pcbench.report.values import run_page
from pcbench.report.viewer import Clouds, Shown

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Built:
    """What a build made: the number of files, those removed, and what was left out and why."""

    files: int
    removed: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass
class Found:
    """What has been read so far, without the records themselves."""

    results: list[Result] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    listed: list[Line] = field(default_factory=list)

    def add(self, run: Run) -> None:
        self.results += results(run)
        without = unfinished(run)
        self.unfinished += [without] if without else []
        self.listed.append(_listed(run))


def distinct(found: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs without repeated distillations, by key, and a line for each one left out.

    The most complete of those with one key stays; of two whose pages would have one name, the first by key.
    """
    kept: dict[str, Run] = {}
    problems: list[str] = []
    for run in sorted(
        found, key=lambda r: (r.distillation.status != "ok", -len(r.evaluations), str(r.folder))
    ):
        first = kept.setdefault(run.distillation.key, run)
        if first is not run:
            problems.append(f"{run.folder}: the same distillation as in {first.folder}, counted once")
    pages: dict[str, Run] = {}
    for key in sorted(kept):
        first = pages.setdefault(page_name(key), kept[key])
        if first is not kept[key]:
            problems.append(f"{kept[key].folder}: its key begins like that of {first.folder}, left out")
    return list(pages.values()), sorted(problems)


def build(
    source: Path,
    out: Path,
    clouds: Clouds,
    base_url: str = "",
    folders: Sequence[Path] = (),
    report: Progress = lambda *_: None,
) -> Built:
    """Write the site of all records below `source` into `out`: the same records give the same bytes.

    clouds: which of them are shown. report: called with the phase, what is done of it, and its whole.
    DataError where there is no finished run.
    """
    found, problems = read_runs(source)
    kept, repeated = distinct(found)
    if not any(run.distillation.status == "ok" and run.evaluations for run in kept):
        raise DataError(
            f"no finished run in {source}: do 'pcbench run' first, or name its folder with --results"
        )
    target = Folder(out)
    clouds.problems.clear()
    for path, content in files(kept, clouds, base_url, folders, report):
        target.write(path, content)
    return Built(len(target.written), tuple(target.finish()), (*problems, *repeated, *clouds.problems))


def files(
    kept: Sequence[Run],
    clouds: Clouds,
    base_url: str = "",
    folders: Sequence[Path] = (),
    report: Progress = lambda *_: None,
) -> Iterator[tuple[str, str | bytes]]:
    """Every file of the site with its path."""
    renderer, gathered = Renderer(base_url), Found()
    for number, run in enumerate(kept, 1):
        gathered.add(run)
        yield from _run_files(renderer, run, clouds.of(run))
        report("runs", number, len(kept))
    yield from _tables(gathered, base_url, folders, report)
    for path in sorted(plugins.builtin("leaderboard/static").iterdir()):
        yield f"static/{path.name}", path.read_bytes()


def markdown_of(kept: Sequence[Run], base_url: str = "") -> str:
    """leaderboard.md as `build` writes it for these runs."""
    gathered = Found()
    for run in kept:
        gathered.add(run)
    return _markdown(board(gathered.results, gathered.unfinished), base_url)


def _markdown(made: Board, base_url: str) -> str:
    blocks = [*overview.blocks(made), *comparisons.robustness(made), *_without_score(made)]
    return Renderer(base_url).markdown(blocks)


def _run_files(renderer: Renderer, run: Run, shown: Shown | None) -> Iterator[tuple[str, str | bytes]]:
    page = runs.page(run)
    yield renderer.run(page, viewer=shown is not None)
    if shown is not None:
        yield f"clouds/{page_name(page.key)}.js", shown.script
        yield f"pictures/{page_name(page.key)}.png", shown.picture
    for file, record in runs.record_files(run).items():
        yield f"data/{page_name(page.key)}/{file}", as_json(record)


def _tables(
    gathered: Found, base_url: str, folders: Sequence[Path], report: Progress
) -> Iterator[tuple[str, str | bytes]]:
    made = board(gathered.results, gathered.unfinished)
    registry = plugins.methods(folders)
    names = sorted(
        {row.entry.method for section in made.sections for row in section.rows} | set(registry.names())
    )
    known = [methods.about(name, registry) for name in names]
    renderer = Renderer(base_url, {each.name: each.citation for each in known})
    main, without = overview.blocks(made), _without_score(made)
    views = {name: view(made) for name, view in comparisons.VIEWS.items()}
    yield from renderer.tables("index", [*main, *without])
    yield "leaderboard.md", renderer.markdown([*main, *views["robustness"], *without])
    for name, blocks in views.items():
        yield from renderer.tables(name, blocks)
    yield from renderer.tables("timing", timing.blocks(made))
    yield from renderer.tables("paper", reported.blocks(made))
    yield from renderer.tables("runs/index", [_all_runs(gathered.listed)])
    yield renderer.methods(known)
    for number, each in enumerate(known, 1):
        yield from renderer.method(methods.page(each, made))
        report("methods", number, len(known))
    yield "data/leaderboard.json", as_json(exported_board(made))


def as_json(value: Any) -> str:
    """JSON for programs: keys sorted, one line, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def exported_board(made: Board) -> dict[str, Any]:
    """All cells with their raw scores, in percent, for programs."""
    return {
        "schema_version": 1,
        "sections": [
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
                        "version": row.entry.digest[:8],
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
                        "runs": list(cell.pages),
                    }
                    for row in section.rows
                    for place, cell in sorted(row.cells.items(), key=lambda item: item[0].order)
                ],
            }
            for section in made.sections
        ],
    }


def _statistics(scores: Any) -> dict[str, Any]:
    interval = scores.interval
    ends = {"mean": interval.mean, "std": interval.std, "low": interval.low, "high": interval.high}
    return {
        **{key: None if value is None else float(exported(value)) for key, value in ends.items()},
        "n": interval.n,
        "covers": interval.covers,
        "scores": [[float(exported(score)) for score in group.values()] for group in scores.groups.values()],
    }


def _without_score(made: Board) -> list[Block]:
    """The runs that were started and have no score, with their reasons."""
    if not made.unfinished:
        return []
    headings = (
        Heading("data", "Data set", "text", brief=True),
        Heading("ppc", "PPC", brief=True),
        Heading("state", "Status", "text", brief=True),
        Heading("reason", "Reason", "text", brief=True),
    )
    lines = tuple(
        Line(
            Method(run.method, run_page(run.page)),
            (
                Value(run.data, run.data),
                Value(ppc_label(run.ppc), float(run.ppc)),
                Value(run.status, run.status),
                Value(run.reason, run.reason),
            ),
        )
        for run in made.unfinished
    )
    table = Table("unfinished-runs", "What was started and has no score, with its reason", headings, lines)
    return [Block("unfinished", "Runs without a score", tables=(table,))]


def _listed(run: Run) -> Line:
    made = run.distillation
    inputs = made.inputs
    protocols = sorted({plain(scored.inputs.protocol.label) for scored in run.evaluations})
    changed = ", ".join(
        f"{plain(key)}={plain(str(value))}" for key, value in sorted(inputs.variation.items())
    )
    texts = (plain(inputs.method), changed, plain(inputs.data.name))
    rest = (str(inputs.repetition), made.status, ", ".join(protocols), str(len(run.evaluations)))
    name = page_name(made.key)
    return Line(
        Method(name, run_page(name)),
        (
            *(Value(text, text) for text in texts),
            Value(ppc_label(inputs.ppc), float(inputs.ppc)),
            *(Value(text, text) for text in rest),
        ),
    )


def _all_runs(listed: Sequence[Line]) -> Block:
    def order(line: Line) -> tuple[Any, ...]:
        return tuple(value.data for value in line.values), line.head.name

    headings = (
        Heading("method", "Method", "text"),
        Heading("variation", "Variation", "text"),
        Heading("data", "Data set", "text"),
        Heading("ppc", "PPC"),
        Heading("repetition", "Repetition"),
        Heading("state", "Status", "text"),
        Heading("protocol", "Protocol", "text"),
        Heading("evaluations", "Evaluations"),
    )
    lines = tuple(sorted(listed, key=order))
    return Block("all-runs", "Records", tables=(Table("runs", "All runs", headings, lines, first="Run"),))
