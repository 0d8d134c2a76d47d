"""What may be compared: results in rows and places, in sections of one protocol, student, test, division."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pcbench.records.labels import is_whole, method_title
from pcbench.report.status import Status, weakest
from pcbench.stats import Interval, hierarchical_interval


@dataclass(frozen=True)
class Setting:
    """What all results of a section have in common."""

    digest: str
    """Hash of all of it: the identity of a section."""
    family: str
    """The same without the student and the test: equal where only these differ."""
    protocol: str
    """The protocol's label, with its changes where it is `custom`."""
    base: str
    """The standard protocol that it is, or departs from."""
    summary: str
    """What the protocol says of itself."""
    student: str
    """`name:preset` of the students' network."""
    student_source: str
    """Hash of that network's source."""
    validation: bool
    """Whether students were tested on validation parts of the training splits, to choose parameters."""
    test: str
    """How the test clouds were changed, empty where they were not."""
    division: str
    """`closed` where the rules that make results comparable were followed, else `open`."""
    order: tuple[int, int, int, int, int]
    """Where the section stands: validation parts last, then by division, protocol and test."""


@dataclass(frozen=True)
class Entry:
    """What a row is of: a method with all that its distillation depends on but data, PPC and repetition."""

    digest: str
    """Hash of all of it: the identity of a row."""
    rest: str
    """Hash of all of it but the parameters: equal for the variations of one version of a method."""
    method: str
    """The method's name."""
    variation: tuple[tuple[str, str], ...]
    """The parameters that differ from the defaults, sorted by name."""
    network: str
    """`name:preset` of the network that it was distilled with."""
    setting: str
    """What the method calls its parameters, as `paper`; empty where it has no name for them."""
    draw: str
    """Which training clouds it started from, by the name of the draw."""
    params: Mapping[str, Any]
    """All parameters in effect."""
    genuine: bool = True
    """Whether its code is pcbench's own, where it has the name of a built-in method."""
    trial: bool = False
    """Whether its scores are on validation parts, where any parameters may be tried."""
    tried: int = field(default=0, compare=False)
    """Of so many variations it was the best on validation parts; 0 where that is not known."""

    @property
    def chosen(self) -> bool:
        """Whether somebody chose its parameters, and nothing says that it was not by the test accuracy.

        Not of defaults, of what the method has a name for, and of what validation parts chose.
        """
        return bool(self.variation) and not (self.setting or self.tried or self.trial)

    @property
    def title(self) -> str:
        """`sadm lr=5 rotate=false`, as runs are called everywhere."""
        return method_title(self.method, dict(self.variation), self.setting)


