"""Tables to Markdown and HTML, through templates in which every value is escaped unless said otherwise."""

from __future__ import annotations

import re
import string
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pcbench.plugins import builtin
from pcbench.records import ppc_label
from pcbench.report.tables import DECIMALS, Board, Cell, Score, Table

ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def render(board: Board) -> dict[str, str]:
    """The leaderboard's files by name: the same board gives the same bytes."""
    page = _environment(autoescape=True).get_template("index.html.j2")
    markdown = _environment(autoescape=False, finalize=escape_markdown).get_template("leaderboard.md.j2")
    style = builtin("leaderboard/templates") / "style.css"
    return {
        "leaderboard.md": markdown.render(board=board),
        "index.html": page.render(board=board),
        "style.css": style.read_text(encoding="utf-8"),
    }


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(builtin("leaderboard/templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters.update(
        score=score, counts=counts, times=times, duration=duration, letter=letter, ppc=ppc_label
    )
    return environment


def escape_markdown(value: Any) -> Markup | str:
    """Text that Markdown shows as it is: no markup, no HTML, no table cell, no link of its own."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str(value))
    text = re.sub(r"[\\`*_{}\[\]|~#!]", r"\\\g<0>", text)
    text = re.sub(r"^(\d*)(?=[-+=.)])", r"\1\\", text) if re.match(r"[-+=]|\d+[.)](\s|$)", text) else text
    text = re.sub(r"[<>&]", lambda match: ENTITIES[match[0]], text)
    return re.sub(r"(?i):(?=//)|(?<=www)\.|(?<=mailto):", r"\\\g<0>", text)


def score(value: Score) -> str:
    """`54.3 ± 1.2`, or `54.3` for a single score."""
    spread = "" if value.std is None else f" ± {value.std:.{DECIMALS}f}"
    return f"{value.mean:.{DECIMALS}f}{spread}"


def counts(cell: Cell) -> str:
    """`1 × 10`: distillations times evaluations of each."""
    fewest, most = cell.evaluations
    return f"{cell.distillations} × {fewest}" + ("" if fewest == most else f"–{most}")


def times(cell: Cell, table: Table) -> str:
    """The distillation time, with a letter for the hardware where a table has more than one."""
    many = len(table.hardware) > 1
    parts = [
        f"{duration(t.seconds)} ({letter(t.hardware)})" if many else duration(t.seconds) for t in cell.times
    ]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def letter(place: int) -> str:
    """A, B, …, Z, AA, AB, … for 0, 1, …"""
    head, tail = divmod(place, 26)
    return (letter(head - 1) if head else "") + string.ascii_uppercase[tail]
