"""Stale results: kept, with the reason, in a table of their own."""

from __future__ import annotations

from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, MeasuredCell
from pcbench.report.tables import Block, Heading, Line, Table, Value
from pcbench.report.values import data_title, head, scored, setting_title

TITLE = "Stale results"
TEXT = (
    "Made by other code than pcbench has now. They are kept, stand in no other table and have no rank: "
    "pcbench run --again stale makes them anew."
)
HEADINGS = (
    Heading("setting", "Setting", "text", brief=True),
    Heading("data", "Data set", "text", brief=True),
    Heading("ppc", "PPC", brief=True),
    Heading("oa", "OA", brief=True),
    Heading("stale", "Stale", "text", brief=True),
)


def blocks(board: Board, method: str | None = None) -> list[Block]:
    """The block of all stale results, or of those of one method; none where there are none."""
    lines = []
    for section in board.stale:
        for row in section.rows:
            if method not in (None, row.entry.method):
                continue
            for place, cell in sorted(row.cells.items(), key=lambda item: item[0].order):
                setting = setting_title(section, board)
                data = data_title(board, place.name, place.data, place.standard)
                reason = why(cell)
                values = (
                    Value(setting, setting),
                    Value(data, data),
                    Value(amount(place.ppc), float(place.ppc)),
                    scored(cell),
                    Value(reason, reason),
                )
                lines.append(Line(head(row.entry, board, section.setting.student, _whose(row)), values))
    if not lines:
        return []
    caption = "Overall accuracy of stale results, and why they are stale"
    table = Table("stale-results", caption, HEADINGS, tuple(lines))
    return [Block("stale", TITLE, text=TEXT, tables=(table,))]


def _whose(row: BoardRow) -> list[str]:
    """That a submitted method has the name of a built-in one, and is another."""
    return [f"not pcbench's own {row.entry.method}"] if row.claimed and not row.entry.genuine else []


def why(cell: MeasuredCell) -> str:
    """All reasons why the results of a cell are stale."""
    return "; ".join(dict.fromkeys(reason for result in cell.results for reason in result.stale))
