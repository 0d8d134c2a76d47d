"""`pcbench leaderboard`: records to a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import PluginFolders, progress_bars
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from pcbench.report.site import Built

app = typer.Typer(help="Turn records into a leaderboard.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _leaderboard() -> None:
    pass


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")]
BaseUrl = Annotated[
    str,
    typer.Option("--base-url", metavar="URL", help="Where the site will stand, for links from elsewhere."),
]
WithClouds = Annotated[
    bool,
    typer.Option("--with-clouds", help="Show clouds of data sets that must not be published, for local use."),
]


@app.command()
def build(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the site goes.")] = Path("site"),
    base_url: BaseUrl = "",
    with_clouds: WithClouds = False,
    folders: PluginFolders = None,
) -> None:
    """Make a site of all records of a folder: pages, leaderboard.md, data/leaderboard.json."""
    made = _built(results, out, base_url, with_clouds, folders or [])
    for problem in made.problems:
        typer.echo(f"warning: left out {problem}", err=True)
    if with_clouds:
        typer.echo(f"warning: {out} may hold clouds that must not be published (--with-clouds)", err=True)
    removed = f", {len(made.removed)} old ones removed" if made.removed else ""
    typer.echo(f"wrote {made.files} files{removed}: open {out / 'index.html'}")


def _built(results: Path, out: Path, base_url: str, with_clouds: bool, folders: list[Path]) -> Built:
    from pcbench.report.site import build
    from pcbench.report.text import web_address

    address = base_url.rstrip("/")
    if address and web_address(address) is None:
        raise UsageError(f"--base-url {base_url}: an address is needed, as in https://host.example/board")
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        return build(results, out, address, with_clouds, folders, report)
