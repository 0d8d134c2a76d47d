"""`pcbench tune`: choose parameters on the validation part of a data set, never on the test split."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.complete import DATASETS, METHODS, PROTOCOLS
from pcbench.cli.output import AsJson, Device, PluginFolders, opened, pairs, say, show, words
from pcbench.cli.run import Means, execute
from pcbench.cli.spans import combinations, numbers, repetitions
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from pcbench.engine.evaluate import Outcome


@dataclass(frozen=True)
class Tried:
    """One combination of parameters and what it scored on the validation part."""

    variation: Mapping[str, Any]
    """The parameters that differ from the method's defaults; none of the defaults themselves."""
    setting: str
    """What the method calls these parameters; empty where it has no name for them."""
    oa: list[float]
    """Overall accuracies at the last snapshot of all students of all cells, in [0, 1]."""
    problems: list[str]
    """Why cells have no score."""

    @property
    def mean(self) -> float:
        """The mean of the accuracies, in percent; below all others where there is none."""
        return 100 * statistics.fmean(self.oa) if self.oa and not self.problems else float("-inf")


def tune(
    method: Annotated[
        str, typer.Argument(metavar="METHOD[:SETTING]", autocompletion=METHODS, help="The method.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=A,B,C", help="A parameter and the values to try, repeatable."),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", metavar="DATASET", autocompletion=DATASETS, help="The data set.")
    ] = "shapes10",
    ppc: Annotated[
        list[str] | None, typer.Option("--ppc", metavar="1,3,10", help="Clouds per class. Default: 3.")
    ] = None,
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", metavar="NAME[:PRESET]", help="Network. Default: pointnet.")
    ] = "",
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", metavar="PROTOCOL", autocompletion=PROTOCOLS, help="As of run.")
    ] = "",
    repetition: Annotated[
        str, typer.Option("--repetition", metavar="0-4", help="Which repeated distillations count.")
    ] = "0",
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")] = Path("results"),
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Choose parameters on a fifth of the training clouds.

    The defaults and every combination of the values are distilled from the other four fifths and scored on
    the held-out one. What was tried stands in the records: the board can say what chose a setting.
    """
    from pcbench.engine import frozen, plan, requests, server

    spans = combinations(pairs(set_ or ()))
    fixed = _fixed(spans)
    if spans == [fixed]:
        raise UsageError("tune needs values of a method's parameter to try: --set KEY=A,B,C, repeatable")
    server.start()
    means = Means(device, plugins or ())
    gpu = means.gpu()
    common = requests.with_defaults(
        plan.Request(
            methods=(method,),
            datasets=() if dataset == "shapes10" else (dataset,),
            ppcs=tuple(numbers(words(ppc))),
            backbone=backbone,
            protocol=protocol,
        ),
        gpu,
    )
    asked = requests.Asked(
        common, [fixed, *spans], repetitions(words([repetition])), validation=True, snapshots="last"
    )
    planned = requests.planned(opened(plugins), asked, gpu)
    whole = frozen.freeze(planned.cells, planned.snapshots)
    outcomes = execute(planned.cells, out, whole, means)
    tried = sorted(_tried(outcomes), key=lambda each: -each.mean)
    if as_json:
        typer.echo(json.dumps({"tried": [asdict(each) for each in tried]}, indent=1))
    else:
        beside = [word for key, value in fixed.items() for word in ("--set", f"{key}={value}")]
        beside += ["--backbone", backbone] if backbone else []
        beside += ["--repetition", repetition] if repetition != "0" else []
        _print(tried, method, common, beside, plugins or ())
    if any(each.problems for each in tried):
        raise typer.Exit(1)


def _fixed(spans: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The protocol's settings, one value each, with which the method's defaults are tried too."""
    from pcbench.protocols import protocol

    values: dict[str, set[str]] = {}
    for each in spans:
        for key in each.keys() & protocol.SETTINGS:
            values.setdefault(key, set()).add(each[key])
    several = sorted(key for key, texts in values.items() if len(texts) > 1)
    if several:
        raise UsageError(f"--set {several[0]}: tune chooses a method's parameters, under one protocol")
    return {key: texts.pop() for key, texts in values.items()}


def _tried(outcomes: Sequence[Outcome]) -> list[Tried]:
    """The outcomes by parameters, in the order in which they were tried."""
    by_params: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_params.setdefault(json.dumps(outcome.run.distillation.inputs.params, sort_keys=True), []).append(
            outcome
        )
    return [
        Tried(
            variation=group[0].run.distillation.inputs.variation,
            setting=group[0].run.distillation.inputs.setting,
            oa=[oa for outcome in group for record in outcome.run.evaluations for oa in record.headline.oa],
            problems=[outcome.problem for outcome in group if outcome.problem],
        )
        for group in by_params.values()
    ]


def _print(
    tried: Sequence[Tried], method: str, request: Any, beside: Sequence[str], plugins: Sequence[Path]
) -> None:
    """What was tried, the best first, and the command that tests it.

    beside: options of that command that are the same for all that was tried.
    """
    from rich.table import Table
    from rich.text import Text

    from pcbench.records.labels import method_title
    from pcbench.report.text import spread

    name = method.partition(":")[0]
    say(f"Accuracy in percent on the validation part of {request.datasets[0]}, best first")
    table = Table(box=None, pad_edge=False)
    table.add_column("parameters", no_wrap=True)
    table.add_column("OA", justify="right", no_wrap=True)
    table.add_column("students", justify="right", no_wrap=True)
    for each in tried:
        scores = [100 * oa for oa in each.oa]
        deviation = statistics.stdev(scores) if len(scores) > 1 else None
        oa = each.problems[0] if each.problems else spread(each.mean, deviation)
        table.add_row(Text(method_title(name, each.variation, each.setting)), Text(oa), str(len(scores)))
    show(table, spare=("students",))
    best = tried[0]
    if best.problems:
        return
    words = ["pcbench", "run", "--method", f"{name}:{best.setting}" if best.setting else name]
    if not best.setting:
        for key, value in best.variation.items():
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--dataset", request.datasets[0], "--protocol", request.protocol]
    words += ["--ppc", ",".join(map(str, request.ppcs)), *beside]
    for folder in plugins:
        words += ["--plugins", str(folder)]
    say(f"Best of {len(tried)}. On the test split: {shlex.join(words)}")
