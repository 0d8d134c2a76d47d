"""The random generators that a whole process shares: seeded for a while, then as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch (also on the GPU), numpy and the module random draw from `seed`, [0, 2⁶³)."""
    on_gpu = torch.cuda.is_initialized()
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    gpus = torch.cuda.get_rng_state() if on_gpu else None
    torch.manual_seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        if gpus is not None:
            torch.cuda.set_rng_state(gpus)
