"""What an optimiser holds, taken out and put back: all that an iteration hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

State = list[dict[str, Tensor]]
"""Of every parameter of an optimiser its `value`, and by name what the optimiser keeps for it."""


def state_of(optimiser: Optimizer, copy: bool = True) -> State:
    """On the CPU, its parameters and the tensors that it keeps for each; without `copy` maybe themselves."""
    return [
        {
            name: value.detach().to("cpu", copy=copy)
            for name, value in {"value": parameter, **optimiser.state.get(parameter, {})}.items()
            if isinstance(value, Tensor)
        }
        for parameter in _parameters(optimiser)
    ]


def put_back(optimiser: Optimizer, state: State) -> None:
    """The inverse of `state_of`, in place; ValueError where the state is of other parameters."""
    parameters = _parameters(optimiser)
    shapes = [tuple(kept["value"].shape) for kept in state]
    if shapes != [tuple(parameter.shape) for parameter in parameters]:
        raise ValueError(f"it holds parameters of the shapes {shapes}, which are not the method's")
    with torch.no_grad():
        for parameter, kept in zip(parameters, state, strict=True):
            parameter.copy_(kept["value"])
    others = [{name: value for name, value in kept.items() if name != "value"} for kept in state]
    optimiser.load_state_dict({**optimiser.state_dict(), "state": dict(enumerate(others))})


def _parameters(optimiser: Optimizer) -> Sequence[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def packed(state: State) -> dict[str, Tensor]:
    """An optimiser's state as tensors by name: `0.value`, `0.momentum_buffer`, `1.value`, …"""
    return {f"{number}.{name}": tensor for number, part in enumerate(state) for name, tensor in part.items()}


def unpacked(tensors: Mapping[str, Tensor]) -> State:
    """The inverse of `packed`; ValueError for other names."""
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        parts.setdefault(int(number), {})[what] = tensor
    if sorted(parts) != list(range(len(parts))):
        raise ValueError(f"{sorted(parts)} are no numbers of parameters")
    return [parts[number] for number in range(len(parts))]
