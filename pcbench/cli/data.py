"""`pcbench data`: fetch, import, list, show, verify and remove data sets."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli import data_fetch
from pcbench.cli.output import AsJson, PluginFolders, WhichPoints, opened, progress_bars, say, show
from pcbench.cli.show import show_data
from pcbench.cli.stopping import interruptible
from pcbench.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pcbench.api import Dataset
    from pcbench.catalogue import Datasets, Registry
    from pcbench.datasets.store import ImportOptions, Manifest, Validation

app = typer.Typer(
    help="Fetch, import, list, show, verify and remove data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("fetch")(data_fetch.fetch)
app.command("show")(show_data)


class Upsampled(enum.StrEnum):
    """What becomes of clouds that have fewer points than are stored."""

    repeat = "repeat"


class Up(enum.StrEnum):
    """The axis that points up."""

    x = "x"
    y = "y"
    z = "z"
    none = "none"


class WhereTo(enum.StrEnum):
    """Where clouds for validation go."""

    train = "train"
    test = "test"
    apart = "apart"

    @property
    def choice(self) -> Validation:
        """The same as the store knows it."""
        return "apart" if self is WhereTo.apart else "train" if self is WhereTo.train else "test"


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    path: Annotated[Path, typer.Argument(help="The folder that holds its files; see 'pcbench docs data'.")],
    sampling: Annotated[
        WhichPoints, typer.Option("--sampling", help="How points are chosen where a cloud has more.")
    ] = WhichPoints.farthest,
    points: Annotated[
        int | None,
        typer.Option("--points", min=64, max=10_000, help="Points stored of a cloud.  [default: 1024]"),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Of random sampling, points drawn from meshes, and --test-share."),
    ] = 0,
    allow_incomplete: Annotated[
        bool,
        typer.Option(
            "--allow-incomplete",
            help="Take a partial or modified copy; every record will say that it is not the standard one.",
        ),
    ] = False,
    own_name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Own data: what it is called from now on.")
    ] = "folder",
    up: Annotated[Up, typer.Option("--up", help="Own data: the axis that points up.")] = Up.none,
    licence: Annotated[
        str, typer.Option("--licence", metavar="WORDS", help="Own data: under which licence, as CC-BY-4.0.")
    ] = "",
    test_share: Annotated[
        float | None,
        typer.Option(
            "--test-share",
            min=0.01,
            max=0.99,
            help="Own data without splits: the test's share of every class.",
        ),
    ] = None,
    val: Annotated[
        WhereTo | None, typer.Option("--val", help="Own data: where clouds for validation go.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", metavar="PATTERN", help="Own data: leave out such files, as '*.log'; may be repeated."
        ),
    ] = None,
    upsample: Annotated[
        Upsampled | None,
        typer.Option("--upsample", help="Own data: let clouds of fewer points repeat them."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Own data: take the place of what has the same name.")
    ] = False,
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Check a copy of a data set and put it into the store (PCBENCH_DATA, or the user's cache).

    Your own clouds and meshes: pcbench data import folder PATH --name trees --up z
    """
    from pcbench.datasets.store import ImportOptions, Own, TreeOptions, data_root, importable

    catalogue = opened(folders)
    dataset = importable(catalogue.datasets.load(name)())
    tree = TreeOptions(own_name, test_share, val.choice if val else None, tuple(ignore or ()))
    own = Own(up_axis=up.value, licence=licence) if own_name != "folder" else None
    options = ImportOptions(
        sampling.value, seed, allow_incomplete, points, upsample is not None, own, tree, replace
    )
    _check_own(name, options, up, licence, catalogue.datasets)
    bar = progress_bars()
    task = bar.add_task("reading clouds", total=None)

    def progress(done: int, total: int) -> None:
        bar.start()  # not before there is something to read: what is refused earlier is one line
        bar.update(task, completed=done, total=total)

    with interruptible("the store is as it was"):
        try:
            manifest = dataset.import_from(path, progress, options)
        finally:
            if bar.live.is_started:
                bar.stop()
    if as_json:
        typer.echo(_as_json(manifest))
        return
    of_another = name not in (manifest.name, "folder")
    also = f", which {name} is a part of" if of_another else ""
    say(
        f"imported {manifest.name}{also}: {manifest.train} training and {manifest.test} test clouds "
        f"of {manifest.points} points, in {data_root()}"
    )
    for line in _notes(manifest):
        say(line)


def _check_own(name: str, options: ImportOptions, up: Up, licence: str, datasets: Datasets) -> None:
    """UsageError for an option that only own data have, and for a name that is taken."""
    own_name = options.tree.name
    if name != "folder":
        only = {
            "--name": own_name != "folder",
            "--up": up is not Up.none,
            "--licence": licence,
            "--test-share": options.tree.test_share is not None,
            "--val": options.tree.validation,
            "--ignore": options.tree.ignore,
            "--upsample": options.repeat,
            "--replace": options.replace,
        }
        for option in (option for option, given in only.items() if given):
            raise UsageError(f"{option} is for data of your own: pcbench data import folder PATH {option} …")
    elif own_name == "folder" and (up is not Up.none or licence):
        raise UsageError("--up and --licence go with --name: data without a name of their own have neither")
    elif own_name != "folder":
        taken = [each for each in datasets.names() if each.casefold() == own_name.casefold()]
        if taken and own_name not in datasets.own():
            raise UsageError(f"--name {own_name}: {taken[0]} is another data set: choose another name")


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
        most = "≤ " if row.at_most else ""
        counts = ["" if size is None else f"{most}{size}" for size in (row.train, row.test)]
        sizes = ["" if row.classes is None else str(row.classes), *counts]
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
    lines += manifest.notes
    if manifest.own and manifest.own.licence:
        lines.append(f"licence {manifest.own.licence}")
    if not manifest.complete:
        lines.append("incomplete: results on it will not count as results on the standard data set")
    return lines


def _as_json(manifest: Manifest) -> str:
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
