"""Which runs are meant: by a folder, by the beginning of a name, or as the latest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pcbench.errors import DataError, UsageError
from pcbench.records import layout

if TYPE_CHECKING:
    from pcbench.records.models import Run

RESULTS = Path("results")
"""Where records are put unless told."""
LATEST = "latest"


def named(run: Path, results: Path = RESULTS) -> Path:
    """The folder of a run, given as that folder, as the only one with such a beginning, or as `latest`.

    A name without a folder is looked for in `results`. What names nothing is given back as it is, for whoever
    opens it to say so; UsageError where several runs begin like that.
    """
    if run.exists():
        return run
    folder = results if run.parent == Path() else run.parent
    runs = layout.run_folders(folder)
    if run.name == LATEST and runs:
        return max(runs, key=lambda each: layout.distillation(each).stat().st_mtime)
    alike = [each for each in runs if each.name.startswith(run.name)]
    if len(alike) > 1:
        names = ", ".join(each.name for each in alike[:5]) + (", …" if len(alike) > 5 else "")
        raise UsageError(f"{run} begins the names of {len(alike)} runs in {folder}: {names}")
    return alike[0] if alike else run


def finished(folder: Path) -> tuple[list[Run], list[str]]:
    """The run that a folder or a name means, or the finished runs below a folder, as `named` takes it.

    Beside them a line for every file that could not be used. DataError where no run is finished.
    """
    from pcbench.records.store import read_run, read_runs

    folder = named(folder)
    if layout.is_run_folder(folder):
        run, problems = read_run(folder)
        if run.distillation.status != "ok":
            raise DataError(f"{folder}: {run.distillation.status}: {run.distillation.reason}")
        return [run], problems
    if not folder.exists():
        raise DataError(f"there is no {folder}: name a run's folder, as 'pcbench run' prints it")
    runs, problems = read_runs(folder)
    chosen = [run for run in runs if run.distillation.status == "ok"]
    if not chosen:
        raise DataError(f"{folder} is no run's folder and has no finished run: do 'pcbench run' first")
    return chosen, problems
