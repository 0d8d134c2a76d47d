"""The paper's tables as data: complete, as the suites ask for them, in accord with what the paper says."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from built_in import CATALOGUE

from pcbench.errors import DataError
from pcbench.protocols import suites
from pcbench.report import against_papers, papers
from pcbench.report.cells import Board
from pcbench.report.papers import Reported

PAPER = "Yim, Kim, Sim 2025"
DATASETS = suites.read(suites.find("table1")).datasets
MN10, MN40, SN, SONN = DATASETS

GOOD = """
source = "Nobody 1900"
table = 7
title = "two methods"
metric = "oa"
students = 10
ppc = [1]
backbone = "pointnet"
notes = ["made up"]

[[blocks]]
columns = [{ data = ["shapes10"] }, { data = ["a", "b"] }]
rows = [
    { label = "Ours", method = "sadm", params = { rotate = false }, values = ["84.4 ± 1.2", ""] },
    { label = "Theirs", method = "dm", values = ["5.0", { printed = "12.25", note = "odd" }] },
]
"""


@pytest.fixture(scope="module")
def figures() -> list[Reported]:
    return [figure for figure in papers.load() if figure.source == PAPER]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "table7.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def place(figure: Reported) -> tuple[object, ...]:
    return (
        figure.method,
        json.dumps(figure.variation, sort_keys=True),
        figure.data,
        figure.ppc,
        figure.backbone,
    )


def one(
    figures: list[Reported],
    table: int,
    method: str,
    data: str | tuple[str, ...],
    ppc: object,
    **params: object,
) -> float:
    """The only figure of a cell."""
    where = (data,) if isinstance(data, str) else data
    each = ppc if isinstance(ppc, tuple) else (ppc,)
    (found,) = [
        f
        for f in figures
        if (f.table, f.method, f.data, f.ppc, f.variation) == (table, method, where, each, params)
    ]
    return found.value


# What is there


def test_every_table_has_as_many_figures_as_it_prints(figures):
    assert Counter(f.table for f in figures) == {
        1: 4 + 6 * 12,
        2: 4 * 12,
        3: 12 * 4,
        4: 3 * 4,
        5: 3 * 4,
        6: 4 * 3,
    }
    assert [table.number for table in papers.tables() if table.source == PAPER] == [1, 2, 3, 4, 5, 6]
    assert all(table.title for table in papers.tables())


def test_no_figure_is_there_twice(figures):
    assert max(Counter((f.table, *place(f)) for f in figures).values()) == 1


def test_deviations_are_printed_in_tables_1_and_2_but_for_the_whole_split(figures):
    for figure in figures:
        assert (figure.std is not None) == (figure.table <= 2 and figure.method != "whole")


def test_the_whole_split_on_scanobjectnn_is_version_3s_as_the_notes_say(figures):
    whole = {f.data: (f.value, f.note) for f in figures if f.method == "whole"}
    assert whole == {
        (MN10,): (91.41, ""),
        (MN40,): (87.84, ""),
        (SN,): (82.49, ""),
        (SONN,): (63.84, "of version 3"),
    }
    (table,) = [table for table in papers.tables() if (table.source, table.number) == (PAPER, 1)]
    assert any("ScanObjectNN" in note and "whole" in note for note in table.notes)


def test_scanobjectnn_is_pb_t50_rs_in_every_table_and_the_first_says_so():
    data = {name for figure in papers.load() for name in figure.data if name.startswith("scanobjectnn")}
    assert data == {"scanobjectnn:pb_t50_rs"}
    assert any("PB_T50_RS, 11416 / 2882" in note for note in papers.tables()[0].notes)


def test_the_hours_are_those_of_the_card_that_version_3_names():
    (table,) = [table for table in papers.tables() if table.metric == "hours"]
    assert table.number == 4
    assert any("RTX 3090" in note for note in table.notes)


def test_figures_are_plausible(figures):
    chance = {MN10: 10, MN40: 2.5, SN: 100 / 55, SONN: 100 / 15}
    whole = {f.data[0]: f.value for f in figures if f.method == "whole"}
    for figure in figures:
        if figure.metric == "hours":
            assert 0 < figure.value < 10
            continue
        least, most = (statistics.fmean(each[d] for d in figure.data) for each in (chance, whole))
        assert least < figure.value <= most
        assert figure.std is None or 0.3 <= figure.std <= 10.5


def test_figures_keep_the_digits_of_their_tables(figures):
    for figure in figures:
        digits = figure.printed.split(" ± ")[0].partition(".")[2]
        assert len(digits) == (1 if figure.table <= 2 and figure.method != "whole" else 2)
        assert figure.value == float(figure.printed.split(" ± ")[0])


# The suites of the same names


def suite_cells(number: int) -> set[tuple[object, ...]]:
    suite = suites.read(suites.find(f"table{number}"))
    return {
        (
            method.split(":")[0],
            json.dumps(row.params, sort_keys=True),
            data,
            0 if method == "whole" else ppc,
            backbone,
        )
        for row in suite.rows
        for method in row.methods
        for data in suite.datasets
        for ppc in suite.ppc
        for backbone in suite.evaluate or (suite.backbone,)
    }


def reported_cells(figures: list[Reported], number: int) -> set[tuple[object, ...]]:
    return {
        (f.method, json.dumps(f.variation, sort_keys=True), data, ppc, f.backbone)
        for f in figures
        if f.table == number
        for data in f.data
        for ppc in f.ppc
    }


def test_table_1_reports_every_cell_of_its_suite_but_pcc(figures):
    missing = suite_cells(1) - reported_cells(figures, 1)
    assert reported_cells(figures, 1) < suite_cells(1)
    assert {(cell[0], cell[2]) for cell in missing} == {("pcc", data) for data in DATASETS}


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_the_other_tables_report_the_cells_of_their_suites_and_no_others(figures, number):
    assert reported_cells(figures, number) == suite_cells(number)


def test_methods_parameters_backbones_and_data_sets_are_pcbenchs(figures):
    methods, backbones = CATALOGUE.methods, CATALOGUE.backbones
    assert {data for figure in figures for data in figure.data} <= set(CATALOGUE.datasets.names())
    for backbone in {figure.backbone for figure in figures}:
        assert "paper" in backbones.load(backbone).presets
    for method in {figure.method for figure in figures}:
        params = methods.load(method).Params
        for variation in (figure.variation for figure in figures if figure.method == method):
            params.model_validate(variation)


def test_what_the_appendix_states_is_the_setting_paper_of_the_method(figures):
    """A suite that asks for `dm:paper` is what a figure stands beside, whatever our default is."""
    stated = {
        (figure.method, json.dumps(figure.stated, sort_keys=True)) for figure in figures if figure.stated
    }
    settings = {name: CATALOGUE.methods.load(name).settings["paper"].params for name in ("dm", "sadm")}
    assert stated == {(name, json.dumps(dict(params), sort_keys=True)) for name, params in settings.items()}
    asked = {
        m
        for number in range(1, 7)
        for row in suites.read(suites.find(f"table{number}")).rows
        for m in row.methods
    }
    assert {"dm:paper", "dc:paper"} < asked
    assert not {"dm", "dc"} & asked


# What the paper says of its figures


def test_herding_and_k_center_are_the_same_at_ppc_1(figures):
    for data in DATASETS:
        pair = [
            f.printed
            for f in figures
            if f.table == 1 and f.method in ("herding", "kcenter") and f.data == (data,) and f.ppc == (1,)
        ]
        assert len(pair) == 2
        assert pair[0] == pair[1]


def test_herding_is_the_best_coreset_throughout(figures):
    for data in DATASETS:
        for ppc in (1, 3, 10):
            herding, kcenter, random = (
                one(figures, 1, m, data, ppc) for m in ("herding", "kcenter", "random")
            )
            assert herding >= kcenter
            assert herding > random


def test_sadm_is_above_all_others_but_for_one_cell(figures):
    """The text says throughout; DC is above it on ScanObjectNN at PPC 1, as the notes say."""
    others = ("random", "herding", "kcenter", "dm", "dc")
    behind = {
        (method, data, ppc)
        for data in DATASETS
        for ppc in (1, 3, 10)
        for method in others
        if one(figures, 1, method, data, ppc) >= one(figures, 1, "sadm", data, ppc)
    }
    assert behind == {("dc", SONN, 1)}


def test_sadm_is_above_the_others_for_every_student(figures):
    by_cell = {(f.backbone, f.data, f.method): f.value for f in figures if f.table == 2}
    for (backbone, data, method), value in by_cell.items():
        assert value < by_cell[backbone, data, "sadm"] or method == "sadm"


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("method", ["dc", "dm", "sadm"])
def test_table_3_from_random_is_the_mean_of_table_1(figures, method, data):
    """Up to rounding: three figures of one decimal, one of two. One cell is known to disagree."""
    mean = statistics.fmean(one(figures, 1, method, data, ppc) for ppc in (1, 3, 10))
    stated = one(figures, 3, method, data, (1, 3, 10), init="random")
    if (method, data) == ("sadm", MN10):
        assert (round(mean, 2), stated) == (72.3, 72.48)
    else:
        assert abs(mean - stated) <= 0.05 + 0.005 + 1e-9


def test_dm_is_below_dc_from_real_clouds_but_for_two_cells(figures):
    """The text says always; the notes name the cells."""
    above = {
        (init, data)
        for init in ("random", "kcenter", "herding")
        for data in DATASETS
        if one(figures, 3, "dm", data, (1, 3, 10), init=init)
        >= one(figures, 3, "dc", data, (1, 3, 10), init=init)
    }
    assert above == {("herding", SONN), ("kcenter", SN)}


def test_dc_needs_7_hours_on_shapenet_50_times_those_of_dm_which_are_9_minutes(figures):
    dc, dm = one(figures, 4, "dc", SN, 3), one(figures, 4, "dm", SN, 3)
    assert 7 < dc < 8
    assert round(dc / dm) == 50
    assert dm * 60 == pytest.approx(9)


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("method", ["random", "sadm"])
def test_table_5_is_table_1_with_a_digit_more(figures, method, data):
    """One cell is known to disagree."""
    coarse, fine = one(figures, 1, method, data, 3), one(figures, 5, method, data, 3)
    if (method, data) == ("sadm", SONN):
        assert (coarse, fine) == (31.6, 31.84)
    else:
        assert abs(coarse - fine) <= 0.05 + 1e-9


def test_without_alignment_sadm_is_nearly_random(figures):
    for data in DATASETS:
        assert abs(one(figures, 5, "sadm", data, 3, align=False) - one(figures, 5, "random", data, 3)) < 1


@pytest.mark.parametrize("method", ["random", "sadm"])
def test_table_6_groups_the_data_sets_of_table_5(figures, method):
    """The mean of both aligned sets of SADM is known to disagree."""
    for data in (MN40, SONN):
        assert one(figures, 6, method, data, 3) == one(figures, 5, method, data, 3)
    mean = statistics.fmean(one(figures, 5, method, data, 3) for data in (MN10, SN))
    stated = one(figures, 6, method, (MN10, SN), 3)
    if method == "sadm":
        assert (round(mean, 2), stated) == (74.08, 74.35)
    else:
        assert abs(mean - stated) <= 0.005 + 0.005 + 1e-9


def test_each_part_of_sadm_helps_in_every_group_and_rotations_most_where_clouds_are_rotated(figures):
    groups = ((MN10, SN), MN40, SONN)
    steps = [
        [one(figures, 6, "random", g, 3), one(figures, 6, "sadm", g, 3, optimise_points=False),
         one(figures, 6, "sadm", g, 3, rotate=False), one(figures, 6, "sadm", g, 3)]
        for g in groups
    ]  # fmt: skip
    assert all(row == sorted(row) for row in steps)
    gains = [row[1] - row[0] for row in steps]
    assert gains == sorted(gains)


def test_figures_that_are_known_to_disagree_have_a_note(figures):
    noted = {(f.table, f.method, f.data) for f in figures if f.note}
    assert noted == {
        (1, "whole", (SONN,)),
        (1, "random", (MN40,)),
        (1, "sadm", (SONN,)),
        (3, "sadm", (MN10,)),
        (5, "sadm", (SONN,)),
        (6, "sadm", (MN10, SN)),
        (6, "sadm", (SONN,)),
    }


# Version 3, and 3DDP


@pytest.fixture(scope="module")
def newer() -> list[Reported]:
    return [figure for figure in papers.load() if figure.source == f"{PAPER}, version 3"]


@pytest.fixture(scope="module")
def secondary() -> list[Reported]:
    return [figure for figure in papers.load() if figure.source not in (PAPER, f"{PAPER}, version 3")]


def test_version_3_adds_what_version_2_does_not_print(figures, newer):
    assert Counter(f.table for f in newer) == {3: 2 * 4, 6: 4, 9: 4 * 4, 13: 2 * 12 + 6, 14: 3}
    assert all((f.metric, f.students, f.std, f.backbone) == ("oa", 10, None, "pointnet") for f in newer)
    assert max(Counter((f.table, *place(f)) for f in newer).values()) == 1
    printed = {(place(f), f.printed) for f in figures}
    assert not [f for f in newer if (place(f), f.printed) in printed]


@pytest.mark.parametrize(
    ("table", "method", "data", "ppc", "params", "value"),
    [
        (3, "dc", SN, 3, {"test": "on=modelnet40"}, 54.43),
        (3, "pcc", SN, 3, {"test": "on=modelnet40"}, 57.43),
        (3, "sadm", SN, 3, {"test": "on=modelnet40"}, 61.54),
        (3, "dm", MN40, 3, {"test": "on=shapenet55"}, 47.35),
        (3, "sadm", MN40, 3, {"test": "on=shapenet55"}, 54.4),
        (6, "sadm", MN10, 3, {"stopped": "at DM's time"}, 83.64),
        (6, "sadm", SONN, 3, {"stopped": "at DM's time"}, 33.06),
        (9, "sadm", MN10, 3, {"rotate": False, "align": False}, 75.21),
        (9, "sadm", SN, 3, {"rotate": False, "order": "Z-order curve"}, 55.17),
        (9, "sadm", SONN, 3, {"rotate": False, "order": "z coordinate"}, 21.8),
        (9, "sadm", MN40, 3, {"rotate": False}, 67.52),
        (13, "mtt", MN10, 3, {"lr": 1e-4}, 76.73),
        (13, "mtt", SONN, 1, {"lr": 1e-4}, 13.94),
        (13, "datadam", MN40, 10, {"lr": 1e-4}, 74.94),
        (13, "datadam", SN, 1, {"lr": 1e-4}, 35.7),
        (13, "sadm", MN10, 3, {}, 84.96),
        (13, "sadm", SONN, 1, {}, 17.29),
        (14, "random", (MN10, SN), 3, {"augmentation": "random rotation"}, 58.92),
        (14, "random", SONN, 3, {"augmentation": "random rotation"}, 31.42),
    ],
)
def test_figures_of_version_3(newer, table, method, data, ppc, params, value):
    assert one(newer, table, method, data, ppc, **params) == value


def test_version_3_rounds_to_version_2_but_where_the_notes_say(figures, newer):
    """Table 13 has Table 1's cells of SADM with a digit more."""
    odd = set()
    for figure in (f for f in newer if (f.table, f.method) == (13, "sadm")):
        coarse = one(figures, 1, "sadm", figure.data, figure.ppc)
        if abs(coarse - figure.value) > 0.05 + 1e-9:
            odd.add((figure.data, figure.ppc))
            assert str(coarse) in figure.note
    assert odd == {((MN10,), (3,)), ((SONN,), (1,))}


