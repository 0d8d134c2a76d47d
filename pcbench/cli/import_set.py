"""`pcbench import-set`: students of a set that another program distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pcbench.cli.complete import DATASETS, PROTOCOLS
from pcbench.cli.outcomes import finish
from pcbench.cli.output import AsJson, Device, PluginFolders, opened, pairs, say, words
from pcbench.cli.work import work_through


def import_set(
    clouds: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="An .npy, .npz, .pt or HDF5 file of all clouds, or a sub-folder a class of texts.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option("--method", "-m", metavar="NAME", help="What the set's method is called from now on."),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", metavar="DATASET", autocompletion=DATASETS, help="What was distilled."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="The labels (B,), where the clouds' file has none."),
    ] = None,
    class_names: Annotated[
        list[str] | None,
        typer.Option(
            "--class-names", metavar="A,B,C", help="The classes in the order of the labels. Default: by name."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="Repeatable: a parameter it was made with."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="WORDS", help="Where the set is from, as an address.")
    ] = "",
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", metavar="PROTOCOL", autocompletion=PROTOCOLS, help="As of run.")
    ] = "",
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Students, instead of the protocol's number.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Repeatable: a setting of the protocol."),
    ] = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the records go.")] = Path(
        "results"
    ),
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Train students on clouds that another program distilled, and keep a record.

    The record is of the open division: pcbench knows the clouds, and takes your word for the rest. Nothing in
    a file is run: of torch's files only tensors are read.
    """
    from pcbench.datasets.formats.sets import read_set
    from pcbench.engine import machine, requests
    from pcbench.engine.adopted import adopt, slots_of
    from pcbench.engine.plan import Request
    from pcbench.engine.working import of_evaluations

    found = read_set(clouds, labels)
    chosen = machine.choose_device(device)
    like = Request(
        methods=("random",),
        datasets=(dataset,),
        ppcs=(slots_of(found),),
        backbone="",
        protocol=protocol,
        students=seeds,
    )
    asked = requests.Asked(like, spans=[pairs(set_ or ())])
    (cell,) = requests.planned(opened(plugins), asked, chosen.type == "cuda").cells
    run = adopt(cell, found, method, out, pairs(param or ()), words(class_names), source)
    say(f"{run.folder}: {len(found.labels)} clouds, PPC {cell.inputs.ppc}, open division", err=True)
    outcomes = work_through(of_evaluations([(run, cell.evaluation)], chosen))
    finish(outcomes, [], out, as_json, plugins or ())
