"""A request becomes cells whose keys hold all that matters and whose random streams are paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcbench.api import Dataset
from pcbench.catalogue import Catalogue, Registry, open_catalogue
from pcbench.catalogue.loading import UnusablePlugin
from pcbench.engine import available, plan
from pcbench.engine.cell import Cell
from pcbench.engine.plan import Request
from pcbench.errors import DataError, UsageError
from pcbench.protocols.protocol import LITE, PAPER
from pcbench.protocols.suites import Row, Suite
from pcbench.records.identity import ENGINE

METHODS = """
from pcbench.api import Method, MethodParams, Snapshot, param

class First(Method):
    '''The first clouds of every class.'''

    name = "first"

    class Params(MethodParams):
        lr: float = param(10.0, "learning rate", source="ours", gt=0)
        rounds: int = param(3, "rounds", source="ours", ge=1)

    def distill(self, task):
        yield Snapshot(0, task.train)

class Last(First):
    '''The last clouds of every class.'''

    name = "last"

class Bare(Method):
    '''A method without parameters.'''

    name = "bare"

    def distill(self, task):
        yield Snapshot(0, task.train)

class Everything(Bare):
    '''The whole training split.'''

    name = "everything"
    whole = True
"""

DATASETS = """
import torch
from pcbench.api import Dataset, PointClouds, Splits

class Three(Dataset):
    '''Three classes of two, three and four clouds.'''

    name = "three"
    variant = "drawn"
    up_axis = "none"
    classes, train_size, test_size = 3, 9, 9
    counts = (2, 3, 4)

    def present(self):
        return True

    def how_to_get(self):
        return "It is always there."

    def load(self, points):
        generator = torch.Generator().manual_seed(len(self.name))
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(self.counts))
        clouds = PointClouds(torch.randn(9, points, 3, generator=generator), labels, ("a", "b", "c"))
        return Splits(clouds, clouds, clouds.content_hash(), "drawn", True)

class Four(Three):
    '''The same with other points.'''

    name = "four"

class Gap(Three):
    '''A class without a cloud.'''

    name = "gap"
    counts = (4, 0, 5)

class Counted(Three):
    '''It can be loaded once.'''

    name = "counted"
    loads = []

    def load(self, points):
        assert not self.loads
        self.loads.append(points)
        return super().load(points)

class Away(Three):
    '''It is somewhere else.'''

    name = "away"

    def present(self):
        return False

    def how_to_get(self):
        return "Walk there."

    def load(self, points):
        raise AssertionError
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "methods").mkdir()
    (tmp_path / "datasets").mkdir()
    (tmp_path / "methods" / "some_methods.py").write_text(METHODS)
    (tmp_path / "datasets" / "some_datasets.py").write_text(DATASETS)
    return tmp_path


@pytest.fixture
def catalogue(folder: Path) -> Catalogue:
    """Reading the built-in data sets' sources takes longer than everything else here."""
    own: Registry[Dataset] = Registry("dataset", folder / "datasets")
    return replace(open_catalogue([folder]), datasets=own)


def request(**changes: Any) -> Request:
    values = {"methods": ("first",), "datasets": ("three",), "ppcs": (1,), "protocol": "lite"} | changes
    values["settings"] = {"points": "8"} | dict(changes.get("settings", {}))
    return Request(**values)


@pytest.fixture
def cells(catalogue: Catalogue) -> Callable[..., list[Cell]]:
    return lambda **changes: plan.cells(catalogue, request(**changes))


def axes(cell: Cell) -> list[dict[str, str | int]]:
    return [dict(streams.axes) for streams in cell.evaluation.streams()]


def test_every_method_at_every_ppc_on_every_data_set(cells):
    made = cells(methods=("last", "first"), datasets=("three", "four"), ppcs=(2, 1))
    assert [(c.inputs.data.name, c.inputs.ppc, c.inputs.method) for c in made] == [
        (dataset, ppc, method)
        for dataset in ("three", "four")
        for ppc in (2, 1)
        for method in ("last", "first")
    ]
    assert len({cell.inputs.key for cell in made}) == 8


