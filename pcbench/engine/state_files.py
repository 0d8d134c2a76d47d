"""Files of named tensors with a header that says what they belong to: what unfinished work has reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import h5py
import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pcbench.common.files import canonical_json
from pcbench.common.hdf5 import own_array, own_group, write_array
from pcbench.common.schema import Model
from pcbench.errors import DataError

Header = TypeVar("Header", bound=Model)


def write_state(file: h5py.File, header: Model, state: Mapping[str, Tensor]) -> None:
    """Put a header and tensors, which are on the CPU, into an open file: `header`, and the group `state`."""
    text = canonical_json(header.model_dump(mode="json"))
    file.create_dataset("header", data=np.bytes_(text.encode()))
    group = file.create_group("state")
    for name, tensor in state.items():
        write_array(group, name, tensor.numpy())


def read_header(file: h5py.File, kind: type[Header]) -> Header:
    """What a file says of itself; DataError for another file."""
    try:
        return kind.model_validate_json(own_array(file, "header")[()])
    except (ValidationError, TypeError) as error:
        raise DataError(f"{file.filename} has another header") from error


def read_state(file: h5py.File) -> dict[str, Tensor]:
    """The tensors of a file by name; DataError for another file."""
    group = own_group(file, "state")
    if group is None:
        raise DataError(f"{file.filename} lacks its state")
    try:
        return {name: torch.from_numpy(np.asarray(own_array(group, name)[()])) for name in group}
    except TypeError as error:
        raise DataError(f"{file.filename} holds what is no tensor") from error
