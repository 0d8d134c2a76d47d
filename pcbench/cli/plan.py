"""`pcbench plan`: cells as a file, for whoever works through them, or through a part of them, elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pcbench.cli.asking import Asking, with_options
from pcbench.cli.outcomes import print_absent
from pcbench.cli.output import AsJson, Device, PluginFolders, opened, say


@with_options(Asking)
def plan(
    asking: Asking,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file.")] = Path("plan.json"),
    device: Device = "auto",
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Write the cells that `run` would work through, with the same options, to a file.

    It holds the parameters in effect, the hashes of code and data, the protocols and the seeds, in the order
    of the work, and no path. `run --plan FILE` works through it on any machine, `--share 3/8` through a part;
    where code or data there are not those that were planned, it refuses.
    """
    from pcbench.engine import frozen, machine, requests
    from pcbench.records import plans

    catalogue = opened(plugins)
    gpu = machine.choose_device(device).type == "cuda"
    planned = requests.planned(catalogue, asking.asked(), gpu)
    frozen_plan = frozen.freeze(planned.cells, planned.snapshots)
    plans.write(out, frozen_plan)
    if as_json:
        values = {"file": str(out), "hash": frozen_plan.hash, "cells": len(planned.cells)}
        typer.echo(json.dumps(values | {"absent": len(planned.absent)}, indent=1))
        return
    print_absent(planned.absent)
    say(f"{out}: {len(planned.cells)} cells. Next: pcbench run --plan {out}, or a part: --share 1/8")