def test_parts_come_from_the_built_in_folders_and_the_users_alike(catalogue):
    mine, ours = plan.cells(catalogue, request(methods=("first", "random")))
    assert mine.evaluation.splits is ours.evaluation.splits
    assert (mine.inputs.method, ours.inputs.method) == ("first", "random")
    assert ours.inputs.params == {}
    with pytest.raises(UsageError, match=r"unknown data set 'thre'\. Did you mean three"):
        plan.cells(catalogue, request(datasets=("thre",)))


def test_a_method_that_imports_more_than_the_public_face_is_refused_before_any_of_it_runs(folder, catalogue):
    source = (
        "from pcbench.api import Method\nfrom pcbench.engine import students\n\nraise AssertionError\n\n\n"
        'class Deep(Method):\n    name = "deep"\n'
    )
    (folder / "methods" / "deep.py").write_text(source)
    with pytest.raises(UnusablePlugin, match=r"deep.py:2 imports pcbench.engine: a method"):
        plan.cells(catalogue, request(methods=("deep",)))
    _, (absent,) = available.of_requests(catalogue, request(methods=("deep", "first")))
    assert "imports pcbench.engine: a method" in absent.reason


def test_the_inputs_say_what_is_in_effect(cells):
    (cell,) = cells(settings={"rounds": "5", "iterations": "20"})
    inputs = cell.inputs
    assert (inputs.method, inputs.params, inputs.variation) == (
        "first",
        {"lr": 10.0, "rounds": 5},
        {"rounds": 5},
    )
    assert (inputs.iterations, inputs.snapshots, inputs.whole) == (20, [0, 20], LITE.whole)
    assert (inputs.data.points, inputs.data.class_names) == (8, ["a", "b", "c"])
    assert inputs.data.hash == cell.evaluation.splits.content_hash
    assert (inputs.network.label, inputs.ppc, inputs.repetition) == ("pointnet:paper", 1, 0)
    assert cell.method.params == inputs.params
    assert cell.backbone.name == "pointnet"
    assert cell.evaluation.protocol.changes == {"iterations": 20, "points": 8}


def test_the_protocol_in_effect_is_the_standard_one_unless_something_differs(cells):
    assert cells(settings={"points": "256"})[0].evaluation.protocol is LITE
    assert cells(settings={"points": "256"}, students=5)[0].evaluation.protocol is LITE
    assert cells(settings={"points": "256"}, students=4)[0].evaluation.protocol.changes == {"students": 4}
    assert cells(settings={"points": "1024"}, protocol="paper")[0].evaluation.protocol is PAPER


# Random streams


def test_methods_are_paired(cells):
    first, last = cells(methods=("first", "last"), settings={"rounds": "7"})
    assert first.inputs.key != last.inputs.key
    assert first.distillation_streams() == last.distillation_streams()
    assert first.trained_network_streams() == last.trained_network_streams()
    assert first.evaluation.streams() == last.evaluation.streams()


def test_students_are_paired_across_ppc_and_distillation_repetition(cells):
    one, two = cells(ppcs=(1, 2))
    assert axes(one) == axes(two) == axes(cells(repetition=3)[0])
    assert one.distillation_streams() != two.distillation_streams()
    assert one.trained_network_streams() == two.trained_network_streams()


def test_every_student_has_streams_of_its_own_that_do_not_depend_on_their_number(cells):
    few, many = axes(cells(students=2)[0]), axes(cells(students=4)[0])
    assert [each["repetition"] for each in many] == [0, 1, 2, 3]
    assert many[:2] == few


@pytest.mark.parametrize("level", ["distillation_streams", "trained_network_streams"])
def test_another_repetition_or_data_set_draws_other_numbers(cells, level):
    def drawn(**changes: Any) -> int:
        return getattr(cells(**changes)[0], level)().stream("weights").initial_seed()

    seeds = [drawn(), drawn(repetition=1), drawn(repetition=2), drawn(datasets=("four",))]
    assert len(set(seeds)) == 4
    assert drawn() == seeds[0]


def test_students_of_another_data_set_or_network_draw_other_numbers(cells):
    cases = [{}, {"datasets": ("four",)}, {"backbone": "pointnet:canonical"}]
    seeds = [cells(**case)[0].evaluation.streams()[0].stream("weights").initial_seed() for case in cases]
    assert len(set(seeds)) == 3


