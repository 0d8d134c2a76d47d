"""Draws by name: nested over the PPC, and the authors' one, equal to numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcbench.cli.output import WhichDraw
from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.ops.draws import DRAWS, authors, named, nested
from pcbench.protocols.suites import Row
from pcbench.seeds import Streams

COUNTS = {
    "bathtub": 106, "bed": 515, "chair": 889, "desk": 200, "dresser": 200, "monitor": 465, "night_stand": 200,
    "sofa": 680, "table": 392, "toilet": 344,
}  # fmt: skip
"""Training clouds of ModelNet10, in the order of its lists."""

PUBLISHED = [32, 135, 51, 191, 68, 182, 11, 533, 80, 255]
"""The numbers of the objects that the authors' code draws at PPC 1, as bathtub_0032."""


def some(labels: torch.Tensor, names: tuple[str, ...]) -> PointClouds:
    return PointClouds(torch.zeros(len(labels), 1, 3), labels, names)


@pytest.fixture(scope="module")
def modelnet10() -> PointClouds:
    """Clouds with the labels of ModelNet10's official training list."""
    counts = torch.tensor(list(COUNTS.values()))
    return some(torch.arange(10).repeat_interleave(counts), tuple(COUNTS))


def test_the_authors_draw_is_theirs_on_modelnet10(modelnet10):
    chosen = authors(modelnet10, 1, official_order=True)
    first = torch.tensor([0, *COUNTS.values()]).cumsum(0)[:10]
    assert (chosen - first + 1).tolist() == PUBLISHED


def test_the_authors_draw_is_numpys_permutation_of_every_class_in_turn(modelnet10):
    generator = np.random.RandomState(1999)
    expected = []
    for label in range(10):
        (members,) = np.nonzero(modelnet10.labels.numpy() == label)
        expected += generator.permutation(members)[:3].tolist()
    assert authors(modelnet10, 3, official_order=True).tolist() == expected


def test_a_copy_in_another_order_is_refused_with_the_reason(modelnet10):
    with pytest.raises(DataError, match=r"official lists.*choose the draw 'nested'"):
        authors(modelnet10, 1, official_order=False)


@pytest.mark.parametrize("draw", ["nested", "authors"])
def test_ppc_1_is_part_of_3_and_3_of_10(modelnet10, draw):
    sets = []
    for ppc in (1, 3, 10):
        if draw == "nested":
            chosen = nested(modelnet10, ppc, Streams({"dataset": "modelnet10"}))
        else:
            chosen = authors(modelnet10, ppc, official_order=True)
        assert modelnet10.labels[chosen].tolist() == torch.arange(10).repeat_interleave(ppc).tolist()
        assert len(set(chosen.tolist())) == 10 * ppc
        sets.append(chosen.view(10, ppc))
    assert torch.equal(sets[1][:, :1], sets[0])
    assert torch.equal(sets[2][:, :3], sets[1])


def test_repetitions_are_other_draws_and_a_draw_is_uniform():
    """Of three clouds a class, each is drawn in a third of 3000 draws; five standard deviations allowed."""
    clouds = some(torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"))
    drawn = torch.stack([nested(clouds, 1, Streams({"repetition": r})) for r in range(3000)])
    assert not torch.equal(drawn[0], drawn[1]) or not torch.equal(drawn[1], drawn[2])
    counts = torch.bincount(drawn.flatten(), minlength=6)
    assert counts.sum() == 6000
    assert (counts - 1000).abs().max() < 5 * (3000 * 2 / 9) ** 0.5


@pytest.mark.parametrize("ppc", [4, 100])
def test_more_clouds_than_a_class_has_are_refused(ppc):
    clouds = some(torch.tensor([0, 0, 0, 0, 1, 1, 1]), ("a", "b"))
    with pytest.raises(UsageError, match="'b' has 3 training clouds"):
        nested(clouds, ppc, Streams({}))
    with pytest.raises(UsageError, match="'b' has 3 training clouds"):
        authors(clouds, ppc, official_order=True)


def test_the_command_line_and_suites_know_the_same_draws():
    assert {each.choice for each in WhichDraw} == {*DRAWS}
    assert Row(methods=("random",), draws=DRAWS).draws == DRAWS


def test_another_draw_is_refused_with_the_nearest_name():
    assert named("per-ppc") == "per-ppc"
    with pytest.raises(UsageError, match=r"unknown draw 'author'\. Did you mean authors"):
        named("author")
