"""`pcbench data`: fetch or import data sets, and list what this machine has."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pcbench.cli import data_fetch
from pcbench.cli.output import AsJson, PluginFolders, progress_bars, show

app = typer.Typer(help="Fetch, import and list data sets.", no_args_is_help=True, rich_markup_mode=None)
app.command("fetch")(data_fetch.fetch)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    path: Annotated[Path, typer.Argument(help="The folder that holds its files.")],
    folders: PluginFolders = None,
) -> None:
    """Check a copy of a data set and put it into the store (PCBENCH_DATA, or the user's cache)."""
    from pcbench.datasets.store import data_root, importable
    from pcbench.plugins import datasets

    dataset = importable(datasets(folders or ()).load(name)())
    with progress_bars() as bar:
        task = bar.add_task("reading clouds", total=None)
        manifest = dataset.import_from(
            path, lambda done, total: bar.update(task, completed=done, total=total)
        )
    also = "" if manifest.name == name else f", which {name} is a part of"
    typer.echo(
        f"imported {manifest.name}{also}: {manifest.train} training and {manifest.test} test clouds "
        f"of {manifest.points} points, in {data_root()}"
    )


@app.command("list")
def list_(folders: PluginFolders = None, as_json: AsJson = False) -> None:
    """List the data sets, and how to get those that this machine does not have."""
    from rich.table import Table
    from rich.text import Text

    from pcbench.datasets import listing

    rows = listing(folders or ())
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "variant", "classes", "train", "test", "up", "present"):
        table.add_column(column, no_wrap=column not in ("variant", "present"), overflow="fold")
    for row in rows:
        sizes = ["" if size is None else str(size) for size in (row.classes, row.train, row.test)]
        present = row.error or ("yes" if row.present else f"no: {row.how_to_get}")
        table.add_row(*map(Text, (row.name, row.variant, *sizes, row.up_axis, present)))
    show(table)