def test_the_levels_of_randomness_share_no_stream(cells):
    (cell,) = cells(repetition=0)
    levels = [cell.distillation_streams(), cell.trained_network_streams(), cell.evaluation.streams()[0]]
    assert len({streams.stream("weights").initial_seed() for streams in levels}) == 3


# Keys


@pytest.mark.parametrize(
    "change",
    [
        {"methods": ("last",)},
        {"datasets": ("four",)},
        {"ppcs": (2,)},
        {"repetition": 1},
        {"backbone": "pointnet:canonical"},
        {"settings": {"lr": "11"}},
        {"settings": {"rounds": "4"}},
        {"settings": {"points": "9"}},
        {"settings": {"iterations": "20"}},
        {"settings": {"snapshot_every": "100"}},
        {"settings": {"whole.epochs": "7"}},
        {"protocol": "quick"},
    ],
    ids=str,
)
def test_the_key_changes_with_every_input(cells, change):
    assert cells(**change)[0].inputs.key != cells()[0].inputs.key


@pytest.mark.parametrize("change", [{"students": 2}, {"settings": {"recipe.epochs": "7"}}], ids=str)
def test_how_students_are_trained_changes_the_evaluation_alone(cells, change):
    standing, changed = cells()[0], cells(**change)[0]
    key = standing.inputs.key
    assert changed.inputs.key == key
    assert changed.evaluation.inputs(key).key != standing.evaluation.inputs(key).key


def test_the_key_does_not_depend_on_the_order_of_settings_or_on_how_numbers_are_written(cells):
    one = cells(settings={"lr": "2.5", "rounds": "4", "iterations": "20"})[0]
    other = cells(settings={"iterations": "20", "rounds": "4", "lr": "2.50"})[0]
    assert one.inputs.key == other.inputs.key
    assert cells(settings={"lr": "10"})[0].inputs.key == cells()[0].inputs.key


def test_the_key_changes_with_the_source_of_the_method(cells, catalogue, folder):
    before = cells()[0].inputs.key
    (folder / "methods" / "some_methods.py").write_text(METHODS + "\nCHANGED = True\n")
    again = replace(open_catalogue([folder]), datasets=catalogue.datasets)
    (cell,) = plan.cells(again, request())
    assert cell.inputs.key != before


def test_evaluation_inputs_name_distillation_students_and_engine(cells):
    (cell,) = cells(students=3)
    inputs = cell.evaluation.inputs(cell.inputs.key)
    assert (inputs.distillation, inputs.repetitions) == (cell.inputs.key, [0, 1, 2])
    assert inputs.engine == cell.inputs.engine == ENGINE
    assert (inputs.data, inputs.network, inputs.protocol) == (
        cell.inputs.data,
        cell.inputs.network,
        cell.evaluation.protocol,
    )


@pytest.mark.parametrize(
    ("settings", "variation"),
    [
        ({}, {}),
        ({"lr": "10", "rounds": "3"}, {}),
        ({"lr": "9.5"}, {"lr": 9.5}),
        ({"lr": "9.5", "rounds": "1", "iterations": "20"}, {"lr": 9.5, "rounds": 1}),
    ],
)
def test_the_variation_lists_what_differs_from_the_defaults(cells, settings, variation):
    assert cells(settings=settings)[0].inputs.variation == variation


