"""A table of texts as CSV, Markdown or LaTeX, for papers and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from pcbench.report.text import MINUS, escape_markdown

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "±": r"$\pm$",
        "×": r"$\times$",
        "→": r"$\to$",
        MINUS: "$-$",
    }
)
"""What stands for characters that LaTeX obeys or does not know."""


def as_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A line a row, as spreadsheets and data frames read it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[bool]) -> str:
    """A table; numbers: which columns are aligned to the right."""
    rule = ["---:" if right else "---" for right in numbers]
    lines = [[str(escape_markdown(cell)) for cell in row] for row in (head, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))


def as_latex(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[bool]) -> str:
    """A tabular environment with the rules of the package booktabs."""
    form = "".join("r" if right else "l" for right in numbers)
    lines = [" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in (head, *rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{form}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
