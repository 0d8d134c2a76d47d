"""The protocols hold the numbers of their card, and whatever departs from one says so."""

from __future__ import annotations

import pytest

from pcbench.errors import UsageError
from pcbench.protocol import LITE, PAPER, PROTOCOLS, QUICK, SETTINGS, customised, flat, named


def test_paper_is_the_card():
    assert (PAPER.points, PAPER.iterations, PAPER.students) == (1024, 1500, 10)
    assert PAPER.snapshots == (0, 250, 500, 750, 1000, 1250, 1500)
    recipe = PAPER.recipe
    assert (recipe.epochs, recipe.drop_after, recipe.drop_factor, recipe.batch) == (501, 251, 0.1, 8)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.01, 0.9, 5e-4)
    assert (PAPER.whole.epochs, PAPER.whole.batch) == (200, 32)
    assert (PAPER.whole.lr, PAPER.whole.momentum, PAPER.whole.weight_decay) == (0.01, 0.9, 5e-4)


def test_lite_is_the_card():
    assert (LITE.points, LITE.iterations, LITE.students) == (256, 500, 5)
    assert LITE.snapshots == (0, 250, 500)
    assert (LITE.recipe.epochs, LITE.recipe.drop_after) == (250, 125)
    kept = {"recipe.batch", "recipe.drop_factor", "recipe.lr", "recipe.momentum", "recipe.weight_decay"}
    assert all(flat(LITE)[key] == flat(PAPER)[key] for key in kept)


def test_standard_protocols_change_nothing_and_are_found_by_name():
    assert set(PROTOCOLS) == {"paper", "lite", "quick"}
    for name, protocol in PROTOCOLS.items():
        assert named(name) is protocol
        assert (protocol.name, protocol.base, protocol.label, protocol.changes) == (name, name, name, {})


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown protocol 'papr'\. Did you mean paper\?"):
        named("papr")


@pytest.mark.parametrize(
    ("iterations", "snapshots"),
    [(1, (0, 1)), (20, (0, 20)), (250, (0, 250)), (251, (0, 250, 251)), (600, (0, 250, 500, 600))],
)
def test_snapshots_end_with_the_last_iteration(iterations, snapshots):
    assert customised(PAPER, {"iterations": iterations}).snapshots == snapshots


@pytest.mark.parametrize("settings", [{}, {"points": 1024}, {"points": "1024", "recipe.lr": "0.01"}])
def test_unchanged_values_keep_the_name(settings):
    assert customised(PAPER, settings) is PAPER


def test_any_change_makes_it_custom_and_is_listed():
    changed = customised(PAPER, {"iterations": "20", "students": 10, "recipe.lr": "5e-3"})
    assert (changed.name, changed.base) == ("custom", "paper")
    assert changed.changes == {"iterations": 20, "recipe.lr": 0.005}
    assert changed.label == "custom (paper with iterations=20, recipe.lr=0.005)"
    assert changed.recipe.lr == 0.005
    assert {key for key in SETTINGS if flat(changed)[key] != flat(PAPER)[key]} == set(changed.changes)


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_every_setting_can_be_changed_alone(key):
    value = flat(QUICK)[key] / 2 if isinstance(flat(QUICK)[key], float) else flat(QUICK)[key] + 1
    changed = customised(QUICK, {key: str(value)})
    assert (changed.name, changed.changes) == ("custom", {key: value})


def test_two_protocols_that_differ_have_labels_that_differ():
    one, other = (customised(PAPER, {"iterations": value}) for value in (1_000_001, 1_000_002))
    assert one.label != other.label


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"points": 0}, "points=0: "),
        ({"iterations": "0"}, "iterations='0': "),
        ({"iterations": 10**15}, "iterations=1000000000000000: "),
        ({"students": "many"}, "students='many': "),
        ({"students": 0}, "students=0: "),
        ({"snapshot_every": 0}, "snapshot_every=0: "),
        ({"recipe.epochs": 1.5}, r"recipe\.epochs=1\.5: "),
        ({"recipe.lr": "nan"}, r"recipe\.lr='nan': "),
        ({"recipe.momentum": 1}, r"recipe\.momentum=1: "),
        ({"whole.batch": -1}, r"whole\.batch=-1: "),
    ],
)
def test_bad_values_name_their_setting(settings, words):
    with pytest.raises(UsageError, match=f"protocol setting {words}"):
        customised(PAPER, settings)


@pytest.mark.parametrize("key", ["name", "summary", "recipe", "recipe.name", "lr", "points.", ""])
def test_only_settings_can_be_set(key):
    with pytest.raises(KeyError):
        customised(PAPER, {key: 1})
