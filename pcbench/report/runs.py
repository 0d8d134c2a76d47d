"""The page of a run: how it was made, with what, and every score."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pcbench.catalogue.describe import value_text
from pcbench.common.schema import Model
from pcbench.protocols.variants import PLAIN
from pcbench.records import labels, layout
from pcbench.records.circumstances import Memory
from pcbench.records.labels import amount, bare_amount
from pcbench.records.layout import short
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run
from pcbench.report import by_cloud, commands, logged
from pcbench.report.answers import Answers
from pcbench.report.details import Confusion, by_class, confusion, learning_curves
from pcbench.report.results import MeasuredRun, page_name, peak_memory
from pcbench.report.status import MAINTAINERS, MEANING, finding, status_of, submitter
from pcbench.report.tables import MISSING, Block, Head, Heading, Line, Table, Value
from pcbench.report.text import duration, number, plain, shown, size, spread
from pcbench.report.values import beginning_note, bounds, method_page, run_page, scored

Pairs = tuple[tuple[str, str], ...]
"""Terms and what is said of each."""


@dataclass(frozen=True)
class SnapshotLine:
    """One snapshot of the clouds, as a line."""

    iteration: int
    """Updates done by then; 0 is the initialisation."""
    time: str
    """The distillation's clock then, for people."""
    clouds: str
    """Content hash of the clouds."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation."""

    accuracy: str
    """Mean and standard deviation of the overall accuracy, in percent."""
    about: str
    """Its 95 % interval, and how many students it is of."""
    settings: Pairs
    """Protocol, recipe, test and times."""
    provenance: Pairs
    """Where and with what the reported scores were made, but the command."""
    command: str
    """The command lines of all who trained students for it, a line each."""
    block: Block
    """Title, plots and tables of the scores, and what a verification found."""
    by_cloud: Block | None
    """What the students answered cloud by cloud; None where that was not kept."""
    confusion: Confusion | None
    """The confusion counts of the last snapshot, where the record has them."""


@dataclass(frozen=True)
class RunPage:
    """Everything that the page of a run shows."""

    page: str
    """The page, as `runs/3f9c0a12be`."""
    name: str
    """The last part of it, which names the files of the run's clouds, too."""
    title: str
    """The run in one line."""
    method: str
    """The method's name."""
    method_page: str
    """The method's page."""
    whose: str
    """Who made it and, where somebody submitted it, what of it nothing checks."""
    status: str
    """How the distillation ended."""
    reason: str
    """Why it did not end well; empty where it did."""
    stale: str
    """Why today's code would not make it; empty where it would, as far as is known."""
    inputs: Pairs
    """What the distillation depended on for people, its time and memory."""
    params: Pairs
    """The method's parameters in effect."""
    hashes: Pairs
    """What the distillation depended on for programs."""
    again: str
    """The commands that make it again, a line each."""
    command: str
    """The command line of the distillation, as it was given."""
    provenance: Pairs
    """Where and with what it ran, but the command."""
    snapshots: tuple[SnapshotLine, ...]
    """Its snapshots in their order."""
    evaluations: tuple[Evaluated, ...]
    """What students of them scored, the one that lists show first."""
    log: Block | None
    """What the method logged, as plots; None where it logged nothing."""
    downloads: tuple[tuple[str, str], ...]
    """The records' addresses within the site, and their names."""


BUSY = "busy machine, not comparable"


def page(measured: MeasuredRun, answers: Answers) -> RunPage:
    """The page of a run."""
    run = measured.run
    distillation = run.distillation
    inputs, name = distillation.inputs, page_name(distillation.key)
    data, log = inputs.data, logged.block(run)
    files = [*_records(run), *([layout.LOG] if log else [])]
    return RunPage(
        page=run_page(name),
        name=name,
        title=plain(labels.title(inputs)),
        method=plain(inputs.method),
        method_page=method_page(plain(inputs.method)),
        whose=_whose(run),
        status=distillation.status,
        reason=plain(distillation.reason),
        stale=plain("; ".join(measured.stale)),
        inputs=(
            ("Data set", f"{plain(data.name)} ({plain(data.variant)})" + ("" if data.standard else " †")),
            ("Points", f"{data.points}, sampling: {plain(data.sampling)}"),
            ("PPC", bare_amount(inputs.ppc)),
            *_kept_as(distillation),
            ("Distilled with", f"{plain(inputs.network.label)}, source {short(inputs.network.source)}"),
            ("Iterations", str(inputs.iterations)),
            ("Repetition", f"{inputs.repetition}, draw {plain(inputs.draw)}"),
            ("Time", _time(distillation)),
            *((("From", plain(distillation.origin)),) if distillation.origin else ()),
            *_memory(distillation),
        ),
        hashes=(
            ("Key", distillation.key),
            ("Data", data.hash),
            ("Method's source", inputs.source),
            ("Engine", str(inputs.engine)),
        ),
        params=tuple((plain(key), shown(value)) for key, value in sorted(inputs.params.items())),
        again=commands.again(run),
        command=plain(shlex.join(distillation.provenance.command)),
        provenance=provenance(distillation.provenance.model_dump(mode="json", exclude={"command"})),
        snapshots=tuple(
            SnapshotLine(e.iteration, duration(e.seconds), e.clouds) for e in distillation.snapshots
        ),
        evaluations=tuple(
            _evaluated(measured, answers, evaluation, f"e{number}")
            for number, evaluation in enumerate(shown_first(run), 1)
        ),
        log=log,
        downloads=tuple((f"data/{name}/{file}", file) for file in files),
    )


