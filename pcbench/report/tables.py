"""Records to tables: one a protocol, student and test, rows of methods, columns of data sets and PPC."""

from __future__ import annotations

import math
import statistics
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pcbench.files import canonical_json, digest
from pcbench.protocol import PROTOCOLS, Protocol
from pcbench.records import DistillationRecord, EvaluationRecord, Network, Run
from pcbench.variants import PLAIN, Variant

DECIMALS = 1
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Score:
    """A mean in percent with its standard deviation (ddof 1; None for one score). best: of its column."""

    mean: float
    std: float | None
    best: bool = False

    @classmethod
    def of(cls, values: Sequence[float]) -> Score:
        """From accuracies in [0, 1]."""
        percent = [100 * value for value in values]
        return cls(statistics.fmean(percent), statistics.stdev(percent) if len(percent) > 1 else None)


@dataclass(frozen=True)
class Time:
    """The mean clock of a cell's distillations on one hardware. hardware: its place in the table's list."""

    seconds: float
    hardware: int


@dataclass(frozen=True)
class Cell:
    """A method on a data set at one PPC: scores over all evaluations of all distillations.

    evaluations: the fewest and the most that one distillation has.
    """

    oa: Score
    macc: Score
    distillations: int
    evaluations: tuple[int, int]
    times: tuple[Time, ...]


@dataclass(frozen=True)
class Column:
    """A data set and PPC, 0 for the whole split. version tells data sets of one name apart, or is empty."""

    data: str
    version: str
    ppc: int
    standard: bool


@dataclass(frozen=True)
class Row:
    """A method with what differs from its defaults. mean: OA over all PPC, None if a cell is missing.

    incomplete: some of its PPC cells are missing. A row of the whole split has no PPC cell to miss.
    """

    method: str
    variation: tuple[tuple[str, str], ...]
    distilled_with: str
    version: str
    cells: tuple[Cell | None, ...]
    mean: float | None
    incomplete: bool


@dataclass(frozen=True)
class Table:
    """Results that may be compared: one protocol, one student, one test.

    test: how the test clouds were changed, empty where they were not. hardware: what the times were taken on.
    several: there is more than one PPC column, so that a mean says something.
    """

    protocol: str
    summary: str
    student: str
    test: str
    version: str
    columns: tuple[Column, ...]
    several: bool
    rows: tuple[Row, ...]
    hardware: tuple[str, ...]


@dataclass(frozen=True)
class Unfinished:
    """A run without a score, and why."""

    method: str
    data: str
    ppc: int
    status: str
    reason: str


@dataclass(frozen=True)
class Board:
    """All that the leaderboard shows."""

    tables: tuple[Table, ...]
    unfinished: tuple[Unfinished, ...]


