"""The log of a method is plotted on the page of its run, each name on a scale of its own."""

from __future__ import annotations

from pathlib import Path

from report_records import a_run

from pcbench.records import layout
from pcbench.records.store import read_run
from pcbench.report import logged


def test_each_name_is_a_plot_of_means_and_what_is_no_number_is_told(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    lines = [f"{i},loss,{-1 / i!r}\n{i},weights,{1000.0 + i!r}\n" for i in range(1, 1001)]
    text = "iteration,name,value\n" + "".join(lines) + "1000,loss,nan\n1000,alone,1.0\n"
    layout.log(folder).write_text(text)
    block = logged.block(read_run(folder)[0])
    assert block is not None
    assert [plot.title for plot in block.plots] == ["loss", "weights"]
    loss, weights = block.plots
    assert [len(series.marks) for plot in block.plots for series in plot.series] == [200, 200]
    heights = [mark.y for mark in loss.series[0].marks]
    assert heights == sorted(heights, reverse=True)
    frame = loss.wide.frame
    assert all(frame.above <= height <= frame.bottom for height in heights)
    assert loss.wide.y_ticks[0].label.startswith("−")
    assert float(weights.wide.y_ticks[0].label) >= 1000
    assert block.notes == ("2 values are not drawn: infinite, no numbers, or alone.",)


def test_a_run_without_a_log_has_no_such_part(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    assert logged.block(read_run(folder)[0]) is None
    layout.log(folder).write_text("iteration,name,value\n1,loss,0.5\n")
    assert logged.block(read_run(folder)[0]) is None
