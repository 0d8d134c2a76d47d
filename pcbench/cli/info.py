"""`pcbench info`: all that is known about one method, backbone and its recipe, data set or protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.complete import PLUGINS
from pcbench.cli.output import AsJson, PluginFolders, console, opened, show
from pcbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pcbench.api import Backbone, Dataset
    from pcbench.catalogue import Catalogue
    from pcbench.catalogue.loading import Plugin

CLASS_COUNTS = (10, 15, 40, 55)


def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", autocompletion=PLUGINS, help="A name that 'pcbench list' shows.")
    ],
    folders: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Show all about a method, backbone, data set or protocol."""
    found = described(name, opened(folders))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for kind, entry in found.items():
        _print_entry(kind, entry)


def described(name: str, catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """By kind, what carries the name, as JSON values; raises UsageError where nothing does."""
    from pcbench.catalogue.describe import parameters
    from pcbench.protocols import recipes
    from pcbench.protocols.protocol import PROTOCOLS, STANDARD

    methods, backbones, datasets = catalogue.methods, catalogue.backbones, catalogue.datasets
    found: dict[str, dict[str, Any]] = {}
    if name in methods:
        found["method"] = _heading(methods.get(name)) | {"parameters": parameters(methods.load(name))}
    if name in backbones:
        found["backbone"] = _heading(backbones.get(name)) | _backbone(backbones.load(name))
        beside = backbones.get(name).path.parent
        if recipes.locate(name, beside):
            found["recipe"] = {"name": name} | recipes.find(name, beside).model_dump(
                mode="json", exclude={"backbone"}
            )
    if name in datasets:
        found["dataset"] = _heading(datasets.get(name)) | _dataset(datasets.load(name)())
    if name in PROTOCOLS:
        found["protocol"] = PROTOCOLS[name].model_dump(mode="json")
    if name == STANDARD.name:
        found["protocol"]["whole"] = "the backbone's own: pcbench list recipes, pcbench info BACKBONE"
    if not found:
        known = {*methods.names(), *backbones.names(), *datasets.names(), *PROTOCOLS}
        raise UsageError(f"nothing is called {name!r}. {did_you_mean(name, known)}")
    return found


def _heading(plugin: Plugin[Any]) -> dict[str, Any]:
    return {"name": plugin.name, "docstring": plugin.docstring(), "origin": plugin.origin}


def _backbone(backbone: type[Backbone]) -> dict[str, Any]:
    import torch

    presets = []
    for name, arguments in backbone.presets.items():
        counts = {}
        for classes in CLASS_COUNTS:
            with torch.device("meta"):
                network = backbone(classes, **arguments)
            counts[str(classes)] = sum(parameter.numel() for parameter in network.parameters())
        presets.append({"name": name, "arguments": dict(arguments), "parameters_by_classes": counts})
    return {"presets": presets}


def _dataset(dataset: Dataset) -> dict[str, Any]:
    present = dataset.present()
    return {
        "variant": dataset.variant,
        "classes": dataset.classes,
        "training_clouds": dataset.train_size,
        "test_clouds": dataset.test_size,
        "up_axis": dataset.up_axis,
        "redistributable": dataset.redistributable,
        "present": present,
        "how_to_get": None if present else dataset.how_to_get(),
    }


def _print_entry(kind: str, entry: dict[str, Any]) -> None:
    from rich.table import Table

    from pcbench.catalogue.describe import limits_text, value_text

    fields = Table.grid(padding=(0, 2))
    fields.add_column(no_wrap=True, style="bold")
    fields.add_column(overflow="fold")
    fields.add_row(_label(kind), entry["name"])
    for key, value in entry.items():
        if key != "name" and not isinstance(value, list) and value is not None:
            fields.add_row(_label(key), value_text(value))
    console().print(fields)
    for key, rows in entry.items():
        if not isinstance(rows, list):
            continue
        console().print(f"\n{key}" if rows else f"\n{key}: none", style="bold")
        table = Table(box=None, pad_edge=False)
        for column in rows[0] if rows else ():
            width = max((len(row["name"]) for row in rows), default=0) if column == "name" else 6
            table.add_column(_label(column), no_wrap=column == "name", min_width=width, overflow="fold")
        for row in rows:
            table.add_row(*(limits_text(v) if k == "limits" else value_text(v) for k, v in row.items()))
        if rows:
            show(table)


def _label(key: str) -> str:
    return "data set" if key == "dataset" else key.replace("_", " ")
