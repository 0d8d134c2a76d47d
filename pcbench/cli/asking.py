"""What `run` and `plan` are asked for: the options that say which cells there are."""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from pcbench.cli.complete import BACKBONES, DATASETS, METHODS, PROTOCOLS, SNAPSHOTS, SUITES
from pcbench.cli.output import WhichDraw, WhichPoints, pairs, snapshots_of, words
from pcbench.cli.spans import combinations, numbers, repetitions

if TYPE_CHECKING:
    from pcbench.engine.requests import Asked

P = ParamSpec("P")


class Split(enum.StrEnum):
    """What students are tested on."""

    test = "test"
    validation = "validation"


@dataclass(frozen=True)
class Asking:
    """The options, one a field, as they were given."""

    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="METHOD",
            autocompletion=METHODS,
            help="Repeatable, or with commas; METHOD:SETTING has named parameters. Default: random and sadm.",
        ),
    ] = None
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            metavar="DATASET",
            autocompletion=DATASETS,
            help="Repeatable, or with commas. Default: shapes10.",
        ),
    ] = None
    ppc: Annotated[
        list[str] | None, typer.Option("--ppc", metavar="1,3,10", help="Clouds per class. Default: 3.")
    ] = None
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME[:PRESET]",
            autocompletion=BACKBONES,
            help="Network. Default: pointnet, its first preset.",
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            metavar="PROTOCOL",
            autocompletion=PROTOCOLS,
            help="Default: the suite's; quick where no data set is named; else paper, without a GPU lite.",
        ),
    ] = None
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="SUITE|FILE.toml",
            autocompletion=SUITES,
            help="The cells of a table, 'pcbench list suites', or FILE.toml; the options "
            "above choose a part of it.",
        ),
    ] = None
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Students per snapshot, instead of the protocol's.")
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Repeatable: a parameter of the method or the protocol; KEY=A,B: one cell each.",
        ),
    ] = None
    repetition: Annotated[
        list[str] | None,
        typer.Option("--repetition", metavar="0,2|0-4", help="Which repeated distillations. Default: 0."),
    ] = None
    split: Annotated[
        Split,
        typer.Option(
            "--split",
            help="validation: test on a fifth of the training clouds, to choose parameters; open division.",
        ),
    ] = Split.test
    draw: Annotated[
        WhichDraw | None,
        typer.Option(
            "--draw",
            help="Training clouds to start from: nested (seeded, PPC 1 within 3 within 10), authors (the one "
            "draw of SADM's code), per-ppc. Default: the suite's; else nested.",
        ),
    ] = None
    sampling: Annotated[
        WhichPoints | None,
        typer.Option(
            "--sampling",
            help="Which of a cloud's stored points are used, where more are stored (pcbench data import "
            "--points). Default: first.",
        ),
    ] = None
    snapshots: Annotated[
        str | None,
        typer.Option(
            "--snapshots",
            metavar="last|all|0,20,40",
            autocompletion=SNAPSHOTS,
            help="Train students on the last snapshot, which is the one that is reported, on all, or on "
            "those of these iterations and the last: a finer curve of the same work. Default: the "
            "suite's; else all.",
        ),
    ] = None

    @property
    def names_no_protocol(self) -> bool:
        """Whether a data set is named and nobody says by which protocol it is to be used."""
        return self.suite is None and self.dataset is not None and not self.protocol

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        return [each.name.strip("_") for each in fields(self) if getattr(self, each.name) != each.default]

    def asked(self) -> Asked:
        """The same as the engine knows it."""
        from pcbench.engine.plan import Request
        from pcbench.engine.requests import Asked

        return Asked(
            common=Request(
                methods=tuple(words(self.method)),
                datasets=tuple(words(self.dataset)),
                ppcs=tuple(numbers(words(self.ppc))),
                backbone=self.backbone or "",
                protocol=self.protocol or "",
                students=self.seeds,
                draw=self.draw.choice if self.draw else "nested",
                sampling=self.sampling.value if self.sampling else None,
            ),
            spans=combinations(pairs(self.set_ or ())),
            repetitions=repetitions(words(self.repetition) or ["0"]),
            suite=self.suite,
            own_draw=self.draw is not None,
            validation=self.split is Split.validation,
            snapshots=snapshots_of(self.snapshots),
        )


def with_asking(function: Callable[Concatenate[Asking, P], None]) -> Callable[..., None]:
    """A command that has the options of `Asking` before its own, and is given them as one value."""
    kinds = get_type_hints(Asking, include_extras=True)
    own = dict(list(inspect.signature(function, eval_str=True).parameters.items())[1:])

    @functools.wraps(function)
    def command(**values: Any) -> None:
        asking = Asking(**{each.name: values.pop(each.name) for each in fields(Asking)})
        function(asking, **values)  # type: ignore[call-arg]  # its own options, by name

    named = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(each.name, named, default=each.default, annotation=kinds[each.name])
        for each in fields(Asking)
    ]
    rest = [each.replace(kind=named) for each in own.values()]
    command.__signature__ = inspect.Signature([*shared, *rest])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (*shared, *rest)}
    return command
