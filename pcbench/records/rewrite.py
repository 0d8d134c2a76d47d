"""Rewrites a folder of records in the form, and under the names, that are written today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.store import checked_run, write_distillation, write_evaluation, write_verification


@dataclass(frozen=True)
class Rewritten:
    """One run that was rewritten."""

    before: Path
    """The folder that it stood in."""
    after: Path
    """The folder that it stands in now."""


def rewrite(out: Path, report: Callable[[Path], None] = lambda _: None) -> list[Rewritten]:
    """Rewrite every run below `out` that is not written as it is today; clouds and numbers stay as they are.

    report: called with each folder that was left alone because something in it could not be read. Work that
    is interrupted loses nothing: the old files of a run go when its new ones are complete.
    """
    rewritten = []
    for folder in layout.run_folders(out):
        try:
            checked = checked_run(folder)
        except DataError:
            report(folder)
            continue
        if checked.problems:
            report(folder)
            continue
        run = checked.run
        old = {layout.distillation(folder), *layout.evaluations(folder), *layout.verifications(folder)}
        before = {path: path.read_bytes() for path in old}
        for evaluation in run.evaluations:
            write_evaluation(folder, evaluation)
        for verification in run.verifications:
            write_verification(folder, verification)
        write_distillation(folder, run.distillation)
        new = {
            layout.distillation(folder),
            *(layout.evaluation(folder, evaluation.key) for evaluation in run.evaluations),
            *(layout.verification(folder, each.evaluation) for each in run.verifications),
        }
        for path in old - new:
            path.unlink()
        target = layout.run_folder(out, run.distillation.inputs)
        if target != folder and not target.exists():
            folder.rename(target)
        after = target if target.exists() else folder
        if after != folder or any((after / path.name).read_bytes() != before.get(path) for path in new):
            rewritten.append(Rewritten(folder, after))
    return rewritten
