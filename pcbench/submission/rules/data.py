"""Classes, totals, sampling and hash of a run's data against the data set's card, and against the data.

The card of a data set that comes with pcbench is read, not run. Data that everybody may have, as shapes10,
are made; others are loaded where they are at hand and that was asked for. Of a data set that only the
submitter has nothing is known: it is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcbench.catalogue import Catalogue
from pcbench.catalogue.registry import redistributable
from pcbench.common.installed import has_torch
from pcbench.errors import PcbenchError
from pcbench.protocols.variants import PLAIN, Variant
from pcbench.records import layout
from pcbench.records.inputs import DataInputs
from pcbench.records.layout import short
from pcbench.records.models import EvaluationRecord, Run
from pcbench.submission.rules import Finding, scored_files

if TYPE_CHECKING:
    from pcbench.api import Splits

MOST_POINTS = 8192
"""Data sets are not made with more points a cloud than this: a stranger's record asks for them."""
MOST_LOADED = 16
"""So many data sets, each with a number of points, are loaded for one folder."""


@dataclass(frozen=True)
class Card:
    """What the source of a data set that comes with pcbench says of it."""

    classes: int
    """K."""
    tests: frozenset[int]
    """Test clouds of its public releases."""
    test_counts: dict[str, int]
    """Test clouds of each class, in label order; empty where the card does not say."""
    up_axis: str
    """The axis that points up."""


def card(catalogue: Catalogue, name: str) -> Card | None:
    """The card of a built-in data set; None of a user's own, and where there is none of that name."""
    registry = catalogue.datasets
    if name not in registry.names() or not registry.get(name).built_in:
        return None
    plugin = registry.get(name)

    def said(attribute: str, otherwise: Any) -> Any:
        try:
            return plugin.literal(attribute)
        except LookupError:
            return otherwise

    tests = frozenset(test for _, test in said("releases", ())) or frozenset({said("test_size", 1)})
    if tests == {1}:  # a folder of a user's, under whatever name
        return None
    return Card(said("classes", 0), tests, dict(said("test_counts", {})), said("up_axis", "none"))


@dataclass(frozen=True)
class Loaded:
    """A data set that this machine could load."""

    splits: Splits
    """Its clouds."""
    data: DataInputs
    """What a record says of it."""
    made: bool
    """Whether it is the same everywhere; else a record may be of another public copy."""

    def comparable(self, data: DataInputs) -> bool:
        """Whether hashes can be compared: not of two public forms, as meshes and sampled points."""
        return self.made or data.variant == self.data.variant


@dataclass
class AtHand:
    """The data sets that this machine can load, each once for a number of points."""

    catalogue: Catalogue
    """Where they are found."""
    all_there: bool = False
    """Whether those are loaded too that were imported; else only those that are made."""
    _loaded: dict[tuple[str, int, str | None], Loaded | None] = field(default_factory=dict)

    def load(self, name: str, points: int, sampling: str | None = None) -> Loaded | None:
        """A data set as a record names it; None where it is not at hand, or too much is asked for."""
        asked = name, points, sampling
        if asked not in self._loaded:
            full = len(self._loaded) >= MOST_LOADED or points > MOST_POINTS
            self._loaded[asked] = None if full else self._load(*asked)
        return self._loaded[asked]

    def _load(self, name: str, points: int, sampling: str | None) -> Loaded | None:
        registry = self.catalogue.datasets
        if not has_torch() or name not in registry:
            return None
        made = registry.get(name).built_in and redistributable(name, registry)
        if not (made or self.all_there) or not registry.load(name)().present():
            return None
        from pcbench.datasets import sampled
        from pcbench.engine.cell import data_inputs

        dataset = registry.load(name)()
        try:
            splits = sampled.load(dataset, points, sampling)
        except PcbenchError:  # fewer points are stored than the record has: nothing can be compared
            return None
        return Loaded(splits, data_inputs(dataset, splits), made)


