"""Suites as data: which methods, data sets and PPCs make a table; one TOML file a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Field, field_validator

from pcbench.common.packaged import builtin
from pcbench.common.schema import Model
from pcbench.common.toml import read_toml
from pcbench.errors import Thing, UsageError, did_you_mean
from pcbench.protocols import protocol

Name: TypeAlias = Annotated[str, Field(min_length=1)]
Some = Field(min_length=1)

T = TypeVar("T", str, int)


Draws: TypeAlias = tuple[Annotated[str, Field(pattern=r"^(authors|(nested|per-ppc)(:\d{1,3})?)$")], ...]
"""Draws of the clouds to start from, by the names in `pcbench.ops.draws`: `authors`, `nested` or, for further
repetitions of it, `nested:1` …"""


def _known_protocol(name: str) -> str:
    if name not in protocol.PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}. {did_you_mean(name, protocol.PROTOCOLS)}")
    return name


class Row(Model):
    """Methods that share parameters; each makes a row of its own."""

    methods: tuple[Name, ...] = Some
    """The methods, by name."""
    params: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """The parameters that they have in common, where these differ from the defaults."""
    ppc: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """The PPCs of these methods, where they are not all of the suite's."""
    datasets: tuple[Name, ...] = ()
    """The data sets of these methods, where they are not all of the suite's."""
    protocol: str = ""
    """The protocol of these methods, where it is not the suite's."""
    evaluate: tuple[Name, ...] = ()
    """The students' networks, where they are not the suite's."""
    draws: Draws = ()
    """The draws of these methods, where they are not the suite's."""

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        return _known_protocol(name) if name else name

    @field_validator("params", mode="before")
    @classmethod
    def _of_methods_alone(cls, params: object) -> object:
        parts = {key.partition(".")[0] for key in protocol.SETTINGS}
        for key, value in params.items() if isinstance(params, dict) else ():
            if key in protocol.SETTINGS or key in parts:
                raise ValueError(f"{key} is a setting of the protocol, which is one for all rows")
            if not isinstance(value, bool | int | float | str):
                raise ValueError(f"{key} takes one value: a number, text, true or false")
        return params


class Suite(Model):
    """The cells of a table, or of a board: every row on every data set at every PPC."""

    name: Name
    """What the suite is called."""
    summary: Name
    """What it is for, in one line."""
    protocol: Name
    """The protocol of all rows that name no other."""
    datasets: tuple[Name, ...] = Some
    """Its data sets."""
    ppc: tuple[Annotated[int, Field(ge=1)], ...] = Some
    """Its PPCs."""
    backbone: Name = "pointnet"
    """The network that is distilled with."""
    evaluate: tuple[Name, ...] = ()
    """The students' networks; where none is named, `backbone` alone."""
    draws: Draws = ()
    """The draws of all rows; where none is named, the one that the command asks for."""
    snapshots: Literal["last", "all"] = "all"
    """Which snapshots students are trained on: the one that is reported alone, or all."""
    rows: tuple[Row, ...] = Some

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        return _known_protocol(name)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of all rows, each once."""
        return tuple(dict.fromkeys(method for row in self.rows for method in row.methods))

    def datasets_of(self, row: Row) -> tuple[str, ...]:
        """The data sets of a row: its own, as far as the suite has them, or all."""
        return (
            tuple(each for each in row.datasets if each in self.datasets) if row.datasets else self.datasets
        )

    def ppc_of(self, row: Row) -> tuple[int, ...]:
        """The PPCs of a row: its own, as far as the suite has them, or all."""
        return tuple(ppc for ppc in row.ppc if ppc in self.ppc) if row.ppc else self.ppc

    def draws_of(self, row: Row) -> list[tuple[str, int]]:
        """The draws of a row, by name, with their repetitions; none where the command's is meant."""
        parts = [draw.partition(":") for draw in row.draws or self.draws]
        return [(name, int(number or 0)) for name, _, number in parts]

    def without_draws(self) -> Suite:
        """The same rows, whose draws are left to the command."""
        rows = tuple(row.model_copy(update={"draws": ()}) for row in self.rows)
        return self.model_copy(update={"draws": (), "rows": rows})

    def narrowed(
        self, methods: Sequence[str] = (), datasets: Sequence[str] = (), ppcs: Sequence[int] = ()
    ) -> Suite:
        """The part that is named, all of it where nothing is; rows keep their places.

        `scanobjectnn` names the variants of it that the suite has, as `scanobjectnn:pb_t50_rs`. UsageError
        where the suite does not have what is named.
        """
        datasets = [name for each in datasets for name in self._variants(each)]
        kept = self._chosen("method", self.methods, methods)
        rows = [
            row.model_copy(update={"methods": tuple(m for m in row.methods if m in kept)})
            for row in self.rows
        ]
        return self.model_copy(
            update={
                "datasets": self._chosen("data set", self.datasets, datasets),
                "ppc": self._chosen("ppc", self.ppc, ppcs),
                "rows": tuple(rows),
            }
        )

    def _variants(self, name: str) -> list[str]:
        """The data sets of the suite that a name stands for; the name itself where there are none."""
        variants = [] if name in self.datasets else [d for d in self.datasets if d.split(":")[0] == name]
        return variants or [name]

    def _chosen(self, thing: Thing, has: Sequence[T], asked: Sequence[T]) -> tuple[T, ...]:
        for each in asked:
            if each not in has:
                known = ", ".join(map(str, has))
                called = "PPC" if thing == "ppc" else thing
                raise UsageError(f"{called} {each}: suite {self.name} has {known}", thing)
        return tuple(each for each in has if not asked or each in asked)


def folder() -> Path:
    """Where the built-in suites stand."""
    return builtin("leaderboard/suites")


def listing() -> list[Suite]:
    """The built-in suites, by name."""
    return [read(path) for path in sorted(folder().glob("*.toml"))]


def find(spec: str) -> Path:
    """The file of a built-in suite, or `spec` itself where it ends with .toml; UsageError for neither."""
    if spec.endswith(".toml"):
        return Path(spec)
    names = [path.stem for path in folder().glob("*.toml")]
    if spec not in names:
        hint = did_you_mean(spec, names)
        raise UsageError(f"unknown suite {spec!r}. {hint} A suite of your own is a file, NAME.toml", "suite")
    return folder() / f"{spec}.toml"


def read(path: Path) -> Suite:
    """The suite in a file; UsageError with the file and the place of what is wrong."""
    return read_toml(path, Suite, "suite")
