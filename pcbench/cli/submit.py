"""`pcbench submit`: finished runs to a folder that a pull request can carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pcbench.cli.output import AsJson, PluginFolders, opened, say

if TYPE_CHECKING:
    from pcbench.submission.submit import Submitted


def submit(
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="A run's folder, or a folder of runs: all of them.")
    ],
    licence: Annotated[
        str,
        typer.Option(
            "--license",
            metavar="SPDX",
            help="Under which records, clouds and plugins are given: an SPDX id, as MIT.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The submission, a new folder.")
    ] = Path("submission"),
    artifact_url: Annotated[
        str | None,
        typer.Option(
            "--artifact-url",
            metavar="URL",
            help="Where the clouds are, as URL/RUN/clouds.h5, instead of in the submission.",
        ),
    ] = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="Put in what students took each test cloud for, some kB an evaluation."
        ),
    ] = False,
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Make a submission of finished runs and check it; nothing is sent anywhere.

    Runs that failed, or are not finished or not evaluated, are left out and named.

    It holds records, clouds, the source of plugins that are not built in, and a manifest with hashes. Clouds
    made from data that may not be passed on, as ModelNet's, are named by hash, and by address where
    --artifact-url gives one.
    """
    from pcbench.submission.submit import found
    from pcbench.submission.submit import submit as make

    runs, unusable = found(run)
    made = make(opened(plugins), runs, out, licence, artifact_url, predictions)
    left_out = [*unusable, *made.left_out]
    if as_json:
        document = {
            "folder": str(made.folder),
            "manifest": made.manifest.model_dump(mode="json"),
            "clouds_elsewhere": list(made.elsewhere),
            "left_out": left_out,
            "steps": steps(made),
        }
        typer.echo(json.dumps(document, indent=1))
        return
    for line in left_out:
        say(f"left out: {line}", err=True)
    total = sum(entry.bytes for entry in made.manifest.files)
    say(f"{made.folder}: {len(made.manifest.files)} files, {total / 1e6:.1f} MB, checked.")
    if made.elsewhere and artifact_url is None:
        say(
            f"The clouds of {len(made.elsewhere)} runs are named by hash alone, for their data may not be "
            "passed on. A maintainer can then verify them only by --redistill, unless you hand them over."
        )
    say("Next:")
    for number, step in enumerate(steps(made), 1):
        say(f"  {number}. {step}")


def steps(made: Submitted) -> list[str]:
    """What to do for a pull request."""
    name = made.folder.name
    first = []
    if made.elsewhere and any(artifact.url for artifact in made.manifest.artifacts):
        first = ["Put each run's clouds.h5 where the manifest says, and leave them there."]
    return [
        *first,
        f"Read {made.folder}: commands and names of hardware in the records become public.",
        f"Fork the leaderboard's repository and copy the folder to submissions/{name} on a new branch.",
        f"pcbench results validate submissions/{name} --against origin/main:submissions",
        f"git add submissions/{name} && git commit, push the branch, open a pull request.",
    ]
