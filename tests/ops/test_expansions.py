"""What is stored of a parameterised set is counted and hashed; expansions are those of their equations."""

from __future__ import annotations

import hashlib
import json
import math
import struct

import pytest
import torch

from pcbench.errors import DataError
from pcbench.ops.expansions import DRAWN
from pcbench.ops.names import REDRAWN
from pcbench.ops.stored import Stored

NAMES = ("a", "b")
TWO_POINTS = torch.zeros(1, 1, 2, 3)


def a_set(slots: int = 4, anchors: int = 3, morphs: int = 2, points: int = 5) -> Stored:
    generator = torch.Generator().manual_seed(0)
    return Stored(
        "morph",
        {
            "anchors": torch.randn(slots, anchors, points, 3, generator=generator),
            "weights": torch.randn(slots, morphs, anchors - 1, generator=generator),
        },
    )


def test_mixtures_are_weighted_sums_point_by_point() -> None:
    stored = a_set()
    clouds = stored.expand(NAMES, 2)
    anchors, weights = (stored.tensors[name].double().tolist() for name in ("anchors", "weights"))
    assert clouds.labels.tolist() == [0] * 10 + [1] * 10
    for slot in range(4):
        own = clouds.points[5 * slot : 5 * slot + 5]
        assert torch.equal(own[:3], stored.tensors["anchors"][slot])
        for mixture in range(2):
            raised = [math.exp(w) for w in (*weights[slot][mixture], 0.0)]
            for point in range(5):
                for axis in range(3):
                    parts = [r * anchors[slot][j][point][axis] for j, r in enumerate(raised)]
                    assert float(own[3 + mixture, point, axis]) == pytest.approx(
                        sum(parts) / sum(raised), abs=1e-6
                    )


def drawn_set(slots: int = 2, anchors: int = 3, count: int = 400) -> Stored:
    points = torch.randn(slots, anchors, 5, 3, generator=torch.Generator().manual_seed(1))
    return Stored("mixtures", {"anchors": points, "count": torch.tensor(count, dtype=torch.int16)})


def test_drawn_mixtures_lie_among_their_anchors_uniformly() -> None:
    """The shares of a mixture, found by least squares, lie on the simplex; their moments are Dirichlet's."""
    stored = drawn_set()
    redraw = stored.redraw()
    assert redraw is not None
    points = redraw(torch.Generator().manual_seed(2)).view(2, 403, 15).double()
    for slot in range(2):
        anchors = stored.tensors["anchors"][slot].flatten(1).double()
        assert torch.equal(points[slot, :3], anchors)
        shares = torch.linalg.lstsq(anchors.T, points[slot, 3:].T).solution.T  # (L, M)
        assert torch.allclose(shares @ anchors, points[slot, 3:], atol=1e-6)
        assert torch.allclose(shares.sum(1), torch.ones(400, dtype=torch.float64), atol=1e-5)
        assert float(shares.min()) > -1e-5
        # Dirichlet(1, 1, 1): a share has mean 1/3 and variance 1/18; the mean of 400 an error of 0.012
        assert torch.allclose(shares.mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.05)
        assert torch.allclose(shares.var(0), torch.full((3,), 1 / 18, dtype=torch.float64), atol=0.015)


