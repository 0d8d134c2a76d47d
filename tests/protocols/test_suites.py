"""Suite files: the built-in ones hold the paper's tables, and a wrong one is named with the place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from built_in import CATALOGUE

from pcbench.engine import plan
from pcbench.errors import DataError, UsageError
from pcbench.protocols import suites
from pcbench.protocols.suites import Row, Suite

GOOD = """
name = "mine"
summary = "two rows"
protocol = "quick"
datasets = ["shapes10"]
ppc = [1, 3]

[[rows]]
methods = ["random", "sadm"]

[[rows]]
methods = ["sadm"]
params = { lr = 5.0, rotate = false, init = "noise", topk = 2 }
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "mine.toml").write_text(GOOD)
    return suites.read(tmp_path / "mine.toml")


def shape(suite: Suite) -> tuple[int, int, int]:
    """Rows, columns (data set and PPC), networks of students."""
    rows = sum(len(row.methods) for row in suite.rows)
    return rows, len(suite.datasets) * len(suite.ppc), len(suite.evaluate) or 1


def test_every_built_in_suite_is_named_as_its_file():
    listed = suites.listing()
    names = [suite.name for suite in listed]
    assert names == ["published", "smoke", "table1", "table2", "table3", "table4", "table5", "table6"]
    assert [suites.read(suites.find(name)) for name in names] == listed
    assert all(suite.summary and "\n" not in suite.summary for suite in listed)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("table1", (8, 12, 1)),
        ("table2", (3, 4, 4)),
        ("table3", (12, 12, 1)),
        ("table4", (3, 4, 1)),
        ("table5", (3, 4, 1)),
        ("table6", (4, 4, 1)),
    ],
)
def test_the_tables_have_the_papers_size_and_protocol(name, size):
    suite = suites.read(suites.find(name))
    assert shape(suite) == size
    assert suite.protocol == "paper"
    assert suite.datasets == ("modelnet10", "modelnet40", "shapenet55", "scanobjectnn:pb_t50_rs")
    assert suite.backbone == "pointnet"


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table5", "table6"])
def test_the_tables_start_from_the_authors_draw_and_then_from_ours(name):
    """Once only where no draw has a part: the whole split, coresets, what starts from those or noise."""
    suite = suites.read(suites.find(name))
    for row in suite.rows:
        init = row.params.get("init", "random")
        drawn = init == "random" and not {"whole", "herding", "kcenter", "pcc"} & {*row.methods}
        ours = [("nested", 0)] if drawn else []
        assert suite.draws_of(row) == [("authors", 0), *ours]


def test_a_copy_in_another_order_than_the_official_one_is_refused_with_what_to_do():
    suite = suites.read(suites.find("table5"))
    common = plan.Request((), (), (), protocol="quick")
    here = suite.model_copy(update={"datasets": ("shapes10",)})
    requests = plan.of_suite(here, suites.find("table5"), common)
    assert [request.draw for request in requests] == ["authors", "nested"] * 3
    with pytest.raises(DataError, match=r"shapes10: the authors' draw is of the official lists.*'nested'"):
        plan.cells(CATALOGUE, *requests)
    asked = plan.of_suite(here.without_draws(), suites.find("table5"), common)
    assert {cell.inputs.draw for cell in plan.cells(CATALOGUE, *asked)} == {"nested"}


def test_table_3_is_every_initialisation_of_every_distilling_method():
    rows = suites.read(suites.find("table3")).rows
    asked = {(row.params["init"], method) for row in rows for method in row.methods}
    inits, methods = ("noise", "random", "kcenter", "herding"), ("dc:paper", "dm:paper", "sadm")
    assert asked == {(init, method) for init in inits for method in methods}


def test_the_ablations_switch_one_thing_each():
    def rows(name: str) -> list[tuple[tuple[str, ...], dict[str, object]]]:
        return [(row.methods, dict(row.params)) for row in suites.read(suites.find(name)).rows]

    assert rows("table5") == [(("random",), {}), (("sadm",), {"align": False}), (("sadm",), {})]
    assert rows("table6") == [
        (("random",), {}),
        (("sadm",), {"optimise_points": False}),
        (("sadm",), {"rotate": False}),
        (("sadm",), {}),
    ]


def test_smoke_has_every_built_in_method_on_embedded_data():
    smoke = suites.read(suites.find("smoke"))
    assert set(CATALOGUE.methods.names()) <= set(smoke.methods)
    assert (smoke.datasets, smoke.protocol) == (("shapes10",), "quick")


