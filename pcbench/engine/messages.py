"""Messages between the process of a run and the one of its method: a word, JSON values and named tensors.

The method's process runs a stranger's code, so nothing that comes from it is unpickled: a message is a header
of JSON, then the plain bytes of each tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcbench.common.files import canonical_json
from pcbench.errors import PcbenchError

MAX_HEADER = 16 << 20
"""Bytes of a header."""
MAX_TENSOR = 8 << 30
"""Bytes of a tensor."""

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}
"""The types of elements that a message carries, by name."""


class BrokenMessage(PcbenchError):
    """What came is no message, or the other process is gone."""


@dataclass(frozen=True)
class Message:
    """One message."""

    word: str
    """What it is about."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors on the CPU, of any shape, by name."""


def send(connection: Connection, message: Message) -> None:
    """Send a message; tensors of a GPU are copied first. BrokenMessage where nobody is there to read it."""
    arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in message.tensors.items()}
    header = {
        "word": message.word,
        "values": dict(message.values),
        "tensors": [
            [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            for name, tensor in arrays.items()
        ],
    }
    try:
        connection.send_bytes(canonical_json(header).encode())
        for tensor in arrays.values():
            if tensor.numel():
                connection.send_bytes(tensor.flatten().view(torch.uint8).numpy().data)
    except (OSError, ValueError) as error:
        raise BrokenMessage(f"the other process cannot be reached ({error})") from error


def receive(connection: Connection) -> Message:
    """The next message. BrokenMessage where the other process ends, or sends what is none."""
    try:
        header = json.loads(connection.recv_bytes(MAX_HEADER))
        word, values, listed = header["word"], header["values"], header["tensors"]
        if not isinstance(word, str) or not isinstance(values, dict):
            raise TypeError("a message is a word and values")
        tensors = {str(name): _tensor(connection, DTYPES[dtype], shape) for name, dtype, shape in listed}
    except EOFError as error:
        raise BrokenMessage("the other process has ended") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokenMessage(f"the other process sent no message ({type(error).__name__}: {error})") from error
    return Message(word, values, tensors)


def _tensor(connection: Connection, dtype: torch.dtype, shape: list[int]) -> Tensor:
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size > MAX_TENSOR:
        raise ValueError(f"a tensor of {size} bytes, more than {MAX_TENSOR}")
    if not count:
        return torch.empty(shape, dtype=dtype)
    content = np.empty(size, dtype=np.uint8)
    if connection.recv_bytes_into(content.data) != size:
        raise ValueError("a tensor is shorter than its shape")
    return torch.from_numpy(content).view(dtype).view(shape)
