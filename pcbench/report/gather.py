"""Reads run after run, in several processes where there are many, and keeps only what tables need of each."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pcbench
from pcbench.common.files import digest
from pcbench.common.garbage import search_seldom
from pcbench.common.packaged import builtin
from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.layout import run_folders
from pcbench.records.log import as_text, read
from pcbench.records.models import Run
from pcbench.records.store import orphans, read_run
from pcbench.report import runs
from pcbench.report.answers import Answers
from pcbench.report.cells import Entry, Place, Result, Unfinished
from pcbench.report.current import Current
from pcbench.report.output import SiteFolder
from pcbench.report.pages import Renderer
from pcbench.report.results import NOTHING_KNOWN, MeasuredRun, page_name, unfinished
from pcbench.report.status import submitter
from pcbench.report.tables import Line
from pcbench.report.text import as_json
from pcbench.report.viewer import Clouds

SEVERAL = 400
"""From so many runs on, processes share the work; fewer take less time than the processes need to begin."""

Progress = Callable[[str, int, int], None]
Written = tuple[str, str | bytes]
T = TypeVar("T")


@dataclass(frozen=True)
class Slim:
    """A run as far as tables need it."""

    folder: Path
    """Where its records are."""
    key: str
    """The distillation's key."""
    rank: tuple[bool, bool, int, int, str]
    """Of two runs of one distillation the smaller counts: finished ones, those that nobody submitted, those
    with more scores."""
    results: tuple[Result, ...]
    """Its evaluations."""
    without: Unfinished | None
    """Why it has no score, None where it has one."""
    line: Line
    """Its line in the list of all runs."""

    @classmethod
    def of(cls, measured: MeasuredRun) -> Slim:
        """What tables need of a run."""
        run = measured.run
        distillation = run.distillation
        snapshots = sum(len(evaluation.snapshots) for evaluation in run.evaluations)
        submitted = submitter(run) is not None
        rank = distillation.status != "ok", submitted, -len(run.evaluations), -snapshots, str(run.folder)
        without = unfinished(run, measured.current)
        return cls(
            run.folder, distillation.key, rank, tuple(measured.results), without, runs.listed(measured)
        )


@dataclass
class Gathered:
    """What has been read."""

    kept: dict[str, Slim] = field(default_factory=dict)
    """The runs that count, by the names of their pages."""
    others: list[tuple[str, Slim]] = field(default_factory=list)
    """Those that do not count beside the one of the page named."""
    problems: list[str] = field(default_factory=list)
    """A line for every file that could not be used."""

    def takes(self, slim: Slim) -> bool:
        """Keep a run, unless a better one of its page is kept: of one key by rank, else the first by key."""
        page = page_name(slim.key)
        rival = self.kept.get(page)
        if rival is not None and (rival.key, rival.rank) < (slim.key, slim.rank):
            self.others.append((page, slim))
            return False
        self.others += [(page, rival)] if rival is not None else []
        self.kept[page] = slim
        return True

    @property
    def runs(self) -> list[Slim]:
        """Those that count, by key."""
        return sorted(self.kept.values(), key=lambda slim: slim.key)

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of those that count, by the names of their pages."""
        return {page: slim.folder for page, slim in self.kept.items()}

    @property
    def results(self) -> list[Result]:
        """What tables show of them, by the names of their folders."""
        by_name = sorted(self.kept.values(), key=lambda slim: slim.folder.name)
        return [result for slim in by_name for result in slim.results]

    def told(self) -> list[str]:
        """A line for every file and run that was left out."""
        repeated = []
        for page, other in self.others:
            first = self.kept[page]
            same = f"the same distillation as in {first.folder}, counted once"
            unlike = f"its key begins like that of {first.folder}, left out"
            repeated.append(f"{other.folder}: {same if other.key == first.key else unlike}")
        return [*self.problems, *sorted(repeated)]


def gather(
    source: Path, current: Current = NOTHING_KNOWN, visit: Callable[[Run], object] | None = None
) -> Gathered:
    """All runs below a folder, without making a page. current: what makes them stale.

    visit: called with every run that can be read, also with those that do not count.
    """

    def visited(measured: MeasuredRun, _: Answers) -> Iterator[Written]:
        if visit is not None:
            visit(measured.run)
        return iter(())

    read = (_read(folder, current, visited) for folder in run_folders(source))
    return _gather(source, read, lambda *_: None)


def write_runs(
    source: Path,
    target: SiteFolder,
    clouds: Clouds,
    base_url: str,
    current: Current,
    report: Callable[[int, int], None],
) -> Gathered:
    """All runs below a folder; page, records and clouds of each that counts are written at once."""
    folders = run_folders(source)
    with_clouds = [folder for folder in folders if layout.clouds(folder).is_file()]
    without = sorted(set(folders) - set(with_clouds))
    rendered = partial(_files, renderer=Renderer(base_url))
    stamp, known = made_of_code(base_url, current), target.intact()

    def put(found: _Read, page: str) -> None:
        if found.files is not None:
            target.put(page, found.made_of, found.files)
        elif not target.keep(page, found.made_of):  # another run of the same distillation took its place
            shown = clouds if layout.clouds(found.folder).is_file() else None
            again = MeasuredRun(read_run(found.folder)[0], current)
            target.put(page, found.made_of, tuple(rendered(again, _answers(again.run), clouds=shown)))

    def read() -> Iterator[_Read]:
        one = partial(_read, current=current, stamp=stamp, known=known)
        plain = _shared(without, partial(one, files=partial(rendered, clouds=None)))
        shown = (one(folder, files=partial(rendered, clouds=clouds), clouds=clouds) for folder in with_clouds)
        for number, found in enumerate(itertools.chain(plain, shown), 1):
            yield found
            report(number, len(folders))

    return _gather(source, read(), put)


def made_of_code(base_url: str, current: Current) -> str:
    """A hash of all that every page of a run is made of beside its records."""
    code = sorted(Path(pcbench.__file__).parent.rglob("*.py")) + sorted(
        builtin("leaderboard/templates").iterdir()
    )
    return digest(
        [*(hashlib.sha256(file.read_bytes()).hexdigest() for file in code), base_url, asdict(current)]
    )


def _made_of(folder: Path, stamp: str, clouds: Clouds | None, run: Run) -> str:
    """A hash of all that the files of a run are made of; its clouds count by their file's size and time."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file != layout.clouds(folder))
    parts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    about = layout.clouds(folder).stat() if clouds else None
    shown = [about.st_size, about.st_mtime_ns, clouds.shows(run)] if clouds and about else []
    return digest([stamp, submitter(run), parts, shown])