@dataclass(frozen=True)
class Place:
    """A data set and PPC: what a column is of.

    Two places are one only if all fields are equal. Two copies of a data set (another file format, another
    sampling) have one name and PPC, and are two places: never make a key of name and PPC.
    """

    name: str
    """The data set's name, or `A → B` where it was distilled on A and tested on B."""
    data: str
    """Hash of all that identifies the training and test clouds and of `standard`: the identity of a copy."""
    training: str
    """The same of the training clouds alone, which all tests of a robustness table share."""
    ppc: int
    """Point clouds per class, 0 for the whole training split."""
    standard: bool
    """Whether classes and counts are those of the data set's card."""
    sampling: str = field(default="unknown", compare=False)
    """How the points of a cloud were taken from the stored ones, of the training clouds."""
    about: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """What tells copies of a data set apart, in words: its variant, its sampling, the hash of its content."""

    @property
    def key(self) -> str:
        """The identity of the place in one string: of two places it is equal only if they are the same."""
        return f"{self.name} {self.data} {self.ppc}"

    @property
    def order(self) -> tuple[str, str, float]:
        """By name, then by PPC, the whole split last."""
        return self.name, self.data, math.inf if self.whole else self.ppc

    @property
    def whole(self) -> bool:
        """Whether it is the whole training split."""
        return is_whole(self.ppc)


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation of one distillation, as far as tables need it; S students, K classes, T snapshots."""

    page: str
    """The name of the run's page."""
    key: str
    """The evaluation's key."""
    setting: Setting
    """The section that it belongs to."""
    entry: Entry
    """The row that it belongs to."""
    place: Place
    """The column that it belongs to."""
    repetition: int
    """Which of the repeated distillations it is of."""
    students: tuple[int, ...]
    """The students' repetitions, (S,)."""
    iterations: tuple[int, ...]
    """The iterations of the scored snapshots, (T,), ascending."""
    curve: tuple[tuple[float, ...], ...]
    """Overall accuracy in percent per snapshot and student, (T, S)."""
    macc: tuple[float, ...]
    """Mean class accuracy in percent per student at the last snapshot, (S,)."""
    class_names: tuple[str, ...]
    """The classes, (K,)."""
    correct: tuple[int, ...]
    """Right answers per class at the last snapshot, over all students, (K,)."""
    totals: tuple[int, ...]
    """Test clouds per class, (K,)."""
    confusion: tuple[tuple[int, ...], ...] | None
    """Answers of all students by true class (rows) and predicted class, (K, K), where the record has them."""
    answered: bool
    """Whether what each student took each test cloud for is kept beside the record."""
    seconds: float
    """The distillation's clock, evaluation excluded."""
    busy: bool
    """Whether the clock does not say what the method costs: on a busy machine, or of another program."""
    beginning: float
    """That clock when the first clouds were there, the training of networks to choose them by included."""
    peak_bytes: int | None
    """The distillation's peak memory, as `peak_memory` says."""
    set_bytes: int | None
    """What the synthetic set takes, in bytes; None of the whole training split."""
    step_factor: float
    """How many times as many clouds its students train on as PPC of every class; 1 of plain clouds."""
    marks: tuple[str, ...]
    """What students learn beside clouds and classes, in words: `soft labels`."""
    hardware: str
    """What the distillation ran on."""
    stale: tuple[str, ...]
    """Why it is not what today's code would make; empty where it is, as far as is known."""
    status: Status
    """Who made it, and who made it again."""


@dataclass(frozen=True)
class CellScores:
    """The scores of a cell in percent, by the seeds that they belong to."""

    groups: Mapping[int, Mapping[int, float]]
    """By the repetition of the distillation, then by that of the student."""

    @functools.cached_property
    def by_distillation(self) -> list[list[float]]:
        """The scores of every distillation's students, as the statistics take them."""
        return [list(group.values()) for group in self.groups.values()]

    @functools.cached_property
    def interval(self) -> Interval:
        """Mean, standard deviation over all scores and the 95 % interval of the mean."""
        return hierarchical_interval(self.by_distillation)

    @property
    def mean(self) -> float:
        return self.interval.mean

    def first(self, repetitions: int, students: int) -> list[list[float]]:
        """The scores of the first students of the first repetitions; KeyError where one is missing."""
        return [[self.groups[r][s] for s in range(students)] for r in range(repetitions)]

    @property
    def between_draws(self) -> float | None:
        """The standard deviation of the repetitions' means; None of one repetition."""
        means = [statistics.fmean(group) for group in self.by_distillation]
        return statistics.stdev(means) if len(means) > 1 else None

    @property
    def between_students(self) -> float | None:
        """The standard deviation of students of one repetition, pooled; None where each has one."""
        groups = [group for group in self.by_distillation if len(group) > 1]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        return math.sqrt(sum(statistics.variance(g) * (len(g) - 1) for g in groups) / freedom)


