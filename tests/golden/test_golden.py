"""The arithmetic of the engine has not moved: golden values, computed anew, are those of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import golden_values
import pytest
import torch

RTOL = 1e-9
"""Of the largest of a value's numbers.

With other instructions (ATEN_CPU_CAPABILITY, MKL_CBWR) and two threads values moved by 2e-12 of it at most.
What is more than another order of summation moves them by far more.
"""

OF_FLOAT32 = {"coresets/noise", *(f"recipes/sgd, augmented/{what}" for what in golden_values.OF_STUDENTS)}
"""Values that hang on normal numbers drawn in float32, whose last bit depends on the processor: 1e-5."""

REMEDY = (
    "if results are meant to change, raise ENGINE in pcbench/records/identity.py and write new golden values "
    "with `python tests/golden/write.py`; if not, mend the code"
)


@pytest.fixture(scope="module")
def computed() -> Iterator[dict[str, Any]]:
    """Work this small is faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield dict(golden_values.everything())
    torch.set_num_threads(threads)


def test_golden_values_have_not_moved(computed: dict[str, Any]) -> None:
    assert golden_values.FILE.is_file(), f"there are no golden values of this engine: {REMEDY}"
    golden = json.loads(golden_values.FILE.read_text())
    moved = [
        name
        for name in golden.keys() & computed.keys()
        if not near(golden[name], computed[name], 1e-5 if name in OF_FLOAT32 else RTOL)
    ]
    assert not moved, f"{', '.join(sorted(moved))} moved while ENGINE stood still: {REMEDY}"


def test_every_method_backbone_and_recipe_has_its_golden_values(computed: dict[str, Any]) -> None:
    """A new one's are added by writing the file again; that changes none of the others."""
    golden = json.loads(golden_values.FILE.read_text())
    assert sorted(golden) == sorted(computed)
    named = {name for name, _ in golden_values.METHODS.values()} | golden_values.CORESETS.keys()
    assert named | {"random", "herding", "kcenter", "whole"} == set(golden_values.CATALOGUE.methods.names())


def near(golden: Any, now: Any, rtol: float = RTOL) -> bool:
    """Lists of indices are equal; of numbers each differs by `rtol` of the largest at most."""
    if not isinstance(golden[0], float):
        return bool(golden == now)
    largest = max(map(abs, golden))
    return all(abs(one - two) <= rtol * largest for one, two in zip(golden, now, strict=True))


def test_a_small_change_of_one_entry_shows() -> None:
    values = torch.randn(5, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    changed = values.clone()
    changed[3, 7] += 1e-5
    assert near(golden_values.in_short(values), golden_values.in_short(values + 1e-14))
    assert not near(golden_values.in_short(values), golden_values.in_short(changed))
    assert not near(golden_values.in_short(values), golden_values.in_short(values.flip(0)))
