"""`pcbench data fetch`: download a data set that its owners publish freely, and import it."""

from __future__ import annotations

from typing import Annotated

import typer

from pcbench.cli.output import PluginFolders, opened, progress_bars, say
from pcbench.cli.stopping import interruptible


def fetch(
    name: Annotated[str, typer.Argument(help="The data set, as 'pcbench data list' names it.")],
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="URL",
            help="Where to download from instead: an archive, or a folder (ends in /). May be repeated. "
            "Without it, the URLs in PCBENCH_MIRRORS, else the owners'.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archive once it is imported.")] = False,
    folders: PluginFolders = None,
) -> None:
    """Download a data set, check it, and put it into the store; an interrupted download is resumed."""
    from pcbench.datasets import fetch as fetching
    from pcbench.datasets.store import data_root, importable
    from pcbench.errors import UsageError

    dataset = opened(folders).datasets.load(name)()
    archive = fetching.archive_of(dataset)
    if archive is None:
        raise UsageError(f"{name} is not fetched: {dataset.how_to_get()}")
    urls = fetching.mirrors(archive, mirror or ())
    if dataset.present():
        say(f"{name} is already in {data_root()}")
        return
    kept = "run the same command again: it goes on with what is downloaded"
    with interruptible(kept), progress_bars() as bars:
        tasks = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            unit = 1e6 if what.endswith("MB") else 1
            bars.update(tasks[what], completed=done / unit, total=total and total / unit)

        def tell(sentence: str) -> None:
            bars.console.print(sentence, markup=False, emoji=False, highlight=False, soft_wrap=True)

        manifest = fetching.fetch(importable(dataset), archive, urls, keep, progress, tell)
    say(
        f"imported {manifest.name}: {manifest.train} training and {manifest.test} test clouds "
        f"of {manifest.points} points, in {data_root()}"
    )
