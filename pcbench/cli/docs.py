"""`pcbench docs`: the pages that explain pcbench, which an installed package carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pcbench.cli.complete import PAGES
from pcbench.cli.output import AsJson, say
from pcbench.errors import UsageError, did_you_mean


def docs(
    page: Annotated[
        str | None,
        typer.Argument(metavar="PAGE", autocompletion=PAGES, help="The page to print. Default: list them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a page of the documentation, as Markdown; without a name, list the pages."""
    there = pages()
    if page is None:
        titles = {name: _title(path) for name, path in there.items()}
        if as_json:
            typer.echo(
                json.dumps([{"name": name, "title": title} for name, title in titles.items()], indent=1)
            )
            return
        width = max(map(len, titles))
        for name, title in titles.items():
            say(f"{name:{width}}  {title}")
        return
    if page not in there:
        raise UsageError(f"no page is called {page!r}. {did_you_mean(page, there)}")
    text = there[page].read_text(encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"name": page, "text": text}, indent=1))
    else:
        say(text.rstrip("\n"))


def pages() -> dict[str, Path]:
    """The files of all pages by name; the README first, as `readme`."""
    from pcbench.common.packaged import builtin

    return {"readme": builtin("README.md")} | {
        path.stem: path for path in sorted(builtin("docs").glob("*.md"))
    }


def _title(path: Path) -> str:
    """The first heading of a page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))