def test_what_pcbench_cannot_run_alike_has_no_counterpart(newer):
    """A parameter that no method has keeps a figure from standing beside a row that is something else."""
    unknown = {}
    for figure in newer:
        known = set(CATALOGUE.methods.load(figure.method).Params.model_fields)
        unknown.setdefault(figure.table, set()).add(frozenset(figure.variation.keys() - known))
    assert unknown == {
        3: {frozenset({"test"})},
        6: {frozenset({"stopped"})},
        9: {frozenset(), frozenset({"order"})},
        13: {frozenset()},
        14: {frozenset({"augmentation"})},
    }


def test_3ddp_is_marked_as_secondary_and_stands_last(secondary):
    table = papers.tables()[-1]
    assert list(table.figures) == secondary
    assert (table.number, table.called) == (0, "3DDP, ICLR 2026, secondary")
    assert table.notes[0].startswith("Secondary")
    values = {(f.method, f.data[0], f.ppc[0]): f.value for f in secondary}
    assert len(values) == len(secondary) == 5 * 5
    assert values["3ddp", MN10, 1] == 87.7
    assert values["sadm", MN10, 1] == 35.9
    assert values["pcc", MN40, 1] == 55.3
    assert values["dm", SONN, 1] == 13.7
    assert values["3ddp", "omniobject3d", 1] == 41.9
    assert values["whole", SONN, 0] == 63.43


