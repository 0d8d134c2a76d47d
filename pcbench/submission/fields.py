"""What each field of a record is held to, and what of it is the submitter's claim: for pages and a test.

What is checked is a problem of `results validate` where it is false. Of what is claimed only
`pcbench verify`, or nobody, can tell. Imports no torch.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.protocols.variants import Variant
from pcbench.records.circumstances import Clock, Hardware, Memory, Provenance
from pcbench.records.inputs import DataInputs, DistillationInputs, EvaluationInputs, Network
from pcbench.records.models import DistillationRecord, EvaluationRecord, SnapshotEntry, SnapshotScores, Work


@dataclass(frozen=True)
class FieldCheck:
    """What a field is held to."""

    path: str
    """The field, dotted from the record on: `distillation.inputs.ppc`."""
    checked: str
    """What it must be, or else the record is refused or stands in the open division; empty for nothing."""
    claimed: str
    """What of it is the submitter's word, and who could tell; empty for nothing."""

    @property
    def label(self) -> str:
        """`checked: …; claimed: …`, or `unchecked, claimed: …`."""
        checked = f"checked: {self.checked}" if self.checked else "unchecked"
        return checked + (f"{'; ' if self.checked else ', '}claimed: {self.claimed}" if self.claimed else "")


def _checked(told: str, claimed: str = "") -> tuple[str, str]:
    return told, claimed


def _claimed(told: str) -> tuple[str, str]:
    return "", told


BY_KEY = "the key is the hash of the inputs, and names the file"
BY_VERIFY = "verify, which trains again"
BY_REDISTIL = "verify, which distils again"
NOBODY = "nobody can tell"
VALUE = "the value: nobody can tell"
OF_DATA = "data that pcbench makes: always; others: where the same copy is at hand"
OTHER_DATA = "of other copies, and of a user's own data set"

