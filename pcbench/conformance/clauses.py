"""The clauses of a contract: how one is tried, what may come of it, and what they are tried with."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch

from pcbench.api import PointClouds, Streams
from pcbench.catalogue.kinds import Kind
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
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if Path(frame.filename).is_relative_to(path.parent)]
    return f"{text} ({places[-1].filename}:{places[-1].lineno})" if places else text


def small_clouds(points: int = 16, classes: int = 3) -> PointClouds:
    """Ten clouds or a few more of each class, stretched in its own way, in the unit sphere, classes mixed."""
    streams = Streams({"level": "conformance"})
    labels = torch.cat([torch.arange(classes).repeat(10), torch.tensor([2, 1, 2])])
    scale = 0.1 + torch.rand(classes, 3, generator=streams.stream("classes"))
    xyz = torch.randn(len(labels), points, 3, generator=streams.stream("clouds"))
    names = tuple(f"class {number}" for number in range(classes))
    return PointClouds(xyz * scale[labels].unsqueeze(1), labels, names).normalised()


def _global_state() -> dict[str, Any]:
    """What no plugin may change, by its name."""
    kind, key, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what is watched
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": (kind, np.asarray(key).tobytes(), *rest),
        "the generator of the module random": random.getstate(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


@contextmanager
def other_seeds(seed: int) -> Iterator[Callable[[], set[str]]]:
    """Other seeds in the global generators, undone afterwards; gives a function that names what changed."""
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    before = _global_state()
    try:
        yield lambda: {name for name, value in _global_state().items() if value != before[name]}
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
