"""Which run is meant: by its folder, by the beginning of its name, or as the latest."""

from __future__ import annotations

from pathlib import Path

from pcbench.errors import UsageError

RESULTS = Path("results")
"""Where `pcbench run` puts records unless told."""
LATEST = "latest"


def named(run: Path, results: Path = RESULTS) -> Path:
    """The folder of a run, given as that folder, as the only one with such a beginning, or as `latest`.

    A name without a folder is looked for in `results`. What names nothing is given back as it is, for whoever
    opens it to say so; UsageError where several runs begin like that.
    """
    from pcbench.records import layout

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
