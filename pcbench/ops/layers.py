"""The layers that backbones are made of: each serves one network, or S stacked networks in one product.

A network is written for clouds (B, N, 3) and features (..., C), channels last in meaning. `stack` turns S
networks of one architecture into one whose parameters carry a leading axis S; the same forward then takes (S,
B, N, 3). A backbone therefore names axes from the end (points are -2, channels -1) and uses these layers
only.

In memory, channels come first: a feature tensor (S, B, N, C) is a view of (S, C, B, N). Batch norm, pooling
over points and sorting over points then run along contiguous memory, and a linear layer is one matrix product
a student.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from pcbench.ops.pooling import max_of_products, moments
from pcbench.ops.replay import drawn

Network = TypeVar("Network", bound=nn.Module)


class Layer(nn.Module):
    """A module with parameters of its own, drawn from an explicit generator, never from a global one.

    `stacked` says whether its parameters carry the leading axis S.
    """

    stacked = False
    in_global_state: ClassVar[bool] = False
    """Whether it seeds the process's global generators while it works: it then never works in a thread of its
    own, nor in what a GPU records."""

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all parameters anew; buffers return to their initial values."""
        raise NotImplementedError

    def norms(self) -> Iterable[nn.Module]:
        """The batch norms that it is, or holds: each has a `momentum`."""
        return ()


class Drawing(Layer):
    """A layer that draws while it is trained, from one generator a student, which `set_dropout` provides.

    Training without them raises RuntimeError, so that no run depends on a hidden generator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generators: tuple[torch.Generator, ...] = ()

    def check_generators(self, students: int) -> None:
        """RuntimeError unless there is one generator a student."""
        if len(self.generators) != students:
            raise RuntimeError(
                f"dropout has {len(self.generators)} random streams for {students} networks: "
                "call set_dropout(network, generators) with one random stream each first"
            )


def columns(x: Tensor, stacked: bool) -> Tensor:
    """Features (S, ..., C) as one matrix each, (S, C, M), or (..., C) as (1, C, M); a view where possible."""
    if not stacked:
        x = x.unsqueeze(0)
    return x.movedim(-1, 1).flatten(2)


def from_columns(y: Tensor, like: Tensor, stacked: bool) -> Tensor:
    """The inverse of `columns`: (S, C, M) as (S, ..., C), with the middle axes of `like`; always a view."""
    middle = like.shape[1:-1] if stacked else like.shape[:-1]
    y = y.unflatten(2, middle) if len(middle) != 1 else y
    y = y.movedim(1, -1)
    return y if stacked else y.squeeze(0)


class Linear(Layer):
    """y = x Wᵀ + b on the last axis; weights and biases uniform within ±1/√inputs, as in torch.nn.Linear.

    weight: (outputs, inputs), stacked (S, outputs, inputs). bias: (outputs,), stacked (S, outputs).
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def reset_parameters(self, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.inputs)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias, self.stacked)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, stacked: bool) -> Tensor:
    """x (..., inputs) times weight (outputs, inputs) plus bias, or the same for S students at once."""
    if not stacked:
        weight = weight.unsqueeze(0)
        bias = None if bias is None else bias.unsqueeze(0)
    xs = columns(x, stacked)
    y = torch.bmm(weight, xs) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, xs)
    return from_columns(y, x, stacked)


class BatchNorm(Layer):
    """Batch norm over all axes but the channels (and the students), affine, eps 1e-5, momentum 0.1.

    In training mode a batch with one value per channel has no variance: it is normalised by the running
    statistics, which it leaves as they are, so that a tail batch of one cloud passes.
    """

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.momentum = 0.1
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def reset_parameters(self, generator: torch.Generator) -> None:  # noqa: ARG002
        with torch.no_grad():
            self.weight.fill_(1)
            self.bias.fill_(0)
            self.running_mean.fill_(0)
            self.running_var.fill_(1)

    def scale_and_shift(
        self, mean: Tensor | None = None, variance: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The layer as y = x · scale + shift, by the running statistics or the given ones (variance biased).

        All are of the parameters' shape.
        """
        mean = self.running_mean if mean is None else mean
        variance = self.running_var if variance is None else variance
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale, self.bias - mean * scale

    def norms(self) -> Iterable[nn.Module]:
        return (self,)

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards a batch of `count` values per channel, as `forward` does.

        mean, variance (biased): of the parameters' shape.
        """
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)

    def forward(self, x: Tensor) -> Tensor:
        xs = columns(x, self.stacked)
        students, channels, count = xs.shape
        y = F.batch_norm(
            xs.reshape(1, students * channels, count),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.reshape(-1),
            self.bias.reshape(-1),
            training=self.training and count > 1,
            momentum=self.momentum,
            eps=self.eps,
        )
        return from_columns(y.view(students, channels, count), x, self.stacked)

    def from_moments(self, x: Tensor, mean: Tensor, variance: Tensor, count: int) -> Tensor:
        """Training mode for some of a batch's values, (..., C), whose moments over all `count` are known.

        mean, variance (biased): of the parameters' shape. Moves the running statistics as `forward` does.
        """
        self.track(mean, variance, count)
        scale, shift = (per_channel(v, x, self.stacked) for v in self.scale_and_shift(mean, variance))
        return torch.addcmul(shift, x, scale)