# Requests that cannot be met


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ("frist",)}, r"unknown method 'frist'\. Did you mean first"),
        ({"datasets": ("thre",)}, r"unknown data set 'thre'\. Did you mean three"),
        ({"backbone": "pointnett"}, r"unknown backbone 'pointnett'\. Did you mean pointnet"),
        ({"backbone": "pointnet:papr"}, r"unknown preset 'papr' of backbone 'pointnet'\. Did you mean paper"),
        ({"protocol": "papers"}, r"unknown protocol 'papers'\. Did you mean paper"),
        ({"ppcs": (1, 0)}, "PPC 0: at least one cloud per class is needed"),
        ({"ppcs": (-2,)}, "PPC -2: at least one cloud per class is needed"),
        ({"ppcs": (1, 3)}, "PPC 3 is larger than the smallest class of three: 'a' has 2 training clouds"),
        ({"students": 0}, "0 students: at least one is needed"),
        (
            {"settings": {"round": "4"}},
            r"setting round: neither method 'first' nor the protocol .*Did you mean rounds",
        ),
        ({"settings": {"recipe.epoch": "4"}}, r"setting recipe\.epoch: .*Did you mean recipe\.epochs"),
        (
            {"settings": {"rounds": "0"}},
            "method 'first': rounds='0': Input should be greater than or equal to 1",
        ),
        ({"settings": {"rounds": "many"}}, "method 'first': rounds='many': Input should be a valid integer"),
        ({"settings": {"lr": "nan"}}, "method 'first': lr='nan': "),
        ({"settings": {"points": "0"}}, "protocol setting points='0': "),
        ({"settings": {"students": "0"}}, "protocol setting students='0': "),
        ({"methods": ("first", "bare"), "settings": {"lr": "1"}}, "setting lr: neither method 'bare' nor"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(cells, change, words):
    with pytest.raises(UsageError, match=words) as caught:
        cells(**change)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) <= 2


def test_the_smallest_class_can_be_used_up(cells):
    assert cells(ppcs=(2,))[0].inputs.ppc == 2


def test_a_class_without_a_training_cloud_is_bad_data(cells):
    with pytest.raises(DataError, match="gap: class 'b' has no training cloud"):
        cells(datasets=("gap",))


# Several requests, and the part of them that can be run here


def test_a_method_that_gives_everything_has_one_cell_a_data_set(cells):
    made = cells(methods=("everything", "first"), datasets=("three", "four"), ppcs=(1, 2))
    assert [(c.inputs.data.name, c.inputs.method, c.inputs.ppc) for c in made] == [
        (dataset, method, ppc)
        for dataset in ("three", "four")
        for method, ppc in (("everything", 0), ("first", 1), ("first", 2))
    ]
    assert cells(methods=("everything",), ppcs=(100,))[0].inputs.ppc == 0


def test_a_data_set_is_loaded_once_for_all_requests(catalogue):
    one = request(datasets=("counted",))
    made = plan.cells(catalogue, one, replace(one, ppcs=(2,)), replace(one, methods=("last",)))
    assert [cell.inputs.data.name for cell in made] == ["counted"] * 3
    assert len({id(cell.evaluation.splits) for cell in made}) == 1


def test_the_same_inputs_are_one_cell(catalogue):
    one = request()
    named = replace(one, settings={"points": 8, "lr": 10, "rounds": 3})
    other_students = replace(one, students=4)
    made = plan.cells(catalogue, one, replace(one, ppcs=(1, 2)), named, other_students)
    assert [(cell.inputs.ppc, cell.evaluation.protocol.students) for cell in made] == [(1, 5), (2, 5), (1, 4)]
    assert plan.cells(catalogue) == []


def test_a_suites_rows_become_requests(catalogue):
    suite = Suite(
        name="mine",
        summary="rows",
        protocol="paper",
        datasets=("three",),
        ppc=(1, 2),
        rows=(Row(methods=("first", "last")), Row(methods=("first",), params={"rounds": 5})),
    )
    made = plan.cells(catalogue, *plan.of_suite(suite, Path("mine.toml"), request()))
    assert [(c.inputs.method, c.inputs.ppc, c.inputs.variation) for c in made] == [
        ("first", 1, {}),
        ("last", 1, {}),
        ("first", 2, {}),
        ("last", 2, {}),
        ("first", 1, {"rounds": 5}),
        ("first", 2, {"rounds": 5}),
    ]
    assert {cell.evaluation.protocol.base for cell in made} == {"lite"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"round": 4}, r"^mine\.toml: row 2: round: neither method 'first' .*Did you mean rounds"),
        ({"rounds": 0}, r"^mine\.toml: row 2: method 'first': rounds=0: Input should be greater"),
        ({"rounds": 1.5}, r"^mine\.toml: row 2: method 'first': rounds=1\.5: "),
    ],
)
def test_a_wrong_parameter_of_a_suite_names_its_file(cells, settings, words):
    with pytest.raises(UsageError, match=words):
        cells(settings=settings, origin="mine.toml: row 2")


