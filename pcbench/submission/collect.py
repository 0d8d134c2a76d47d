"""What counts as published: valid submissions and our own valid runs, and nothing beside them.

The one answer, for the gate that pull requests go through and for the publisher: what one of them would not
take, the other does not.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pcbench.catalogue import Catalogue
from pcbench.errors import UsageError
from pcbench.records import layout
from pcbench.records.layout import short
from pcbench.records.models import Run
from pcbench.submission.commits import published_at
from pcbench.submission.manifest import MANIFEST, PART, Problem, is_left_over, problem
from pcbench.submission.published import NONE, Corrections, Published, public_runs
from pcbench.submission.rules.data import AtHand
from pcbench.submission.validate import USUAL, Checked, Strictness

SUBMISSIONS = "submissions"
"""A source of this name holds submissions, a folder each; any other is a plain folder of our own runs."""


@dataclass(frozen=True)
class Collected:
    """What the sources hold."""

    runs: Mapping[str, Path]
    """The folder of every run by the name that it is published under."""
    problems: Sequence[Problem]
    """Why nothing may be published; none where all is well."""


@dataclass
class _Part:
    """A submission, or the folder of our own runs, under examination."""

    source: Path
    """Where it stands, as it was named."""
    checked: Checked
    """What was found against it."""
    runs: list[Run] = field(default_factory=list)
    """Its runs."""


def collect(
    catalogue: Catalogue,
    sources: Sequence[Path],
    against: Sequence[str] = (),
    allowed: Corrections = NONE,
    strictness: Strictness = USUAL,
) -> Collected:
    """Everything that the sources hold, examined: each run, and all of them among each other.

    against: what is published of each source, as `published_at` takes it, in their order; none: nothing is
    compared. UsageError for what is no folder.
    """
    for source in sources:
        if not source.is_dir() or source.is_symlink():
            raise UsageError(f"{source} is no folder: name submissions, or a folder of runs")
    if against and len(against) != len(sources):
        raise UsageError(
            f"{len(sources)} folders, and {len(against)} published ones: name one for each, in their order",
            "published",
        )
    with ExitStack() as stack:
        roots = [
            stack.enter_context(published_at(text, source))
            for text, source in zip(against, sources, strict=False)
        ]
        known = public_runs(roots)
        problems: list[Problem] = []
        parts: list[_Part] = []
        at_hand = AtHand(catalogue, strictness.data)
        for number, source in enumerate(sources):
            root = roots[number] if roots else None
            folders, odd = _parts(source)
            problems += odd + _gone(source, root)
            for folder in folders:
                before = root / folder.relative_to(source) if root is not None else None
                public = Published(known, before if before is not None and before.is_dir() else None)
                checked = Checked(folder, public, at_hand, strictness)
                parts.append(_Part(folder, checked, checked.runs(catalogue)))
                if not parts[-1].runs and not checked.problems:
                    problems.append(problem("invalid-manifest", str(folder), "holds no run"))
                if not strictness.maintained:
                    problems += _foreign(parts[-1], known)
        everything = [run for part in parts for run in part.runs]
        for part in parts:
            part.checked.among(catalogue, part.runs, [*everything, *known.values()], allowed)
            problems += [replace(each, file=f"{part.source}/{each.file}") for each in part.checked.problems]
    problems += _twice(parts)
    return Collected({_name(run, part): run.folder for part in parts for run in part.runs}, problems)


def publish(collected: Collected, out: Path) -> None:
    """Copy the records and clouds of all runs into the new folder `out`, a folder each."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: name a new folder", "output")
    for name, folder in collected.runs.items():
        target = out / name
        target.mkdir(parents=True)
        for path in _published_files(folder):
            shutil.copyfile(path, target / path.name, follow_symlinks=False)


def _published_files(folder: Path) -> Iterator[Path]:
    yield layout.distillation(folder)
    yield from layout.evaluations(folder)
    yield from layout.verifications(folder)
    yield from layout.all_predictions(folder)
    if layout.clouds(folder).is_file():
        yield layout.clouds(folder)


def _parts(source: Path) -> tuple[list[Path], list[Problem]]:
    """The submissions of a source, or the source itself, and what may not be there."""
    if source.name != SUBMISSIONS:
        return _own(source)
    folders: list[Path] = []
    problems: list[Problem] = []
    for entry in _entries(source):
        if is_left_over(entry):
            continue
        path = Path(entry.path)
        mode = entry.stat(follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode) or not re.fullmatch(PART, entry.name):
            told = "is no folder with a plain name: letters, digits and _ . + -"
            problems.append(problem("loose-file", str(path), told))
        elif not (path / MANIFEST).is_file() or (path / MANIFEST).is_symlink():
            told = "has no manifest: what is submitted is made by 'pcbench submit'"
            problems.append(problem("invalid-manifest", str(path), told))
        else:
            folders.append(path)
    return folders, problems


def _own(source: Path) -> tuple[list[Path], list[Problem]]:
    """A plain folder of runs, and everything in it that is no folder of one."""
    problems = [
        problem("loose-file", entry.path, "is no folder of a run")
        for entry in _entries(source)
        if not is_left_over(entry)
        and entry.name != layout.WORK
        and not layout.is_run_folder(Path(entry.path))
    ]
    empty = not problems and not layout.run_folders(source)
    return [] if empty else [source], problems


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _gone(source: Path, root: Path | None) -> list[Problem]:
    """Submissions that are published and no longer there; runs of a plain folder are missed one by one."""
    if root is None or source.name != SUBMISSIONS:
        return []
    return [
        problem("removed-published", str(source / folder.name), "is published, and is not there")
        for folder in sorted(path for path in root.iterdir() if layout.run_folders_anywhere(path))
        if not (source / folder.name).is_dir()
    ]


def _foreign(part: _Part, known: Mapping[str, Run]) -> list[Problem]:
    """Runs that a submitter puts among our own, where they would be shown as made by the maintainers."""
    return [
        problem(
            "foreign-run", str(layout.distillation(run.folder)), "is not published, and is no submission's"
        )
        for run in part.runs
        if part.checked.listed is None and run.distillation.key not in known
    ]


def _twice(parts: Sequence[_Part]) -> list[Problem]:
    """The same distillation in two parts: a table would show one of them and hide the other."""
    first: dict[str, Run] = {}
    problems = []
    for run in (run for part in parts for run in part.runs):
        other = first.setdefault(run.distillation.key, run)
        if other.folder.parent != run.folder.parent:
            told = f"distillation {short(run.distillation.key)} stands in {other.folder} too"
            problems.append(problem("duplicate", str(layout.distillation(run.folder)), told))
    return problems


def _name(run: Run, part: _Part) -> str:
    """What the folder of a run is called among all: our own as it is, a submission's after the submission."""
    if part.checked.listed is None:
        return run.folder.name
    return f"{SUBMISSIONS}-{part.source.name}-{run.folder.name}"