def test_a_drawing_depends_on_its_stream_alone_and_one_stands_for_all() -> None:
    stored = drawn_set(count=4)
    redraw = stored.redraw()
    assert redraw is not None
    one, again, other = (redraw(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    clouds = stored.expand(NAMES)
    assert torch.equal(clouds.points, stored.expand(NAMES).points)
    assert clouds.points.shape == one.shape
    assert torch.equal(clouds.points.view(2, 7, 5, 3)[:, :3], stored.tensors["anchors"])
    assert a_set().redraw() is None


def test_whoever_has_no_torch_knows_the_expansions_that_draw_by_name() -> None:
    assert tuple(DRAWN) == REDRAWN


def test_bytes_are_those_of_the_tensors() -> None:
    assert a_set().bytes == 4 * (4 * 3 * 5 * 3 + 4 * 2 * 2)


def test_the_hash_is_that_of_the_documented_bytes() -> None:
    stored = Stored("morph", {"weights": torch.tensor([[[1.0]]]), "anchors": torch.zeros(1, 2, 1, 3)})
    header = {"expansion": "morph", "tensors": {"anchors": [1, 2, 1, 3], "weights": [1, 1, 1]}}
    content = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    content += struct.pack("<6f", *[0.0] * 6) + struct.pack("<f", 1.0)
    assert stored.content_hash() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"expansion": "magic"},
            "there is no expansion 'magic': known are plain, upsample, morph, mixtures, own",
        ),
        ({"weights": torch.zeros(4, 2, 3)}, r"are not \(S, M, n, 3\) and \(S, L, M - 1\)"),
        ({"weights": torch.zeros(4, 2, 2).double()}, "'weights' is torch.float64"),
        ({"more": torch.zeros(1)}, r"are \['anchors', 'more', 'weights'\] instead of"),
        ({"anchors": torch.zeros(4, 3, 0, 3)}, "are not"),
        ({"weights": torch.zeros(4, 1, 2).expand(4, 1 << 27, 2)}, "more than 268435456 coordinates"),
        ({"anchors": torch.full((4, 3, 5, 3), math.nan)}, "not finite"),
    ],
)
def test_what_fits_no_expansion_is_an_error(change, message) -> None:
    stored = a_set()
    tensors = {**stored.tensors, **{k: v for k, v in change.items() if k != "expansion"}}
    with pytest.raises(DataError, match=message):
        Stored(change.get("expansion", "morph"), tensors).expand(NAMES)


@pytest.mark.parametrize(("slots", "ppc"), [(3, None), (4, 1), (4, 3)])
def test_slots_are_as_many_of_every_class(slots: int, ppc: int | None) -> None:
    with pytest.raises(DataError, match=f"{slots} slots are not"):
        a_set(slots).expand(NAMES, ppc)


# Other expansions, types and what students learn beside classes


def test_plain_clouds_may_be_of_half_the_bytes() -> None:
    points = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(1)).half()
    stored = Stored("plain", {"points": points})
    clouds = stored.expand(NAMES, 1)
    assert stored.bytes == 2 * 2 * 4 * 5 * 3
    assert clouds.labels.tolist() == [0] * 4 + [1] * 4
    assert torch.equal(clouds.points, points.float().flatten(0, 1))
    assert clouds.answers is None
    assert clouds.weights is None


@pytest.mark.parametrize(("dtype", "largest"), [(torch.int8, 127), (torch.int16, 32767)])
def test_integers_are_shares_of_their_largest(dtype: torch.dtype, largest: int) -> None:
    points = torch.tensor([-largest, 0, largest, 1, 2, 3], dtype=dtype).view(1, 1, 2, 3)
    clouds = Stored("plain", {"points": points}).expand(("a",))
    expected = [value / largest for value in (-largest, 0, largest, 1, 2, 3)]
    assert clouds.points.flatten().tolist() == pytest.approx(expected)


def test_midpoints_are_those_to_the_nearest_points() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [3, 2.5, 0]]).view(1, 1, 4, 3)
    stored = Stored("upsample", {"points": points, "neighbours": torch.tensor(1, dtype=torch.int8)})
    (cloud,) = stored.expand(("a",)).points
    assert stored.bytes == 4 * 12 + 1
    assert cloud.tolist()[4:] == [[0.5, 0, 0], [0.5, 0, 0], [2, 0, 0], [3, 1.25, 0]]


