"""What the verbs share: options, their values, and how tables and progress are printed."""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.common.text import one_line
from pcbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from pcbench.catalogue import Catalogue
    from pcbench.ops.draws import Draw
    from pcbench.records.state import Snapshots

PluginFolders = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="DIR", help="A folder of your own plugin files; may be repeated."),
]


Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, or one of several GPUs: cuda:1.")
]


def snapshots_of(text: str | None) -> Snapshots | None:
    """The snapshots that `last`, `all` or `0,20,40` ask for; UsageError for anything else."""
    if text is None:
        return None
    if text in ("last", "all"):
        return "last" if text == "last" else "all"
    iterations = text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", each, re.ASCII) for each in iterations):
        raise UsageError(f"--snapshots {text}: last, all, or iterations as in 0,20,40 are needed")
    return tuple(map(int, iterations))


class WhichPoints(enum.StrEnum):
    """How the points of a cloud are chosen where there are more."""

    farthest = "farthest"
    first = "first"
    random = "random"


class WhichDraw(enum.StrEnum):
    """Which training clouds distillations start from."""

    nested = "nested"
    authors = "authors"
    per_ppc = "per-ppc"

    @property
    def choice(self) -> Draw:
        """The same as the engine knows it."""
        from pcbench.ops import draws

        return draws.named(self.value)


class Again(enum.StrEnum):
    """What is computed again although it is there."""

    stale = "stale"


_debugging = False


def set_debugging(wanted: bool) -> None:
    """Whether errors are shown with their tracebacks, from now on."""
    global _debugging
    _debugging = wanted


def debugging() -> bool:
    """Whether errors are shown with their tracebacks."""
    return _debugging


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def opened(folders: Sequence[Path] | None) -> Catalogue:
    """The catalogue of all plugins, with those in the folders of --plugins."""
    from pcbench.catalogue import open_catalogue

    for folder in folders or ():
        if not folder.is_dir():
            raise UsageError(
                f"--plugins names {folder}, which is no folder: give one that holds plugin files"
            )
    return open_catalogue(folders or ())


def words(values: Sequence[str] | None) -> list[str]:
    """The words of a repeatable option, each of which may hold several with commas between them."""
    return list(dict.fromkeys(word for value in values or () for word in value.split(",") if word))


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """`--set KEY=VALUE` options; UsageError for what is no pair."""
    chosen: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {setting}: KEY=VALUE is needed, as in --set iterations=20")
        if key in chosen:
            raise UsageError(f"--set {key} is given twice, {chosen[key]} and {value}: a run takes one value")
        chosen[key] = value
    return chosen


def say(text: str, err: bool = False) -> None:
    """Print lines, without what a terminal would obey: names from elsewhere may hold it."""
    typer.echo(_safe(str(text)), err=err)


def show(table: Table, spare: Sequence[str] = ()) -> None:
    """Print a table whose names and numbers stay whole: a pipe gets one line a row.

    spare: the columns that a terminal does without where they do not fit, by name, the first one first. What
    is still too wide is wrapped by the terminal.
    """
    from rich.cells import cell_len

    for column in table.columns:
        if column.no_wrap:  # else a terminal that is too narrow cuts it
            column.min_width = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
    out = console()
    everything = out.options.update(max_width=10_000)
    if out.is_terminal:
        for name in spare:
            if table.__rich_measure__(out, everything).minimum <= out.width:
                break
            table = _without(table, name)
    sizes = table.__rich_measure__(out, everything)
    out.width = max(out.width, sizes.minimum) if out.is_terminal else sizes.maximum
    out.print(table)


def _without(table: Table, name: str) -> Table:
    """The same table without a column."""
    from rich.table import Table

    kept = [column for column in table.columns if column.header != name]
    fewer = Table(
        title=table.title,
        title_justify=table.title_justify,
        box=table.box,
        pad_edge=table.pad_edge,
        show_header=table.show_header,
    )
    for column in kept:
        fewer.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap,
            min_width=column.min_width,
            overflow=column.overflow,
            style=column.style,
        )
    cells = zip(*(column.cells for column in kept), strict=True)
    for row, texts in zip(table.rows, cells, strict=True):
        fewer.add_row(*texts, style=row.style)
    return fewer


def _safe(text: str) -> str:
    return "\n".join(one_line(line, len(line)) for line in text.split("\n"))


def console() -> Console:
    """Standard output, with text taken literally and made safe to show."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class SafeConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*map(shown, objects), **options)

    def shown(value: Any) -> Any:
        """A text, or a table with its cells, without what a terminal would obey; styles stay."""
        if isinstance(value, str):
            return _safe(value)
        if isinstance(value, Text):
            plain = _safe(value.plain)
            return value if plain == value.plain else Text(plain, value.style)
        if isinstance(value, Table):
            for column in value.columns:
                column._cells[:] = map(shown, column._cells)
        return value

    return SafeConsole(markup=False, emoji=False, highlight=False)


def progress_bars() -> Progress:
    """Bars on standard error with the remaining time, and the time it took once a task is finished."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Remaining(TimeRemainingColumn):
        """By the steps so far or, of a task with a field `ends`, by that: when it ends, None if unknown."""

        def render(self, task: Task) -> Text:
            if "ends" not in task.fields or task.finished:
                return super().render(task)
            ends = task.fields["ends"]
            if ends is None:
                return Text("-:--:--", style="progress.remaining")
            minutes, seconds = divmod(max(0, round(ends - time.monotonic())), 60)
            hours, minutes = divmod(minutes, 60)
            return Text(f"{hours}:{minutes:02}:{seconds:02}", style="progress.remaining")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(elapsed_when_finished=True),
        console=Console(stderr=True),
    )