def test_the_parameters_of_built_in_suites_are_known_to_their_methods():
    methods = CATALOGUE.methods
    for suite in suites.listing():
        for row in suite.rows:
            for name in {*row.methods} & {*methods.names()}:
                methods.load(name).Params.model_validate(row.params)


def test_values_keep_their_types(suite):
    assert suite.rows[1] == Row(
        methods=("sadm",), params={"lr": 5.0, "rotate": False, "init": "noise", "topk": 2}
    )
    assert [type(value) for value in suite.rows[1].params.values()] == [float, bool, str, int]
    assert suite.methods == ("random", "sadm")


def test_options_choose_a_part_in_the_suites_order(suite):
    part = suite.narrowed(methods=["sadm"], ppcs=[3])
    assert [row.methods for row in part.rows] == [("sadm",), ("sadm",)]
    assert (part.ppc, part.datasets) == ((3,), ("shapes10",))
    table = suites.read(suites.find("table1"))
    assert table.narrowed(datasets=["scanobjectnn"]).datasets == ("scanobjectnn:pb_t50_rs",)
    assert suite.narrowed(ppcs=[3, 1]) == suite.narrowed() == suite
    assert [row.methods for row in suite.narrowed(methods=["random"]).rows] == [("random",), ()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ["dm"]}, "method dm: suite mine has random, sadm"),
        ({"datasets": ["shapes10", "modelnet10"]}, "data set modelnet10: suite mine has shapes10"),
        ({"ppcs": [10]}, "PPC 10: suite mine has 1, 3"),
    ],
)
def test_what_a_suite_does_not_have_cannot_be_chosen(suite, options, words):
    with pytest.raises(UsageError, match=words):
        suite.narrowed(**options)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "mine"', "", "mine.toml: name: Field required"),
        ("ppc = [1, 3]", "ppc = [1, 0]", r"mine.toml: ppc\.2: .*greater than or equal to 1"),
        ("ppc = [1, 3]", "ppc = []", "mine.toml: ppc: .*at least 1"),
        ("ppc = [1, 3]", "ppcs = [1]", "mine.toml: ppc: Field required"),
        ('"quick"', '"quik"', r"mine.toml: protocol: .*unknown protocol 'quik'\. Did you mean quick"),
        ('summary = "two rows"', 'summary = "two rows"\nnote = "x"', "mine.toml: note: Extra inputs"),
        ("params = { lr = 5.0,", "param = { lr = 5.0,", r"mine.toml: rows\.2\.param: Extra inputs"),
        ("lr = 5.0", "lr = [5.0]", r"mine.toml: rows\.2\.params: .*lr takes one value"),
        ("lr = 5.0", "lr = nan", r"mine.toml: rows\.2\.params\.lr\."),
        (
            "lr = 5.0",
            "iterations = 5",
            r"mine.toml: rows\.2\.params: .*iterations is a setting of the protocol",
        ),
        ("ppc = [1, 3]", "ppc = [1, 3", r"mine.toml: is not TOML: .*\(at line \d+, column \d+\)"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path, old, new, words):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=words) as caught:
        suites.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_unknown_suites_absent_files_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(UsageError, match=r"unknown suite 'tabel1'\. Did you mean table1"):
        suites.find("tabel1")
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read \(No such file"):
        suites.read(suites.find("nowhere.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: is not TOML"):
        suites.read(tmp_path / "bytes.toml")


def test_suites_are_listed_without_torch(pcbench):
    entries = json.loads(pcbench("list", "suites", "--json").out)
    assert [entry["name"] for entry in entries] == [suite.name for suite in suites.listing()]
    assert all(entry["summary"] in pcbench("list", "suites").out for entry in entries)
    code = "import sys; from pcbench.protocols import suites; suites.listing(); assert 'torch' not in {}"
    code = code.format("sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("{ recipe.epochs = 3 }", "recipe is a setting of the protocol"),
        ("{ iterations = 3 }", "iterations is a setting of the protocol"),
        ("{ lr = [1] }", "lr takes one value"),
    ],
)
def test_a_row_that_asks_for_more_than_parameters_is_told_so(tmp_path, params, words):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsummary = "one row"\nprotocol = "quick"\ndatasets = ["shapes10"]\nppc = [1]\n'
        f'[[rows]]\nmethods = ["dm"]\nparams = {params}\n'
    )
    with pytest.raises(UsageError, match=words):
        suites.read(path)
