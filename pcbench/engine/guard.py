"""Holds a method to its contract: what it may not open while it works, and what its snapshots must be.

The guard is against mistakes and shortcuts. It refuses to load a data set, to open an HDF5 file, and to open
a file of the data store or the cache through Python. It cannot stop hostile code: a method that generates or
copies test clouds by other means, reads files of other formats elsewhere, calls C libraries, starts a process
or walks up the call stack sees what this process may see. Results of strangers' methods need a reader.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import h5py
import torch

from pcbench.api import Dataset, Method, PointClouds, Snapshot, Stored, Task
from pcbench.datasets.store import cache_root, data_root
from pcbench.errors import DataError, PcbenchError

CODE = (".py", ".pyc")


class MethodFault(PcbenchError):
    """A method broke its contract."""


class Trespass(MethodFault):
    """A method reached for more than its task gives it."""


@dataclass
class _Watch:
    """What a method that is at work may not do."""

    method: str
    """Its name."""
    closed: tuple[str, ...]
    """The folders in which it may open no file but code, as real paths."""
    active: bool = True
    """Off while the runner itself serves the method."""
    refused: Trespass | None = None
    """What it was refused first: it counts although the method may have caught it."""

    def refuse(self, deed: str) -> None:
        if self.active:
            fault = Trespass(f"method {self.method!r} {deed}: a method sees the training clouds alone")
            self.refused = self.refused or fault
            raise fault


# One for the whole process, so that threads which a method starts are held to it as well.
_watch: _Watch | None = None


@contextmanager
def guarded(method: str) -> Iterator[None]:
    """While the block runs, no data set is loaded and no file of the data store or the cache is opened.

    Raises Trespass for an attempt, also for one whose error the method kept to itself.
    """
    global _watch
    _listen()
    closed = tuple(os.path.realpath(root) for root in (data_root(), cache_root()))
    before, _watch = _watch, _Watch(method, closed)
    refused = _watch
    try:
        with _entrances_watched():
            yield
    except (Exception, SystemExit) as error:
        if refused.refused is None or error is refused.refused:
            raise
        raise refused.refused from error
    finally:
        _watch = before
    if refused.refused is not None:
        raise refused.refused


@contextmanager
def suspended() -> Iterator[None]:
    """Within `guarded`: the runner serves the method, and may open what it needs."""
    with _switched(False):
        yield


@contextmanager
def resumed() -> Iterator[None]:
    """Within `suspended`: the method's own code is called, and is held to its contract again."""
    with _switched(True):
        yield


@contextmanager
def _switched(active: bool) -> Iterator[None]:
    watch = _watch
    if watch is None:
        yield
        return
    before, watch.active = watch.active, active
    try:
        yield
    finally:
        watch.active = before


@contextmanager
def _entrances_watched() -> Iterator[None]:
    """For the length of the block, `load` of every data set and the opening of HDF5 files ask first.

    HDF5 files are opened in C, where no audit event tells of them.
    """
    with ExitStack() as stack:
        for dataset in _subclasses(Dataset):
            if "load" in vars(dataset):
                stack.enter_context(_asking(dataset, "load", _loading))
        stack.enter_context(_asking(h5py.h5f, "open", _opening))
        stack.enter_context(_new_datasets_watched())
        yield


@contextmanager
def _new_datasets_watched() -> Iterator[None]:
    """A data set whose class is defined within the block asks too; outside of a watch that is idle."""

    def defined(subclass: type[Dataset], /, **named: Any) -> None:
        super(Dataset, subclass).__init_subclass__(**named)
        if "load" in vars(subclass):
            setattr(subclass, "load", _asked(vars(subclass)["load"], _loading))  # noqa: B010

    before = vars(Dataset).get("__init_subclass__")  # one of an outer watch, if there is one
    setattr(Dataset, "__init_subclass__", classmethod(defined))  # noqa: B010
    try:
        yield
    finally:
        delattr(Dataset, "__init_subclass__")
        if before is not None:
            setattr(Dataset, "__init_subclass__", before)  # noqa: B010


def _loading(dataset: Dataset, *_: Any, **__: Any) -> str:
    return f"loaded data set {dataset.name!r}"


def _opening(path: str | bytes, *_: Any, **__: Any) -> str:
    return f"opened {os.fsdecode(path)}"


@contextmanager
def _asking(owner: Any, name: str, deed: Callable[..., str]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, _asked(original, deed))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _asked(original: Callable[..., Any], deed: Callable[..., str]) -> Callable[..., Any]:
    """The same function, which first has the watch refuse it, if there is one."""

    @wraps(original)
    def ask(*arguments: Any, **named: Any) -> Any:
        if _watch is not None:
            _watch.refuse(deed(*arguments, **named))
        return original(*arguments, **named)

    return ask