def test_what_is_not_here_is_left_out_with_the_reason(catalogue):
    asked = request(methods=("first", "dcc"), datasets=("three", "away", "sevn"), ppcs=(1, 2))
    (possible,), absent = available.of_requests(catalogue, asked)
    assert (possible.methods, possible.datasets) == (("first",), ("three",))
    assert len(plan.cells(catalogue, possible)) == 2
    reasons = {(each.method, each.dataset): each.reason for each in absent}
    assert len(absent) == 2 * len(reasons) == 2 * 5
    assert "there is no method 'dcc': see 'pcbench list methods'" in reasons["dcc", "three"]
    assert reasons["first", "away"] == "away is not on this machine: Walk there."
    assert "there is no data set 'sevn': see 'pcbench list datasets'" in reasons["first", "sevn"]
    assert ("first", "three") not in reasons


def test_an_absent_data_set_is_absent_once_for_a_method_that_gives_everything(catalogue):
    _, absent = available.of_requests(
        catalogue, request(methods=("everything",), datasets=("away",), ppcs=(1, 2))
    )
    assert [each.ppc for each in absent] == [0]


@pytest.mark.parametrize(
    ("evaluate", "absent", "cells"),
    [
        ((), [], 1),
        (("pointnet",), [], 1),
        (("pointnet:paper", "dgcnn9"), [("dgcnn9", "there is no backbone 'dgcnn9'")], 1),
        (("pointnet:paper", "pointnet:canonical"), [], 2),
        (("dgcnn9",), [("dgcnn9", "there is no backbone 'dgcnn9'")], 0),
    ],
)
def test_students_of_a_backbone_that_is_not_here_are_absent(catalogue, evaluate, absent, cells):
    possible, left = available.of_requests(catalogue, request(evaluate=evaluate))
    assert len(plan.cells(catalogue, *possible)) == cells
    assert [each.network for each in left] == [network for network, _ in absent]
    assert all(words in each.reason for each, (_, words) in zip(left, absent, strict=True))


def test_an_unknown_distilling_backbone_leaves_nothing(catalogue):
    possible, absent = available.of_requests(catalogue, request(backbone="dgcnn9", evaluate=("pointnet",)))
    assert possible == []
    assert ["there is no backbone 'dgcnn9'" in each.reason for each in absent] == [True]


def test_students_of_several_networks_share_one_distillation(cells):
    paper, canonical = cells(evaluate=("pointnet", "pointnet:canonical"))
    assert paper.inputs == canonical.inputs
    assert paper.backbone is canonical.backbone
    assert paper.label == "pointnet:paper"
    assert canonical.label == "pointnet:paper → pointnet:canonical"
    assert [axes(cell)[0]["backbone"] for cell in (paper, canonical)] == [
        "pointnet:paper",
        "pointnet:canonical",
    ]
    assert paper.evaluation.inputs("0" * 64).key != canonical.evaluation.inputs("0" * 64).key
    assert canonical.evaluation.build(torch.Generator()).state_dict().keys() > (
        paper.evaluation.build(torch.Generator()).state_dict().keys()
    )


def test_parameters_are_checked_even_where_no_data_set_is_present(catalogue):
    (possible,), _ = available.of_requests(catalogue, request(datasets=("away",), settings={"round": 1}))
    with pytest.raises(UsageError, match="Did you mean rounds"):
        plan.cells(catalogue, possible)


def test_repetitions_share_what_they_have_in_common_and_are_the_cells_they_would_be_alone(catalogue):
    requests = [request(repetition=number) for number in range(3)]
    together = plan.cells(catalogue, *requests)
    alone = [cell for each in requests for cell in plan.cells(catalogue, each)]
    assert [(cell.key, cell.evaluation_key) for cell in together] == [
        (cell.key, cell.evaluation_key) for cell in alone
    ]
    assert len({cell.key for cell in together}) == 3
    assert [cell.inputs for cell in together] == [cell.inputs for cell in alone]
    assert len({id(cell.evaluation) for cell in together}) == 1
