"""Folders of runs put together, and freed of what nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pcbench.common.files import atomic_path, left_overs, untouched
from pcbench.errors import DataError
from pcbench.records import layout, plans, standing
from pcbench.records.models import EvaluationRecord, Run
from pcbench.records.store import checked_run


@dataclass(frozen=True)
class Merged:
    """What became of a run, or of an evaluation, that was to be merged."""

    source: Path
    """Its folder, or its file."""
    word: Literal["copied", "there already", "conflict", "left out"]
    """What was done: `conflict` where something else stands in its place, which stays."""
    why: str = ""
    """What is in the way, or what is wrong with it."""


def merge(sources: Sequence[Path], out: Path) -> Iterator[Merged]:
    """Copy the finished runs of some folders into another, where each stands once; nothing is overwritten.

    Evaluations of equal clouds come together in one folder. Only what a run consists of is copied.
    """
    for source in sources:
        if not source.is_dir():
            raise DataError(f"there is no {source}: name folders of runs")
        for folder in layout.run_folders(source):
            yield from _merged(folder, out)


def _merged(folder: Path, out: Path) -> Iterator[Merged]:
    try:
        checked = checked_run(folder)
    except DataError as error:
        yield Merged(folder, "left out", str(error))
        return
    run = checked.run
    if run.distillation.status != "ok":
        yield Merged(folder, "left out", f"{run.distillation.status}: {run.distillation.reason}")
        return
    target = layout.run_folder(out, run.distillation.inputs)
    if layout.is_run_folder(target):
        there = checked_run(target).run
        problem = _in_the_way(run, there)
        if problem:
            yield Merged(folder, "conflict", f"{target}: {problem}")
            return
    else:
        there = Run(target, run.distillation, ())
        yield Merged(folder, "copied")
    for record in run.evaluations:
        yield from _merged_scores(run, there, record)
    for verification in run.verifications:
        _copy(layout.verification(folder, verification.evaluation), target)
    for file in (layout.log(folder), layout.clouds(folder), layout.distillation(folder)):
        _copy(file, target)  # the distillation last: what has no record is no run
    for each in checked.problems:
        yield Merged(each.path, "left out", each.problem)


def _in_the_way(run: Run, there: Run) -> str:
    """Why a run cannot stand where another one does; empty where both have the same clouds."""
    if there.distillation.status != "ok":
        return f"holds one that ended as {there.distillation.status}: remove it, or run it again there"
    same = _clouds(run) == _clouds(there)
    return "" if same else "holds other clouds of the same distillation"


def _clouds(run: Run) -> list[tuple[int, str]]:
    return [(entry.iteration, entry.clouds) for entry in run.distillation.snapshots]


def _merged_scores(run: Run, there: Run, record: EvaluationRecord) -> Iterator[Merged]:
    source, target = layout.evaluation(run.folder, record.key), layout.evaluation(there.folder, record.key)
    same = next((each for each in there.evaluations if each.key == record.key), None)
    if same is None and target.exists():
        yield Merged(source, "conflict", f"{target} cannot be read")
    elif same is None:
        _copy(layout.predictions(run.folder, record.key), there.folder)
        _copy(source, there.folder)
        yield Merged(source, "copied")
    elif [scores.correct for scores in same.snapshots] != [scores.correct for scores in record.snapshots]:
        yield Merged(source, "conflict", f"{target} has other scores, or those of other snapshots")
    else:
        yield Merged(source, "there already")


def _copy(file: Path, folder: Path) -> None:
    """Copy a plain file into a folder where it is not there yet."""
    if file.is_file() and not file.is_symlink() and not (folder / file.name).exists():
        with atomic_path(folder / file.name) as temporary:
            temporary.write_bytes(file.read_bytes())


@dataclass(frozen=True)
class Waste:
    """A file that nobody needs any more."""

    path: Path
    """The file."""
    why: str
    """Why nobody does."""


def not_needed(out: Path) -> list[Waste]:
    """What can be removed from a folder of runs: words of what is over, and what killed writers left."""
    cells = standing.standings(out)
    undone = {each.plan.hash for each in cells if each.word != "done"}
    unfinished = {layout.short(each.cell.key) for each in cells if each.word != "done"}
    waste = [
        Waste(path, "all its cells are done")
        for each in dict.fromkeys(plan.hash for plan in plans.kept(out))
        if each not in undone
        for path in (layout.plan(out, each), layout.jobs(out, each), *layout.job_logs(out, each))
        if path.exists()
    ]
    waste += [
        Waste(path, "no heartbeat for an hour")
        for path in sorted(layout.claims(out).glob("*.lock"))
        if untouched(path)
    ]
    folders = layout.run_folders(out)
    waste += [
        Waste(layout.checkpoint(folder), "its distillation is finished")
        for folder in folders
        if layout.checkpoint(folder).exists() and folder.name.rpartition("-")[2] not in unfinished
    ]
    waste += [
        Waste(file, "its students are trained")
        for folder in folders
        for path in layout.evaluations(folder)
        for file in layout.shares(layout.training(folder, path.stem.rpartition("-")[2]))
        if folder.name.rpartition("-")[2] not in unfinished
    ]
    for folder in (*folders, *layout.begun_folders(out), layout.attempts(out), layout.claims(out)):
        waste += [Waste(path, "its writer was killed") for path in left_overs(folder)]
    return waste