def test_a_page_without_anything_measured_links_to_no_method():
    """3DDP is none of ours, so that it has no page."""
    blocks = against_papers.blocks(Board((), (), (), {}))
    assert len({block.name for block in blocks}) == len(blocks)
    assert not [line for block in blocks for table in block.tables for line in table.lines if line.head.page]


def test_every_table_has_an_id_of_its_own():
    anchors = [table.anchor for table in papers.tables()]
    assert anchors[:6] == ["p1", "p2", "p3", "p4", "p5", "p6"]
    assert len(set(anchors)) == len(anchors) == 12


# The files


def test_a_table_is_read_as_it_is_written(good):
    table = papers.read(good)
    assert (table.source, table.number, table.notes) == ("Nobody 1900", 7, ("made up",))
    assert (table.anchor, table.called) == ("p7", "Table 7 of Nobody 1900")
    first, second, third = table.figures
    assert first == Reported(
        source="Nobody 1900", table=7, label="Ours", method="sadm", variation={"rotate": False},
        data=("shapes10",), ppc=(1,), backbone="pointnet", metric="oa", printed="84.4 ± 1.2",
        value=84.4, std=1.2, students=10,
    )  # fmt: skip
    assert (second.method, second.value, second.std, second.note) == ("dm", 5.0, None, "")
    assert (third.data, third.value, third.note) == (("a", "b"), 12.25, "odd")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "two methods"', "", r"table7\.toml: title: Field required"),
        ("table = 7", 'table = "7"', r"table7\.toml: table: Input should be a valid integer"),
        ("table = 7", "table = 7\npages = 3", r"table7\.toml: pages: Extra inputs"),
        ('metric = "oa"', 'metric = "f1"', r"table7\.toml: metric: .*'oa' or 'hours'"),
        ('"84.4 ± 1.2"', '"84,4"', r"table7\.toml: row Ours: '84,4' is not a figure such as"),
        ('"84.4 ± 1.2"', '"84.4 +- 1.2"', r"row Ours: '84.4 \+- 1.2' is not a figure"),
        ('"84.4 ± 1.2"', '"NaN"', r"row Ours: 'NaN' is not a figure"),
        ('"84.4 ± 1.2"', '"184.4"', r"table7\.toml: figure: 184.4: an accuracy is at most 100 %"),
        ('["84.4 ± 1.2", ""]', '["84.4 ± 1.2"]', "row Ours: 1 values in 2 columns"),
        ('method = "dm"', 'method = "dm", ppc = [3]', "row Theirs: ppc is said twice"),
        ('method = "dm", ', "", r"table7\.toml: method: Field required"),
        ("ppc = [1]", "ppc = [-1]", r"table7\.toml: ppc\.1: .*greater than or equal to 0"),
        ("ppc = [1]", "ppc = [1", r"table7\.toml: .*\(at line \d+, column \d+\)"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_the_place(good, old, new, words):
    good.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        papers.read(good)
    assert len(str(caught.value).splitlines()) == 1


def test_absent_files_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.toml cannot be read \(No such file"):
        papers.read(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"bytes\.toml: "):
        papers.read(tmp_path / "bytes.toml")


def test_tables_are_read_when_asked_for_and_without_torch():
    code = "import sys; from pcbench.report import papers; papers.load(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
