"""Vector attention over the neighbours of points (Zhao et al. 2021), with pairs formed in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pcbench.ops.layers import Linear, columns, from_columns
from pcbench.ops.neighbours import gather_points, index_of_rows

CHUNK_BYTES = 1 << 20
"""One tensor of D channels for all pairs of a chunk, in bytes, on the CPU: at most seven are worked on."""
CHUNK_BYTES_GPU = 1 << 27
"""The same on other devices."""
KEPT_BYTES = 1 << 30
"""What the forward of one layer keeps of its pairs for the backward, in bytes, all students together.

Pairs beyond that are worked out again, at a third more time.
"""


class VectorAttention(nn.Module):
    """Attention that weighs each channel of every neighbour for itself (Zhao et al. 2021, Eqs. 2 to 4).

    x = W f + b; δ_ij = θ(p_i − p_j); a_ij = softmax over j of γ(W_q x_i − W_k x_j + δ_ij)/√D; the result is
    Σ_j a_ij ⊙ (W_v x_j + δ_ij). θ is an MLP 3-D-D, γ one of D-D-D, ReLU between.

    Linear maps that follow each other are merged: γ's first layer with W_q W, with W_k W and with θ's last
    layer; the first two are taken at the points. Three products of D × D a pair remain: γ's two layers and
    δ. The bias of γ's last layer, equal for all neighbours, is lost in the softmax: its gradient is zero.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.into = Linear(features, hidden)
        self.query = Linear(hidden, hidden, bias=False)
        self.key = Linear(hidden, hidden, bias=False)
        self.value = Linear(hidden, hidden, bias=False)
        self.near, self.far = Linear(3, hidden), Linear(hidden, hidden)  # θ
        self.first, self.last = Linear(hidden, hidden), Linear(hidden, hidden)  # γ

    def forward(self, xyz: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """xyz (..., N, 3), features (..., N, C), index of neighbours (..., N, k) -> (..., N, D)."""
        stacked = self.into.stacked
        weights = [
            layer.weight if stacked else layer.weight.unsqueeze(0)
            for layer in (
                self.into,
                self.query,
                self.key,
                self.value,
                self.near,
                self.far,
                self.first,
                self.last,
            )
        ]
        biases = [
            _bias(layer).view(len(weights[0]), -1, 1)
            for layer in (self.into, self.near, self.far, self.first, self.last)
        ]
        into, query, key, value, near, far, first, last = weights
        into_bias, near_bias, far_bias, first_bias, last_bias = biases
        into = torch.cat([into, into_bias], -1)
        seen = columns(F.pad(features, (0, 1), value=1), stacked).mT
        offsets = F.pad(xyz.unsqueeze(-2) - gather_points(xyz, index), (0, 1), value=1)
        found = attend(
            torch.baddbmm((first_bias + first @ far_bias).mT, seen, (first @ (query @ into)).mT),
            torch.bmm(seen, (first @ (key @ into)).mT),
            torch.baddbmm((far_bias + 0 * last_bias).mT, seen, (value @ into).mT),
            columns(offsets, stacked).mT,
            torch.cat([near, near_bias], -1),
            first @ far,
            far,
            last / math.sqrt(self.last.inputs),
            index=index_of_rows(index, stacked, xyz.shape[-2]),
        )
        return from_columns(found.mT, features, stacked)


def _bias(layer: Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def attend_plainly(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    offsets: Tensor,
    near: Tensor,
    mixed: Tensor,
    far: Tensor,
    last: Tensor,
) -> Tensor:
    """The equations of `attend` for some rows of one student, all pairs at once: (m, D). Its specification.

    For row i and neighbour j, with the numbers that the fused code below refers to:

        (1)  u_ij = relu(near · offset_ij)                      what θ's first layer sees of the offset
        (2)  h_ij = relu(query_i − key_j + mixed · u_ij)        γ's hidden units
        (3)  s_ij = last · h_ij                                 the scores of the D channels
        (4)  w_ij = exp(s_ij) / Σ_j exp(s_ij)                   the weights, channel by channel
        (5)  v_ij = value_j + far · u_ij                        what they weigh
        (6)  y_i  = Σ_j w_ij ⊙ v_ij

    queries: (m, D). keys, values: those of the neighbours, (m · k, D). offsets: (m · k, E).
    """
    rows, channels = queries.shape
    unit = torch.relu(offsets @ near.T)  # (1)
    hidden = torch.relu(queries.unsqueeze(1) - (keys - unit @ mixed.T).view(rows, -1, channels))  # (2)
    weights = torch.softmax(hidden @ last.T, 1)  # (3), (4)
    return (weights * (values + unit @ far.T).view(rows, -1, channels)).sum(1)  # (5), (6)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    offsets: Tensor,
    near: Tensor,
    mixed: Tensor,
    far: Tensor,
    last: Tensor,
    *,
    index: Tensor,
) -> Tensor:
    """Vector attention of S students whose linear maps have been merged: (S, R, D), as `attend_plainly` says.

    j goes through row i of index (S or 1, R, k). queries, keys, values: (S, R, D). offsets: (S, R · k, E).
    near: (S, D, E). mixed, far, last: (S, D, D).

    Works on chunks of rows: temporary tensors take at most seven times CHUNK_BYTES (CHUNK_BYTES_GPU where not
    on the CPU), or what one row needs, and the forward keeps at most KEPT_BYTES beside its inputs and result.
    Twice differentiable: a second derivative works out one chunk at a time, in some thirty such tensors.
    """
    inputs = (queries, keys, values, offsets, near, mixed, far, last)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return _Attention.apply(keep, index, *inputs)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True)
