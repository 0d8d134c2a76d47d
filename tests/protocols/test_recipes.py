"""Recipe files: one a backbone, with what is published; a wrong or absent one is named with the place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from built_in import CATALOGUE

from pcbench.errors import UsageError
from pcbench.protocols import recipes
from pcbench.protocols.protocol import (
    LITE,
    PAPER,
    QUICK,
    STANDARD,
    Cosine,
    Drops,
    Step,
    customised,
    rightly_named,
)

NAMES = ["dgcnn", "pct", "point_transformer", "pointconv", "pointmlp", "pointnet", "pointnet2"]
GOOD = """
backbone = "mine"
preset = "canonical"
source = "nobody"

[[published]]
dataset = "modelnet40"
preset = "canonical"
points = 1024
oa = 90.0
source = "nowhere"

[recipe]
epochs = 3
batch = 2
optimiser = "adam"
schedule = { kind = "step", every = 1, factor = 0.5 }
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    return path


def test_every_built_in_recipe_is_named_as_its_file_and_says_what_is_published():
    listed = recipes.listing()
    assert sorted(each.backbone for each in listed) == NAMES
    assert [recipes.find(each.backbone, Path()) for each in listed] == listed
    for each in listed:
        assert any(figure.preset == each.preset for figure in each.published)
        assert all((figure.dataset, figure.points) == ("modelnet40", 1024) for figure in each.published)
        assert all(f"{figure.oa} %" in each.summary for figure in each.published)
        assert all(figure.source in each.summary for figure in each.published)


@pytest.mark.parametrize(
    ("name", "accuracies"),
    [
        ("pointnet", {89.2}),
        ("pointnet2", {90.7, 92.2}),
        ("dgcnn", {92.9}),
        ("pointconv", {92.5}),
        ("point_transformer", {93.7, 91.7}),
        ("pointmlp", {93.6, 94.1}),
        ("pct", {93.2}),
    ],
)
def test_the_published_accuracies_are_those_of_their_sources(name, accuracies):
    assert {figure.oa for figure in recipes.find(name, Path()).published} == accuracies


def test_the_presets_that_figures_are_of_exist():
    backbones = CATALOGUE.backbones
    for each in recipes.listing():
        if each.backbone in backbones.names():
            presets = backbones.load(each.backbone).presets
            assert {each.preset, *(figure.preset for figure in each.published)} <= set(presets)


def test_recipes_hold_the_numbers_of_their_sources():
    found = {each.backbone: each.recipe for each in recipes.listing()}
    pointnet, dgcnn, transformer = found["pointnet"], found["dgcnn"], found["point_transformer"]
    assert (pointnet.optimiser, pointnet.lr, pointnet.batch, pointnet.epochs) == ("adam", 0.001, 32, 250)
    assert pointnet.schedule == Step(kind="step", every=20, factor=0.7, floor=1e-5)
    assert (dgcnn.optimiser, dgcnn.lr, dgcnn.momentum, dgcnn.weight_decay) == ("sgd", 0.1, 0.9, 1e-4)
    assert dgcnn.schedule == Cosine(kind="cosine", minimum=0.001)
    assert (dgcnn.label_smoothing, dgcnn.epochs) == (0.2, 250)
    assert transformer.schedule == Drops(kind="drops", at=(120, 160), factor=0.1)
    assert [found[name].epochs for name in NAMES] == [250, 250, 200, 400, 300, 250, 200]
    assert all(recipe.augmentation is not None for recipe in found.values())


def test_standard_follows_the_backbones_recipe_and_the_others_their_own(mine):
    followed = recipes.followed(STANDARD, "dgcnn", Path())
    assert followed.whole == recipes.find("dgcnn", Path()).recipe
    assert followed.model_copy(update={"whole": STANDARD.whole}) == STANDARD
    own = recipes.followed(STANDARD, "mine", mine.parent)
    assert own.whole == recipes.read(mine).recipe
    assert rightly_named(followed)
    assert rightly_named(customised(own, {"whole.lr": 0.5}))
    for protocol in (PAPER, LITE, QUICK):
        assert recipes.followed(protocol, "nothing", Path()) is protocol


def test_a_backbone_without_recipe_is_told_where_to_write_one(tmp_path):
    with pytest.raises(UsageError) as caught:
        recipes.followed(STANDARD, "mine", tmp_path)
    text = str(caught.value)
    assert "protocol standard: backbone 'mine' has no recipe of its own" in text
    assert f"write {tmp_path / 'mine.toml'}" in text
    assert str(recipes.folder() / "dgcnn.toml") in text


def test_a_recipe_of_another_backbone_is_refused(mine):
    mine.rename(mine.with_name("yours.toml"))
    with pytest.raises(UsageError, match=r"yours\.toml: backbone: is 'mine', but .* named for 'yours'"):
        recipes.find("yours", mine.parent)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('backbone = "mine"', "", r"mine\.toml: backbone: Field required"),
        ("oa = 90.0", "oa = 0.9e3", r"mine\.toml: published\.1\.oa: .*less than or equal to 100"),
        ("epochs = 3", "epoch = 3", r"mine\.toml: recipe\.epochs: Field required"),
        ("batch = 2", "batch = 0", r"mine\.toml: recipe\.batch: .*greater than or equal to 1"),
        ("batch = 2", "batch = 2\nmomentum = 0.9", r"mine\.toml: recipe\.momentum: adam has no such setting"),
        ("every = 1", "each = 1", r"mine\.toml: recipe\.schedule\.step\.every: Field required"),
        ('kind = "step"', 'kind = "stairs"', r"mine\.toml: recipe\.schedule: .*'step', 'drops', 'cosine'"),
        ("[recipe]", "[recipe", r"mine\.toml: is not TOML: .*\(at line \d+, column \d+\)"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(mine, old, new, words):
    mine.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=words) as caught:
        recipes.read(mine)
    assert len(str(caught.value).splitlines()) == 1


def test_absent_files_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read \(No such file"):
        recipes.read(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.toml: is not TOML"):
        recipes.read(tmp_path / "bytes.toml")


def test_recipes_are_read_without_torch():
    code = "import sys; from pcbench.protocols import recipes; recipes.listing(); assert 'torch' not in {}"
    code = code.format("sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
