"""One network drawn anew in place, again and again, while what needs the drawing before still runs.

To draw a network takes the processor longer than a GPU takes for an iteration with it. So threads draw some
networks ahead, into copies on the CPU, and what they have drawn reaches the device in one transfer.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Generic, Self

import torch
from torch import Tensor, nn

from pcbench.ops.layers import Layer, Network, initialise
from pcbench.ops.replay import in_global_state

AHEAD = 3
"""Drawings under way at once, each by a thread of its own."""


class Redraws:
    """The drawings of a network by one generator after another, each as `initialise` would make it."""

    def __init__(self, network: nn.Module, generators: Iterator[torch.Generator]) -> None:
        self.network, self.generators = network, generators
        self.own = _state(network)
        self._coming: deque[Future[tuple[nn.Module, list[Tensor]]]] = deque()
        self._threads = ThreadPoolExecutor(AHEAD)

    def __enter__(self) -> Self:
        twin = copy.deepcopy(self.network).cpu().float()
        for _ in range(AHEAD):
            self._ahead(copy.deepcopy(twin))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def apply(self) -> None:
        """Give the network its next drawing, in training mode as a new network is."""
        twin, values = self._coming.popleft().result()
        torch._foreach_copy_(self.own, values)
        self.network.train()
        self._ahead(twin)

    def _ahead(self, twin: nn.Module) -> None:
        generator = next(self.generators, None)
        if generator is not None:
            self._coming.append(self._threads.submit(self._drawn, twin, generator))

    def _drawn(self, twin: nn.Module, generator: torch.Generator) -> tuple[nn.Module, list[Tensor]]:
        """The copy of the network that was drawn, and its values on the network's device."""
        initialise(twin, generator)
        values, device = _state(twin), self.own[0].device
        if device.type == "cpu":
            return twin, values
        packed = torch.cat([value.flatten() for value in values]).pin_memory()
        there = packed.to(device, non_blocking=True).split([value.numel() for value in values])
        return twin, [part.view_as(value) for part, value in zip(there, values, strict=True)]


class FreshNetworks(Generic[Network]):
    """A network for every iteration, drawn by a generator of its own; always the same object, drawn in place.

    Nothing is built and no thread begins before the first one is asked for. A network that needs the global
    generators is drawn when it is asked for, and no earlier.
    """

    def __init__(
        self,
        build: Callable[[torch.Generator], Network],
        generator: Callable[[int], torch.Generator],
        iterations: int,
    ) -> None:
        self.build, self.generator, self.iterations = build, generator, iterations
        self._network: Network | None = None
        self._redraws: Redraws | None = None
        self._drawn = 0
        """The iteration whose drawing the network has."""
        self._threads = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()

    def of(self, iteration: int) -> Network:
        """The network of an iteration; asked for again in the same one, it is as it was left.

        ValueError for an iteration before the one that it was drawn for last.
        """
        if iteration < self._drawn:
            raise ValueError(f"the network of iteration {iteration} has become that of {self._drawn}")
        if self._network is None:
            self._network = self.build(self.generator(iteration))
            if not in_global_state(self._network):
                later = (self.generator(number) for number in range(iteration + 1, self.iterations + 1))
                self._redraws = self._threads.enter_context(Redraws(self._network, later))
        elif self._redraws is None:
            if iteration > self._drawn:
                initialise(self._network.train(), self.generator(iteration))
        else:
            for _ in range(self._drawn, iteration):
                self._redraws.apply()
        self._drawn = iteration
        return self._network


def _state(network: nn.Module) -> list[Tensor]:
    """The parameters and buffers of the layers that `initialise` draws."""
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    tensors = [
        tensor for layer in layers for tensor in (*layer._parameters.values(), *layer._buffers.values())
    ]
    return [tensor.detach() for tensor in tensors if tensor is not None]
