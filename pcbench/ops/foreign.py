"""Any torch module as a layer: S copies with weights of their own, run one after another.

Such a module draws from torch's global generators, when it is built and when it drops out. Here these are
seeded from the run's own streams for as long as it works, and are afterwards as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from pcbench.ops.global_random import seeded
from pcbench.ops.layers import Drawing

Side = Literal["input", "output"]
SEEDS = 1 << 62


class Foreign(Drawing):
    """A torch module of any kind, with its parameters and buffers as this layer's own.

    A parameter `a.b` of the module is this layer's `a:b`, of the same shape, stacked with a leading axis S:
    thus it is stacked, drawn anew, trained and kept as any other layer is. A forward puts the values of one
    student after another into the module.
    """

    in_global_state = True

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        """make: builds the module, with weights drawn from the global generators."""
        super().__init__()
        self.make = make
        with seeded(0):
            module = make()
        self._held = (module,)  # in a tuple: its own parameters are none of this layer's
        for name, parameter in module.named_parameters():
            self.register_parameter(
                _own(name), nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            )
        for name, buffer in module.named_buffers():
            self.register_buffer(_own(name), buffer.detach().clone())
        self.names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]

    @property
    def module(self) -> nn.Module:
        """The module itself, whose own values mean nothing."""
        return self._held[0]

    def reset_parameters(self, generator: torch.Generator) -> None:
        with seeded(_seed(generator)):
            drawn = self.make()
        with torch.no_grad():
            for name, value in (*drawn.named_parameters(), *drawn.named_buffers()):
                self._value(name).copy_(value)

    def _value(self, name: str) -> Tensor:
        value: Tensor = getattr(self, _own(name))
        return value

    def train(self, mode: bool = True) -> Foreign:
        self.module.train(mode)
        super().train(mode)
        return self

    def norms(self) -> Iterator[nn.Module]:
        return (module for module in self.module.modules() if isinstance(module, _NormBase))

    def forward(self, x: Tensor) -> Any:
        """What the module gives for x (B, ...), or for x (S, B, ...) the S results as one, (S, B, ...)."""
        return self._run(x, _first)

    def observed(self, x: Tensor, name: str, side: Side) -> Tensor:
        """What goes into one of the module's own modules, or comes out of it, when it is given x: (B, ...).

        Of a module that works several times, the last time.
        """
        seen: list[Tensor] = []

        def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen.append(inputs[0] if side == "input" else _first(output))

        def last(_: Any) -> Tensor:
            if not seen:
                raise TypeError(f"{name!r} took no part in the forward, so that it has no {side}")
            value = seen[-1]
            seen.clear()
            return value

        handle = self.module.get_submodule(name).register_forward_hook(look)
        try:
            return self._run(x, last)
        finally:
            handle.remove()

    def _run(self, x: Tensor, result: Callable[[Any], Tensor]) -> Tensor:
        if self.training:
            self.check_generators(len(x) if self.stacked else 1)
        if not self.stacked:
            return self._student({name: self._value(name) for name in self.names}, x, 0, result)
        split = {name: self._value(name).unbind() for name in self.names}
        results = []
        for student, own in enumerate(x):
            values = {name: parts[student] for name, parts in split.items()}
            results.append(self._student(values, own, student, result))
        return torch.stack(results)

    def _student(
        self, values: dict[str, Tensor], x: Tensor, student: int, result: Callable[[Any], Tensor]
    ) -> Tensor:
        seed = _seed(self.generators[student]) if self.training else 0
        with seeded(seed), _single(self.module, len(x)):
            return result(functional_call(self.module, values, (x,)))


def _own(name: str) -> str:
    return name.replace(".", ":")


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(SEEDS, (), generator=generator))


def _first(output: Any) -> Tensor:
    """The logits of a module that also gives what else it has worked out."""
    value = output[0] if isinstance(output, Sequence) else output
    if not isinstance(value, Tensor):
        raise TypeError(
            f"a forward gives {type(value).__name__}: a tensor, or a tuple that begins with one, is needed"
        )
    return value


@contextmanager
def _single(module: nn.Module, clouds: int) -> Iterator[None]:
    """Let norms pass a training batch of one cloud: one value a channel has no variance.

    A norm that sees it takes its running statistics, and leaves them, as `pcbench.ops.layers.BatchNorm` does.
    """
    with ExitStack() as hooks:
        for norm in module.modules() if clouds == 1 and module.training else ():
            if isinstance(norm, _NormBase) and norm.training and norm.track_running_stats:
                for hook in (norm.register_forward_pre_hook(_freeze), norm.register_forward_hook(_thaw)):
                    hooks.callback(hook.remove)
        yield


def _freeze(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
    norm.train(inputs[0].numel() > inputs[0].shape[1])


def _thaw(norm: nn.Module, _inputs: tuple[Any, ...], _output: Any) -> None:
    norm.train()
