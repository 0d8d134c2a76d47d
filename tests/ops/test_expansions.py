"""What is stored of a parameterised set is counted and hashed; expansions are those of their equations."""

from __future__ import annotations

import hashlib
import json
import math
import struct

import pytest
import torch

from pcbench.errors import DataError
from pcbench.ops.expansions import Stored

NAMES = ("a", "b")


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
        ({"expansion": "magic"}, "there is no expansion 'magic': known are morph"),
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
