"""A label names one variant, a variant makes one set of clouds, and a record says which."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pcbench.engine import testing
from pcbench.engine.testing import changed
from pcbench.errors import UsageError
from pcbench.protocols.variants import PLAIN, SEVERITIES, Variant, named

LABELS = ["plain", "up", "so3", "points=32", *(f"{kind}:{n}" for kind in SEVERITIES for n in range(1, 6))]


@pytest.mark.parametrize("label", LABELS)
def test_a_label_comes_back_and_so_does_the_record(label):
    variant = named(label, "a set", "y")
    assert variant.label == label
    assert Variant.model_validate(variant.model_dump(mode="json")) == variant
    assert None not in variant.model_dump().values()


def test_what_is_recorded_is_what_is_in_effect():
    assert named("plain", "a set", "y") == PLAIN
    assert named("up", "a set", "z").model_dump() == {"kind": "up", "axis": "z"}
    assert named("jitter:3", "a set", "y").model_dump() == {
        "kind": "jitter", "severity": 3, "amount": SEVERITIES["jitter"][2],
    }  # fmt: skip
    assert named("points=512", "a set", "y").model_dump() == {"kind": "points", "points": 512}


@pytest.mark.parametrize(
    ("label", "cause"),
    [
        ("jiter:3", "Did you mean jitter"),
        ("jitter", "jitter:1 to jitter:5"),
        ("jitter:0", "jitter:1 to jitter:5"),
        ("jitter:6", "jitter:1 to jitter:5"),
        ("jitter=3", "no such test"),
        ("so3:1", "takes no number"),
        ("points", "points=512"),
        ("points=", "points=512"),
        ("points=0", "points=512"),
        ("points=-4", "points=512"),
        ("points=²", "points=512"),
        ("points=9999999999999", "points=512"),
        ("up", "has no up axis"),
    ],
)
def test_a_wrong_label_is_refused_with_a_remedy(label, cause):
    with pytest.raises(UsageError, match=cause):
        named(label, "a set", "none")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "jitter"},
        {"kind": "jitter", "severity": 3},
        {"kind": "jitter", "severity": 6, "amount": 0.1},
        {"kind": "so3", "axis": "y"},
        {"kind": "up"},
        {"kind": "points"},
        {"kind": "plain", "points": 3},
        {"kind": "other"},
        {"kind": "plain", "unknown": 1},
    ],
)
def test_a_variant_that_says_too_little_or_too_much_is_refused(fields):
    with pytest.raises(ValidationError):
        Variant(**fields)


def test_severities_go_up():
    assert all(list(amounts) == sorted(set(amounts)) for amounts in SEVERITIES.values())


def test_variants_sort_by_kind_and_number():
    labels = ["points=1024", "outliers:2", "points=256", "plain", "jitter:5", "so3", "jitter:1"]
    ordered = sorted((named(label, "a set", "y") for label in labels), key=lambda v: v.order)
    assert [v.label for v in ordered] == [
        "plain", "so3", "jitter:1", "jitter:5", "outliers:2", "points=256", "points=1024",
    ]  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_clouds_do_not_depend_on_order_chunks_or_repetition(label, few_clouds, monkeypatch):
    variant = named(label, "a set", "y")
    made = changed(variant, few_clouds, "a set")
    assert torch.equal(made.labels, few_clouds.labels)
    assert torch.equal(made.points, few_clouds.points) == (
        variant.kind in ("plain", "points") or label == "outliers:1"  # of 32 points one in a hundred is none
    )
    assert torch.equal(changed(variant, few_clouds, "a set").points, made.points)
    monkeypatch.setattr(testing, "CLOUDS_AT_ONCE", 2)
    assert torch.equal(changed(variant, few_clouds, "a set").points, made.points)
    order = torch.tensor([8, 0, 3, 1, 2, 7, 6, 5, 4])
    permuted = changed(variant, few_clouds.select(order), "a set")
    assert torch.equal(permuted.points, made.points[order])


def test_severities_of_a_corruption_share_their_draws(few_clouds):
    mild, strong = (
        changed(named(f"jitter:{n}", "a set", "y"), few_clouds, "a set").points - few_clouds.points
        for n in (1, 5)
    )
    assert torch.allclose(5 * mild, strong, atol=1e-5)


def test_data_sets_have_their_own_draws(few_clouds):
    so3 = named("so3", "a set", "y")
    assert not torch.equal(
        changed(so3, few_clouds, "a set").points, changed(so3, few_clouds, "another").points
    )