@dataclass(frozen=True)
class _Result:
    """One evaluation of one distillation, and where it belongs."""

    made: DistillationRecord
    scored: EvaluationRecord

    @property
    def protocol(self) -> Protocol:
        return self.scored.inputs.protocol

    @property
    def student(self) -> Network:
        return self.scored.inputs.network

    @property
    def variant(self) -> Variant:
        return self.scored.inputs.variant

    @property
    def hardware(self) -> str:
        """What it was distilled on."""
        return plain(self.made.provenance.hardware.label)

    @property
    def standard(self) -> bool:
        return self.made.inputs.data.standard and self.scored.inputs.data.standard

    @property
    def table(self) -> str:
        """Exactly one protocol, one student and one test: nothing else is compared.

        The axis that a test turns about is the data set's.
        """
        parts = [self.protocol.model_dump(mode="json"), self.student.model_dump(mode="json")]
        return digest([*parts, self.variant.model_dump(mode="json", exclude={"axis"})])

    @property
    def column(self) -> tuple[str, str, int]:
        """Data set by name and by all its inputs, and PPC: data of one name that differ never meet."""
        train, test = self.made.inputs.data, self.scored.inputs.data
        same = train == test or (self.variant.points is not None and train.name == test.name)
        name = train.name if same else f"{train.name} → {test.name}"
        parts: list[Any] = [train.model_dump(mode="json"), test.model_dump(mode="json")]
        parts += [self.variant.axis] if self.variant.axis else []
        return name, digest(parts), self.made.inputs.ppc

    @property
    def row(self) -> str:
        """Whatever the distillation depends on, but its data set, PPC and repetition."""
        return digest(self.made.inputs.model_dump(mode="json", exclude={"data", "ppc", "repetition"}))

    @property
    def label(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """Method, its parameters that differ from the defaults, its network where the student is another."""
        inputs = self.made.inputs
        variation = tuple(
            (plain(key), plain(_value(inputs.variation[key]))) for key in sorted(inputs.variation)
        )
        network = "" if inputs.network.label == self.student.label else plain(inputs.network.label)
        return plain(inputs.method), variation, network


def _value(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def plain(text: str) -> str:
    """Text on one line, with control, formatting and unassigned characters replaced by U+FFFD."""
    joined = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(char).startswith("C") else char for char in joined)


def distinct(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """The runs without repeated distillations, and a line for each one left out; the most complete stays."""
    kept: dict[str, Run] = {}
    problems: list[str] = []
    for run in sorted(
        runs, key=lambda r: (r.distillation.status != "ok", -len(r.evaluations), str(r.folder))
    ):
        first = kept.setdefault(run.distillation.key, run)
        if first is not run:
            problems.append(f"{run.folder}: the same distillation as in {first.folder}, counted once")
    return sorted(kept.values(), key=lambda run: run.distillation.key), sorted(problems)


def board(runs: Iterable[Run]) -> Board:
    """The tables of all finished runs, standard protocols first, and the list of the others."""
    results: list[_Result] = []
    unfinished: list[Unfinished] = []
    for run in runs:
        made = run.distillation
        if made.status == "ok" and run.evaluations:
            results += [_Result(made, scored) for scored in run.evaluations]
        else:
            reason = plain(made.reason) or "distilled, not evaluated"
            method, data = plain(made.inputs.method), plain(made.inputs.data.name)
            unfinished.append(Unfinished(method, data, made.inputs.ppc, made.status, reason))
    groups = _grouped(results, lambda result: result.table)
    versions = _versions((result.student.label, result.student.source) for result in results)
    names = [*PROTOCOLS, "custom"]
    tables = [
        (
            names.index(group[0].protocol.name),
            group[0].variant,
            _table(group, versions[group[0].student.source]),
        )
        for group in groups.values()
    ]
    tables.sort(key=lambda each: (each[0], each[2].protocol, each[2].student, each[2].version, each[1].order))
    unfinished.sort(key=lambda run: (run.method, run.data, run.ppc, run.status, run.reason))
    return Board(tuple(table for *_, table in tables), tuple(unfinished))


def _table(results: Sequence[_Result], version: str) -> Table:
    protocol, student = results[0].protocol, results[0].student
    hardware = tuple(sorted({result.hardware for result in results}))
    by_column = _grouped(results, lambda result: result.column)
    columns = sorted(by_column, key=lambda column: (*column[:2], column[2] or math.inf))
    data_versions = _versions((name, data) for name, data, _ in columns)
    by_row = _grouped(results, lambda result: result.row)
    row_versions = _versions((members[0].label, row) for row, members in by_row.items())
    rows = [_row(members, columns, hardware, row_versions[row]) for row, members in by_row.items()]
    rows.sort(key=lambda row: (-row.mean if row.mean is not None else 1, *_name(row)))
    return Table(
        protocol=plain(protocol.label),
        summary=plain(protocol.summary),
        student=plain(student.label),
        test="" if results[0].variant == PLAIN else results[0].variant.label,
        version=version,
        columns=tuple(
            Column(plain(name), data_versions[data], ppc, all(r.standard for r in by_column[name, data, ppc]))
            for name, data, ppc in columns
        ),
        several=sum(ppc > 0 for *_, ppc in columns) > 1,
        rows=tuple(_with_best(rows)),
        hardware=hardware,
    )


def _row(
    results: Sequence[_Result], columns: Sequence[tuple[str, str, int]], hardware: Sequence[str], version: str
) -> Row:
    by_column = _grouped(results, lambda result: result.column)
    cells = tuple(_cell(by_column[key], hardware) if key in by_column else None for key in columns)
    compared = [cell for cell, (*_, ppc) in zip(cells, columns, strict=True) if ppc]
    means = [cell.oa.mean for cell in compared if cell is not None]
    method, variation, distilled_with = results[0].label
    missing = len(compared) - len(means)
    mean = statistics.fmean(means) if means and not missing else None
    return Row(method, variation, distilled_with, version, cells, mean, bool(means and missing))


def _cell(results: Sequence[_Result], hardware: Sequence[str]) -> Cell:
    """All scores of one method on one column; a student of a distillation counts once."""
    oa: list[float] = []
    macc: list[float] = []
    counts: list[int] = []
    seconds: dict[str, list[float]] = {}
    for members in _grouped(results, lambda result: result.made.key).values():
        students: dict[int, tuple[float, float]] = {}
        for result in members:
            scores = result.scored.headline
            scored = zip(scores.oa, scores.macc, strict=True)
            students = dict(zip(result.scored.inputs.repetitions, scored, strict=True)) | students
        oa += [score for score, _ in students.values()]
        macc += [score for _, score in students.values()]
        counts.append(len(students))
        seconds.setdefault(members[0].hardware, []).append(members[0].made.seconds)
    return Cell(
        oa=Score.of(oa),
        macc=Score.of(macc),
        distillations=len(counts),
        evaluations=(min(counts), max(counts)),
        times=tuple(
            Time(statistics.fmean(seconds[label]), place)
            for place, label in enumerate(hardware)
            if label in seconds
        ),
    )


def _with_best(rows: Sequence[Row]) -> list[Row]:
    """The rows with the best scores of every column marked, as far as there is another to be better than.

    Scores that are printed alike are equally good.
    """
    best: list[tuple[float, float]] = []
    for cells in zip(*(row.cells for row in rows), strict=True):
        there = [cell for cell in cells if cell is not None]
        contested = len(there) > 1
        oa = max(round(cell.oa.mean, DECIMALS) for cell in there) if contested else math.inf
        macc = max(round(cell.macc.mean, DECIMALS) for cell in there) if contested else math.inf
        best.append((oa, macc))
    return [
        replace(row, cells=tuple(_marked(c, *top) for c, top in zip(row.cells, best, strict=True)))
        for row in rows
    ]


def _marked(cell: Cell | None, oa: float, macc: float) -> Cell | None:
    if cell is None:
        return None
    return replace(
        cell,
        oa=replace(cell.oa, best=round(cell.oa.mean, DECIMALS) == oa),
        macc=replace(cell.macc, best=round(cell.macc.mean, DECIMALS) == macc),
    )


def _name(row: Row) -> tuple[Any, ...]:
    return row.method, row.variation, row.distilled_with, row.version


def _grouped(results: Iterable[_Result], key: Callable[[_Result], K]) -> dict[K, list[_Result]]:
    groups: dict[K, list[_Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _versions(pairs: Iterable[tuple[Hashable, str]]) -> dict[str, str]:
    """For every hash, its first eight digits where its label is not its own, and nothing where it is."""
    hashes: dict[Hashable, set[str]] = {}
    for label, value in pairs:
        hashes.setdefault(label, set()).add(value)
    return {value: value[:8] if len(values) > 1 else "" for values in hashes.values() for value in values}
