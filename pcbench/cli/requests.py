"""What is asked of `pcbench run` and `pcbench tune`: requests from options, defaults and suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pcbench.errors import UsageError

if TYPE_CHECKING:
    from pcbench.engine.plan import Request
    from pcbench.protocols.suites import Suite

DEMONSTRATION = ("random", "sadm")
"""The methods that are compared where none is named."""


def validation_of(asked: Request) -> Request:
    """The same request on the validation parts of its data sets."""
    from pcbench.catalogue.held_out import SUFFIX

    return replace(asked, datasets=tuple(name + SUFFIX for name in asked.datasets))


def with_defaults(asked: Request, gpu: bool) -> Request:
    """What a request means that does not say it all: the demonstration, or what this machine can do."""
    return replace(
        asked,
        methods=asked.methods or DEMONSTRATION,
        datasets=asked.datasets or ("shapes10",),
        ppcs=asked.ppcs or (3,),
        backbone=asked.backbone or "pointnet",
        protocol=asked.protocol or (("paper" if gpu else "lite") if asked.datasets else "quick"),
    )


def suite_of(name: str, asked: Request, spans: Sequence[Mapping[str, str]]) -> Suite:
    """The suite of that name or file; UsageError beside options that it fixes itself."""
    from pcbench.protocols import suites

    key = next(iter(spans[0]), None)
    if key:
        raise UsageError(f"--set {key}: a suite fixes its parameters; copy its file and give it to --suite")
    if asked.backbone:
        raise UsageError(
            f"--backbone {asked.backbone}: a suite fixes its networks; copy its file to change them"
        )
    return suites.read(suites.find(name))


def rows_of(suite: Suite, name: str, asked: Request, own_draw: bool) -> list[Request]:
    """The requests of a suite, or of the part of it that the options choose.

    own_draw: the draw that is asked for takes the place of the suite's.
    """
    from pcbench.engine import plan
    from pcbench.protocols import suites

    part = suite.narrowed(asked.methods, asked.datasets, asked.ppcs)
    return plan.of_suite(part.without_draws() if own_draw else part, suites.find(name), asked)


def numbers(texts: Sequence[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"--ppc {','.join(texts)}: whole numbers are needed, as in --ppc 1,3,10") from error
