"""The clauses of a contract: how one is tried, what may come of it, and what they are tried with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import torch

from pcbench.api import PointClouds, Streams
from pcbench.catalogue.kinds import Kind
from pcbench.catalogue.loading import last_place
from pcbench.errors import PcbenchError

Result: TypeAlias = Literal["ok", "failed", "warning", "not applicable"]


@dataclass(frozen=True)
class Item:
    """One clause of a contract that was tried on a plugin."""

    clause: str
    """What the contract asks for, in a few words."""
    result: Result
    """How it went."""
    detail: str = ""
    """What was seen, or what to do about it."""


@dataclass(frozen=True)
class Report:
    """All clauses of one plugin's contract."""

    kind: Kind
    """Method, backbone or data set."""
    name: str
    """What users call it."""
    origin: str
    """Where it stands: "path:line"."""
    items: tuple[Item, ...]
    """Its clauses, in the order in which they were tried."""

    @property
    def passed(self) -> bool:
        """Whether no clause failed."""
        return all(item.result != "failed" for item in self.items)


class Verdict(Exception):
    """How a clause went, where it is not simply ok."""

    result: ClassVar[Result]


class Failed(Verdict):
    result = "failed"


class Doubtful(Verdict):
    result = "warning"


class NotApplicable(Verdict):
    result = "not applicable"


def tried(clause: str, trial: Callable[[], str], path: Path) -> Item:
    try:
        return Item(clause, "ok", trial())
    except Verdict as verdict:
        return Item(clause, verdict.result, str(verdict))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return Item(clause, "failed", _reason(error, path))


def _reason(error: BaseException, path: Path) -> str:
    """One line, with the last place in the plugin's folder that the error came through."""
    message = " ".join(str(error).split())
    text = message if isinstance(error, PcbenchError) else f"{type(error).__name__}: {message}"
    place = last_place(error, path.parent)
    return f"{text} ({place})" if place else text


def small_clouds(points: int = 16, classes: int = 3) -> PointClouds:
    """Ten clouds or a few more of each class, stretched in its own way, in the unit sphere, classes mixed."""
    streams = Streams({"level": "conformance"})
    labels = torch.cat([torch.arange(classes).repeat(10), torch.tensor([2, 1, 2])])
    scale = 0.1 + torch.rand(classes, 3, generator=streams.stream("classes"))
    xyz = torch.randn(len(labels), points, 3, generator=streams.stream("clouds"))
    names = tuple(f"class {number}" for number in range(classes))
    return PointClouds(xyz * scale[labels].unsqueeze(1), labels, names).normalised()
