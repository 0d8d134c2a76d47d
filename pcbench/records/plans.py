"""Plans as data: the cells of a sweep with all that their results depend on, in the order of the work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from pcbench.common.files import digest, write_text
from pcbench.common.schema import Model, Sha256, first_problem
from pcbench.errors import DataError, UsageError
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.records import layout
from pcbench.records.inputs import DataInputs, Network
from pcbench.records.values import LARGEST, Count, Name, Text, Values

MAX_BYTES = 256 << 20
"""A plan is not read if it is larger; ten thousand cells take some 5 MB."""


class PlannedMethod(Model):
    """A method with parameters."""

    name: Name
    """The method's name."""
    whole: bool
    """Whether it gives the whole training split."""
    source: Sha256
    """Hash of its code."""
    params: Values
    """All parameters in effect."""
    variation: Values
    """Those of them that differ from the method's defaults."""
    setting: Name = ""
    """What the method calls these parameters; empty where it has no name for them."""
    files: list[Name] = Field([], max_length=1000)
    """Data files that it reads; `source` covers what is in them."""


class PlannedCell(Model):
    """A cell; what many cells share stands once in the plan, and is named by its place in a list there."""

    title: Text
    """`sadm lr=5 on modelnet10, PPC 3`."""
    key: Sha256
    """Key of the distillation."""
    evaluation: Sha256
    """Key of its evaluation by the plain test."""
    method: Count
    """Which of the methods."""
    data: Count
    """Which of the data sets."""
    network: Count
    """Which of the networks is distilled with."""
    whole: Count
    """By which of the recipes that network is trained on the whole training split."""
    student: Count
    """Which of the networks the students are."""
    protocol: Count
    """Which of the protocols they follow."""
    ppc: Count
    """Clouds per class; 0 stands for the whole training split."""
    repetition: Count
    """Which of the repeated distillations."""
    draw: Name
    """How the training clouds to start from are chosen."""


class Plan(Model):
    """The cells of a sweep."""

    schema_version: Literal[1] = 1
    kind: Literal["plan"] = "plan"
    hash: Sha256
    """SHA-256 of all other fields."""
    engine: int = Field(ge=1, le=LARGEST)
    """The number of pcbench's arithmetic, `pcbench.records.identity.ENGINE` when it was planned."""
    snapshots: Literal["last", "all"] | tuple[Count, ...]
    """Which snapshots of a distillation students are trained on: the last one, all, or those of some
    iterations beside the last, at which the synthetic set is then kept."""
    methods: list[PlannedMethod]
    """The methods, each with its parameters."""
    datasets: list[DataInputs]
    """The data sets as they were loaded."""
    networks: list[Network]
    """The networks."""
    recipes: list[Recipe]
    """Trainings on the whole training split."""
    protocols: list[Protocol]
    """The students' protocols."""
    cells: list[PlannedCell]
    """The cells, in the order of the work."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        sizes = {
            "method": len(self.methods),
            "data": len(self.datasets),
            "network": len(self.networks),
            "student": len(self.networks),
            "whole": len(self.recipes),
            "protocol": len(self.protocols),
        }
        for cell in self.cells:
            for name, size in sizes.items():
                if getattr(cell, name) >= size:
                    raise ValueError(f"{cell.title}: there is no {name} {getattr(cell, name)} in the plan")
        return self

    def of(self, cells: Sequence[PlannedCell]) -> Plan:
        """The same plan with some of its cells alone; its hash stays that of the whole."""
        return self.model_copy(update={"cells": list(cells)})

    def share(self, number: int, count: int) -> Plan:
        """One of `count` parts that hold all cells together, the first being 1.

        All students of a distillation are in the same part; methods that take turns in the plan take turns in
        every part. UsageError where there is no such part.
        """
        if not 1 <= number <= count:
            raise UsageError(f"share {number}/{count}: parts are numbered from 1 to {count}", "share")
        part_of = self.parts(count)
        return self.of([cell for cell in self.cells if part_of[cell.key] == number])

    def parts(self, count: int) -> dict[str, int]:
        """In which of `count` parts each distillation is, by its key; see `share`."""
        keys = dict.fromkeys(cell.key for cell in self.cells)
        return {key: (place + place // count) % count + 1 for place, key in enumerate(keys)}


def hashed(values: dict[str, object]) -> str:
    """The hash of a plan, given as JSON values."""
    return digest({name: value for name, value in values.items() if name != "hash"})


def write(path: Path, plan: Plan) -> None:
    """Write a plan atomically, a line a cell, so that two plans can be compared."""
    values = plan.model_dump(mode="json")
    cells = ",\n ".join(json.dumps(cell, sort_keys=True) for cell in values.pop("cells"))
    rest = json.dumps(values, sort_keys=True, indent=1, ensure_ascii=False)
    write_text(path, f'{rest[:-2]},\n "cells": [\n {cells}\n ]\n}}\n')


def read(path: Path) -> Plan:
    """The plan in a file. DataError where it is none, or is not as it was written."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than a plan may be ({MAX_BYTES} bytes)")
        values = json.loads(path.read_bytes())
        plan = Plan.model_validate(values)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): 'pcbench plan' makes a plan") from error
    except ValidationError as error:
        raise DataError(f"{path}: is no plan: {first_problem(error, 'plan')}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no plan ({error})") from error
    if hashed(values) != plan.hash:
        raise DataError(f"{path}: has been changed since it was planned: plan again")
    return plan


def kept(out: Path) -> list[Plan]:
    """The plans that were worked through in a folder of runs."""
    return [read(path) for path in layout.plans(out)]


def keep(out: Path, plan: Plan) -> None:
    """Leave a plan beside the runs, for whoever asks what is still to be done."""
    path = layout.plan(out, plan.hash)
    if not path.exists():
        write(path, plan)
