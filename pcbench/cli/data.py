"""`pcbench data`: fetch, import, list, show, verify and remove data sets."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli import data_fetch
from pcbench.cli.output import AsJson, PluginFolders, opened, progress_bars, say, show
from pcbench.cli.show import show_data
from pcbench.cli.stopping import interruptible
from pcbench.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pcbench.api import Dataset
    from pcbench.catalogue import Registry
    from pcbench.datasets.store import Manifest

app = typer.Typer(
    help="Fetch, import, list, show, verify and remove data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("fetch")(data_fetch.fetch)
app.command("show")(show_data)


class Sampled(enum.StrEnum):
    """How 1024 points are chosen where a copy has more."""

    farthest = "farthest"
    first = "first"
    random = "random"


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    path: Annotated[Path, typer.Argument(help="The folder that holds its files; see 'pcbench docs data'.")],
    sampling: Annotated[
        Sampled, typer.Option("--sampling", help="How 1024 points are chosen where there are more.")
    ] = Sampled.farthest,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of random sampling, and of points drawn from meshes.")
    ] = 0,
    allow_incomplete: Annotated[
        bool,
        typer.Option(
            "--allow-incomplete",
            help="Take a partial or modified copy; every record will say that it is not the standard one.",
        ),
    ] = False,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Check a copy of a data set and put it into the store (PCBENCH_DATA, or the user's cache)."""
    from pcbench.datasets.store import ImportOptions, data_root, importable

    dataset = importable(opened(folders).datasets.load(name)())
    options = ImportOptions(sampling.value, seed, allow_incomplete)
    with interruptible("the store is as it was"), progress_bars() as bar:
        task = bar.add_task("reading clouds", total=None)
        manifest = dataset.import_from(
            path, lambda done, total: bar.update(task, completed=done, total=total), options
        )
    if as_json:
        typer.echo(_as_json(manifest))
        return
    also = "" if manifest.name == name else f", which {name} is a part of"
    say(
        f"imported {manifest.name}{also}: {manifest.train} training and {manifest.test} test clouds "
        f"of {manifest.points} points, in {data_root()}"
    )
    for line in _notes(manifest):
        say(line)


@app.command("list")
def list_(folders: PluginFolders = None, as_json: AsJson = False) -> None:
    """List the data sets, and how to get those that this machine does not have."""
    from rich.table import Table
    from rich.text import Text

    from pcbench.datasets import listing

    rows = listing(opened(folders).datasets)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "variant", "classes", "train", "test", "up", "state"):
        table.add_column(column, no_wrap=column not in ("variant", "state"), overflow="fold")
    for row in rows:
        sizes = ["" if size is None else str(size) for size in (row.classes, row.train, row.test)]
        state = row.error or (f"absent: {row.how_to_get}" if row.state == "absent" else row.state)
        table.add_row(*map(Text, (row.name, row.variant, *sizes, row.up_axis, state)))
    show(table)


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Hash a stored data set again, and say whether it is as it was imported."""
    from pcbench.datasets import store

    manifest = store.verify(_stored(name, opened(folders).datasets))
    if as_json:
        typer.echo(_as_json(manifest))
        return
    say(
        f"{manifest.name} is as it was imported: {manifest.train} training and {manifest.test} test clouds "
        f"of {manifest.points} points, {manifest.variant}, from {len(manifest.sources)} files"
    )
    for line in _notes(manifest):
        say(line)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    folders: PluginFolders = None,
) -> None:
    """Take a data set out of the store; the files that it was imported from are not touched."""
    from pcbench.datasets import store

    found = _stored(name, opened(folders).datasets)
    if found != name:
        raise UsageError(f"{name} is a part of {found}: 'pcbench data remove {found}' removes both")
    store.remove(name)
    say(f"removed {name} from {store.data_root()}")


def _stored(name: str, datasets: Registry[Dataset]) -> str:
    """The name under which the store has a data set, or the one that it is a part of."""
    from pcbench.datasets import store

    if name in store.stored_names():
        return name
    if name not in datasets.names():
        near = did_you_mean(name, {*datasets.names(), *store.stored_names()})
        raise UsageError(f"unknown data set {name!r}. {near}")
    manifest = store.importable(datasets.load(name)()).manifest()
    if manifest is None:
        raise DataError(f"{name} is not in {store.data_root()}: {datasets.load(name)().how_to_get()}")
    return manifest.name


def _notes(manifest: Manifest) -> list[str]:
    """What a user should know of a stored data set."""
    lines = [f"content hash {manifest.content_hash}, sampling {manifest.sampling}"]
    train, test, across = manifest.duplicated()
    if manifest.duplicates:
        lines.append(
            f"identical clouds: {train} repeat another in training, {test} in test, and {across} of test "
            f"stand in training too (first: {', '.join(manifest.duplicates[0])})"
        )
    elif manifest.schema_version > 1:  # the first version did not look
        lines.append("no two clouds are identical")
    if not manifest.complete:
        lines.append("incomplete: results on it will not count as results on the standard data set")
    return lines


def _as_json(manifest: Manifest) -> str:
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
