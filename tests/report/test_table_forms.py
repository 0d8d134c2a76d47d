"""Tables for papers and programs hold any text without being broken by it."""

from __future__ import annotations

import csv

from pcbench.report.table_forms import as_csv, as_latex, as_markdown

ROWS = [["a|b & c_1", "54.3 ± 1.2"], ['say "50 %", \\now', "−1"]]


def test_csv_is_read_back_as_it_was() -> None:
    assert list(csv.reader(as_csv(["name", "OA"], ROWS).splitlines())) == [["name", "OA"], *ROWS]


def test_markdown_keeps_its_columns() -> None:
    assert as_markdown(["name", "OA"], ROWS, [False, True]).splitlines() == [
        "| name | OA |",
        "| --- | ---: |",
        r"| a\|b &amp; c\_1 | 54.3 ± 1.2 |",
        r'| say "50 %", \\now | −1 |',
    ]


def test_latex_escapes_what_it_would_obey() -> None:
    assert as_latex(["name", "OA"], ROWS, [False, True]).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"name & OA \\",
        r"\midrule",
        r"a|b \& c\_1 & 54.3 $\pm$ 1.2 \\",
        r'say "50 \%", \textbackslash{}now & $-$1 \\',
        r"\bottomrule",
        r"\end{tabular}",
    ]
