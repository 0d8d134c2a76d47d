"""Draws by class: uniform, without replacement, reproducible, and refused with a reason."""

import numpy as np
import pytest
import torch
from scipy import stats

from pcbench.clouds import PointClouds
from pcbench.errors import DataError, UsageError
from pcbench.ops import batches
from pcbench.ops.batches import ClassIndex, RealBatches, groups_at_once, in_chunks
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


CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_chunks_cover_everything_once():
    assert in_chunks(lambda part: list(range(7))[part], 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert in_chunks(lambda part: list(range(2))[part], 2, 5) == [[0, 1]]
    assert in_chunks(lambda part: part, 0, 5) == []


def test_a_cpu_takes_what_its_cache_likes_and_a_gpu_what_its_free_memory_takes(monkeypatch):
    monkeypatch.setattr(batches, "free_memory", lambda _: 1000)
    assert [groups_at_once(CPU, size, 100) for size in (7, 1, 0)] == [7, 1, 1]
    assert [groups_at_once(GPU, 7, size) for size in (1, 100, 501)] == [500, 5, 1]


def test_what_torch_holds_unused_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    assert batches.free_memory(GPU) == 130


def test_a_slice_too_large_for_the_gpu_is_tried_again_by_halves_and_nothing_is_lost():
    tried = []

    def work(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(10))[part]

    assert in_chunks(work, 10, 10) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert tried == [10, 5, 3, 3, 3, 1]


def test_one_group_too_large_for_the_gpu_says_what_to_do():
    def work(_: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory: 3 GiB")

    with pytest.raises(torch.OutOfMemoryError, match=r"fewer points or a smaller real batch.*3 GiB"):
        in_chunks(work, 4, 4)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        in_chunks(lambda _: 1 / 0, 4, 4)
