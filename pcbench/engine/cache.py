"""Keeps tensors that are dear to compute, such as trained networks, with the seconds that they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from pcbench.clouds import open_hdf5, own_array, write_array, write_hdf5
from pcbench.common.files import digest, file_digest
from pcbench.datasets.store import cache_root
from pcbench.engine import machine
from pcbench.errors import DataError


class TensorCache:
    """Keeps named float32 tensors under the hash of their inputs, of pcbench's own source and of the machine.

    common: what all tensors of one run depend on, as plain JSON values. One cache serves one run. The
    seconds that making took belong to whoever asks, once a run, also when the tensors come from the cache:
    `owed` gives them to the runner's clock. They are of the same hardware, which is part of the key.
    """

    def __init__(self, common: Mapping[str, Any], device: torch.device) -> None:
        self.device = device
        self.common = {
            **common,
            "source": source_hash(),
            "hardware": machine.hardware(device).label,
            "torch": torch.__version__,
        }
        self._owed = 0.0
        self._charged: set[Path] = set()

    def owed(self) -> float:
        """Seconds of work that the cache has spared since the last call."""
        owed, self._owed = self._owed, 0.0
        return owed

    def get(self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of `make` by name, in alphabetical order, on the device.

        They are computed only if they are not kept under these inputs yet; a damaged file is made again. What
        `make` itself takes from the cache is part of their cost. Raises ValueError for a name with a slash.
        """
        key = digest({"common": self.common, "inputs": dict(inputs)})
        path = cache_root() / "tensors" / f"{key}.h5"
        try:
            tensors, seconds = _load(path)
        except DataError:
            tensors = self._make(path, make)
        else:
            self._owed += 0.0 if path in self._charged else seconds
        self._charged.add(path)
        return {name: tensors[name].to(self.device) for name in sorted(tensors)}

    def _make(self, path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        before, start = self._owed, machine.now(self.device)
        tensors = {name: tensor.detach().float().clone() for name, tensor in make().items()}
        seconds = machine.now(self.device) - start + self._owed - before
        for name in tensors:
            if "/" in name:
                raise ValueError(f"a kept tensor is called {name!r}: leave the slash out")
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_hdf5(path, [tensor.nbytes for tensor in tensors.values()]) as file:
            file.attrs["seconds"] = seconds
            for name, tensor in tensors.items():
                write_array(file, name, tensor.cpu().numpy())
        return tensors


@cache
def source_hash() -> str:
    """SHA-256 over the code that trains: the students' and all of pcbench.ops."""
    package = Path(__file__).parents[1]
    files = [package / "engine" / "students.py", *sorted((package / "ops").glob("*.py"))]
    return digest({file.name: file_digest(file) for file in files})


def _load(path: Path) -> tuple[dict[str, Tensor], float]:
    tensors: dict[str, Tensor] = {}
    with open_hdf5(path) as file:
        for name in file:
            stored = own_array(file, name)
            if stored.dtype != "<f4":
                raise DataError(f"{path}: {name!r} is not an array of float32")
            tensors[name] = torch.from_numpy(np.asarray(stored[()]))
        seconds = file.attrs.get("seconds")
        if isinstance(seconds, h5py.Empty) or not isinstance(seconds, float) or not seconds >= 0:
            raise DataError(f"{path} does not say how long its tensors took")
    return tensors, float(seconds)
