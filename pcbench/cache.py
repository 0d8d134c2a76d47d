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

from pcbench import machine
from pcbench.clouds import open_hdf5, own_array, write_hdf5
from pcbench.datasets.store import cache_root
from pcbench.errors import DataError
from pcbench.files import digest, file_digest


class TensorCache:
    """Keeps named float32 tensors under the hash of their inputs and of pcbench's own source.

    common: what all tensors of one run depend on, as plain JSON values. The seconds that making took belong
    to whoever asks, also when the tensors come from the cache: `owed` gives them to the runner's clock.
    """

    def __init__(self, common: Mapping[str, Any], device: torch.device) -> None:
        self.common, self.device = {**common, "source": source_hash()}, device
        self._owed = 0.0

    def owed(self) -> float:
        """Seconds of work that the cache has spared since the last call."""
        owed, self._owed = self._owed, 0.0
        return owed

    def get(self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of `make`, on the device, computed only if they are not kept under these inputs yet.

        A kept file that is damaged is made again.
        """
        key = digest({"common": self.common, "inputs": dict(inputs), "device": self.device.type})
        path = cache_root() / "tensors" / f"{key}.h5"
        try:
            tensors, seconds = _load(path)
        except DataError:
            return self._make(path, make)
        self._owed += seconds
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def _make(self, path: Path, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        start = machine.now(self.device)
        tensors = {name: tensor.detach().float() for name, tensor in make().items()}
        seconds = machine.now(self.device) - start
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_hdf5(path) as file:
            file.attrs["seconds"] = seconds
            for name, tensor in tensors.items():
                file.create_dataset(name, data=tensor.cpu().numpy(), fletcher32=tensor.dim() > 0)
        return tensors


@cache
def source_hash() -> str:
    """SHA-256 over the code that trains: the students' and all of pcbench.ops."""
    package = Path(__file__).parent
    files = [package / "students.py", *sorted((package / "ops").glob("*.py"))]
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