def _subclasses(owner: type) -> set[type]:
    below: set[type] = set(owner.__subclasses__())
    return below.union(*(_subclasses(subclass) for subclass in below))


@cache
def _listen() -> None:
    """Hear of every file that Python opens. A hook cannot be taken away again; without a watch it is idle."""
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or _watch is None or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if not path.endswith(CODE) and any(path.startswith(root + os.sep) for root in _watch.closed):
        _watch.refuse(f"opened {path}")


def watched(method: Method, task: Task) -> Iterator[Snapshot]:
    """What the method yields, unchecked. All of its work happens within `next`, and under the guard."""

    def work() -> Generator[Snapshot, None, None]:
        snapshots = method.distill(task)
        if not isinstance(snapshots, Iterable):
            raise MethodFault("distill gives nothing: yield a Snapshot, or yield from task.learn(...)")
        yield from snapshots

    with closing(work()) as source:
        end = object()
        while True:
            with guarded(method.name):
                snapshot = next(source, end)
            if snapshot is end:
                return
            if not isinstance(snapshot, Snapshot) or not isinstance(snapshot.clouds, PointClouds):
                raise MethodFault(
                    f"the method gave a {type(snapshot).__name__} instead of a Snapshot of clouds"
                )
            yield snapshot


@dataclass(frozen=True)
class Expected:
    """What the snapshots of a distillation must be."""

    whole: bool
    """Whether the method gives the whole training split."""
    train: PointClouds
    """The training clouds."""
    ppc: int
    """Clouds of every class, where it is not the whole split."""
    iterations: tuple[int, ...]
    """Those at which a snapshot is asked for, ascending."""

    @classmethod
    def of(cls, method: Method, task: Task) -> Expected:
        """Of a method that is given a task."""
        return cls(method.whole, task.train, task.ppc, task.snapshots)


def checked(expected: Expected, snapshot: Snapshot, earlier: Sequence[int]) -> Snapshot:
    """The snapshot on the CPU, ordered by class; MethodFault where it is not what the contract asks for.

    The whole split stays in its own order. earlier: the iterations of the snapshots before it.
    """
    clouds, train = snapshot.clouds, expected.train
    here = f"snapshot {snapshot.iteration}"
    if snapshot.iteration not in expected.iterations or any(each >= snapshot.iteration for each in earlier):
        raise MethodFault(f"{here} was not asked for, or came out of order")
    if snapshot.stored is not None and not expected.whole:
        return _expanded(expected, snapshot.iteration, snapshot.stored)
    if clouds.class_names != train.class_names:
        raise MethodFault(f"{here} has other classes than the training clouds")
    if clouds.points_per_cloud != train.points_per_cloud:
        raise MethodFault(
            f"{here} has {clouds.points_per_cloud} points a cloud instead of {train.points_per_cloud}"
        )
    counts = clouds.counts().tolist()
    if expected.whole:
        if clouds.content_hash() != train.content_hash():
            raise MethodFault(f"{here} is not the training split, which a method with whole = True gives")
        return Snapshot(snapshot.iteration, clouds.to("cpu"))
    if any(count != expected.ppc for count in counts):
        raise MethodFault(f"{here} has {counts} clouds per class instead of {expected.ppc} of each")
    order = torch.argsort(clouds.labels, stable=True)
    return Snapshot(snapshot.iteration, clouds.select(order).to("cpu"))


def _expanded(expected: Expected, iteration: int, stored: Stored) -> Snapshot:
    """A snapshot of a parameterised set: its clouds are made here, of what is stored."""
    try:
        kept = stored.to("cpu")
        clouds = kept.expand(expected.train.class_names, expected.ppc)
    except DataError as error:
        raise MethodFault(f"snapshot {iteration}: {error}") from error
    return Snapshot(iteration, clouds, kept)


def check_complete(expected: Expected, given: Sequence[int]) -> None:
    """MethodFault unless the snapshots, by iteration, are all that were asked for, or the one at 0 alone."""
    iterations = list(given)
    if expected.whole and iterations != [0]:
        raise MethodFault(f"the method gave snapshots {iterations}; one with whole = True gives 0 alone")
    if iterations not in ([0], list(expected.iterations)):
        raise MethodFault(
            f"the method gave snapshots {iterations}; asked for were {list(expected.iterations)}, or 0 alone"
        )
