"""Draws by class: uniform, without replacement, reproducible, and refused with a reason."""

import numpy as np
import pytest
import torch
from scipy import stats

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.ops import batches
from pcbench.ops.batches import ClassIndex, RealBatches, chunks
from pcbench.seeds import Streams


def clouds_of(labels: list[int], names: tuple[str, ...] = ("bed", "chair", "sofa")) -> PointClouds:
    points = torch.arange(len(labels) * 6, dtype=torch.float32).view(len(labels), 2, 3)
    return PointClouds(points, torch.tensor(labels), names)


LABELS = [2, 0, 1, 1, 0, 2, 2, 1, 0, 2, 1]


def test_every_draw_holds_distinct_clouds_of_its_class():
    index = ClassIndex(clouds_of(LABELS))
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        drawn = index.draw(3, generator, "ppc")
        assert drawn.shape == (3, 3)
        assert drawn.dtype == torch.int64
        for label, row in enumerate(drawn.tolist()):
            assert len(set(row)) == 3
            assert [LABELS[i] for i in row] == [label] * 3


def test_a_whole_class_can_be_drawn():
    drawn = ClassIndex(clouds_of([1, 0, 0, 1], ("a", "b")))
    assert [sorted(row) for row in drawn.draw(2, torch.Generator(), "ppc").tolist()] == [[1, 2], [0, 3]]


def test_subsets_are_equally_likely():
    """Chi-squared over all 2-subsets of a class of 4: 6 equally likely outcomes."""
    index = ClassIndex(clouds_of([0] * 4 + [1] * 5, ("a", "b")))
    generator = torch.Generator().manual_seed(1)
    draws = [tuple(sorted(index.draw(2, generator, "ppc")[0].tolist())) for _ in range(3000)]
    _, counts = np.unique(np.array(draws), axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


def test_too_few_clouds_name_the_class_and_the_remedy():
    index = ClassIndex(clouds_of(LABELS))
    with pytest.raises(
        UsageError, match=r"class 'bed' has 3 training clouds, fewer than ppc = 4: .* at most 3"
    ):
        index.draw(4, torch.Generator(), "ppc")


def test_an_empty_class_is_refused():
    with pytest.raises(DataError, match="'chair' has no training cloud"):
        ClassIndex(clouds_of([0, 2, 2]))


def test_table_lists_members_in_order():
    assert ClassIndex(clouds_of(LABELS)).table().tolist() == [[1, 4, 8, -1], [2, 3, 7, 10], [0, 5, 6, 9]]


def test_real_batches_follow_purpose_and_iteration():
    clouds = clouds_of(LABELS)
    first, second = (RealBatches(clouds, Streams({"repetition": 0})) for _ in range(2))
    batch = first.draw("real_batch", 5, 2)
    assert batch.shape == (3, 2, 2, 3)
    assert torch.equal(batch, second.draw("real_batch", 5, 2))
    assert any(not torch.equal(batch, first.draw("real_batch", i, 2)) for i in (6, 7, 8))
    assert any(
        not torch.equal(first.draw("bn_batch", i, 2), first.draw("real_batch", i, 2)) for i in (5, 6, 7)
    )
    with pytest.raises(UsageError, match="fewer than real_batch = 9"):
        first.draw("real_batch", 1, 9)


def test_chunks_cover_everything_once(monkeypatch):
    monkeypatch.setattr(batches, "CHUNK_POINTS", 100)
    assert [list(range(7))[part] for part in chunks(7, 30)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [list(range(2))[part] for part in chunks(2, 1000)] == [[0], [1]]
