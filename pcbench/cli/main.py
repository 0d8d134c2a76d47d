"""The `pcbench` command: mounts the verbs and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated

import typer

import pcbench
from pcbench.cli import (
    answers,
    bench,
    check,
    compare,
    data,
    docs,
    doctor,
    evaluate,
    import_set,
    info,
    leaderboard,
    listed,
    new,
    plan,
    results,
    run,
    show,
    status,
    submit,
    tune,
    upkeep,
    verify,
)
from pcbench.cli import list as listing
from pcbench.cli.commands import settle
from pcbench.cli.options import with_options
from pcbench.cli.output import debugging, say, set_debugging
from pcbench.errors import PcbenchError

app = typer.Typer(
    name="pcbench",
    help="Benchmark and leaderboard for dataset distillation of 3D point clouds.",
    epilog="Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 invalid or missing data, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with it, rich is imported and --help takes twice as long
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("retry")(status.retry)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("import-set")(import_set.import_set)
app.command("compare")(compare.compare)
app.command("submit")(submit.submit)
app.command("verify")(verify.verify)
app.command("show")(show.show_run)
app.command("export")(show.export)
app.command("list")(listing.list_)
app.command("info")(info.info)
app.command("check")(check.check)
app.command("new")(new.new)
app.command("bench")(bench.bench)
app.command("docs")(docs.docs)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(results.app, name="results")
results.app.command("list")(listed.list_)
results.app.command("table")(listed.table)
results.app.command("hard")(answers.hard)
results.app.command("ensembles")(answers.ensembles)
results.app.command("export")(listed.export)
results.app.command("merge")(upkeep.merge)
results.app.command("gc")(upkeep.gc)
settle(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(pcbench.__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback with every error; also after the verb.")
    ] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if debug:
        set_debugging(True)


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII locale shows a question mark, and ends well
    words = sys.argv[1:]
    mine = words[: words.index("--")] if "--" in words else words
    set_debugging("--debug" in mine)
    _let_threads_sleep()
    try:
        app([word for word in mine if word != "--debug"] + words[len(mine) :])
    except PcbenchError as error:
        _fail(with_options(str(error), error.things), error.exit_code)
    except OSError as error:
        _fail(_about_file(error), 3)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a message
        _fail(f"{type(error).__name__}: {error} (a bug? 'pcbench --debug …' shows where)", 1)


def _let_threads_sleep() -> None:
    """Threads that wait for one another look 1000 times and then sleep, where the user says nothing else.

    Read by GNU's OpenMP, that of torch on Linux, when torch is imported; by itself it looks for milliseconds,
    which on a busy machine takes the cores from whom it waits for. Two threads, sadm on shapes10, quick, with
    two other processes on two cores: 42 -> 26 s; with nothing else 9.9 -> 10.2 s.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _about_file(error: OSError) -> str:
    """What the operating system refuses, of which file, and what to do where there is no room."""
    if error.errno is None:
        return str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if not error.filename and not full:
        return error.strerror or os.strerror(error.errno)  # it may say in its own words which file it was
    where = f"{error.filename}: " if error.filename else ""
    remedy = ": free some space, or choose another folder" if full else ""
    return f"{where}{os.strerror(error.errno)}{remedy}"


def _fail(message: str, exit_code: int) -> None:
    if debugging():
        traceback.print_exc()
    say(f"error: {message}", err=True)
    sys.exit(exit_code)
