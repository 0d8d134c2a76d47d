"""Work done many times on tensors of the same shapes: on a GPU recorded once, then launched as a whole.

A step of training is hundreds of small kernels, and launching them one by one takes the processor longer than
the GPU needs to do them. A CUDA graph launches all of them at once.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

EAGER_CALLS = 3
"""Calls with some shapes that are done as they are written, before the next one is recorded."""

Draw = tuple[Tensor, Callable[[], Tensor]]
"""A tensor that recorded work reads, and what makes its values for every call."""


@dataclass(frozen=True)
class _Recording:
    """What work has become: the tensors that it reads and writes, and its launch."""

    inputs: Sequence[Any]
    """What it reads: tensors of its own, into which a call's inputs are copied, and what is no tensor."""
    draws: Sequence[Draw]
    """The tensors that `drawn` gave it, which are filled anew before every launch."""
    outputs: Sequence[Tensor]
    """What it writes, the same tensors at every launch."""
    launch: Callable[[], None]
    """Does the work on these tensors."""

    def replay(self, inputs: Sequence[Any]) -> Sequence[Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            if isinstance(own, Tensor):
                own.copy_(given, non_blocking=True)
        for own, make in self.draws:
            own.copy_(make())
        self.launch()
        return self.outputs


@dataclass
class _Draws:
    """The draws of the work at hand: kept as they are made, or handed out again to its recording."""

    recording: bool
    """Whether the work is being recorded, so that no value may be made."""
    kept: list[Draw] = field(default_factory=list)
    """Those of a plain call, in order."""
    coming: deque[Draw] = field(default_factory=deque)
    """Those of the last plain call, of which the recording takes one after another."""


_draws: _Draws | None = None


@contextmanager
def _following(draws: _Draws) -> Iterator[_Draws]:
    global _draws
    before, _draws = _draws, draws
    try:
        yield draws
    finally:
        _draws = before


class Replayed:
    """work(*inputs) -> tensors, the same on every device; what it gives is void after the next call.

    inputs: tensors, and what work uses as it is, such as a network: that is used as it is then, and what work
    changes of it, such as statistics, it must change in place. work asks no tensor for its value on the CPU,
    and takes from there only what `drawn` brings. Its Python code runs for the first calls with some shapes.
    """

    def __init__(self, work: Callable[..., Sequence[Tensor]], device: torch.device) -> None:
        self.work = work
        self._graphs = _Graphs(device) if device.type == "cuda" else None
        self._calls: dict[Hashable, int] = {}
        self._draws: dict[Hashable, Sequence[Draw]] = {}
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, *inputs: Any) -> Sequence[Tensor]:
        if self._graphs is None:
            return self.work(*inputs)
        key = tuple(given.shape if isinstance(given, Tensor) else given for given in inputs)
        calls = self._calls[key] = self._calls.get(key, 0) + 1
        networks = (given for given in inputs if isinstance(given, nn.Module))
        if calls == EAGER_CALLS + 1 and not any(map(in_global_state, networks)):
            self._try_to_record(self._graphs, key, inputs)
        if key in self._recordings:
            return self._recordings[key].replay(inputs)
        with _following(_Draws(recording=False)) as draws:
            outputs = self._graphs.aside(self.work, inputs)
        self._draws[key] = draws.kept
        return outputs

    def prepare(self, *inputs: Any) -> None:
        """On a GPU do the work until it is recorded, so that what comes then can be timed; else nothing."""
        if self._graphs is not None:
            for _ in range(EAGER_CALLS + 1):
                self(*inputs)

    def _try_to_record(self, graphs: _Graphs, key: Hashable, inputs: Sequence[Any]) -> None:
        """Where work cannot be recorded, as a plugin's network may look at a value, it is done as before.

        The draws' tensors are those of the last call: a recording's own may share memory with others.
        """
        own, draws = [x.clone() if isinstance(x, Tensor) else x for x in inputs], self._draws.pop(key)
        try:
            with _following(_Draws(recording=True, coming=deque(draws))):
                outputs, launch = graphs.record(self.work, own)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(f"a step cannot be recorded, and is slower for it: {reason}", stacklevel=3)
        else:
            self._recordings[key] = _Recording(own, draws, outputs, launch)


def in_global_state(network: nn.Module) -> bool:
    """Whether a part of a network seeds the process's global generators as it works, which no recording may.

    Such a part says so: see `pcbench.ops.layers.Layer.in_global_state`.
    """
    return any(getattr(module, "in_global_state", False) for module in network.modules())


class Recorder:
    """Any work, each recorded by a `Replayed` of its own, which lasts as long as this does."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._replayed: dict[Callable[..., Sequence[Tensor]], Replayed] = {}

    def __call__(self, work: Callable[..., Sequence[Tensor]], *inputs: Any) -> Sequence[Tensor]:
        """work(*inputs). A function that is made anew for every call, as a lambda is, is never recorded."""
        if work not in self._replayed:
            self._replayed[work] = Replayed(work, self.device)
        return self._replayed[work](*inputs)


class _Graphs:
    """A GPU's way to do work aside and to record it, all recordings in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)

    def aside(self, work: Callable[..., Sequence[Tensor]], inputs: Sequence[Any]) -> Sequence[Tensor]:
        """Done as it is written, on a stream of its own, as CUDA wants it before a recording."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            outputs = work(*inputs)
        here.wait_stream(self.stream)
        for tensor in outputs:
            tensor.record_stream(here)
        return outputs

    def record(
        self, work: Callable[..., Sequence[Tensor]], inputs: Sequence[Any]
    ) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """The outputs of a recording, and its launch, which fills them."""
        graph = torch.cuda.CUDAGraph()
        # relaxed: other threads may draw networks meanwhile, and free memory is asked for
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="relaxed"):
            outputs = work(*inputs)
        return outputs, graph.replay


def recording() -> bool:
    """Whether the work at hand is being recorded: then nothing may look at a value."""
    return _draws is not None and _draws.recording


def drawn(make: Callable[[], Tensor], like: Tensor) -> Tensor:
    """make(), which gives a CPU tensor of the shape of `like`, on its device and of its type.

    It is made anew each time the work that asks for it is done, replayed or not.
    """
    if _draws is not None and _draws.recording:
        return _draws.coming.popleft()[0]
    tensor = make().to(like.device, like.dtype)
    if _draws is not None:
        _draws.kept.append((tensor, make))
    return tensor