@dataclass(frozen=True)
class MeasuredCell:
    """An entry in one place: all evaluations of all its distillations, a student of a distillation once."""

    results: tuple[Result, ...]
    """The evaluations, by repetition and page."""

    @functools.cached_property
    def oa(self) -> CellScores:
        """Overall accuracies at the last snapshot."""
        return self._scores(lambda result: result.curve[-1])

    @functools.cached_property
    def macc(self) -> CellScores:
        """Mean class accuracies at the last snapshot."""
        return self._scores(lambda result: result.macc)

    def _scores(self, of: Callable[[Result], Sequence[float]]) -> CellScores:
        groups: dict[int, dict[int, float]] = {}
        for result in self.results:
            group = groups.setdefault(result.repetition, {})
            for student, score in zip(result.students, of(result), strict=True):
                group.setdefault(student, score)
        return CellScores({r: dict(sorted(group.items())) for r, group in sorted(groups.items())})

    @property
    def counts(self) -> str:
        """`1 × 10`: distillations times evaluations of each."""
        each = [len(group) for group in self.oa.groups.values()]
        most = "" if min(each) == max(each) else f"–{max(each)}"
        return f"{len(each)} × {min(each)}{most}"

    @property
    def pages(self) -> tuple[str, ...]:
        """The pages of its runs, each once, by repetition."""
        return tuple(dict.fromkeys(result.page for result in self.results))

    @property
    def students(self) -> int:
        """The number of students that the protocol asks for: those of one evaluation."""
        return len(self.results[0].students)

    @functools.cached_property
    def repetitions(self) -> int:
        """How many repetitions there are from the first on, without a gap, each with the first students."""
        needed = set(range(self.students))
        return next(r for r in itertools.count() if not needed <= self.oa.groups.get(r, {}).keys())

    @property
    def resolution(self) -> float:
        """What one test cloud is worth, in points of accuracy."""
        return 100 / sum(self.results[0].totals)

    @functools.cached_property
    def status(self) -> Status:
        """That of its results that carries least."""
        return weakest(result.status for result in self.results)

    @property
    def claimed(self) -> bool:
        """Whether somebody submitted some of it."""
        return any(result.status.submitted for result in self.results)

    @property
    def badge(self) -> str:
        """The state of its scores in a word or two."""
        return self.status.state

    def seconds(self, hardware: str | None = None) -> float | None:
        """The mean clock of its distillations on one hardware or on all, None where there was none.

        Clocks of a busy machine are left out.
        """
        by_run = {r.page: r.seconds for r in self.results if hardware in (None, r.hardware) and not r.busy}
        return statistics.fmean(by_run.values()) if by_run else None

    def busy(self, hardware: str) -> int:
        """How many of its distillations on one hardware found the machine busy."""
        return len({r.page for r in self.results if r.hardware == hardware and r.busy})

    def beginning(self, hardware: str) -> float | None:
        """How much of its mean clock there went by before the first clouds; as `seconds`."""
        by_run = {r.page: r.beginning for r in self.results if r.hardware == hardware and not r.busy}
        return statistics.fmean(by_run.values()) if by_run else None

    @property
    def set_bytes(self) -> int | None:
        """What its largest synthetic set takes, in bytes; None of the whole training split."""
        return max((r.set_bytes for r in self.results if r.set_bytes is not None), default=None)

    def memory(self, hardware: str) -> int | None:
        """The largest peak memory of its distillations there, in bytes; None where it is not known."""
        peaks = [r.peak_bytes for r in self.results if r.hardware == hardware and r.peak_bytes is not None]
        return max(peaks, default=None)


def chosen_by(entry: Entry, cells: Iterable[MeasuredCell]) -> list[str]:
    """What chose the parameters of an entry that are no defaults and have no name."""
    if entry.tried:
        return [f"parameters chosen on the validation part, of {entry.tried} tried"]
    if not entry.chosen:
        return []
    by = "the submitter" if any(cell.claimed for cell in cells) else "hand"
    return [f"parameters chosen by {by}"]


