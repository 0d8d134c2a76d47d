"""What kept predictions say without training: where two methods differ, hard test clouds, majority votes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pcbench.errors import DataError
from pcbench.records import layout, predictions
from pcbench.records.predictions import Predictions
from pcbench.records.store import read_evaluation
from pcbench.report.cells import MeasuredCell, Result
from pcbench.stats import McNemar, mcnemar

TOLD = 0.05
"""Two students are told apart where p is no larger."""


@dataclass(frozen=True)
class Answered:
    """The students of an evaluation with what they took each test cloud for."""

    folder: Path
    """The run's folder."""
    result: Result
    """Its evaluation, as tables have it."""
    predictions: Predictions
    """Their answers."""

    @functools.cached_property
    def votes(self) -> NDArray[np.int64]:
        """How many students take each test cloud for each class, (B, K)."""
        return np.stack(
            [(self.predictions.predicted == k).sum(0) for k in range(self.predictions.classes)], 1
        )

    @property
    def mean(self) -> float:
        """The students' mean accuracy, in percent."""
        return 100 * float(self.predictions.right.mean())

    @property
    def ensemble(self) -> float:
        """The accuracy in percent of what most students say of a cloud; ties count as broken by lot."""
        leading = self.votes == self.votes.max(1, keepdims=True)
        right = leading[np.arange(len(leading)), self.predictions.labels]
        return 100 * float((right / leading.sum(1)).mean())

    @property
    def missed_by_all(self) -> int:
        """Test clouds that no student has right."""
        return int((~self.predictions.right.any(0)).sum())


Seeds = Mapping[tuple[int, int], Predictions]
"""Each student by the repetition of its distillation and its own."""


class Answers:
    """The predictions that some runs have kept, each read once, when it is asked for."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        """The runs' folders by the names of their pages."""
        self.problems: list[str] = []
        """A line for every file that could not be used."""
        self._read: dict[tuple[str, str], Predictions | None] = {}

    def of(self, result: Result) -> Predictions | None:
        """The answers of an evaluation; None where they were not kept, or are not those of its record."""
        if not result.answered:
            return None
        place = result.page, result.key
        if place not in self._read:
            try:
                self._read[place] = _read(self.folders[result.page], result.key)
            except DataError as error:
                self.problems.append(str(error))
                self._read[place] = None
        return self._read[place]

    def among(self, results: Iterable[Result]) -> list[Answered]:
        """Those of some evaluations whose answers were kept."""
        found = [(result, self.of(result)) for result in results]
        return [Answered(self.folders[r.page], r, kept) for r, kept in found if kept is not None]

    def by_seed(self, cell: MeasuredCell) -> Seeds:
        """Each student of a cell by repetition and seed, those alone whose answers were kept."""
        first: dict[tuple[int, int], tuple[Result, int]] = {}
        for result in cell.results:
            for row, student in enumerate(result.students):
                first.setdefault((result.repetition, student), (result, row))
        kept = {seed: (self.of(result), row) for seed, (result, row) in first.items()}
        return {seed: each.student(row) for seed, (each, row) in kept.items() if each is not None}


def _read(folder: Path, key: str) -> Predictions | None:
    return predictions.read(folder, read_evaluation(layout.evaluation(folder, key)))


# Two methods on the same clouds


@dataclass(frozen=True)
class StudentPair:
    """A student of either method, of one seed, on the same test clouds."""

    repetition: int
    """Which of the repeated distillations."""
    student: int
    """Which student."""
    test: McNemar
    """Where they differ."""


@dataclass(frozen=True)
class OnSameClouds:
    """Two methods on the same test clouds, student by student."""

    clouds: int
    """Test clouds."""
    pairs: tuple[StudentPair, ...]
    """Every pair of students."""
    together: McNemar
    """All pairs at once, the test cloud being the unit."""

    @property
    def told(self) -> int:
        """Pairs of students that are told apart, each for itself and not adjusted for their number."""
        return sum(pair.test.p <= TOLD for pair in self.pairs)


def on_same_clouds(first: Seeds, other: Seeds, repetitions: int, students: int) -> OnSameClouds | None:
    """McNemar's test for two methods, on so many first repetitions and students; None where none can be."""
    asked = [(r, s) for r in range(repetitions) for s in range(students)]
    seeds = [seed for seed in asked if seed in first and seed in other]
    if not seeds or any(not first[seed].same_clouds(other[seed]) for seed in seeds):
        return None
    ours, theirs = (np.concatenate([side[seed].right for seed in seeds]) for side in (first, other))
    pairs = [StudentPair(*seed, mcnemar(a, b)) for seed, a, b in zip(seeds, ours, theirs, strict=True)]
    return OnSameClouds(ours.shape[1], tuple(pairs), mcnemar(ours, theirs))


# Test clouds that are hard for all


@dataclass(frozen=True)
class HardCloud:
    """A test cloud that many students miss."""

    dataset: str
    """The data set that students are tested on."""
    test: str
    """What was done to the test clouds; empty for the plain test."""
    cloud: int
    """Its place in the test split, from 0."""
    true: str
    """Its class."""
    students: int
    """Students that were asked, of all methods and runs."""
    missed: int
    """Those that took it for another class."""
    taken_for: tuple[tuple[str, int], ...]
    """The classes that it was taken for, each by how many, the most frequent first."""


def hard_clouds(answered: Iterable[Answered], count: int) -> list[HardCloud]:
    """So many test clouds of every data set and test that most students miss, the hardest first.

    Every student counts alike, of whatever method and PPC: more runs of one method weigh more.
    """
    tests: dict[tuple[str, str, str, bytes], list[Answered]] = {}
    for each in answered:
        place, setting, labels = each.result.place, each.result.setting, each.predictions.labels
        tests.setdefault((place.name, setting.test, place.data, labels.tobytes()), []).append(each)
    return [
        cloud
        for (dataset, test, *_), those in sorted(tests.items())
        for cloud in _hardest(dataset, test, those, count)
    ]


def _hardest(dataset: str, test: str, answered: Sequence[Answered], count: int) -> Iterator[HardCloud]:
    votes = np.sum([each.votes for each in answered], axis=0)  # (B, K)
    names, labels = answered[0].result.class_names, answered[0].predictions.labels
    students = sum(len(each.predictions) for each in answered)
    missed = students - votes[np.arange(len(votes)), labels]
    for cloud in np.argsort(-missed, kind="stable")[:count].tolist():
        if 2 * missed[cloud] > students:
            classes = [k for k in np.argsort(-votes[cloud], kind="stable").tolist() if k != labels[cloud]]
            taken_for = tuple((names[k], int(votes[cloud, k])) for k in classes if votes[cloud, k])
            true, wrong = names[labels[cloud]], int(missed[cloud])
            yield HardCloud(dataset, test, cloud, true, students, wrong, taken_for)