@dataclass(frozen=True)
class _Read:
    """What reading one folder gave."""

    folder: Path
    """The folder."""
    slim: Slim | None
    """The run, None where none can be read."""
    problems: tuple[str, ...]
    """A line for every file that could not be used."""
    files: tuple[Written, ...] | None = None
    """The run's pages and records, where they were made; None where an older build's are the same."""
    made_of: str = ""
    """A hash of all that these are made of."""


class _Once:
    """What many results have in common, kept once: each that another process has read brings its own."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def slim(self, slim: Slim) -> Slim:
        """The same run."""
        return replace(slim, results=tuple(map(self._result, slim.results)))

    def _result(self, result: Result) -> Result:
        entry, place = result.entry, result.place
        return replace(
            result,
            setting=self._one(result.setting, result.setting),
            entry=self._one(_all_of(entry, but="params"), entry),  # which its digest is of
            place=self._one(_all_of(place), place),
            students=self._one(result.students, result.students),
            iterations=self._one(result.iterations, result.iterations),
            class_names=self._one(result.class_names, result.class_names),
            totals=self._one(result.totals, result.totals),
            status=self._one(result.status, result.status),
        )

    def _one(self, key: Hashable, value: T) -> T:
        found: T = self._kept.setdefault((type(value), key), value)
        return found


def _all_of(value: Entry | Place, but: str = "") -> Hashable:
    """The values of all fields, those too that a comparison leaves out."""
    return tuple(getattr(value, each.name) for each in fields(value) if each.name != but)


def _gather(source: Path, read: Iterator[_Read], put: Callable[[_Read, str], None]) -> Gathered:
    gathered, once = Gathered(), _Once()
    known = set()
    problems: dict[Path, tuple[str, ...]] = {}
    for found in read:
        problems[found.folder] = found.problems
        if found.slim is None:
            continue
        known.add(found.folder)
        if gathered.takes(once.slim(found.slim)):
            put(found, page_name(found.slim.key))
    gathered.problems += [line for key in sorted(problems) for line in problems[key]] + orphans(source, known)
    return gathered


def _shared(folders: Sequence[Path], work: Callable[[Path], _Read]) -> Iterator[_Read]:
    """Runs without clouds, read and rendered by all cores where that is worth it; in the order given."""
    if len(folders) < SEVERAL:
        yield from map(work, folders)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, spawn, _begin, (work,)) as pool:
        yield from pool.map(_worked, folders, chunksize=16)


_work: list[Callable[[Path], _Read]] = []
"""What a process that helps does with each folder: sent once, for it knows what of an older build stays."""


def _begin(work: Callable[[Path], _Read]) -> None:
    """Make a process ready to help; Ctrl-C is for the one that it helps."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    search_seldom()
    _work[:] = [work]


def _worked(folder: Path) -> _Read:
    return _work[0](folder)


def _read(
    folder: Path,
    current: Current,
    files: Callable[[MeasuredRun, Answers], Iterator[Written]],
    stamp: str = "",
    known: frozenset[str] = frozenset(),
    clouds: Clouds | None = None,
) -> _Read:
    """A run as far as tables need it, and its files.

    files: makes its pages and records. stamp: what these are made of beside the records. known: what need not
    be made again. clouds: which are shown, of a run that has some.
    """
    try:
        run, problems = read_run(folder)
    except DataError as error:
        return _Read(folder, None, (str(error),))
    made_of = _made_of(folder, stamp, clouds, run) if stamp else ""
    told = len(clouds.problems) if clouds else 0
    measured, answers = MeasuredRun(run, current), _answers(run)
    made = None if made_of in known else tuple(files(measured, answers))
    if answers.problems or (clouds and len(clouds.problems) > told):
        made_of = ""  # the next build tells it again
    return _Read(folder, Slim.of(measured), (*problems, *answers.problems), made, made_of)


def _answers(run: Run) -> Answers:
    """What the students of a run answered, where it was kept."""
    return Answers({page_name(run.distillation.key): run.folder})


def _files(
    measured: MeasuredRun, answers: Answers, renderer: Renderer, clouds: Clouds | None
) -> Iterator[Written]:
    """A run's page, its records, and its clouds where they are shown."""
    run = measured.run
    shown = clouds.of(run) if clouds else None
    page, name = runs.page(measured, answers), page_name(run.distillation.key)
    yield renderer.run(page, viewer=shown is not None)
    if shown is not None:
        yield f"clouds/{name}.js", shown.script
        yield f"pictures/{name}.png", shown.picture
    for file, record in runs.record_files(run).items():
        yield f"data/{name}/{file}", as_json(record)
    if page.log:
        yield f"data/{name}/{layout.LOG}", as_text(read(layout.log(run.folder)))
