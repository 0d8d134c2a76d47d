"""Other views of the cells: students, tests, initialisations, settings, times, the paper's figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from record_parts import MEMORY
from report_records import a_run

from pcbench.protocols.protocol import LITE, PAPER
from pcbench.records.store import read_distillation, read_runs
from pcbench.report import against_papers, comparisons, methods, overview, runs, timing
from pcbench.report.answers import Answers
from pcbench.report.cells import Board
from pcbench.report.gather import gather
from pcbench.report.results import MeasuredRun, page_name
from pcbench.report.site import board_of
from pcbench.report.svg import PlotData, PlotPoint, linear_ticks, log_ticks, scatter
from pcbench.report.tables import Block, Head, Heading, Line, Link, Table, Value, paginated
from pcbench.report.text import file_stem, size


def made(folder: Path) -> Board:
    gathered = gather(folder)
    assert not gathered.told()
    return board_of(gathered)


def shown(table: Table) -> dict[str, list[str]]:
    """The text of every line by its head."""
    return {line.head.text: [value.text for value in line.values] for line in table.lines}


def scores(low: int, step: int = 1) -> list[tuple[int, int]]:
    return [(low, low + step * (n % 3)) for n in range(10)]


def test_gain_and_differences_are_those_of_the_definition(tmp_path: Path) -> None:
    a_run(tmp_path, method="random", right=[(2, 4)] * 10)
    a_run(tmp_path, method="sadm", right=[(5, 10 + n % 2) for n in range(10)])
    a_run(tmp_path, method="dm", right=[(4, 8)] * 10)
    a_run(tmp_path, method="whole", ppc=0, right=[(10, 20)] * 10)
    (block,) = overview.blocks(made(tmp_path))
    table = block.tables[0]
    keys = [heading.key for heading in table.headings]
    lines = {line.head.name: dict(zip(keys, line.values, strict=True)) for line in table.lines}
    # 6 of 30 right for random, 15.5 for sadm, 30 for the whole split
    assert lines["sadm"]["gain-ppc1"].value == pytest.approx((15.5 - 6) / (30 - 6))
    assert lines["random"]["gain-ppc1"].value == 0
    assert lines["sadm"]["random-ppc1"].value == pytest.approx(100 * 9.5 / 30)
    assert lines["sadm"]["random-ppc1"].text == "+31.7"
    assert lines["dm"]["leader-ppc1"].value == pytest.approx(-100 * 3.5 / 30)
    assert lines["dm"]["leader-ppc1"].text == "−11.7"
    assert lines["random"]["random-ppc1"].text == "anchor"
    assert lines["sadm"]["leader-ppc1"].text == "anchor"
    assert [lines[name]["rank"].text for name in ("sadm", "dm", "random", "whole")] == ["1", "2", "3", "–"]
    assert list(lines) == ["sadm", "dm", "random", "whole"]
    assert lines["whole"]["whole"].text == "100.0 ± 0.0"


def test_an_incomplete_row_has_its_rank_on_what_it_has_and_no_mean(tmp_path: Path) -> None:
    for method in ("random", "dm", "sadm"):
        for ppc in (1, 3):
            if (method, ppc) != ("sadm", 3):
                a_run(tmp_path, method=method, ppc=ppc, right=scores(3 if method == "random" else 5))
    (block,) = overview.blocks(made(tmp_path))
    line = block.tables[0].lines[-1]
    assert (line.head.name, line.head.remarks, line.last) == ("sadm", ("incomplete",), True)
    rank, tier = line.values[-3:-1]
    assert (rank.text, rank.note) == ("1.5", "of 3 on PPC 1 (repetition 0)")
    assert (tier.text, line.values[-4].text) == ("–", "–")


def test_students_of_other_networks_stand_beside_one_another(tmp_path: Path) -> None:
    a_run(tmp_path, method="dm", right=[(5, 10)] * 10)
    a_run(tmp_path, method="sadm", right=[(6, 12)] * 10)
    a_run(tmp_path, method="sadm", right=[(4, 8)] * 10, student="canonical")
    a_run(tmp_path, method="sadm", ppc=3)
    (block,) = comparisons.cross_architecture(made(tmp_path))
    (table,) = block.tables
    assert block.title == "shapes10, PPC 1"
    assert [heading.title for heading in table.headings] == ["pointnet:canonical", "pointnet:paper"]
    assert shown(table) == {"sadm": ["40.0 ± 0.0", "60.0 ± 0.0"]}


def test_tests_stand_beside_one_another(tmp_path: Path) -> None:
    a_run(tmp_path, method="dm")
    for test, right in (("plain", 6), ("so3", 2), ("jitter:1", 5), ("jitter:2", 4), ("points=512", 3)):
        a_run(tmp_path, right=[(right, 2 * right)] * 10, test=test)
    (block,) = comparisons.robustness(made(tmp_path))
    (table,) = block.tables
    assert [heading.title for heading in table.headings] == [
        "plain",
        "so3",
        "jitter:1",
        "jitter:2",
        "points=512",
    ]
    means = ["60.0 ± 0.0", "20.0 ± 0.0", "50.0 ± 0.0", "40.0 ± 0.0", "30.0 ± 0.0"]
    assert shown(table) == {"sadm": means}


def test_initialisations_are_columns(tmp_path: Path) -> None:
    a_run(tmp_path, params={"init": "random"}, right=[(5, 10)] * 10)
    a_run(tmp_path, variation={"init": "herding"}, right=[(6, 12)] * 10)
    a_run(tmp_path, variation={"init": "noise", "lr": 1})
    a_run(tmp_path, method="dm", params={"init": "random"}, right=[(4, 8)] * 10)
    (block,) = comparisons.initialisation(made(tmp_path))
    (table,) = block.tables
    assert [heading.title for heading in table.headings] == ["herding", "random"]
    assert shown(table) == {"dm, PPC 1": ["–", "40.0 ± 0.0"], "sadm, PPC 1": ["60.0 ± 0.0", "50.0 ± 0.0"]}
    assert heated(block) == {"dm, PPC 1": ["–", "40"], "sadm, PPC 1": ["60", "50"]}


def heated(block: Block) -> dict[str, list[str]]:
    """The rows of a block's heat map as they are read."""
    (heat,) = block.plots
    assert heat.kind == "heat"
    return {row.label: [value.text for value in row.values] for row in heat.rows}


