"""`pcbench leaderboard`: records to a site."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import PluginFolders, opened, progress_bars, say
from pcbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from pcbench.catalogue import Catalogue
    from pcbench.report.site import Built
    from pcbench.report.viewer import Clouds

app = typer.Typer(help="Turn records into a leaderboard.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _leaderboard() -> None:
    pass


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")]
BaseUrl = Annotated[
    str,
    typer.Option("--base-url", metavar="URL", help="Where the site will stand, for links from elsewhere."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the site goes.")]
WithClouds = Annotated[
    bool,
    typer.Option("--with-clouds", help="Show clouds of data sets that must not be published, for local use."),
]


@app.command()
def build(
    results: Results = Path("results"),
    out: Out = Path("site"),
    base_url: BaseUrl = "",
    with_clouds: WithClouds = False,
    folders: PluginFolders = None,
) -> None:
    """Make a site of all records of a folder: pages, leaderboard.md, data/leaderboard.json."""
    from pcbench.report.viewer import Clouds

    catalogue = opened(folders)
    clouds = Clouds(catalogue.datasets, with_clouds)
    built = _built(results, out, catalogue, clouds, base_url)
    for problem in built.problems:
        say(f"warning: left out {problem}", err=True)
    for remark in built.remarks:
        say(f"warning: {remark}", err=True)
    if with_clouds:
        say(f"warning: {out} may hold clouds that must not be published (--with-clouds)", err=True)
    removed = f", {len(built.removed)} old ones removed" if built.removed else ""
    say(f"wrote {built.files} files{removed}: open {out / 'index.html'}")


def _built(results: Path, out: Path, catalogue: Catalogue, clouds: Clouds, base_url: str) -> Built:
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

        return build(results, out, catalogue, clouds, address, report)


@app.command()
def serve(
    results: Results = Path("results"),
    out: Out = Path("site"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    with_clouds: WithClouds = False,
    folders: PluginFolders = None,
) -> None:
    """Build the site, show it on this machine alone, and again when records change; Ctrl-C ends it."""
    from pcbench.common.packaged import builtin
    from pcbench.report.serve import Server
    from pcbench.report.site import build as rebuilt
    from pcbench.report.viewer import Clouds

    server = Server(out, port)
    catalogue = opened(folders)
    clouds = Clouds(catalogue.datasets, with_clouds)
    _built(results, out, catalogue, clouds, "")

    def again() -> None:
        rebuilt(results, out, opened(folders), clouds)

    watched = (results, builtin("leaderboard/templates"), builtin("leaderboard/static"), *(folders or []))
    server.watch(watched, again, lambda words: say(words, err=True))
    say(f"{server.address} (Ctrl-C ends it)")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()


@app.command()
def check(
    results: Annotated[Path, typer.Option("--results", metavar="DIR", help="The published records.")] = Path(
        "leaderboard/results"
    ),
    table: Annotated[
        Path, typer.Option("--table", metavar="FILE", help="The Markdown table that was made of them.")
    ] = Path("leaderboard/leaderboard.md"),
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="A built site, whose links are checked too.")
    ] = None,
    base_url: BaseUrl = "",
) -> None:
    """Say what is wrong with published records, their table, and the links of a site; exit code 3."""
    from pcbench.report import check as checks
    from pcbench.report.text import plain

    if not results.is_dir():
        raise UsageError(f"{results} is no folder: name that of the records with --results")
    problems = list(checks.records(opened(None), results, table, base_url.rstrip("/")))
    if site is not None:
        with progress_bars() as bars:
            task = bars.add_task("pages", total=None)
            problems += checks.site(site, lambda done, total: bars.update(task, completed=done, total=total))
    for problem in problems:
        say(plain(problem))
    if problems:
        raise typer.Exit(DataError.exit_code)
    say(f"{results}: nothing wrong")
