"""Settings by name: a paper's values beside its code's, each with its source, told by the parameters."""

from __future__ import annotations

from typing import Any

import pytest
from built_in import CATALOGUE

from pcbench.engine.cell import Cell
from pcbench.engine.plan import Request, cells
from pcbench.errors import UsageError

PAPER: dict[str, dict[str, Any]] = {
    "sadm": {"lr": 0.01, "lr_y": 5.0, "lr_xz": 0.5},
    "dm": {"lr": 1.0},
    "mtt": {"lr": 1e-4},
    "datadam": {"lr": 1e-4},
    "dc": {},
}
"""What version 3 of SADM's paper states, where it is not what pcbench takes by default."""


def planned(spec: str, **settings: Any) -> Cell:
    request = Request((spec,), ("shapes10",), (1,), protocol="quick", settings={"points": 16} | settings)
    (cell,) = cells(CATALOGUE, request)
    return cell


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_values_have_a_name(name):
    cell = planned(f"{name}:paper")
    assert cell.inputs.variation == PAPER[name]
    assert {key: cell.inputs.params[key] for key in PAPER[name]} == PAPER[name]


def test_sadms_code_is_the_default():
    """lr 10, angles 0.01 about the up axis and 0.001 about the others (the authors' code)."""
    params = planned("sadm:code").inputs.params
    assert (params["lr"], params["lr_y"], params["lr_xz"]) == (10.0, 0.01, 0.001)
    assert planned("sadm:code").inputs.key == planned("sadm").inputs.key


def test_the_code_of_dc_is_a_setting_of_its_own():
    assert planned("dc").inputs.params["loops"] == planned("dc:paper").inputs.params["loops"] == "paper"
    assert planned("dc:code").inputs.variation == {"loops": "code"}


@pytest.mark.parametrize("method", CATALOGUE.methods.names())
def test_every_setting_has_a_source_and_values_that_the_method_takes(method):
    loaded = CATALOGUE.methods.load(method)
    for setting in loaded.settings.values():
        assert setting.source
        assert loaded.Params.model_validate(dict(setting.params))


def test_a_setting_is_told_by_the_parameters_however_they_were_asked_for():
    named, by_hand = planned("sadm:paper"), planned("sadm", lr="0.01", lr_y="5", lr_xz="0.5")
    assert named.inputs.setting == by_hand.inputs.setting == "paper"
    assert named.inputs.key == by_hand.inputs.key
    changed = planned("sadm:paper", lr="0.02")
    assert changed.inputs.setting == ""
    assert changed.inputs.variation == {"lr": 0.02, "lr_y": 5.0, "lr_xz": 0.5}
    assert planned("sadm").inputs.setting == ""


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown setting 'papre' of method 'sadm'\. Did you mean paper"):
        planned("sadm:papre")


def test_records_and_titles_name_the_setting(pcbench):
    done = pcbench(
        "run", "--method", "dm:paper", "--ppc", "1", "--dataset", "shapes10", "--protocol", "quick",
        "--seeds", "2", "--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "dm:paper lr=1.0 on shapes10, PPC 1" in done.err
    assert "dm:paper lr=1.0" in done.out