def test_settings_stand_against_the_defaults(tmp_path: Path) -> None:
    a_run(tmp_path, right=[(5, 10 + n % 2) for n in range(10)])
    a_run(tmp_path, variation={"rotate": False}, right=[(5, 8)] * 10)
    a_run(tmp_path, method="dm")
    (block,) = comparisons.ablations(made(tmp_path))
    (table,) = block.tables
    assert block.title == "sadm on shapes10"
    first, second = table.lines
    assert [first.head.text, second.head.text] == ["sadm", "sadm (rotate=false)"]
    assert second.values[1].value == pytest.approx(100 * -2.5 / 30)
    assert heated(block) == {"rotate=false": ["−8"]}


def test_a_variation_is_compared_where_it_was_run_and_called_by_its_setting(
    tmp_path: Path,
) -> None:
    for ppc in (1, 3):
        a_run(tmp_path, ppc=ppc, right=[(5, 10 + n % 2) for n in range(10)])
    a_run(tmp_path, ppc=3, variation={"lr": 0.01, "angle": 5.0}, setting="paper", right=[(5, 8)] * 10)
    (block,) = comparisons.ablations(made(tmp_path))
    titles = [heading.title for heading in block.tables[0].headings]
    assert titles == ["PPC 1", "PPC 3", "PPC 3 against the defaults"]
    assert heated(block) == {"setting paper": ["−8"]}


def test_settings_without_the_defaults_are_against_nothing(tmp_path: Path) -> None:
    for rotate in (False, True):
        a_run(tmp_path, variation={"rotate": rotate})
    (block,) = comparisons.ablations(made(tmp_path))
    assert (len(block.tables[0].headings), block.plots) == (1, ())


def test_networks_are_called_without_their_presets_where_that_is_clear(tmp_path: Path) -> None:
    for student in ("paper", "canonical"):
        a_run(tmp_path, student=student)
    (block,) = comparisons.cross_architecture(made(tmp_path))
    (heat,) = block.plots
    assert heat.kind == "heat"
    assert heat.columns == ("pointnet:canonical", "pointnet:paper")
    titles = tuple(Heading(f"s{n}", title) for n, title in enumerate(("pointnet:paper", "dgcnn:paper")))
    assert comparisons.brief(replace(block.tables[0], headings=titles)) == ("pointnet", "dgcnn")


