"""`pcbench list`: what there is of one kind, with origins and with the reasons of what is broken."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, show

if TYPE_CHECKING:
    from pcbench.catalogue import Catalogue, Registry


class Listed(enum.StrEnum):
    """What can be listed."""

    methods = "methods"
    backbones = "backbones"
    datasets = "datasets"
    protocols = "protocols"
    recipes = "recipes"
    suites = "suites"


def list_(
    kind: Annotated[Listed, typer.Argument(help="What to list.")],
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """List methods, backbones, data sets, protocols, recipes of the protocol `standard`, or suites."""
    entries = listing(kind, opened(folders))
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None, box=None, pad_edge=False)
    table.add_column(
        "name", no_wrap=True, min_width=max((len(entry["name"]) for entry in entries), default=0)
    )
    table.add_column("summary", overflow="fold", min_width=20)
    if kind not in (Listed.protocols, Listed.recipes, Listed.suites):
        table.add_column("origin", overflow="fold", min_width=20, style="dim")
    for entry in entries:
        reason = entry.get("error")
        summary = Text(f"broken: {reason}", style="red") if reason else Text(entry["summary"])
        table.add_row(Text(entry["name"]), summary, *([entry["origin"]] if "origin" in entry else []))
    show(table)


def listing(kind: Listed, catalogue: Catalogue) -> list[dict[str, Any]]:
    """What `pcbench list` prints, as JSON values."""
    if kind is Listed.protocols:
        from pcbench.protocols.protocol import PROTOCOLS

        return [{"name": each.name, "summary": each.summary} for each in PROTOCOLS.values()]
    if kind is Listed.recipes:
        from pcbench.protocols import recipes

        return [{"name": each.backbone, "summary": each.summary} for each in recipes.listing()]
    if kind is Listed.suites:
        from pcbench.protocols import suites

        return [{"name": each.name, "summary": each.summary} for each in suites.listing()]
    registries: dict[Listed, Registry[Any]] = {
        Listed.methods: catalogue.methods,
        Listed.backbones: catalogue.backbones,
        Listed.datasets: catalogue.datasets,
    }
    return [
        {"name": each.name, "summary": each.summary, "origin": each.origin, "error": each.error}
        for each in registries[kind].plugins()
    ]