def findings(run: Run, catalogue: Catalogue, at_hand: AtHand) -> Iterator[Finding]:
    """Where a run's data are not those of their name."""
    file, data = layout.distillation(run.folder), run.distillation.inputs.data
    for told in _by_card(data, card(catalogue, data.name)):
        yield Finding("wrong-data", file, told)
    loaded = at_hand.load(data.name, data.points, data.sampling)
    if loaded is not None and loaded.comparable(data):
        for told in [*_differing(data, loaded.data), *_of_training(run, loaded.splits)]:
            yield Finding("wrong-data", file, told)
    for path, record in scored_files(run):
        for told in _test(run, record, catalogue, at_hand):
            yield Finding("wrong-data", path, told)


def _by_card(data: DataInputs, known: Card | None) -> Iterator[str]:
    if known is None:
        return
    names = list(known.test_counts)
    if len(data.class_names) != known.classes or (names and names != data.class_names):
        yield f"{data.name} has other classes than these {len(data.class_names)}"


def _test(run: Run, record: EvaluationRecord, catalogue: Catalogue, at_hand: AtHand) -> Iterator[str]:
    """What is wrong with the data and the totals of a test."""
    data, variant = record.inputs.data, record.inputs.variant
    trained = run.distillation.inputs.data
    if variant.on is None and variant.points is None and data != trained:
        yield f"is tested on other data than the distillation's ({', '.join(_differing(data, trained))})"
        return
    known = card(catalogue, data.name)
    if known is not None:
        yield from _totals_by_card(record, known)
        yield from _axis(variant, known)
    loaded = tested(trained, variant, catalogue, at_hand)
    if loaded is not None:
        if variant != PLAIN and loaded.comparable(data):
            yield from _differing(data, loaded.data)
        counts = loaded.splits.test.counts().tolist()
        if record.totals != counts:
            yield f"totals {record.totals}, and the data have {counts}"


def _totals_by_card(record: EvaluationRecord, known: Card) -> Iterator[str]:
    data, partly = record.inputs.data, record.inputs.variant.on is not None
    if known.test_counts and set(data.class_names) <= known.test_counts.keys():
        expected = [known.test_counts[name] for name in data.class_names]
        if data.standard and record.totals != expected:
            yield f"totals {record.totals}, and {data.name} has {expected}"
    elif data.standard and not partly and sum(record.totals) not in known.tests:
        tests = " or ".join(map(str, sorted(known.tests)))
        yield f"{sum(record.totals)} test clouds, and {data.name} has {tests}"
    if data.standard and 0 in record.totals:
        yield "a class has no test cloud"
    if not partly:
        yield from _by_card(data, known)


def _axis(variant: Variant, known: Card) -> Iterator[str]:
    if variant.axis is not None and variant.axis != known.up_axis:
        yield f"turned about {variant.axis}, and up is {known.up_axis}"


def tested(trained: DataInputs, variant: Variant, catalogue: Catalogue, at_hand: AtHand) -> Loaded | None:
    """What students of a data set are tested on, where it is at hand."""
    sampling = None if variant.on else trained.sampling
    loaded = at_hand.load(variant.on or trained.name, variant.points or trained.points, sampling)
    if loaded is None or variant.on is None:
        return loaded
    from pcbench.engine import crossing
    from pcbench.engine.parts import crossed

    try:
        classes = crossing.shared(catalogue.datasets, trained.name, variant.on)
        return Loaded(*crossed(trained, classes, loaded.splits, loaded.data), loaded.made)
    except PcbenchError:  # nobody here knows which classes the two share
        return None


def _differing(data: DataInputs, expected: DataInputs) -> list[str]:
    """The fields in which two descriptions of one data set differ, a text each."""
    told = []
    for name in type(data).model_fields:
        one, other = getattr(data, name), getattr(expected, name)
        if one != other and name == "hash":
            told.append(f"data hash {short(one)}, here {short(other)}")
        elif one != other:
            told.append(f"{name} {one}, here {other}")
    return told


def _of_training(run: Run, splits: Splits) -> Iterator[str]:
    """What the training split says against a distillation."""
    inputs = run.distillation.inputs
    clouds = [entry.clouds for entry in run.distillation.snapshots]
    if inputs.is_whole and clouds != [splits.train.content_hash()]:
        yield "is the whole training split, by clouds that are not"
    smallest = int(splits.train.counts().min())
    if inputs.ppc > smallest:
        yield f"PPC {inputs.ppc}, and the smallest class has {smallest} training clouds"