def test_times_have_one_block_a_hardware_class(tmp_path: Path) -> None:
    a_run(tmp_path, seconds=100.0, hardware="A")
    a_run(tmp_path, method="dm", seconds=10.0, hardware="A")
    a_run(tmp_path, method="dm", seconds=1.0, hardware="B", repetition=1)
    first, second = timing.blocks(made(tmp_path))
    assert [first.title, second.title] == ["shapes10, A, 2 threads", "shapes10, B, 2 threads"]
    times = {line.head.name: line.values[1].text for line in first.tables[0].lines}
    assert times == {"sadm": "1 min 40 s", "dm": "10 s"}
    (plot,) = first.plots
    (series,) = plot.series
    frame = plot.wide.frame
    slow, fast = (next(m for m in series.marks if word in m.title) for word in ("sadm", "dm"))
    span = [tick for tick in plot.wide.x_ticks if tick.label in ("10", "100")]
    assert slow.x - fast.x == pytest.approx(span[1].at - span[0].at, abs=0.2)
    assert frame.left <= fast.x < slow.x <= frame.right


def test_a_time_of_0_seconds_is_drawn_as_such_left_of_the_logarithmic_axis(tmp_path: Path) -> None:
    for method, seconds in (("random", 0.0014), ("dm", 10.0), ("sadm", 100.0)):
        a_run(tmp_path, method=method, seconds=seconds)
    (block,) = timing.blocks(made(tmp_path))
    (plot,) = block.plots
    marks = {mark.title.partition(":")[0].partition(",")[0]: mark for mark in plot.series[0].marks}
    assert marks["random"].title.endswith("in 0.0 s")
    ticks = {tick.label: tick.at for tick in plot.wide.x_ticks}
    assert marks["random"].x == ticks["0.0"] < min(at for label, at in ticks.items() if label != "0.0")
    assert marks["dm"].x == pytest.approx(ticks["10"], abs=0.2)
    assert not {"0.01", "0.1"} & ticks.keys()


def test_times_of_nothing_but_0_seconds_have_a_plot(tmp_path: Path) -> None:
    a_run(tmp_path, method="random", seconds=0.0)
    (block,) = timing.blocks(made(tmp_path))
    assert [mark.x for mark in block.plots[0].series[0].marks] == [block.plots[0].wide.x_ticks[0].at]


def test_a_time_says_what_of_it_went_by_before_the_first_clouds(tmp_path: Path) -> None:
    a_run(tmp_path, method="herding", seconds=306.0)
    a_run(tmp_path, method="pcc", seconds=900.0, beginning=300.0)
    a_run(tmp_path, method="dm", seconds=123.0, beginning=0.002)
    (block,) = timing.blocks(made(tmp_path))
    notes = {line.head.name: (line.values[1].text, line.values[1].note) for line in block.tables[0].lines}
    assert notes == {
        "herding": ("5 min 06 s", "training of its network: all"),
        "pcc": ("15 min 00 s", "training of its network: 5 min 00 s"),
        "dm": ("2 min 03 s", ""),
    }


def test_memory_is_that_of_the_gpu_or_of_the_methods_own_process(tmp_path: Path) -> None:
    a_run(tmp_path, method="dm", hardware="CPU", isolation="unknown")
    a_run(tmp_path, method="sadm", hardware="CPU", isolation="walled")
    (block,) = timing.blocks(made(tmp_path))
    own = size(MEMORY.host_bytes)
    assert {line.head.name: line.values[2].text for line in block.tables[0].lines} == {"sadm": own, "dm": "–"}
    pages = {
        run.distillation.inputs.method: dict(runs.page(MeasuredRun(run), Answers({})).inputs)
        for run in read_runs(tmp_path)[0]
    }
    assert pages["sadm"]["Peak memory of the method's process, torch included"] == own
    assert not [label for label in pages["dm"] if "memory" in label]


