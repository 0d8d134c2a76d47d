"""The protocols hold the numbers of their card, and whatever departs from one says so."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pcbench.common.files import digest
from pcbench.errors import UsageError
from pcbench.protocols.protocol import (
    LITE,
    PAPER,
    PROTOCOLS,
    QUICK,
    SETTINGS,
    STANDARD,
    Augmentation,
    Cosine,
    Protocol,
    Recipe,
    customised,
    flat,
    named,
    rightly_named,
)
from pcbench.records.identity import hashed

COSINE = {"epochs": 10, "batch": 4, "schedule": {"kind": "cosine", "minimum": 0.001}}
OWN = Recipe.model_validate(COSINE | {"optimiser": "adam", "label_smoothing": 0.2})


def standard(**changes: Any) -> Protocol:
    return STANDARD.model_copy(update={"whole": OWN} | changes)


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
    assert set(PROTOCOLS) == {"paper", "lite", "quick", "standard"}
    for name, protocol in PROTOCOLS.items():
        assert named(name) is protocol
        assert (protocol.name, protocol.base, protocol.label, protocol.changes) == (name, name, name, {})


@pytest.mark.parametrize(
    ("protocol", "written"),
    [
        (PAPER, "1876ac3e2482eb0171222df9c9bfdcbcedc37f8d3d8a0fe9919862ba14ed7e05"),
        (LITE, "8b59403e8d0508f1acf592e54a33b9f717b11a05c3f5d00c72d0765bac13511e"),
        (QUICK, "eb8e87c12377f1b72a0ce1c6f946776c3e3afb27c5e88084606bc1c06afd129b"),
        (
            customised(PAPER, {"iterations": 20, "recipe.lr": 5e-3, "whole.epochs": 3}),
            "21e36a3efd64a9585dccc660e415bf36682cf9bee693a58964a87bb92175a3f9",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Protocol) else "",
)
def test_what_identifies_a_protocol_stays_what_it_was(protocol, written):
    """Keys of records hash this: a new setting shows only where it departs from its default."""
    assert digest(hashed(protocol)) == written
    assert Protocol.model_validate(protocol.model_dump(mode="json")) == protocol


def test_a_recipe_writes_what_is_in_effect_and_reads_back():
    recipe = Recipe(
        epochs=10, batch=4, optimiser="adam", schedule=Cosine(kind="cosine"), augmentation=Augmentation()
    )
    written = recipe.model_dump(mode="json")
    assert set(written) == {"epochs", "batch", "optimiser", "lr", "weight_decay", "schedule", "augmentation"}
    assert Recipe.model_validate(written) == recipe
    assert set(PAPER.recipe.model_dump()) == {
        "epochs",
        "drop_after",
        "drop_factor",
        "batch",
        "lr",
        "momentum",
        "weight_decay",
    }


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({"kind": "step", "every": 2, "factor": 0.5, "floor": 0.3}, [1, 1, 0.5, 0.5, 0.3]),
        ({"kind": "drops", "at": [1, 4], "factor": 0.1}, [1, 0.1, 0.1, 0.1, 0.01]),
        ({"kind": "cosine", "minimum": 0.2}, [1, 0.9236068, 0.7236068, 0.4763932, 0.2763932]),
        (None, [1, 1, 0.1, 0.1, 0.1]),
    ],
)
def test_the_rate_of_every_epoch(schedule, rates):
    how = {"schedule": schedule} if schedule else {"drop_after": 1}
    recipe = Recipe.model_validate({"epochs": 5, "batch": 4, "lr": 1.0, **how})
    assert [recipe.rate(epoch) for epoch in range(5)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        ({"epochs": 10, "batch": 4}, "drop_after", "needs this, or a schedule"),
        (COSINE | {"drop_after": 3}, "drop_after", "has no drop besides"),
        (COSINE | {"drop_factor": 0.5}, "drop_factor", "has no drop besides"),
        (COSINE | {"optimiser": "adam", "momentum": 0.9}, "momentum", "adam has no such setting"),
        (COSINE | {"optimiser": "lion"}, "optimiser", "'sgd', 'adam' or 'adamw'"),
        (COSINE | {"schedule": {"kind": "linear"}}, "schedule", "'step', 'drops', 'cosine'"),
        (COSINE | {"schedule": {"kind": "cosine", "every": 3}}, "schedule.cosine.every", "not permitted"),
        (COSINE | {"label_smoothing": 0.5}, "label_smoothing", "less than 0.5"),
        (
            COSINE | {"augmentation": {"scale": [1.25, 0.8]}},
            "augmentation.scale",
            "smaller factor comes first",
        ),
        (COSINE | {"augmentation": {"turn": "up"}}, "augmentation.turn", "'x', 'y' or 'z'"),
        (COSINE | {"augmentation": {"drop": 1.0}}, "augmentation.drop", "less than 1"),
    ],
)
def test_a_wrong_recipe_is_told_where(values, place, words):
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == place
    assert words in error["msg"]


def test_settings_of_a_recipe_with_a_schedule_can_be_changed_but_not_given_a_drop():
    changed = customised(standard(), {"whole.epochs": "3", "students": 1})
    assert (changed.name, changed.base) == ("custom", "standard")
    assert changed.changes == {"students": 1, "whole.epochs": 3}
    assert changed.whole == OWN.model_copy(update={"epochs": 3})
    for key in ("whole.drop_after", "whole.momentum"):
        with pytest.raises(UsageError, match=rf"protocol setting {key}=.*leave it out"):
            customised(standard(), {key: "0"})


@pytest.mark.parametrize(
    "protocol",
    [
        PAPER,
        standard(),
        customised(PAPER, {"whole.epochs": 3}),
        customised(standard(), {"students": 1}),
        customised(standard(), {"whole.epochs": 3}),
        customised(standard(), {"whole.epochs": 3, "whole.lr": 0.5, "recipe.epochs": 7}),
    ],
    ids=lambda protocol: protocol.label,
)
def test_what_a_protocol_is_called_is_what_it_is(protocol):
    assert rightly_named(protocol)


@pytest.mark.parametrize(
    "protocol",
    [
        STANDARD,
        PAPER.model_copy(update={"students": 1}),
        PAPER.model_copy(update={"base": "other"}),
        PAPER.model_copy(update={"whole": OWN}),
        PAPER.model_copy(update={"name": "custom"}),
        PAPER.model_copy(update={"changes": {"students": 10}}),
        customised(PAPER, {"students": 1}).model_copy(update={"whole": OWN}),
        customised(PAPER, {"students": 1}).model_copy(update={"students": 2}),
        customised(PAPER, {"students": 1}).model_copy(update={"changes": {"student": 1}}),
        customised(PAPER, {"students": 1}).model_copy(update={"changes": {"students": -1}}),
        standard(students=1),
        standard(recipe=OWN),
        standard(name="custom"),
        standard(changes={"whole.epochs": 10}),
        customised(standard(), {"whole.epochs": 3}).model_copy(update={"changes": {"whole.epochs": 4}}),
        customised(standard(), {"whole.epochs": 3, "students": 1}).model_copy(update={"students": 2}),
    ],
)
def test_a_protocol_that_is_not_what_it_is_called_is_found_out(protocol):
    assert not rightly_named(protocol)


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