def shown_first(run: Run) -> list[EvaluationRecord]:
    """Its evaluations, the one that stands for the run first: plain test clouds, students of the network that
    it was distilled with."""
    network = run.distillation.inputs.network

    def order(evaluation: EvaluationRecord) -> tuple[bool, bool, bool]:
        inputs = evaluation.inputs
        return not run.reports(evaluation), inputs.variant != PLAIN, inputs.network != network

    return sorted(run.evaluations, key=order)


def _whose(run: Run) -> str:
    name = submitter(run)
    if name is None:
        return f"Made by {MAINTAINERS}."
    return (
        f"Submitted by {name}. Times, memory, hardware, versions and command lines are unchecked, claimed by "
        f"{name}."
    )


def record_files(run: Run) -> dict[str, Any]:
    """The records of a run by the names that they have beside its page, as JSON values."""
    return {name: record.model_dump(mode="json") for name, record in _records(run).items()}


def _records(run: Run) -> dict[str, Model]:
    """The records of a run by the same names."""
    files: dict[str, Model] = {layout.DISTILLATION: run.distillation}
    for evaluation in run.evaluations:
        files[layout.evaluation(run.folder, evaluation.key).name] = evaluation
    for checked in run.verifications:
        files[layout.verification(run.folder, checked.evaluation).name] = checked
    return files


def _time(distillation: DistillationRecord) -> str:
    """The clock of a distillation, with what went by before the first clouds."""
    if distillation.isolation == "external":
        return "unknown: another program distilled it"
    text = clocked(distillation.seconds, distillation.clock.busy(distillation.provenance.hardware))
    if not distillation.snapshots:
        return text
    note = beginning_note(distillation.snapshots[0].seconds, distillation.seconds)
    return f"{text}, {note}" if note else text


def clocked(seconds: float, busy: bool) -> str:
    """`3 min 05 s`, marked where the machine was busy."""
    return duration(seconds) + (f" ({BUSY})" if busy else "")


def _kept_as(distillation: DistillationRecord) -> Pairs:
    """What a parameterised set takes, and what students train on; nothing of plain clouds."""
    last = distillation.snapshots[-1] if distillation.snapshots else None
    if last is None or not last.expansion:
        return ()
    plain_bytes = distillation.inputs.plain_bytes
    kept = f"{plain(last.expansion)}, {last.bytes:,} bytes; plain clouds take {plain_bytes:,}"
    clouds = f"{last.trained_on} clouds of {last.trained_points} points"
    steps = f"{clouds}: {distillation.step_factor:g} × the steps of an epoch"
    marks = (("Students also learn", plain(", ".join(distillation.marks))),) if distillation.marks else ()
    return (("Kept as", kept), ("Students train on", steps), *marks)


def _memory(distillation: DistillationRecord) -> Pairs:
    """Peak memory of the GPU or, without one, of the method's process, which has torch in it."""
    on_gpu, peak = _on_gpu(distillation.memory), peak_memory(distillation)
    if on_gpu or peak is None:
        return on_gpu
    return (("Peak memory of the method's process, torch included", size(peak)),)


def _on_gpu(memory: Memory) -> Pairs:
    """Peak memory of a GPU. That of the host is left out where its process did other work before."""
    return () if memory.device_bytes is None else (("Peak memory of the GPU", size(memory.device_bytes)),)