def test_memory_is_that_of_the_gpu_and_never_the_hosts(tmp_path: Path) -> None:
    a_run(tmp_path, method="dm", hardware="CPU")
    (block,) = timing.blocks(made(tmp_path))
    assert [heading.key for heading in block.tables[0].headings] == ["ppc1", "seconds-ppc1"]
    a_run(tmp_path, method="sadm", hardware="CPU", device_bytes=3 << 30)
    (block,) = timing.blocks(made(tmp_path))
    assert [heading.key for heading in block.tables[0].headings] == ["ppc1", "seconds-ppc1", "memory-ppc1"]
    assert {line.head.name: line.values[2].text for line in block.tables[0].lines} == {
        "sadm": "3.0 GiB",
        "dm": "–",
    }


def test_every_figure_of_a_method_names_its_parameters(tmp_path: Path) -> None:
    from built_in import CATALOGUE

    a_run(tmp_path, params={"lr": 1.0}, variation={"rotate": False}, data={"name": "modelnet10"})
    a_run(tmp_path, params={"lr": 1.0})
    page = methods.page(methods.about("sadm", CATALOGUE.methods), made(tmp_path))
    closer = {block.title: block for block in page.blocks if block.title.startswith("Closer")}
    setting = "Protocol quick, student pointnet:paper"
    assert set(closer) == {f"Closer: modelnet10, rotate=false, {setting}", f"Closer: shapes10, {setting}"}
    notes = {title.removesuffix(f", {setting}"): block.notes for title, block in closer.items()}
    assert notes["Closer: modelnet10, rotate=false"] == ("Parameters: lr 1.0, rotate false.",)
    assert notes["Closer: shapes10"] == ("Parameters, the defaults: lr 1.0.",)
    titles = [plot.title for block in closer.values() for plot in block.plots]
    assert any("rotate=false" in title for title in titles)


def test_a_named_setting_is_ranked_and_named(tmp_path: Path) -> None:
    a_run(tmp_path, right=scores(5))
    a_run(tmp_path, variation={"lr": 0.01}, setting="paper", right=scores(7))
    (block,) = overview.blocks(made(tmp_path))
    first, second = block.tables[0].lines
    assert first.head.text == "sadm (lr=0.01), setting paper"
    assert [line.values[-3].text for line in (first, second)] == ["1", "2"]
    assert not first.last


def test_lite_figures_are_never_counted_as_outside(tmp_path: Path) -> None:
    data = {"name": "modelnet10", "class_names": ["class0", "class1"]}
    a_run(tmp_path, method="random", ppc=3, protocol=LITE, data=data, right=[(1, 1)] * 5)
    first, *found = against_papers.blocks(made(tmp_path))
    assert "0 of ours are comparable; of 0 judged differences 0 lie outside" in first.text
    assert "Not comparable, for protocol lite / draw nested / sampling surface: 2." in first.notes
    for block in found:
        assert "0 lie outside" in block.text
        assert {value.text for line in block.tables[0].lines for value in line.values} & {"outside"} == set()
        for line in block.tables[0].lines:
            assert line.values[6].note == "protocol lite / draw nested / sampling surface"
            assert line.values[4].value is not None


def test_nothing_of_ours_is_no_page_of_dashes(tmp_path: Path) -> None:
    a_run(tmp_path)
    assert against_papers.blocks(made(tmp_path)) == []


def test_the_papers_figures_stand_beside_ours(tmp_path: Path) -> None:
    names = [f"class{n}" for n in range(2)]
    run = a_run(
        tmp_path, method="random", ppc=3, protocol=PAPER,
        data={"name": "modelnet10", "class_names": names, "sampling": "farthest"}, right=scores(7),
        draw="authors",
    )  # fmt: skip
    first, *found = against_papers.blocks(made(tmp_path))
    assert first.title == "What is comparable"
    (block,) = [each for each in found if each.name == "p1-1"]
    assert "1 figures have a counterpart" in block.text
    (table,) = block.tables
    (line,) = table.lines
    texts = [value.text for value in line.values]
    assert texts[:3] == ["modelnet10", "PPC 3", "pointnet"]
    assert line.values[3].badge == "reported"
    assert line.values[4].badge == "run here"
    assert line.values[4].link == Link(f"runs/{page_name(read_distillation(run / 'distillation.json').key)}")
    ours, theirs = line.values[4].value, line.values[3].value
    assert isinstance(ours, float)
    assert isinstance(theirs, float)
    assert line.values[5].value == pytest.approx(ours - theirs)
    assert line.values[6].text in ("inside", "outside")


