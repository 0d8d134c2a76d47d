"""Keeps tensors that are dear to compute, such as trained networks, with the seconds that they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pcbench.common.files import digest
from pcbench.common.hdf5 import open_hdf5, own_array, write_array, write_hdf5
from pcbench.datasets.store import cache_root
from pcbench.engine import machine
from pcbench.errors import DataError
from pcbench.records.circumstances import NOTHING, Clock


class TensorCache:
    """Keeps named float32 tensors under the hash of their inputs, of pcbench's ENGINE and of the machine.

    common: what all tensors of one run depend on, as plain JSON values. One cache serves one run. The
    time that making took belongs to whoever asks, once a run, also when the tensors come from the cache:
    `debt` gives it to the runner's clock. It is of the same hardware, which is part of the key.
    pid: the process of the method, which may make some of them.
    """

    def __init__(self, common: Mapping[str, Any], device: torch.device, pid: int | None = None) -> None:
        self.device, self.pid = device, pid
        self.common = {**common, **machine.rounding(device)}
        self._debt = NOTHING
        self._charged: set[Path] = set()

    def debt(self) -> Clock:
        """The work that the cache has spared since the last call."""
        debt, self._debt = self._debt, NOTHING
        return debt

    def charge(self, cost: Clock) -> None:
        """Work that was done before, such as by an interrupted run, and that counts as the method's own."""
        self._debt += cost

    def get(self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of `make` by name, in alphabetical order, on the device.

        They are computed only if they are not kept under these inputs yet; a damaged file is made again. What
        `make` itself takes from the cache is part of their cost. Raises ValueError for a name with a slash.
        """
        key = digest({"common": self.common, "inputs": dict(inputs)})
        path = cache_root() / "tensors" / f"{key}.h5"
        try:
            tensors, cost = _load(path)
        except DataError:
            tensors = self._make(path, make)
        else:
            self._debt += NOTHING if path in self._charged else cost
        self._charged.add(path)
        return {name: tensors[name].to(self.device) for name in sorted(tensors)}

    def _make(self, path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        before, self._debt = self._debt, NOTHING
        watch = machine.Stopwatch(self.device, self.pid)
        tensors = {name: tensor.detach().float().clone() for name, tensor in make().items()}
        cost = watch.read() + self._debt  # with what `make` itself took from the cache
        self._debt += before
        for name in tensors:
            if "/" in name:
                raise ValueError(f"a kept tensor is called {name!r}: leave the slash out")
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_hdf5(path) as file:
            file.attrs["seconds"] = cost.seconds
            file.attrs["processor_seconds"] = cost.processor_seconds or 0.0
            for name, tensor in tensors.items():
                write_array(file, name, tensor.cpu().numpy())
        return tensors


def _load(path: Path) -> tuple[dict[str, Tensor], Clock]:
    """The tensors of a file, and what it took to make them."""
    tensors: dict[str, Tensor] = {}
    with open_hdf5(path) as file:
        for name in file:
            stored = own_array(file, name)
            if stored.dtype != "<f4":
                raise DataError(f"{path}: {name!r} is not an array of float32")
            tensors[name] = torch.from_numpy(np.asarray(stored[()]))
        wall, processor = (_seconds(file, name) for name in ("seconds", "processor_seconds"))
    if wall is None or processor is None:
        raise DataError(f"{path} does not say how long its tensors took")
    return tensors, Clock(seconds=wall, processor_seconds=processor)


def _seconds(file: h5py.File, name: str) -> float | None:
    """A time that a file says in its attributes; None where it is none."""
    value = file.attrs.get(name)
    if isinstance(value, h5py.Empty) or not isinstance(value, float) or not 0 <= value < 1e10:
        return None
    return float(value)
