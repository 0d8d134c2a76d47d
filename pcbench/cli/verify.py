"""`pcbench verify`: trains the students of published evaluations again and gives a verdict on each."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.output import AsJson, Device, PluginFolders, debugging, opened, say, show
from pcbench.cli.progress import progress
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcbench.records.verifications import VerificationRecord
    from pcbench.submission.claims import Unusable
    from pcbench.submission.verify import Judged

WORDS = {"inconclusive": "cannot tell"}
"""What a verdict of the records is called for people, where it is called otherwise."""


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|DIR", help="A run's folder, a folder of runs, or a submission.")
    ],
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", help="Evaluations, drawn at random. Default: all.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Of the drawing, to repeat one. Default: one that nobody can foresee."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            metavar="POINTS",
            help="On other hardware, scores this near count as equal; more than 3 verifies nothing more.",
        ),
    ] = 3.0,
    students: Annotated[
        int | None,
        typer.Option(
            "--students",
            metavar="N",
            help="On other hardware: train N, the record's first. Default: only the record's.",
        ),
    ] = None,
    redistill: Annotated[
        bool,
        typer.Option("--redistill", help="Distil anew too. Runs the submitted plugin: read it first."),
    ] = False,
    fresh: Annotated[
        int,
        typer.Option(
            "--fresh",
            metavar="K",
            help="With --redistill: K new repetitions, drawn now; is the score one more of theirs?",
        ),
    ] = 0,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who verifies; stands in the record.")] = "",
    artifacts: Annotated[
        Path | None,
        typer.Option(
            "--artifacts", metavar="DIR", help="Where clouds are that were fetched: DIR/RUN/clouds.h5."
        ),
    ] = None,
    device: Device = "auto",
    plugins: PluginFolders = None,
    as_json: AsJson = False,
) -> None:
    """Train the students of evaluations again, with their seeds, and give a verdict on each.

    On the hardware and packages of the record, every count must be equal. Elsewhere: verified where the 90 %
    interval of the mean difference lies inside ± margin, refuted where it lies far below the published
    score, else "cannot tell". Answers that are kept beside a record are compared too, and say how many of a
    student's are the same. Synthetic clouds are compared with the test clouds. A record is written beside
    each evaluation. Exit code 0: all verified; 1: some not; 3: none could be tried.
    """
    from functools import partial

    from pcbench.engine import machine
    from pcbench.submission import claims as work
    from pcbench.submission.verify import Judge, Wish

    wish = Wish(margin, redistill, fresh, students, by)
    wish.check()
    if sample is not None and sample < 1:
        raise UsageError(f"--sample {sample}: at least one evaluation is needed")
    submitted = work.submitted_methods(folder) if redistill else ()
    catalogue = opened([*(plugins or ()), *submitted])
    found, unusable = work.claims(catalogue, folder, artifacts)
    drawn = seed if seed is not None else secrets.randbelow(1 << 32)
    chosen = found if sample is None else work.sample(found, sample, drawn)
    target = machine.choose_device(device)
    machine.warm_up(target)
    judge = Judge(catalogue, wish, target)
    judged = []
    with progress() as screen:
        for number, claim in enumerate(chosen, 1):
            cell = screen.cell(f"[{number}/{len(chosen)}] {claim.title}")
            judged.append(judge.judge(claim, partial(cell)))
            cell.end()
    of = None if sample is None else drawn
    if as_json:
        summary = {"evaluations": len(found), "seed": of, **_as_json(judged, unusable)}
        typer.echo(json.dumps(summary, indent=1))
    else:
        _print(judged, of, len(found), students)
    _tell_errors(judged, unusable)
    if not any(verdict.record for verdict in judged):
        raise typer.Exit(3)
    if unusable or not all(verdict.record and verdict.record.verdict == "verified" for verdict in judged):
        raise typer.Exit(1)


def _as_json(judged: Sequence[Judged], unusable: Sequence[Unusable]) -> dict[str, Any]:
    tried = [
        {
            "folder": str(verdict.claim.run.folder),
            "how": verdict.record.how,
            "difference": verdict.record.difference,
            "verification": verdict.record.model_dump(mode="json"),
        }
        for verdict in judged
        if verdict.record
    ]
    errors: list[dict[str, str | None]] = [
        {
            "folder": str(verdict.claim.run.folder),
            "evaluation": verdict.claim.scored.key,
            "error": verdict.reason,
        }
        for verdict in judged
        if not verdict.record
    ]
    errors += [{"folder": each.place, "evaluation": None, "error": each.reason} for each in unusable]
    return {"verified": tried, "errors": errors}


def _tell_errors(judged: Sequence[Judged], unusable: Sequence[Unusable]) -> None:
    from pcbench.common.text import one_line

    for verdict in judged:
        if not verdict.record:
            say(f"error: {verdict.claim.title}: {one_line(verdict.reason)}", err=True)
            if verdict.trace and debugging():
                say(verdict.trace, err=True)
    for each in unusable:
        say(f"error: {one_line(each.reason)}", err=True)


def _print(judged: Sequence[Judged], seed: int | None, total: int, students: int | None) -> None:
    from rich.table import Table
    from rich.text import Text

    from pcbench.submission.claims import meeting

    table = Table(
        title="Overall accuracy in points; the interval is the 90 % one of now less published",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("evaluation", overflow="fold")
    for name in ("published", "now", "interval", "p", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("judged by", "verdict"):
        table.add_column(name, no_wrap=True)
    notes: list[str] = []
    for verdict in judged:
        record, title = verdict.record, verdict.claim.title
        if record is None:
            table.add_row(Text(title), "", "", "", "", "", "", "error")
            continue
        table.add_row(
            Text(title),
            f"{100 * sum(record.published) / len(record.published):.1f}",
            f"{100 * sum(record.all_oa) / len(record.all_oa):.1f}",
            f"{record.low:+.1f} to {record.high:+.1f}",
            "" if record.p_lower is None else f"{record.p_lower:.2g}",
            f"{record.margin:g}",
            record.judgement,
            WORDS.get(record.verdict, record.verdict),
        )
        notes += [f"{title}: {note}" for note in _notes(record, students)]
    show(table, spare=("margin", "p", "interval"))
    for note in notes:
        say(note)
    drawn_by = "" if seed is None else f", drawn with --seed {seed}"
    say(f"{len(judged)} of {total} evaluations{drawn_by}. The records stand beside them.")
    if seed is not None and len(judged) < total:
        met = meeting(1, total, len(judged))
        say(f"One altered evaluation would be among them with probability {met:.0%}.")


def _notes(record: VerificationRecord, students: int | None) -> list[str]:
    """What else a verification found, a line each."""
    from pcbench.submission.judgement import power_line

    notes = [*record.copies, *record.likenesses]
    if record.judgement == "equivalence":
        notes.append(power_line(record.published, max(students or 0, len(record.published))))
    if record.alike:
        low, high = 100 * min(record.alike), 100 * max(record.alike)
        span = f"{low:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"
        notes.append(f"answers: {span} of the test clouds a student as its file of answers says")
    if record.distil_seconds is not None:
        clouds = "the record's clouds" if record.same_clouds else "other clouds"
        claimed = f"{record.distil_seconds:.1f} s, claimed {record.claimed_seconds:.1f} s"
        notes.append(f"distilled anew in {claimed}: {clouds}")
    if record.fresh:
        mean = 100 * sum(record.fresh) / len(record.fresh)
        drawn = f"{len(record.fresh)} fresh repetitions, mean {mean:.1f}"
        notes.append(f"{drawn}: p {record.p_chosen:.2g} of the published score being one more")
    return notes
