"""Suites as data: which methods, data sets and PPCs make a table; one TOML file a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Field, field_validator

from pcbench.common.packaged import builtin
from pcbench.common.schema import Model
from pcbench.common.toml import read_toml
from pcbench.errors import UsageError, did_you_mean
from pcbench.protocols import protocol

Name: TypeAlias = Annotated[str, Field(min_length=1)]
Some = Field(min_length=1)

T = TypeVar("T", str, int)


class Row(Model):
    """Methods that share parameters; each makes a row of its own."""

    methods: tuple[Name, ...] = Some
    params: dict[str, bool | int | float | str] = Field(default_factory=dict)

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
    """The cells of a table: every row on every data set at every PPC.

    backbone: the network that is distilled with. evaluate: the networks of the students; where none is named,
    `backbone` alone.
    """

    name: Name
    summary: Name
    protocol: Name
    datasets: tuple[Name, ...] = Some
    ppc: tuple[Annotated[int, Field(ge=1)], ...] = Some
    backbone: Name = "pointnet"
    evaluate: tuple[Name, ...] = ()
    snapshots: Literal["last", "all"] = "all"
    """Which snapshots students are trained on: the one that is reported alone, or all."""
    rows: tuple[Row, ...] = Some

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in protocol.PROTOCOLS:
            raise ValueError(f"unknown protocol {name!r}. {did_you_mean(name, protocol.PROTOCOLS)}")
        return name

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of all rows, each once."""
        return tuple(dict.fromkeys(method for row in self.rows for method in row.methods))

    def narrowed(
        self, methods: Sequence[str] = (), datasets: Sequence[str] = (), ppcs: Sequence[int] = ()
    ) -> Suite:
        """The part that the options name, all of it where they name none; rows keep their places.

        UsageError where the suite does not have what an option names.
        """
        kept = self._chosen("--method", self.methods, methods)
        rows = [
            row.model_copy(update={"methods": tuple(m for m in row.methods if m in kept)})
            for row in self.rows
        ]
        return self.model_copy(
            update={
                "datasets": self._chosen("--dataset", self.datasets, datasets),
                "ppc": self._chosen("--ppc", self.ppc, ppcs),
                "rows": tuple(rows),
            }
        )

    def _chosen(self, option: str, has: Sequence[T], asked: Sequence[T]) -> tuple[T, ...]:
        for each in asked:
            if each not in has:
                raise UsageError(f"{option} {each}: suite {self.name} has {', '.join(map(str, has))}")
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
        raise UsageError(f"unknown suite {spec!r}. {hint} A suite of your own is a file: --suite FILE.toml")
    return folder() / f"{spec}.toml"


def read(path: Path) -> Suite:
    """The suite in a file; UsageError with the file and the place of what is wrong."""
    return read_toml(path, Suite, "suite")