class LinearNorm(nn.Sequential):
    """Linear, then batch norm; once the norm is frozen, the two are one affine map."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(Linear(inputs, outputs, bias), BatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        linear, norm = self.parts()
        if norm.training:
            return norm(linear(x))  # type: ignore[no-any-return]
        return affine(x, *self.folded(), linear.stacked)

    def parts(self) -> tuple[Linear, BatchNorm]:
        linear, norm = self[0], self[1]
        assert isinstance(linear, Linear)
        assert isinstance(norm, BatchNorm)
        return linear, norm

    def folded(self, mean: Tensor | None = None, variance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weight and bias of the pair as one, by the running statistics or the given ones."""
        linear, norm = self.parts()
        scale, shift = norm.scale_and_shift(mean, variance)
        bias = shift if linear.bias is None else torch.addcmul(shift, linear.bias, scale)
        return linear.weight * scale.unsqueeze(-1), bias

    def folded_for(self, xs: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (S, D, C) and bias (S, D) of the pair as one, for inputs xs (S, C, M).

        In training mode by the statistics of the batch, which follow from the moments of xs: mean W μ + b,
        variance diag(W Σ Wᵀ). They move the running ones.
        """
        linear, norm = self.parts()
        students, _, count = xs.shape
        mean = variance = None
        if norm.training and count > 1:
            weight = linear.weight if linear.stacked else linear.weight.unsqueeze(0)
            centre, covariance = moments(xs)
            variance = torch.linalg.vecdot(torch.bmm(weight, covariance), weight)
            variance = variance.clamp_min(0).view_as(norm.weight)
            mean = torch.bmm(weight, centre).view_as(norm.weight)
            mean = mean if linear.bias is None else mean + linear.bias
            norm.track(mean, variance, count)
        weight, bias = self.folded(mean, variance)
        return weight.view(students, linear.outputs, -1), bias.view(students, -1)

    def observe(self, x: Tensor) -> None:
        """Move the running statistics as `forward` does in training mode, without forming its features."""
        self.folded_for(columns(x, self.parts()[0].stacked))

    def max_over_points(self, x: Tensor) -> Tensor:
        """The largest of `forward(x)` per channel, (..., N, C) -> (..., D), without forming its features.

        Value and gradient need the winners only, and the batch statistics the moments of x: a step of
        training costs one product over all points instead of three. Equal to the plain way up to rounding.
        """
        stacked = self.parts()[0].stacked
        xs = columns(x, stacked)
        weight, bias = self.folded_for(xs)
        largest = max_of_products(xs, weight, x.shape[-2]) + bias.unsqueeze(1)
        return largest.view(*x.shape[:-2], -1)


def per_channel(values: Tensor, like: Tensor, stacked: bool) -> Tensor:
    """Values (D,), or (S, D) of S students, shaped so that they meet the channels of `like` (..., D)."""
    return values.view(len(values), *[1] * (like.dim() - 2), -1) if stacked else values


class Dense(LinearNorm):
    """Linear, batch norm, ReLU: the unit of a shared MLP."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))

    def max_over_points(self, x: Tensor) -> Tensor:
        return torch.relu(super().max_over_points(x))


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    """Dense units through the given widths, inputs first: mlp(3, 64, 128) has two."""
    return nn.Sequential(*(Dense(a, b, bias) for a, b in itertools.pairwise(widths)))


class Dropout(Drawing):
    """Zero each feature with probability p in training, scale the rest by 1/(1 − p).

    Masks are drawn on the CPU.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Nothing to draw."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        self.check_generators(len(x) if self.stacked else 1)
        return x * drawn(partial(self._scales, x.shape), x)

    def _scales(self, shape: Sequence[int]) -> Tensor:
        """0 or 1/(1 − p) for every feature, each student's from its own stream."""
        if self.stacked:
            uniform = torch.stack([torch.rand(shape[1:], generator=g) for g in self.generators])
        else:
            uniform = torch.rand(shape, generator=self.generators[0])
        return (uniform >= self.p).double().div_(1 - self.p)


def set_dropout(network: nn.Module, generators: Iterable[torch.Generator]) -> None:
    """Give every layer of a network that draws while it is trained its random streams, one a student."""
    streams = tuple(generators)
    for module in network.modules():
        if isinstance(module, Drawing):
            module.generators = streams


def max_over_points(x: Tensor) -> Tensor:
    """The largest value per channel, (..., N, C) -> (..., C); its gradient goes to one of equal points."""
    return x.max(-2)[0]


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every layer's parameters, in the order of the layers, from one generator.

    Raises TypeError for a module with parameters, a dropout or a norm that is not one of these layers: it
    would draw from torch's global generator, or could not be stacked.
    """
    for name, module in network.named_modules():
        if isinstance(module, Layer):
            module.reset_parameters(generator)
        else:
            _refuse_foreign(name, module)


def _refuse_foreign(name: str, module: nn.Module) -> None:
    """TypeError for a module that is no `Layer` and has something to draw, or statistics to keep."""
    drawn = any(value is not None for value in module._parameters.values())
    if drawn or isinstance(module, _DropoutNd | _NormBase):
        raise TypeError(
            f"layer {name or 'network'!r} is a {type(module).__name__}: build backbones from "
            "pcbench.ops.layers, whose weights and masks come from the run's own random streams"
        )


def shared_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers that all students of a stacked network have in common, by name: constants, they must be."""
    return {
        f"{name}.{key}".lstrip("."): buffer
        for name, module in network.named_modules()
        if not isinstance(module, Layer)
        for key, buffer in module._buffers.items()
        if buffer is not None
    }


def stack(networks: Sequence[Network]) -> Network:
    """S networks of one architecture as one network whose parameters carry a leading axis S.

    The parameters are copies. A stacked network takes (S, B, N, 3) and gives (S, B, K). Raises TypeError for
    a part with parameters, statistics or dropout that is no `Layer`: all students would share it.
    """
    stacked = copy.deepcopy(networks[0])
    members = [dict(network.named_modules()) for network in networks]
    for name, module in stacked.named_modules():
        if not isinstance(module, Layer):
            _refuse_foreign(name, module)
            continue
        module.stacked = True
        for key, parameter in module._parameters.items():
            if parameter is not None:
                values = [m[name].get_parameter(key).detach() for m in members]
                module._parameters[key] = nn.Parameter(torch.stack(values), parameter.requires_grad)
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = torch.stack([m[name].get_buffer(key) for m in members])
    return stacked


def members(network: Network, students: slice) -> Network:
    """Some of the networks that are stacked as one of their own, which shares their memory.

    What trains the part trains these members of the whole. Parameters carry the leading axis of the slice; a
    buffer of the architecture itself is the same one. (By `data`, each part counts its own changes: autograd
    would take a change of other members, made by another thread, for one of these.)
    """
    shared: dict[int, Any] = {id(buffer): buffer for buffer in shared_buffers(network).values()}
    for module in network.modules():
        if not isinstance(module, Layer):
            continue
        for parameter in module._parameters.values():
            if parameter is not None:
                part = nn.Parameter(parameter.data[students], parameter.requires_grad)
                shared[id(parameter)] = part
        for buffer in module._buffers.values():
            if buffer is not None:
                shared[id(buffer)] = buffer.data[students]
    return copy.deepcopy(network, shared)


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Give a network the parameters, the buffers and the mode of another one of its kind, in place."""
    pairs = zip(target.state_dict().values(), source.state_dict().values(), strict=True)
    own, given = zip(*pairs, strict=True)
    torch._foreach_copy_(own, given)
    target.train(source.training)


def adapt_batch_norm(
    network: nn.Module, xyz: Tensor, momentum: float = 0.1, through: Callable[[Tensor], object] | None = None
) -> None:
    """Let one training-mode forward of xyz (B, N, 3) move the running statistics, then freeze the network.

    With momentum 0.1 a fresh network's statistics become 0.9 × (0 or 1) + 0.1 × batch, as in the authors'
    code; with 1.0 they are the batch's own. Dropout is off. `through` is the part of the network to run, by
    default all of it. The network is in evaluation mode afterwards, its norms with the momentum they had.
    """
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, Layer)]
    norms: list[Any] = [norm for layer in layers for norm in layer.norms()]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = momentum
    with torch.no_grad():
        (through or network)(xyz)
    network.eval()
    for norm, own in zip(norms, before, strict=True):
        norm.momentum = own
