"""The numbers that papers print, as data: one TOML file a table, typed as printed, to show beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, Strict, ValidationError, model_validator

from pcbench.common.packaged import builtin
from pcbench.common.schema import Model, first_problem
from pcbench.common.toml import read_toml
from pcbench.errors import DataError

Name: TypeAlias = Annotated[str, Field(min_length=1)]
Names: TypeAlias = Annotated[tuple[Name, ...], Strict(False), Field(min_length=1)]
Numbers: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False), Field(min_length=1)]
Params: TypeAlias = dict[str, bool | int | float | str]
Metric: TypeAlias = Literal["oa", "hours"]

_PRINTED = re.compile(r"(\d{1,3}\.\d{1,2})(?: ± (\d{1,2}\.\d{1,2}))?", re.ASCII)


class _Model(Model):
    model_config = ConfigDict(strict=True)


class Reported(_Model):
    """One figure of a paper; method, parameters, data sets and backbone are called as pcbench calls them."""

    source: Name
    """The paper."""
    table: int = Field(ge=0)
    """The number of the table in it; 0 where our source does not give it."""
    label: Name
    """What the paper calls the row."""
    method: Name
    """The method."""
    variation: Params
    """The parameters that the paper names; one that the method here does not have has no counterpart."""
    stated: Params = Field(default_factory=dict)
    """More parameters, as the paper's appendix states them: a row with these values, which are not our
    defaults, is a counterpart as well."""
    data: Names
    """The data sets that it is the mean over, mostly one."""
    ppc: Numbers
    """The PPC that it is the mean over, mostly one; 0 is the whole training split."""
    backbone: Name
    """The students' network."""
    metric: Metric
    """`oa`, overall accuracy in percent, or `hours`."""
    printed: Name
    """The figure as it is printed."""
    value: float = Field(ge=0)
    """Its number."""
    std: float | None = Field(ge=0)
    """The standard deviation that is printed with it, over `students`; None where none is."""
    students: int | None = Field(ge=2)
    """The number of students that the mean is over; None for hours."""
    note: str = ""
    """What is odd about it."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.metric == "oa" and not (self.value <= 100 and self.students):
            raise ValueError(f"{self.printed}: an accuracy is at most 100 % and has a number of students")
        return self


class PaperTable(_Model):
    """A table of a paper."""

    source: Name
    """The paper."""
    number: int = Field(ge=0)
    """The table's number in it; 0 where our source does not give it."""
    edition: str
    """What tells it from a table of another source with that number, in an id; mostly empty."""
    title: Name
    """What the table shows."""
    metric: Metric
    """What its figures measure."""
    notes: tuple[Name, ...]
    """What its reader must know."""
    figures: tuple[Reported, ...]
    """Its figures row by row, the absent ones left out."""

    @property
    def anchor(self) -> str:
        """Its id on a page: `p3`, or `p3-v3` of an edition."""
        return f"p{self.number}-{self.edition}" if self.edition else f"p{self.number}"

    @property
    def called(self) -> str:
        """How it is cited: `Table 3 of …`, or its source alone where that has no number for it."""
        return f"Table {self.number} of {self.source}" if self.number else self.source


class _Part(_Model):
    """What a table, a block, a column or a row says of its cells; each thing is said once."""

    method: Name | None = None
    params: Params | None = None
    data: Names | None = None
    ppc: Numbers | None = None
    backbone: Name | None = None

    def said(self) -> dict[str, object]:
        return {key: value for key in _Part.model_fields if (value := getattr(self, key)) is not None}


class _Figure(_Model):
    printed: Name
    note: Name


class _Column(_Part):
    pass


class _Row(_Part):
    label: Name
    values: Annotated[tuple[str | _Figure, ...], Strict(False), Field(min_length=1)]


class _Block(_Part):
    columns: Annotated[tuple[_Column, ...], Strict(False), Field(min_length=1)]
    rows: Annotated[tuple[_Row, ...], Strict(False), Field(min_length=1)]


class _File(_Part):
    source: Name
    edition: str = Field("", pattern=r"^[a-z0-9]*$")
    table: int = Field(ge=0)
    title: Name
    metric: Metric
    students: int | None = None
    notes: Annotated[tuple[Name, ...], Strict(False)] = ()
    stated: dict[Name, Params] = Field(default_factory=dict)
    blocks: Annotated[tuple[_Block, ...], Strict(False), Field(min_length=1)]


def folder() -> Path:
    """Where the tables stand."""
    return builtin("leaderboard/reported")


def tables() -> tuple[PaperTable, ...]:
    """The tables of all papers, by paper and number; last those whose number is not known."""
    found = map(read, folder().glob("*.toml"))
    return tuple(sorted(found, key=lambda table: (not table.number, table.source, table.number)))


def load() -> tuple[Reported, ...]:
    """All figures of all tables."""
    return tuple(figure for table in tables() for figure in table.figures)


def read(path: Path) -> PaperTable:
    """The table in a file; DataError with the file and the place of what is wrong."""
    file = read_toml(path, _File, "reported table", DataError)
    try:
        return PaperTable(
            source=file.source,
            number=file.table,
            edition=file.edition,
            title=file.title,
            metric=file.metric,
            notes=file.notes,
            figures=tuple(_figures(file)),
        )
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error, 'figure')}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _figures(file: _File) -> Iterator[Reported]:
    for block in file.blocks:
        for row in block.rows:
            if len(row.values) != len(block.columns):
                raise ValueError(f"row {row.label}: {len(row.values)} values in {len(block.columns)} columns")
            for column, value in zip(block.columns, row.values, strict=True):
                if value != "":
                    yield _figure(file, row.label, value, (file, block, column, row))


def _figure(file: _File, label: str, value: str | _Figure, parts: tuple[_Part, ...]) -> Reported:
    said: dict[str, object] = {}
    for part in parts:
        if twice := said.keys() & part.said().keys():
            raise ValueError(f"row {label}: {', '.join(sorted(twice))} is said twice")
        said |= part.said()
    text, note = (value, "") if isinstance(value, str) else (value.printed, value.note)
    found = _PRINTED.fullmatch(text)
    if found is None:
        raise ValueError(f"row {label}: {text!r} is not a figure such as '84.4 ± 1.2'")
    return Reported.model_validate(
        {
            **{key: said[key] for key in said if key != "params"},
            "variation": said.get("params", {}),
            "stated": file.stated.get(str(said.get("method")), {}),
            "source": file.source,
            "table": file.table,
            "label": label,
            "metric": file.metric,
            "printed": text,
            "value": float(found[1]),
            "std": float(found[2]) if found[2] else None,
            "students": file.students,
            "note": note,
        }
    )
