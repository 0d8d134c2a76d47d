"""`pcbench.run` and `pcbench.evaluate`: what the commands of these names do, from Python."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from pcbench.common.text import counted, one_line
from pcbench.engine import frozen, machine, requests, server, working
from pcbench.engine.cell import Absent
from pcbench.engine.estimates.estimate import expected, largest
from pcbench.engine.evaluate import Outcome
from pcbench.engine.plan import Request
from pcbench.errors import DataError, PcbenchError
from pcbench.executors import local
from pcbench.ops.draws import Draw
from pcbench.ops.sampling import Sampling
from pcbench.python.arguments import (
    AnyPath,
    Kept,
    Settings,
    catalogue_of,
    choice,
    one_setting,
    path,
    snapshots_of,
    spans,
    texts,
    whole_number,
    whole_numbers,
)
from pcbench.python.distilled import folder_of
from pcbench.python.progress import OnProgress, Told
from pcbench.records.labels import title
from pcbench.records.models import Run
from pcbench.records.named import RESULTS, finished
from pcbench.records.store import read_runs

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

Split = Literal["test", "validation"]
Stale = Literal["stale"]


@dataclass(frozen=True, repr=False)
class Outcomes:
    """What became of all cells of a call, in the order of the work."""

    cells: tuple[Outcome, ...]
    """Each with its run (folder, records), its students' network, and its problem where it has no score."""
    absent: tuple[Absent, ...] = ()
    """Cells of a suite, or runs, that this machine lacks a part for, each with its reason."""

    def __repr__(self) -> str:
        """A line in all, and one a cell, as notebooks show it."""
        counts = [counted(len(self), "cell")]
        counts += [f"{len(self.failed)} without a score"] if self.failed else []
        counts += [f"{len(self.absent)} absent"] if self.absent else []
        lines = [
            f"{title(each.run.distillation.inputs, each.network)}: "
            f"{each.problem or ('done already' if each.reused else 'done')}"
            for each in self
        ]
        return "\n".join([", ".join(counts), *map(one_line, lines)])

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, place: int) -> Outcome:
        return self.cells[place]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.cells)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Those without a score: failed, out of memory, or stale; `problem` says why."""
        return tuple(outcome for outcome in self.cells if outcome.problem)

    @property
    def ok(self) -> bool:
        """Whether every cell has its scores; absent ones are no failure."""
        return not self.failed

    def checked(self) -> Outcomes:
        """The same; PcbenchError, which names them, where cells have failed."""
        if self.ok:
            return self
        lines = [f"{outcome.run.folder}: {outcome.problem}" for outcome in self.failed]
        raise PcbenchError(f"{len(lines)} of {len(self)} cells have no score: {'; '.join(lines)}")

    def frame(self) -> DataFrame:
        """The scores that were asked for, with the columns of `pcbench.results`; a row for each failure."""
        from pcbench.python.frames import frame
        from pcbench.report.current import Current
        from pcbench.report.students import failed, rows

        current = Current.of(catalogue_of(()))
        return frame(
            row
            for outcome in self.cells
            for row in (
                [failed(outcome.run, current, outcome.problem)]
                if outcome.problem
                else rows(outcome.run, current)
            )
        )


def run(
    method: str | Iterable[str] | None = None,
    dataset: str | Iterable[str] | None = None,
    ppc: int | Iterable[int] | None = None,
    *,
    protocol: str | None = None,
    backbone: str | None = None,
    settings: Settings | Sequence[Settings] | None = None,
    repetition: int | Iterable[int] = 0,
    suite: AnyPath | None = None,
    seeds: int | None = None,
    split: Split = "test",
    draw: Draw | None = None,
    sampling: Sampling | None = None,
    out: AnyPath = RESULTS,
    snapshots: Kept | None = None,
    again: Stale | None = None,
    in_process: bool = False,
    jobs: int | Literal["auto"] | None = None,
    plugins: AnyPath | Sequence[AnyPath] = (),
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Outcomes:
    """Distil data sets, train and test students, keep records: what `pcbench run` does, with its defaults.

    Every combination of what is named is a cell; one that is done already is not computed again. Without
    arguments it is the demonstration.

    - method: names, as `sadm`, or `sadm:paper` with a named setting. Default: random and sadm.
    - dataset: names. Default: shapes10. ppc: clouds per class. Default: 3.
    - protocol: `paper`, `lite`, `quick` or `standard`. Default: the suite's; `quick` where no data set is
      named; else `paper`, without a GPU `lite`.
    - backbone: the network, NAME[:PRESET]. Default: pointnet.
    - settings: parameters of the method or of the protocol by name, as {"lr": 5.0, "iterations": 20}; a list
      of such mappings is a cell each.
    - repetition: which repeated distillations, as 0 or range(5). seeds: students per snapshot.
    - suite: a suite's name or file, of which the others choose a part.
    - split: `validation` tests on a fifth of the training clouds. draw: `nested`, `authors` or `per-ppc`.
    - sampling: which of a cloud's stored points are used, where more are stored: `first`, `farthest` or
      `random`. Default: first.
    - out: the folder of the records. snapshots: those that students are trained on, `last`, `all`, or
      iterations as (0, 20, 40), at which the set is then kept as well: a finer curve of the same work.
    - again: `stale` computes anew what older code made. plugins: folders of plugin files.
    - in_process: the method works in this process, for debuggers; its record is open division then.
    - jobs: so many cells at once, each in a process of its own; `auto`: one a GPU or, without, one a core.
      Default: one after another in this process.
    - device: `auto`, `cpu`, `cuda`, or one of several, `cuda:1`.
    - on_progress: called with a `Progress`, as `pcbench.show_progress` is. Default: silence.

    Raises UsageError for what cannot be understood and DataError for data that are not there, both
    PcbenchError, before any work. What a method or network does wrong is raised by nobody: it is the
    `problem` of its outcome, its traceback stands in the run's folder, and the other cells are done.
    KeyboardInterrupt leaves what is finished; the same call goes on from there.
    """
    command = _command(run, locals())
    if not in_process:
        server.start()  # beside what is planned meanwhile
    asked = requests.Asked(
        common=Request(
            methods=texts(method, "method"),
            datasets=texts(dataset, "data set"),
            ppcs=whole_numbers(ppc, "ppc"),
            backbone=backbone or "",
            protocol=protocol or "",
            students=None if seeds is None else whole_number(seeds, "students"),
            draw=choice(draw, Draw, "draw") if draw else "nested",
            sampling=None if sampling is None else choice(sampling, Sampling, "sampling"),
        ),
        spans=spans(settings),
        repetitions=whole_numbers(repetition, "repetition"),
        suite=None if suite is None else str(path(suite, "suite")),
        own_draw=draw is not None,
        validation=choice(split, Split, "split") == "validation",
        snapshots=None if snapshots is None else snapshots_of(snapshots),
    )
    anew = again is not None and choice(again, Stale, "again") == "stale"
    folder, where = path(out, "output"), machine.choose_device(device)
    planned = requests.planned(catalogue_of(plugins), asked, where.type == "cuda", in_process)
    runs, _ = read_runs(folder)
    with machine.called_by(command):
        pieces = working.of_cells(planned.cells, folder, where, runs, planned.snapshots, anew, in_process)
        whole = frozen.freeze(planned.cells, planned.snapshots)
        executor = None
        if jobs is not None and not in_process:
            costs = expected(planned.cells, where, runs, planned.snapshots, anew)
            places = local.places(str(jobs), where, len(pieces), largest(costs))
            executor = local.Processes(places, planned.snapshots, anew)
        outcomes = working.work_through(pieces, Told(on_progress), executor, whole)
    return Outcomes(tuple(outcomes), tuple(planned.absent))


def evaluate(
    run: AnyPath | Run | Outcome | Outcomes | Iterable[AnyPath | Run | Outcome],
    *,
    backbone: str | Iterable[str] | None = None,
    protocol: str | None = None,
    settings: Settings | None = None,
    seeds: int | None = None,
    test: str | Iterable[str] | None = None,
    snapshots: Kept = "all",
    again: Stale | None = None,
    plugins: AnyPath | Sequence[AnyPath] = (),
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Outcomes:
    """Train and test students on clouds that were distilled before: what `pcbench evaluate` does.

    run: a run's folder, the beginning of its name below `results`, `latest`, a folder of runs (all that are
    finished), what `pcbench.run` gave, or several of these. Neither the method nor its plugin is needed.

    - backbone: the students' networks. Default: the one that was distilled with.
    - protocol: Default: that of the run. settings: of the protocol, as {"recipe.epochs": 100}.
    - test: `plain`, `so3`, `up`, `points=512`, `jitter:3`, `on=shapenet55` …; students take all of them.
    - the others: as for `run`.

    Raises UsageError and DataError before any work; failures are outcomes, as for `run`. Runs whose data set
    is not on this machine are `absent`; where there are no others it is a DataError.
    """
    command = _command(evaluate, locals())
    anew = again is not None and choice(again, Stale, "again") == "stale"
    wanted, where = snapshots_of(snapshots), machine.choose_device(device)
    planned, absent = requests.evaluations(
        catalogue_of(plugins),
        _runs(run),
        texts(backbone, "backbone"),
        protocol,
        None if seeds is None else whole_number(seeds, "students"),
        one_setting(settings),
        texts(test, "test"),
    )
    with machine.called_by(command):
        outcomes = working.work_through(
            working.of_evaluations(planned, where, wanted, anew), Told(on_progress)
        )
    return Outcomes(tuple(outcomes), tuple(absent))


def _runs(given: AnyPath | Run | Outcome | Outcomes | Iterable[AnyPath | Run | Outcome]) -> list[Run]:
    """The finished runs that are meant, each once; a warning for every file that cannot be used."""
    meant: Iterable[AnyPath | Run | Outcome]
    if isinstance(given, Outcomes):
        meant = [outcome for outcome in given if outcome.run.distillation.status == "ok"]
    else:
        meant = [given] if isinstance(given, str | PathLike | Run | Outcome) else given
    runs: dict[Path, Run] = {}
    for each in meant:
        there, problems = finished(folder_of(each))
        runs |= {run.folder: run for run in there}
        for problem in problems:
            warnings.warn(f"left out {problem}", stacklevel=3)
    if not runs:
        raise DataError("no finished run is named: there is nothing to evaluate", "results")
    return list(runs.values())


def _command(function: Callable[..., Outcomes], arguments: Mapping[str, Any]) -> list[str]:
    """A command line that calls a function of pcbench as it was called, for records."""
    defaults = inspect.signature(function).parameters
    said = {name: value for name, value in arguments.items() if value is not defaults[name].default}
    said.pop("on_progress", None)
    words = ", ".join(f"{name}={_shown(value)}" for name, value in said.items())
    return ["python", "-c", f"import pcbench; pcbench.{function.__name__}({words})"]


def _shown(value: object) -> str:
    """A value as one writes it in Python; a run by its folder."""
    if isinstance(value, PathLike):
        return repr(str(value))
    if isinstance(value, Run | Outcome):
        return repr(str(folder_of(value)))
    if isinstance(value, Outcomes | list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)
