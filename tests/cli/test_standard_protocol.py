"""`--protocol standard`: the whole split by a backbone's own recipe, built in or beside a user's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcbench.protocols.recipes import find
from pcbench.records.store import read_evaluation

TINY = ("--set", "points=16", "--set", "whole.epochs=1", "--seeds", "1")
RUN = ("run", "-m", "whole", "-d", "shapes10", "-p", "standard", *TINY)
RECIPE = """
backbone = "mini"
preset = "canonical"
source = "nobody"

[recipe]
epochs = 2
batch = 64
optimiser = "adam"
schedule = { kind = "cosine" }
label_smoothing = 0.1
"""


@pytest.fixture
def own(pcbench, tmp_path: Path) -> Path:
    """A folder with a backbone of the user's."""
    folder = tmp_path / "own"
    folder.mkdir()
    assert pcbench("new", "backbone", "mini").code == 0
    (tmp_path / "mini.py").rename(folder / "mini.py")
    return folder


def test_a_backbone_is_trained_by_the_recipe_beside_it(pcbench, own, tmp_path):
    words = (*RUN, "-b", "mini", "--plugins", own, "--json")
    refused = pcbench(*words)
    assert refused.code == 2
    assert f"backbone 'mini' has no recipe of its own: write {own / 'mini.toml'}" in refused.err
    (own / "mini.toml").write_text(RECIPE)
    done = pcbench(*words)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results").glob("*/evaluation-*.json")
    protocol = read_evaluation(path).inputs.protocol
    assert protocol.label == "custom (standard with points=16, students=1, whole.epochs=1)"
    assert protocol.whole == find("mini", own).recipe.model_copy(update={"epochs": 1})
    before = path.stat().st_mtime_ns
    assert pcbench(*words).code == 0
    assert path.stat().st_mtime_ns == before


def test_other_students_follow_their_own_recipes(pcbench, own, tmp_path):
    (own / "mini.toml").write_text(RECIPE)
    assert pcbench(*RUN, "-b", "mini", "--plugins", own).code == 0
    done = pcbench("evaluate", "results", "-b", "pointnet", "--plugins", own)
    assert done.code == 0, done.err
    records = [read_evaluation(path) for path in (tmp_path / "results").glob("*/evaluation-*.json")]
    schedules = {record.inputs.network.name: record.inputs.protocol.whole.schedule for record in records}
    assert {name: schedule.kind for name, schedule in schedules.items()} == {
        "mini": "cosine",
        "pointnet": "step",
    }
    assert len({record.inputs.protocol.label for record in records}) == 1
    assert pcbench("evaluate", "results", "--plugins", own).code == 0


def test_recipes_are_listed_and_shown(pcbench):
    listed = json.loads(pcbench("list", "recipes", "--json").out)
    assert "dgcnn" in {entry["name"] for entry in listed}
    shown = json.loads(pcbench("info", "pointnet", "--json").out)["recipe"]
    assert shown["published"][0]["oa"] == 89.2
    assert shown["recipe"]["optimiser"] == "adam"
    assert "89.2" in pcbench("info", "pointnet").out
    assert "the backbone's own" in pcbench("info", "standard").out
