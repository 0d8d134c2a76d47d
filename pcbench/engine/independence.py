"""Whether the students of a backbone are as many as they seem: each drawn from a seed of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcbench.api import Backbone
from pcbench.errors import PcbenchError
from pcbench.ops.global_random import seeded
from pcbench.ops.layers import stack
from pcbench.seeds import Streams

TOLERANCE = 1e-3
"""How far the logits of a stacked network may be from its own, relative to the largest of them."""


class NotIndependent(PcbenchError):
    """Students of a backbone depend on one another, or on something else than their seeds."""


def check_students(
    build: Callable[[torch.Generator], Backbone], points: Tensor, streams: Sequence[Streams]
) -> None:
    """Try two students on clouds (B, N, 3) in evaluation mode; raises NotIndependent.

    Each seed gives its own network, and the same one again; stacked they give what each gives alone; and no
    global random generator is read or moved.
    """
    seeds = [stream.stream for stream in streams[:2]]
    with other_seeds(1) as changed:
        alone = [_logits(build(seed("weights")), points) for seed in seeds]
        stacked = stack([build(seed("weights")) for seed in seeds])
        together = _logits(stacked, points.expand(len(seeds), *points.shape))
        moved = sorted(changed())
    with other_seeds(2):
        again = _logits(build(seeds[0]("weights")), points)
    if moved:
        raise NotIndependent(f"the backbone moves {', '.join(moved)}: draw from the generator that is given")
    if not torch.equal(again, alone[0]):
        raise NotIndependent("two networks of one seed differ: the backbone draws from a global generator")
    if len(alone) > 1 and torch.equal(*alone):
        raise NotIndependent("networks of different seeds are equal: the backbone ignores its generator")
    largest = max(float(logits.abs().max()) for logits in alone)
    if not torch.allclose(together, torch.stack(alone), rtol=0, atol=TOLERANCE * largest):
        raise NotIndependent(
            "stacked students give other logits than each alone: the backbone mixes its leading axes, or has "
            "layers that are none of pcbench.ops.layers"
        )


@torch.no_grad()
def _logits(network: Backbone, points: Tensor) -> Tensor:
    network.to(points.device).eval()
    logits: Tensor = network(points)
    return logits.float()


def _global_state() -> dict[str, Any]:
    """What no plugin may change, by its name."""
    kind, key, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what is watched
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": (kind, np.asarray(key).tobytes(), *rest),
        "the generator of the module random": random.getstate(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


@contextmanager
def other_seeds(seed: int) -> Iterator[Callable[[], set[str]]]:
    """Other seeds in the global generators, undone afterwards; gives a function that names what changed."""
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        with seeded(seed):
            before = _global_state()
            yield lambda: {name for name, value in _global_state().items() if value != before[name]}
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