class _Chunk:
    """Some rows of one student, and their pairs with neighbours."""

    student: int
    """The student."""
    rows: slice
    """The m rows."""
    pairs: slice
    """Their m · k pairs, among all R · k of the student."""
    neighbours: Tensor
    """The row that the neighbour of every pair is, (m · k,)."""
    shape: tuple[int, int, int]
    """(m, k, D)."""

    def by_row(self, x: Tensor) -> Tensor:
        """(m · k, D) -> (m, k, D)."""
        return x.view(self.shape)

    @property
    def places(self) -> tuple[slice | Tensor, ...]:
        """Which rows of each input of `attend` the chunk sees."""
        return self.rows, self.neighbours, self.neighbours, self.pairs, *[slice(None)] * 4

    def parts(self, inputs: Sequence[Tensor], places: Sequence[slice | Tensor]) -> list[Tensor]:
        return [x[self.student][place] for x, place in zip(inputs, places, strict=True)]


def _chunks(queries: Tensor, index: Tensor) -> Iterator[_Chunk]:
    students, count, channels = queries.shape
    k = index.shape[-1]
    room = CHUNK_BYTES if queries.device.type == "cpu" else CHUNK_BYTES_GPU
    size = max(1, room // (k * channels * queries.element_size()))
    for student in range(students):
        own = index[min(student, len(index) - 1)]
        for start in range(0, count, size):
            stop = min(start + size, count)
            pairs = slice(start * k, stop * k)
            shape = (stop - start, k, channels)
            yield _Chunk(student, slice(start, stop), pairs, own[start:stop].flatten(), shape)


def _workspace(queries: Tensor, index: Tensor, count: int) -> Tensor:
    """`count` tensors (m · k, D) for the largest chunk, which is the first."""
    rows, k, channels = next(_chunks(queries, index)).shape
    return queries.new_empty(count, rows * k, channels)


def _weigh(
    chunk: _Chunk,
    inputs: Sequence[Tensor],
    pairs: Sequence[Tensor],
    spare: Tensor,
) -> None:
    """Work out `pairs`: hidden units (2), weights (4) and what they weigh (5), each (m · k, D), in place.

    spare: (m · k, D); it holds the units (1) until (2) and (5) have used them, and then the scores (3).
    """
    hidden, weights, weighed = pairs
    unit = score = spare
    queries, keys, values, offsets, near, mixed, far, last = (x[chunk.student] for x in inputs)
    torch.mm(offsets[chunk.pairs], near.T, out=unit).relu_()  # (1)
    torch.index_select(values, 0, chunk.neighbours, out=weighed)
    weighed.addmm_(unit, far.T)  # (5)
    torch.index_select(keys, 0, chunk.neighbours, out=hidden)
    torch.sub(queries[chunk.rows].unsqueeze(1), chunk.by_row(hidden), out=chunk.by_row(hidden))
    hidden.addmm_(unit, mixed.T).relu_()  # (2)
    torch.mm(hidden, last.T, out=score)  # (3), over the units
    torch.softmax(chunk.by_row(score), 1, out=chunk.by_row(weights))  # (4)


class _Attention(torch.autograd.Function):
    """`attend`, which keeps what KEPT_BYTES allow and works out the rest again."""

    @staticmethod
    def forward(ctx: Any, keep: bool, index: Tensor, *inputs: Tensor) -> Tensor:
        queries = inputs[0]
        result = torch.empty_like(queries)
        kept: list[Tensor] = []
        room = KEPT_BYTES if keep else 0
        space = _workspace(queries, index, 4)
        for chunk in _chunks(queries, index):
            *pairs, spare = space[:, : len(chunk.neighbours)]
            room -= 3 * spare.nbytes
            if room >= 0:
                pairs = [torch.empty_like(spare) for _ in range(3)]
                kept += pairs
            _weigh(chunk, inputs, pairs, spare)
            _, weights, weighed = pairs
            torch.mul(weights, weighed, out=spare)
            torch.sum(chunk.by_row(spare), 1, out=result[chunk.student, chunk.rows])  # (6)
        ctx.save_for_backward(index, result, *inputs, *kept)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        index, result, *saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        inputs, kept = saved[: len(wanted)], saved[len(wanted) :]
        by_inputs = _AttentionGradient.apply(wanted, kept, result.detach(), index, gradient, *inputs)  # type: ignore[no-untyped-call]
        return None, None, *by_inputs


class _AttentionGradient(torch.autograd.Function):
    """The gradients of `attend` by its inputs, which are differentiable themselves.

    With g_i the gradient by y_i, and (1) to (6) as `attend_plainly` numbers them:

        (7)   by v_ij:  dv_ij = w_ij ⊙ g_i
        (8)   by s_ij:  ds_ij = (v_ij − y_i) ⊙ dv_ij            for softmax's w (dw − Σ w dw) is w (v − y) g
        (9)   by h_ij:  dh_ij = lastᵀ ds_ij, 0 where h_ij is 0
        (10)  by u_ij:  du_ij = mixedᵀ dh_ij + farᵀ dv_ij, 0 where u_ij is 0
        (11)  by query_i: Σ_j dh_ij; by key_j: −Σ_i dh_ij; by value_j: Σ_i dv_ij; by offset_ij: nearᵀ du_ij
        (12)  by near: Σ du offsetᵀ; by mixed: Σ dh uᵀ; by far: Σ dv uᵀ; by last: Σ ds hᵀ
    """

    @staticmethod
    def forward(
        ctx: Any,
        wanted: Sequence[bool],
        kept: Sequence[Tensor],
        result: Tensor,
        index: Tensor,
        gradient: Tensor,
        *inputs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """wanted: which inputs need a gradient. kept: what the forward kept of its first chunks, three each.

        Of seven buffers (m · k, D), three hold what `_weigh` works out, and four have these lives:

            d_weighed          (7) until the end
            d_score_then_unit  ds (8) until (9) and by last; then u (1), worked out again, until the end
            d_hidden           (9) until the end
            spare_then_d_unit  the spare of `_weigh`; then du (10) until the end
        """
        ctx.save_for_backward(index, gradient, *inputs)
        by_inputs = [x.new_zeros(x.shape) for x in inputs]
        by_weight_of_layers = any(wanted[4:])
        space = _workspace(inputs[0], index, 7)
        for number, chunk in enumerate(_chunks(inputs[0], index)):
            buffers = space[:, : len(chunk.neighbours)]
            d_weighed, d_score_then_unit, d_hidden, spare_then_d_unit, *pairs = buffers
            if 3 * number < len(kept):
                pairs = list(kept[3 * number : 3 * number + 3])
            else:
                _weigh(chunk, inputs, pairs, spare_then_d_unit)
            hidden, weights, weighed = pairs
            offsets, near, mixed, far, last = (x[chunk.student] for x in inputs[3:])
            offsets = offsets[chunk.pairs]
            by_queries, by_keys, by_values, by_offsets, by_near, by_mixed, by_far, by_last = (
                x[chunk.student] for x in by_inputs
            )
            by_row, rows = chunk.by_row, (chunk.student, chunk.rows)
            torch.mul(by_row(weights), gradient[rows].unsqueeze(1), out=by_row(d_weighed))  # (7)
            d_score = d_score_then_unit
            torch.sub(by_row(weighed), result[rows].unsqueeze(1), out=by_row(d_score))
            d_score.mul_(d_weighed)  # (8)
            torch.mm(d_score, last, out=d_hidden)
            _through_relu(d_hidden, hidden)  # (9)
            if by_weight_of_layers:
                by_last.addmm_(d_score.T, hidden)
            unit = torch.mm(offsets, near.T, out=d_score_then_unit).relu_()  # (1), over ds
            d_unit = torch.mm(d_hidden, mixed, out=spare_then_d_unit).addmm_(d_weighed, far)
            _through_relu(d_unit, unit)  # (10)
            torch.sum(by_row(d_hidden), 1, out=by_queries[chunk.rows])  # (11)
            by_keys.index_add_(0, chunk.neighbours, d_hidden, alpha=-1)
            by_values.index_add_(0, chunk.neighbours, d_weighed)
            torch.mm(d_unit, near, out=by_offsets[chunk.pairs])
            if by_weight_of_layers:  # (12)
                by_near.addmm_(d_unit.T, offsets)
                by_mixed.addmm_(d_hidden.T, unit)
                by_far.addmm_(d_weighed.T, unit)
        return tuple(x if needed else None for x, needed in zip(by_inputs, wanted, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
        """By autograd on `attend_plainly`, a chunk at a time: it is rarely asked for, and plain is plain."""
        index, gradient, *inputs = ctx.saved_tensors
        wanted = [direction is not None for direction in directions]
        by_gradient = torch.zeros_like(gradient)
        by_inputs = [x.new_zeros(x.shape) for x in inputs]
        for chunk in _chunks(inputs[0], index):
            rows = chunk.student, chunk.rows
            with torch.enable_grad():
                given = gradient[rows].detach().requires_grad_()
                leaves = [x.detach().requires_grad_() for x in chunk.parts(inputs, chunk.places)]
                result = attend_plainly(*leaves)
                first = torch.autograd.grad(result, _some(leaves, wanted), given, create_graph=True)
            along = chunk.parts(_some(directions, wanted), _some(chunk.places, wanted))
            by_gradient[rows], *second = torch.autograd.grad(
                first, [given, *leaves], along, materialize_grads=True
            )
            for total, part, place in zip(by_inputs, second, chunk.places, strict=True):
                if isinstance(place, Tensor):
                    total[chunk.student].index_add_(0, place, part)
                else:
                    total[chunk.student][place] += part
        return None, None, None, None, by_gradient, *by_inputs


def _some(values: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
    return [value for value, needed in zip(values, wanted, strict=True) if needed]


def _through_relu(gradient: Tensor, value: Tensor) -> None:
    """Zero the gradient, in place, where a ReLU gave 0."""
    torch.ops.aten.threshold_backward.grad_input(gradient, value, 0, grad_input=gradient)