@dataclass(frozen=True)
class BoardRow:
    """What was measured of one entry."""

    entry: Entry
    """The entry."""
    cells: Mapping[Place, MeasuredCell]
    """Its cells by place; a place without one was not measured."""

    def complete(self, places: Sequence[Place]) -> bool:
        """Whether no cell is missing; nothing is put in the place of one that is."""
        return all(place in self.cells for place in places)

    @property
    def status(self) -> Status:
        """That of its cells that carries least."""
        return weakest(cell.status for cell in self.cells.values())

    @property
    def claimed(self) -> bool:
        """Whether somebody submitted some of it."""
        return any(cell.claimed for cell in self.cells.values())

    @property
    def chosen(self) -> list[str]:
        """`parameters chosen by hand`, or by whom or what else; nothing of defaults and settings."""
        return chosen_by(self.entry, self.cells.values())


def expanded_remarks(cells: Sequence[MeasuredCell]) -> list[str]:
    """What students get beside PPC clouds with classes; nothing of plain sets.

    `parameterised: students train on 20 × the clouds`, `with soft labels`.
    """
    marks = dict.fromkeys(mark for cell in cells for r in cell.results for mark in r.marks)
    with_marks = [f"with {', '.join(marks)}"] if marks else []
    factors = sorted({r.step_factor for cell in cells for r in cell.results if r.step_factor != 1})
    span = "–".join(f"{factor:g}" for factor in dict.fromkeys(factors[:1] + factors[-1:]))
    more = [f"parameterised: students train on {span} × the clouds"] if factors else []
    return more + with_marks


@dataclass(frozen=True)
class BoardSection:
    """The results of one setting: rows and places may be compared with one another."""

    setting: Setting
    """What they have in common."""
    places: tuple[Place, ...]
    """All places that any row has, by name, copy and PPC."""
    rows: tuple[BoardRow, ...]
    """The entries with their cells, by method and variation."""

    @property
    def order(self) -> tuple[Any, ...]:
        """Division, protocol, and then the plain test and the students with most cells first."""
        setting = self.setting
        cells = sum(len(row.cells) for row in self.rows)
        rest = setting.student, setting.student_source, setting.digest
        return setting.order[:3], setting.protocol, setting.order[3:], -cells, *rest

    @property
    def data(self) -> dict[tuple[str, str], tuple[Place, ...]]:
        """The places of each data set."""
        found: dict[tuple[str, str], list[Place]] = {}
        for place in self.places:
            found.setdefault((place.name, place.data), []).append(place)
        return {key: tuple(places) for key, places in found.items()}

    @property
    def copies(self) -> dict[str, tuple[Place, ...]]:
        """The data sets of which there are several copies by name, with the first place of each copy."""
        found: dict[str, list[Place]] = {}
        for (name, _), places in self.data.items():
            found.setdefault(name, []).append(places[0])
        return {name: tuple(firsts) for name, firsts in found.items() if len(firsts) > 1}

    @property
    def hardware(self) -> list[str]:
        """All hardware that was distilled on, sorted."""
        return sorted({r.hardware for row in self.rows for cell in row.cells.values() for r in cell.results})


@dataclass(frozen=True)
class Unfinished:
    """A run without a score, and why."""

    page: str
    """The name of the run's page."""
    entry: Entry
    """The row that it would belong to."""
    data: str
    """The data set's name."""
    ppc: int
    """Point clouds per class, 0 for the whole training split."""
    repetition: int
    """Which of the repeated distillations it is."""
    status: str
    """How the distillation ended."""
    reason: str
    """Why there is no score."""

    @property
    def method(self) -> str:
        """The method's name."""
        return self.entry.method


@dataclass(frozen=True)
class Board:
    """All that the leaderboard shows."""

    sections: tuple[BoardSection, ...]
    """The settings with their results, in the order of the pages."""
    stale: tuple[BoardSection, ...]
    """The same of results that today's code would not make: in no table with the others."""
    unfinished: tuple[Unfinished, ...]
    """The runs without a score."""
    versions: Mapping[str, str]
    """By the hash of an entry, place or student: what tells it apart where its label does not, else empty."""

    @property
    def plain(self) -> list[BoardSection]:
        """The sections whose test clouds were not changed."""
        return [section for section in self.sections if not section.setting.test]
