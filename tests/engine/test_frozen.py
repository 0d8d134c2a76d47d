"""Plans as data: the same cells on another day, or an error that says what is not as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from built_in import CATALOGUE

from pcbench.engine import frozen, plan
from pcbench.engine.cell import Cell
from pcbench.engine.plan import Request
from pcbench.errors import DataError, UsageError
from pcbench.records import identity, plans
from pcbench.records.plans import Plan


def cells(**changes: object) -> list[Cell]:
    values = {
        "methods": ("whole", "random", "sadm"),
        "datasets": ("shapes10",),
        "ppcs": (1, 3),
        "protocol": "quick",
        "settings": {"points": "16"},
        "evaluate": ("pointnet", "dgcnn"),
    }
    return plan.cells(CATALOGUE, Request(**(values | changes)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def some() -> list[Cell]:
    return cells()


@pytest.fixture(scope="module")
def frozen_plan(some: list[Cell]) -> Plan:
    return frozen.freeze(some, "last")


def test_a_plan_gives_the_same_cells_from_its_file(some, frozen_plan, tmp_path):
    plans.write(tmp_path / "plan.json", frozen_plan)
    again = plans.read(tmp_path / "plan.json")
    assert again == frozen_plan
    thawed = frozen.thaw(CATALOGUE, again)
    assert [cell.inputs for cell in thawed] == [cell.inputs for cell in some]
    assert [cell.evaluation_key for cell in thawed] == [cell.evaluation_key for cell in some]
    assert [cell.method for cell in thawed] == [cell.method for cell in some]


def test_a_finer_curve_goes_with_a_plan(some, tmp_path):
    finer = [cell.with_curve((7, 20)) for cell in some]
    plans.write(tmp_path / "plan.json", frozen.freeze(finer, (7, 20)))
    thawed = frozen.thaw(CATALOGUE, plans.read(tmp_path / "plan.json"))
    assert [cell.inputs for cell in thawed] == [cell.inputs for cell in finer]
    assert all(7 in cell.inputs.taken for cell in thawed)


def test_the_same_request_is_the_same_plan_and_another_one_another(frozen_plan):
    assert frozen.freeze(cells(), "last").hash == frozen_plan.hash
    assert frozen.freeze(cells(), "all").hash != frozen_plan.hash
    assert frozen.freeze(cells(settings={"points": "17"}), "last").hash != frozen_plan.hash


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shares_hold_every_cell_once_and_the_students_of_a_distillation_together(frozen_plan, count):
    shares = [frozen_plan.share(number, count).cells for number in range(1, count + 1)]
    titles = [(cell.key, cell.evaluation) for share in shares for cell in share]
    assert sorted(titles) == sorted((cell.key, cell.evaluation) for cell in frozen_plan.cells)
    keys = [{cell.key for cell in share} for share in shares]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_methods_that_take_turns_take_turns_in_every_share():
    repeated = [cell for number in range(4) for cell in cells(methods=("random", "sadm"), repetition=number)]
    for number in (1, 2):
        share = frozen.freeze(repeated, "all").share(number, 2)
        assert {share.methods[cell.method].name for cell in share.cells} == {"random", "sadm"}


@pytest.mark.parametrize("share", [(0, 8), (9, 8), (1, 0)])
def test_there_is_no_share_outside_the_count(frozen_plan, share):
    with pytest.raises(UsageError, match="numbered from 1"):
        frozen_plan.share(*share)


def test_other_code_is_refused(frozen_plan):
    method = frozen_plan.methods[-1].model_copy(update={"source": "0" * 64})
    changed = frozen_plan.model_copy(update={"methods": [*frozen_plan.methods[:-1], method]})
    with pytest.raises(UsageError, match="code of method sadm has changed since it was planned"):
        frozen.thaw(CATALOGUE, changed)
    network = frozen_plan.networks[0].model_copy(update={"source": "0" * 64})
    changed = frozen_plan.model_copy(update={"networks": [network, *frozen_plan.networks[1:]]})
    with pytest.raises(UsageError, match="code of network pointnet:paper has changed"):
        frozen.thaw(CATALOGUE, changed)


def test_other_arithmetic_is_refused(frozen_plan, monkeypatch):
    monkeypatch.setattr(identity, "ENGINE", 99)
    with pytest.raises(UsageError, match="made with ENGINE 1, and this pcbench has 99"):
        frozen.thaw(CATALOGUE, frozen_plan)


def test_other_data_are_refused(frozen_plan):
    data = frozen_plan.datasets[0].model_copy(update={"hash": "0" * 64})
    changed = frozen_plan.model_copy(update={"datasets": [data]})
    with pytest.raises(DataError, match="shapes10 is not what was planned with"):
        frozen.thaw(CATALOGUE, changed)


def test_a_cell_whose_key_is_not_that_of_its_inputs_is_refused(frozen_plan):
    other = frozen_plan.cells[-1].model_copy(update={"ppc": 5})
    with pytest.raises(DataError, match="its key is not the hash"):
        frozen.thaw(CATALOGUE, frozen_plan.of([other]))


DAMAGE = {
    "changed": (lambda values: values["cells"][0].update(ppc=9), "has been changed since it was planned"),
    "short": (lambda values: values["methods"].clear(), "there is no method 0"),
    "unknown": (lambda values: values.update(more=1), "more: Extra inputs"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_changed_file_is_refused(frozen_plan, tmp_path, how):
    damage, message = DAMAGE[how]
    values = json.loads(frozen_plan.model_dump_json())
    damage(values)
    (tmp_path / "plan.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=message):
        plans.read(tmp_path / "plan.json")


def test_no_file_and_no_json_are_told_in_a_line(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        plans.read(tmp_path / "none.json")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match="is no plan"):
        plans.read(tmp_path / "plan.json")
    assert plans.kept(Path("nowhere")) == []
