"""Gives every thread of a CPU a share of the students, instead of a share of every small product.

A student-step is hundreds of operations, each on no more than one layer of eight clouds. Threads that divide
such an operation wait for one another hundreds of times a step; students do not depend on one another at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch
from torch import nn

from pcbench.ops.replay import in_global_state

T = TypeVar("T")
Check = Callable[[], None]
"""Called now and then by the work on one share; raises `Ended` once the work on another one has failed."""


class Ended(Exception):
    """The work on another share has failed, or was interrupted."""


def shares(network: nn.Module, students: int, device: torch.device, number: int | None = None) -> list[slice]:
    """The students 0 to S − 1 of a stacked network as consecutive slices, as even as can be.

    number: how many; by default one a thread. One slice where a GPU works, and where the network seeds the
    process's global generators.
    """
    alone = device.type != "cpu" or in_global_state(network)
    number = 1 if alone else min(number or torch.get_num_threads(), students)
    bounds = [students * i // number for i in range(number + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def at_once(work: Callable[[slice, Check], T], parts: list[slice]) -> list[T]:
    """work(part, check) of every part, the first in this thread, each of the others in one of its own.

    torch's threads are divided among the parts. Where work fails, the others end at their next check, and
    what it raised is raised here.
    """
    threads, failed = torch.get_num_threads(), Event()

    def check() -> None:
        if failed.is_set():
            raise Ended

    def share(part: slice) -> T:
        torch.set_num_threads(max(1, threads // len(parts)))  # holds for the calling thread
        try:
            return work(part, check)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max(1, len(parts) - 1)) as pool:
        others = [pool.submit(share, part) for part in parts[1:]]
        try:
            first = share(parts[0])
        except Ended:
            errors = [other.exception() for other in others]
            raise next(error for error in errors if error and not isinstance(error, Ended)) from None
        finally:
            torch.set_num_threads(threads)
        return [first, *(other.result() for other in others)]