def test_what_a_method_itself_made_is_kept_and_hashed_beside_its_tensors() -> None:
    points = torch.randn(2, 3, 4, 3)
    stored = Stored("own", {"seed": torch.tensor([7], dtype=torch.int32)}, points)
    assert stored.bytes == 4
    assert torch.equal(stored.expand(NAMES, 1).points, points.flatten(0, 1))
    assert stored.content_hash() != Stored("own", stored.tensors, points + 1).content_hash()
    assert stored.content_hash() == stored.copy().to("cpu").content_hash()


def test_the_type_is_part_of_the_hash_where_it_is_not_float32() -> None:
    zeros = {dtype: torch.zeros(1, 1, 2, 3, dtype=dtype) for dtype in (torch.float16, torch.int16)}
    hashes = {Stored("plain", {"points": points}).content_hash() for points in zeros.values()}
    assert len(hashes) == 2
    header = {"expansion": "plain", "tensors": {"points": ["<i2", 1, 1, 2, 3]}}
    content = json.dumps(header, separators=(",", ":"), sort_keys=True).encode() + bytes(12)
    kept = Stored("plain", {"points": zeros[torch.int16]}).content_hash()
    assert kept == hashlib.sha256(content).hexdigest()


def soft(**tensors: torch.Tensor) -> Stored:
    return Stored("plain", {"points": torch.randn(2, 1, 4, 3), **tensors})


def test_probabilities_weights_and_rate_go_with_the_clouds() -> None:
    stored = soft(
        probabilities=torch.tensor([[3.0, 1.0], [0.0, 2.0]]).half(),
        cloud_weights=torch.tensor([1.0, 3.0]),
        student_lr=torch.tensor(0.125),
    )
    clouds = stored.expand(NAMES, 1)
    assert clouds.answers is not None
    assert clouds.weights is not None
    assert clouds.answers.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert clouds.weights.tolist() == [0.5, 1.5]
    assert (stored.soft, stored.weighted, stored.student_lr) == (True, True, 0.125)
    assert stored.bytes == 2 * 4 * 12 + 8 + 8 + 4
    second = clouds.select(torch.tensor([1]))
    assert second.answers is not None
    assert second.answers.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"probabilities": torch.ones(2, 3)}, r"'probabilities' is torch.float32 \(2, 3\)"),
        ({"probabilities": torch.tensor([[1.0, -0.5], [1, 1]])}, "rows that are no probabilities"),
        ({"probabilities": torch.zeros(2, 2)}, "rows that are no probabilities"),
        ({"probabilities": torch.full((2, 2), math.inf)}, "not finite"),
        ({"cloud_weights": torch.tensor([1.0, -1.0])}, "must not be negative"),
        ({"cloud_weights": torch.tensor([1, 1])}, "torch.int64"),
        ({"points": torch.randn(2, 1, 4, 2)}, r"are not \(S, C, n, 3\)"),
        ({"points": torch.ones(2, 1, 4, 3, dtype=torch.bool)}, "not float32, float16, int16 or int8"),
        ({"points": torch.ones(2, 1, 4, 3).double()}, "torch.float64: what is stored is of float32"),
    ],
)
def test_what_is_no_answer_weight_or_cloud_is_an_error(tensors, message) -> None:
    with pytest.raises(DataError, match=message):
        soft(**tensors).expand(NAMES)


@pytest.mark.parametrize("rate", [torch.tensor(0.0), torch.tensor([0.1]), torch.tensor(math.nan)])
def test_a_rate_is_one_positive_number(rate: torch.Tensor) -> None:
    with pytest.raises(DataError, match="is not one positive number"):
        assert soft(student_lr=rate).student_lr


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Stored("own", {"a": torch.zeros(1)}), "an own expansion gives points"),
        (Stored("plain", {"points": TWO_POINTS}, TWO_POINTS), "of an own expansion"),
        (
            Stored("upsample", {"points": TWO_POINTS, "neighbours": torch.tensor(2, dtype=torch.int32)}),
            "not a whole number from 1 to 1",
        ),
    ],
)
def test_points_are_made_by_one_of_both(stored: Stored, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stored.expand(("a",))