def provenance(values: Mapping[str, Any]) -> Pairs:
    """All of it, one pair a value."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += [(f"{plain(key)}: {plain(name)}", shown(each)) for name, each in value.items()]
        else:
            found.append((plain(key.replace("_", " ")), "unknown" if value is None else shown(value)))
    return tuple(found)


def _evaluated(measured: MeasuredRun, answers: Answers, evaluation: EvaluationRecord, name: str) -> Evaluated:
    run, inputs, cell = measured.run, evaluation.inputs, measured.cells[evaluation.key]
    stale = measured.current.evaluation(inputs)
    status = status_of(run, evaluation)
    said = [f"Stale: {'; '.join(stale)}."] if stale else []
    said += [_sentence(status.text)]
    said += [] if status.state == "run here" else [f"That is, {MEANING[status.state]}."]
    checks = [each for each in run.verifications if each.evaluation == evaluation.key]
    said += [f"Made again {each.provenance.created[:10]}: {finding(each)}." for each in checks]
    text = " ".join(plain(words) for words in said)
    training_busy = any(share.train.busy(share.provenance.hardware) for share in evaluation.work)
    testing_busy = any(share.test.busy(share.provenance.hardware) for share in evaluation.work)
    title = f"Protocol {plain(inputs.protocol.label)}, student {plain(inputs.network.label)}"
    title += "" if not cell.results[0].setting.test else f", test {cell.results[0].setting.test}"
    plots, tables = learning_curves(f"{name}-curve", title, {"all students": cell})
    classes = by_class(f"{name}-class", title, {"accuracy": cell})
    raw = _raw(evaluation, f"{name}-raw", title)
    block = Block(
        name,
        title,
        text=text.strip(),
        tables=tuple(classes),
        plots=tuple(plots),
        folded=(raw, *tables),
        folded_as="Every student's accuracy",
    )
    protocol = inputs.protocol.model_dump(mode="json", exclude={"changes", "recipe", "whole"})
    recipe = inputs.protocol.recipe.model_dump(mode="json")
    settings = (
        *((key.replace("_", " "), value_text(value)) for key, value in protocol.items()),
        *((f"training: {key.replace('_', ' ')}", plain(value_text(value))) for key, value in recipe.items()),
        (
            "tested on",
            f"{plain(inputs.data.name)}, {sum(evaluation.totals)} clouds of {inputs.data.points} points",
        ),
        *([("students", "a plain torch module: one after another")] if inputs.network.one_by_one else []),
        ("time of training", clocked(evaluation.train.seconds, training_busy)),
        ("time of testing", clocked(evaluation.test.seconds, testing_busy)),
        *_on_gpu(evaluation.memory),
        ("engine", str(evaluation.inputs.engine)),
        ("key", evaluation.key),
    )
    interval = cell.oa.interval
    ends = "".join(f"95 % interval {each}, " for each in bounds(interval))
    return Evaluated(
        spread(interval.mean, interval.std),
        f"{ends}{cell.students} students",
        settings,
        provenance(evaluation.provenance.model_dump(mode="json", exclude={"command"})),
        "\n".join(plain(shlex.join(share.provenance.command)) for share in evaluation.work),
        block,
        by_cloud.of_run(f"{name}-clouds", title, answers.among(cell.results)),
        confusion(f"{name}-m", title, cell),
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _raw(evaluation: EvaluationRecord, name: str, title: str) -> Table:
    """Every student's OA at every snapshot and its mAcc at the last, and their means."""
    last = evaluation.headline
    columns: list[tuple[Heading, Sequence[float]]] = [
        (Heading(f"oa{scores.iteration}", f"OA at {scores.iteration}"), scores.oa)
        for scores in evaluation.snapshots
    ]
    columns.append((Heading("macc", f"mAcc at {last.iteration}"), last.macc))
    lines = [
        Line(Head(f"student {repetition}", ""), tuple(_percent(values[place]) for _, values in columns))
        for place, repetition in enumerate(evaluation.inputs.repetitions)
    ]
    means = tuple(_percent(statistics.fmean(values)) for _, values in columns)
    lines.append(Line(Head("mean", ""), means, last=True))
    headings = tuple(heading for heading, _ in columns)
    return Table(
        name, f"Accuracy of every student in percent: {title}", headings, tuple(lines), first="Student"
    )


def _percent(share: float) -> Value:
    return Value(number(100 * share, 2), 100 * share)


def listed(measured: MeasuredRun) -> Line:
    """A run's line in the list of all runs: its accuracy, then what it is of."""
    run = measured.run
    distillation = run.distillation
    inputs = distillation.inputs
    changed = tuple((plain(key), shown(value)) for key, value in sorted(inputs.variation.items()))
    status = f"{distillation.status}, stale" if measured.stale else distillation.status
    first = next(filter(run.reports, shown_first(run)), None)
    accuracy, rest = MISSING, ("", "")
    if first is not None:
        accuracy = replace(scored(measured.cells[first.key]), link=None)
        rest = plain(first.inputs.protocol.label), plain(first.inputs.network.label)
    name = page_name(distillation.key)
    texts = (*rest, status, distillation.provenance.created[:10], str(len(run.evaluations)))
    return Line(
        Head(plain(inputs.method), run_page(name), changed, (f"run {name}",)),
        (
            accuracy,
            Value(plain(inputs.data.name), plain(inputs.data.name)),
            Value(amount(inputs.ppc), float(inputs.ppc)),
            Value(str(inputs.repetition), float(inputs.repetition)),
            *(Value(text, text) for text in texts),
        ),
    )
