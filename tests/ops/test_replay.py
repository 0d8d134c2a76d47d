"""On the CPU, work that could be replayed is simply done."""

from __future__ import annotations

import torch

from pcbench.ops.replay import Replayed, drawn

CPU = torch.device("cpu")


def test_the_work_is_done_at_every_call_with_what_it_is_given():
    calls = []

    def work(name: str, x: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(name)
        return (2 * x,)

    step = Replayed(work, CPU)
    for number in range(6):
        (found,) = step("doubled", torch.full((2,), float(number)))
        assert found.tolist() == [2.0 * number] * 2
    assert calls == ["doubled"] * 6


def test_a_drawn_tensor_has_the_type_of_its_like_and_is_made_at_every_call():
    numbers = iter((1.0, 2.0))
    like = torch.zeros(3, dtype=torch.float64)
    found = [drawn(lambda: torch.full((3,), next(numbers)), like) for _ in range(2)]
    assert [x.tolist() for x in found] == [[1.0] * 3, [2.0] * 3]
    assert found[0].dtype == torch.float64
