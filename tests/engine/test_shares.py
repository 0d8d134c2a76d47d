"""Shares of the students, one a thread: which they are, what fails, and that no score depends on them."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from pcbench.api import Backbone
from pcbench.engine.shares import Ended, at_once, shares

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def bounds(parts):
    return [(part.start, part.stop) for part in parts]


def test_every_thread_has_a_share_as_even_as_can_be(pointnet: type[Backbone]):
    assert bounds(shares(pointnet(3), 10, CPU)) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert bounds(shares(pointnet(3), 3, CPU)) == [(0, 1), (1, 2), (2, 3)]
    assert bounds(shares(pointnet(3), 1, CPU)) == [(0, 1)]


def test_a_gpu_and_a_network_that_seeds_global_generators_are_not_shared(pointnet: type[Backbone]):
    assert bounds(shares(pointnet(3), 10, torch.device("cuda"))) == [(0, 10)]
    network = pointnet(3)
    network.in_global_state = True
    assert bounds(shares(network, 10, CPU)) == [(0, 10)]


def test_the_first_share_is_worked_on_here_and_threads_are_divided():
    def work(part, check):
        check()
        return part.start, torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert at_once(work, [slice(0, 1), slice(1, 3)]) == [(0, 2, True), (1, 2, False)]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("failing", [0, 2])
def test_a_share_that_fails_ends_the_others(failing):
    ended = []

    def work(part, check):
        if part.start == failing:
            raise ValueError(f"share {failing}")
        try:
            for _ in range(2000):
                check()
                time.sleep(0.005)
        except Ended:
            ended.append(part.start)
            raise

    with pytest.raises(ValueError, match=f"share {failing}"):
        at_once(work, [slice(0, 2), slice(2, 4), slice(4, 6)])
    assert sorted(ended) == sorted({0, 2, 4} - {failing})
    assert torch.get_num_threads() == 4
