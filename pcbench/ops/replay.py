"""Work done many times on tensors of the same shapes: on a GPU recorded once, then launched as a whole.

A step of training is hundreds of small kernels, and launching them one by one takes the processor longer than
the GPU needs to do them. A CUDA graph launches all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

EAGER_CALLS = 3
"""Calls with some shapes that are done as they are written, before the next one is recorded."""


@dataclass
class _Recording:
    """A graph with the tensors that it reads and writes. refreshed: made anew before it is launched."""

    inputs: Sequence[Any]
    outputs: Sequence[Tensor] = ()
    graph: torch.cuda.CUDAGraph = field(default_factory=torch.cuda.CUDAGraph)
    refreshed: list[tuple[Tensor, Callable[[], Tensor]]] = field(default_factory=list)

    def replay(self, inputs: Sequence[Any]) -> Sequence[Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            if isinstance(own, Tensor):
                own.copy_(given, non_blocking=True)
        for own, make in self.refreshed:
            own.copy_(make())
        self.graph.replay()
        return self.outputs


_open: _Recording | None = None


class Replayed:
    """work(*inputs) -> tensors, the same on every device; what it gives is void after the next call.

    inputs: tensors, and what work uses as it is, such as a network: that is used as it is then, and what work
    changes of it, such as statistics, it must change in place. work asks no tensor for its value on the CPU,
    and takes from there only what `drawn` brings. Its Python code runs for the first calls with some shapes.
    """

    def __init__(self, work: Callable[..., Sequence[Tensor]], device: torch.device) -> None:
        self.work, self.device = work, device
        self._calls: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, *inputs: Any) -> Sequence[Tensor]:
        if self._pool is None:
            return self.work(*inputs)
        key = tuple(given.shape if isinstance(given, Tensor) else given for given in inputs)
        if key not in self._recordings:
            calls = self._calls[key] = self._calls.get(key, 0) + 1
            if calls <= EAGER_CALLS:
                return self._aside(inputs)
            self._recordings[key] = self._record(inputs)
        return self._recordings[key].replay(inputs)

    def prepare(self, *inputs: Any) -> None:
        """On a GPU do the work until it is recorded, so that what comes then can be timed; else nothing."""
        if self._pool is not None:
            for _ in range(EAGER_CALLS + 1):
                self(*inputs)

    def _aside(self, inputs: Sequence[Any]) -> Sequence[Tensor]:
        """As it is written, on a stream of its own, as CUDA wants it before a recording."""
        here = torch.cuda.current_stream(self.device)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            outputs = self.work(*inputs)
        here.wait_stream(self._stream)
        for tensor in outputs:
            tensor.record_stream(here)
        return outputs

    def _record(self, inputs: Sequence[Any]) -> _Recording:
        global _open
        recording = _Recording([x.clone() if isinstance(x, Tensor) else x for x in inputs])
        before, _open = _open, recording
        try:
            # relaxed: other threads may draw networks meanwhile, and free memory is asked for
            with torch.cuda.graph(recording.graph, pool=self._pool, capture_error_mode="relaxed"):
                recording.outputs = self.work(*recording.inputs)
        finally:
            _open = before
        return recording


def recording() -> bool:
    """Whether the work at hand is being recorded: then nothing may look at a value."""
    return _open is not None


def drawn(make: Callable[[], Tensor], like: Tensor) -> Tensor:
    """make(), which gives a CPU tensor of the shape of `like`, on its device and of its type.

    It is made anew each time the work that asks for it is done, replayed or not.
    """
    if _open is None:
        return make().to(like.device, like.dtype)
    tensor = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    _open.refreshed.append((tensor, make))
    return tensor