def test_a_method_that_is_not_installed_has_a_page(tmp_path: Path) -> None:
    a_run(tmp_path, method="theirs", confusion=True)
    from built_in import CATALOGUE

    about = methods.about("theirs", CATALOGUE.methods)
    assert "not installed" in about.problem
    page = methods.page(about, made(tmp_path))
    assert [block.title for block in page.blocks] == [
        "Results: Protocol quick, student pointnet:paper",
        "Closer: shapes10, Protocol quick, student pointnet:paper",
    ]
    (matrix,) = page.confusions
    assert matrix.counts == ((50, 50), (100, 100))
    assert matrix.shade(0, 0) == 5


def test_a_built_in_method_says_what_it_is() -> None:
    from built_in import CATALOGUE

    about = methods.about("sadm", CATALOGUE.methods)
    assert about.paragraphs[0].startswith("Semantically aligned distribution matching")
    assert {"lr", "rotate", "init"} <= {parameter.name for parameter in about.parameters}
    assert all(parameter.source for parameter in about.parameters)
    assert about.citation.startswith("@misc{")


def test_blocks_go_onto_pages_in_their_order_and_long_ones_are_split() -> None:
    def block(name: str, lines: int) -> Block:
        heads = tuple(Heading(f"h{n}", "h") for n in range(2))
        body = tuple(Line(Head(f"{name}{n}", ""), (Value("x"), Value("y"))) for n in range(lines))
        return Block(name, name, tables=(Table(name, name, heads, body),))

    parts = paginated("index", [block("a", 3), block("b", 3), block("c", 25)], room=12)
    assert [part.page for part in parts] == ["index", "index-2", "index-3", "index-4", "index-5", "index-6"]
    assert [[each.name for each in part.blocks] for part in parts[:2]] == [["a", "b"], ["c"]]
    heads = [
        line.head.name for part in parts for each in part.blocks for t in each.tables for line in t.lines
    ]
    assert heads == [f"{name}{n}" for name, count in (("a", 3), ("b", 3), ("c", 25)) for n in range(count)]
    assert paginated("index", [])[0].blocks == ()


def test_ticks_are_round_and_reach_around_the_data() -> None:
    assert linear_ticks(41.3, 87.2) == [40, 50, 60, 70, 80, 90]
    assert linear_ticks(50, 50) == [44, 46, 48, 50, 52, 54, 56]
    assert log_ticks(0.3, 900) == [0.1, 1, 10, 100, 1000]
    assert log_ticks(3, 20) == [1, 2, 5, 10, 20, 50, 100]
    plot = scatter("n", "t", "d", "x", "y", [PlotData("s", (PlotPoint(1.0, 50.0, -20.0, 130.0),))])
    (mark,) = plot.series[0].marks
    frame = plot.wide.frame
    assert frame.above <= mark.high <= mark.y <= mark.low <= frame.bottom


def test_file_stems_are_safe_and_their_own() -> None:
    names = [
        "sadm", "SADM", "Sadm", "../sadm", "..", ".", "", "a/b", "a\\b", "con:", "x" * 300, "naïve", "a b",
        "a-b", file_stem("SADM"), "index", "<b>", "sadm-2", "Index", "sadm-x",
    ]  # fmt: skip
    stems = [file_stem(name) for name in names]
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert stems[0] == "sadm"
    assert stems[-1] == "sadm-x"
    pages = [part.page for stem in stems for part in paginated(stem, [_block(9), _block(9)], room=9)]
    assert len(set(pages)) == 2 * len(names)
    assert "index" not in pages
    for stem in stems:
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
        assert not stem.startswith((".", "-"))
        assert len(stem) <= 60


def _block(lines: int) -> Block:
    body = tuple(Line(Head(str(n), ""), (Value("x"),)) for n in range(lines))
    return Block("b", "b", tables=(Table("t", "t", (Heading("h", "h"),), body),))