FIELDS: Mapping[type[BaseModel], Mapping[str, tuple[str, str]]] = {
    DistillationRecord: {
        "schema_version": _checked("a form that this pcbench reads"),
        "kind": _checked("the record's file"),
        "key": _checked(BY_KEY),
        "status": _checked("ok"),
        "reason": _checked("empty"),
        "isolation": _checked(
            "work in the run's process or elsewhere is open division", "the wall: " + NOBODY
        ),
        "origin": _claimed("where a set from elsewhere is from: " + NOBODY),
        "copies": _checked(
            "where the data are at hand all are named; with any it is open division", "elsewhere: verify"
        ),
    },
    DistillationInputs: {
        "method": _checked("a plain name; a built-in one with its source alone"),
        "params": _checked("those that the method has", "their values: " + BY_REDISTIL),
        "variation": _checked("params less the method's defaults", "defaults that its source computes"),
        "setting": _checked("a built-in method has it with these values", "of others: read the source"),
        "source": _checked("a source in the submission, or a built-in one", "what ran: " + BY_REDISTIL),
        "ppc": _checked("clouds of every class; no more than there are of training"),
        "iterations": _checked("the protocol's, and the last snapshot"),
        "snapshots": _checked("the protocol's"),
        "curve": _checked("the snapshots that there are beside the protocol's"),
        "whole": _checked("another than the protocol's, or the backbone's, is open division"),
        "repetition": _checked("those before it are there"),
        "engine": _checked("none that this pcbench does not have yet", "which: " + BY_VERIFY),
        "files": _checked("those that the source declares; with any it is open division"),
        "draw": _checked("the name of a draw", "what was drawn: " + BY_REDISTIL),
    },
    DataInputs: {
        "name": _checked("a plain name, not nearly that of a built-in one"),
        "variant": _checked("of data that pcbench makes", "of imported data: the submitter's copy"),
        "hash": _checked(OF_DATA, OTHER_DATA),
        "points": _checked("the protocol's, and those of the clouds"),
        "sampling": _checked(OF_DATA, OTHER_DATA),
        "standard": _checked("classes and totals are the card's", "of a user's own data set"),
        "class_names": _checked("the card's, or as many; those of the clouds", "of a user's own data set"),
    },
    Network: {
        "name": _checked("a plain name; a built-in one with its source alone"),
        "preset": _checked("one that the source has", "one that its source computes"),
        "one_by_one": _claimed("changes no score beyond rounding: " + NOBODY),
        "source": _checked("a source in the submission, or a built-in one", "what ran: " + BY_VERIFY),
    },
    SnapshotEntry: {
        "iteration": _checked("one that was asked for, or 0 alone"),
        "seconds": _checked("none decreases, or passes the whole time", "the value: " + BY_REDISTIL),
        "clouds": _checked(
            "the hash of the clouds where these are: N points, PPC of each class in order, finite, in the "
            "unit sphere, not all alike",
            "that the method makes them: " + BY_REDISTIL,
        ),
        "expansion": _checked(
            "one that pcbench has, of the tensors that are kept; a method's own is open division",
            "what a method's own makes: " + BY_REDISTIL,
        ),
        "bytes": _checked("those of the tensors; more than PPC clouds take is open division"),
        "trained_on": _checked("as many clouds as the expansion makes"),
        "trained_points": _checked("as many points as its clouds have"),
        "soft": _checked("whether the tensors have probabilities"),
        "weighted": _checked("whether the tensors have weights of clouds"),
        "student_lr": _checked("the one among the tensors; with any it is open division"),
    },
    EvaluationRecord: {
        "schema_version": _checked("a form that this pcbench reads"),
        "kind": _checked("the record's file"),
        "key": _checked(BY_KEY),
        "totals": _checked("the card's; " + OF_DATA, "of a user's own data set"),
        "confusion": _checked("rows are totals, the diagonal right answers", "which wrong ones: " + NOBODY),
        "predictions": _checked(
            "the hash of the file beside it, from which all counts follow", "which clouds: " + NOBODY
        ),
    },
    EvaluationInputs: {
        "distillation": _checked("the one beside it"),
        "protocol": _checked("the one of its name; a custom one is open division"),
        "repetitions": _checked("distinct; others than the first S are open division"),
        "variant": _checked("another than pcbench lists is open division; its axis is the card's"),
        "engine": _checked("none that this pcbench does not have yet", "which: " + BY_VERIFY),
    },
    SnapshotScores: {
        "iteration": _checked("a snapshot of the distillation"),
        "clouds": _checked("those of the distillation"),
        "oa": _checked("follows from the counts"),
        "macc": _checked("follows from the counts"),
        "correct": _checked("within the totals; students differ", "that they are true: " + BY_VERIFY),
    },
    Work: {
        "iterations": _checked(
            "scored snapshots; the last one, or equal clouds in a run beside it", "those before the last"
        ),
        "stacks": _claimed("changes no score beyond rounding: " + NOBODY),
    },
    Clock: {
        "seconds": _checked("more than none where there was work", "the value: " + BY_REDISTIL),
        "processor_seconds": _checked("no more than all cores have", "the value: " + NOBODY),
    },
    Memory: {
        "host_bytes": _checked("no more than there is; of a process of its own no less than Python's", VALUE),
        "device_bytes": _checked("on a GPU, and no more than that has", VALUE),
    },
    Provenance: {
        "created": _checked("a date with a time zone, from 2024 to now", VALUE),
        "command": _claimed(NOBODY),
        "python": _checked("a version", VALUE),
        "platform": _claimed(NOBODY),
        "packages": _checked("versions, pcbench's and torch's too; no later pcbench than this", VALUE),
        "git_commit": _checked("has the form of a commit", VALUE),
        "git_dirty": _checked("stands beside a commit", VALUE),
        "load": _claimed(NOBODY),
        "attempt": _claimed(NOBODY),
    },
    Hardware: {
        "device": _checked("fits the memory", VALUE),
        "name": _claimed(NOBODY),
        "cpu_cores": _checked("has the time of the processor", VALUE),
        "threads": _claimed(NOBODY),
        "memory_bytes": _checked("has what was used", VALUE),
        "instructions": _claimed(NOBODY),
    },
}
"""By model and field. A field that holds another of these models is described by that."""

LEAVES = (Protocol, Recipe, Variant)
"""Models that are described as a whole, by the field that holds them."""


def held_to() -> list[FieldCheck]:
    """What each field of a distillation and an evaluation is held to; KeyError for one that is not told."""
    return [*_walk(DistillationRecord, "distillation"), *_walk(EvaluationRecord, "evaluation")]


def _walk(model: type[BaseModel], above: str) -> Iterator[FieldCheck]:
    for name, field in model.model_fields.items():
        inner = _inner(field.annotation)
        if inner is None:
            yield FieldCheck(f"{above}.{name}", *FIELDS[model][name])
        else:
            yield from _walk(inner, f"{above}.{name}")


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The described model that a field holds, itself or a list of it; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation in LEAVES else annotation
    inner = (_inner(part) for part in typing.get_args(annotation))
    return next((each for each in inner if each is not None), None)
