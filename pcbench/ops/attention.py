"""Vector attention over the neighbours of points (Zhao et al. 2021), with pairs formed in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pcbench.ops.layers import BatchNorm, Dense, Linear, columns, from_columns
from pcbench.ops.neighbours import gather_points, index_of_rows
from pcbench.ops.relations import neighbour_counts, neighbour_sums

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


class GroupedVectorAttention(nn.Module):
    """Vector attention whose weights each serve several channels, with batch norms inside.

    δ_ij = W_2 relu(BN(W_1 (p_i − p_j) + b_1)) + b_2, of widths 3-3-C. a_ij = softmax over j of an MLP
    C-C/s-C/s, with BN and ReLU between, of relu(BN(q_i − k_j + δ_ij)). Channel c of the result is
    Σ_j a_ij[c mod C/s] (v_j + δ_ij)[c]. q, k, v are linear, with biases.

    δ is of rank 3: Σ_j a_ij δ_ij is W_2 times a sum of 3 numbers a weight. No tensor of all pairs and C
    channels is formed but for second derivatives.

    Source: the classification network of the authors' later code, `share_planes` = s.
    """

    def __init__(self, width: int, shares: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))
        self.near, self.far = Dense(3, 3), Linear(3, width)
        self.norm = BatchNorm(width)
        self.weighing = nn.Sequential(Dense(width, width // shares), Linear(width // shares, width // shares))

    def forward(self, xyz: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """xyz (..., N, 3), features (..., N, C), index of neighbours (..., N, k) -> (..., N, C)."""
        stacked = self.query.stacked
        unit, last = self.weighing
        linear, norm = unit._parts()  # type: ignore[operator]
        rows, seen = index_of_rows(index, stacked, xyz.shape[-2]), columns(features, stacked).mT
        offsets = self.near(xyz.unsqueeze(-2) - gather_points(xyz, index))
        hidden = columns(offsets, stacked).mT
        far = self.far.weight.view(len(seen), -1, 3)
        rest = _bias(self.far).view(len(seen), 1, -1)
        met = normalised_sums(
            self.norm, -_at(self.key, seen), _at(self.query, seen) + rest, rows, hidden, far
        )
        scores = _Scores.apply(  # type: ignore[no-untyped-call]
            rows, *met, linear.weight.view(len(seen), linear.outputs, -1), linear.bias.view(len(seen), -1, 1)
        )
        weights = last(torch.relu(norm(from_columns(scores, offsets, stacked)))).softmax(-2)
        weights = columns(weights, stacked)
        found = _Weighted.apply(rows, weights, _at(self.value, seen) + rest)  # type: ignore[no-untyped-call]
        by_row = (len(seen), -1, *rows.shape[1:])
        means = (weights.view(by_row).unsqueeze(2) * hidden.mT.view(by_row).unsqueeze(1)).sum(-1)
        shares = far.unflatten(1, (-1, weights.shape[1])).transpose(1, 2)
        found = found + torch.matmul(shares, means).movedim(-1, 1).mT.flatten(2)
        return from_columns(found.mT, features, stacked)


class LargestDense(Dense):
    """Linear without bias, batch norm, ReLU on what a centre sees of a neighbour, then the largest value.

    That is relative coordinates, then features. Of W (p_j − c_i, f_j) = W (p_j, f_j) − W_xyz c_i, once
    normalised, the largest first term wins: products at the points, and no features of pairs.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(3 + features, outputs, bias=False)

    def forward(self, xyz: Tensor, features: Tensor, centres: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        """(..., N, 3), (..., N, C), (..., M, 3), neighbours (..., M, k) -> (..., M, D)."""
        linear, norm = self._parts()
        stacked = linear.stacked
        weight = linear.weight if stacked else linear.weight.unsqueeze(0)
        rows = index_of_rows(index, stacked, xyz.shape[-2])
        seen = columns(torch.cat([xyz, features], -1), stacked).mT
        at_points = torch.bmm(seen, weight.mT)
        at_centres = torch.bmm(columns(-centres, stacked).mT, weight[..., :3].mT)
        nothing = at_points.new_zeros(len(seen), rows.shape[1:].numel(), 0), weight[..., :0]
        own, its, *_ = normalised_sums(norm, at_points, at_centres, rows, *nothing)
        found = torch.relu(own + largest_neighbour(its, rows))
        return from_columns(found.mT, centres, stacked)


def normalised_sums(
    norm: BatchNorm, a: Tensor, c: Tensor, index: Tensor, hidden: Tensor, far: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c, a, hidden, far such that c_i + a_j + far · hidden_ij is normalised by its batch norm.

    j goes through row i of index (S or 1, Q, k). a: (S, R, C). c: (S, Q, C). hidden: (S, Q · k, E) with a
    small E. far: (S, C, E). In training the statistics over all pairs follow from sums at the points.
    """
    k, count = index.shape[-1], hidden.shape[1]
    if not (norm.training and count > 1):
        scale, shift = (x.view(len(a), 1, -1) for x in norm.scale_and_shift())
        return torch.addcmul(shift, c, scale), a * scale, hidden, far * scale.mT
    times = neighbour_counts(a, index)
    mean_a, mean_c = (times * a).sum(1, keepdim=True) / count, c.mean(1, keepdim=True)
    mean_hidden = hidden.mean(1, keepdim=True)
    own, its, rest = a - mean_a, c - mean_c, hidden - mean_hidden
    mean = mean_a + mean_c + mean_hidden @ far.mT
    found = index.flatten(1).unsqueeze(2).expand(rest.shape)
    by_point = rest.new_zeros(len(a), a.shape[1], rest.shape[2]).scatter_add(1, found, rest)
    across = own.mT @ by_point + its.mT @ rest.unflatten(1, (-1, k)).sum(2)
    total = (times * own * own).sum(1) + (its * (2 * neighbour_sums(own, index) + k * its)).sum(1)
    total = total + (far * (far @ (rest.mT @ rest) + 2 * across)).sum(2)
    variance = (total / count).clamp_min(0).view_as(norm.weight)
    scale = (norm.weight * torch.rsqrt(variance + norm.eps)).view(len(a), 1, -1)
    shifted = norm.from_moments(c, mean.view_as(norm.weight), variance, count)
    return shifted, a * scale, hidden, far * scale.mT


def _at(layer: Linear, seen: Tensor) -> Tensor:
    """A linear layer's result for rows (S, R, C), in rows."""
    weight = layer.weight if layer.stacked else layer.weight.unsqueeze(0)
    return torch.baddbmm(_bias(layer).view(len(weight), 1, -1), seen, weight.mT)


def _bias(layer: Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias


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
    """Vector attention of S students whose linear maps have been merged: (S, R, D).

    With h_ij = relu(near · offset_ij): y_i = Σ_j softmax_j(last · relu(query_i − key_j + mixed · h_ij)) ⊙
    (value_j + far · h_ij), where j goes through row i of index (S or 1, R, k). queries, keys, values:
    (S, R, D). offsets: (S, R · k, E). near: (S, D, E). mixed, far, last: (S, D, D).

    Works on chunks of rows: temporary tensors take at most seven times CHUNK_BYTES (CHUNK_BYTES_GPU where not
    on the CPU), or what one row needs, and the forward keeps at most KEPT_BYTES beside its inputs and result.
    Twice differentiable: a second derivative works out one chunk at a time, in some thirty such tensors.
    """
    inputs = (queries, keys, values, offsets, near, mixed, far, last)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return _Attention.apply(keep, index, *inputs)  # type: ignore[no-any-return, no-untyped-call]


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
    """The formula of `attend` for some rows of one student, all at once: (m, D).

    queries: (m, D). keys, values: those of the neighbours, (m · k, D). offsets: (m · k, E).
    """
    rows, channels = queries.shape
    unit = torch.relu(offsets @ near.T)
    met = queries.unsqueeze(1) - (keys - unit @ mixed.T).view(rows, -1, channels)
    weights = torch.softmax(torch.relu(met) @ last.T, 1)
    return (weights * (values + unit @ far.T).view(rows, -1, channels)).sum(1)


@dataclass(frozen=True)
class _Chunk:
    """Some `rows` of one student, their `pairs` with neighbours, and the rows that these neighbours are."""

    student: int
    rows: slice
    pairs: slice
    neighbours: Tensor
    shape: tuple[int, int, int]

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
    """Work out `pairs`: γ's hidden units, the weights and what they weigh, each (m · k, D)."""
    hidden, weights, weighed = pairs
    queries, keys, values, offsets, near, mixed, far, last = (x[chunk.student] for x in inputs)
    torch.mm(offsets[chunk.pairs], near.T, out=spare).relu_()
    torch.index_select(values, 0, chunk.neighbours, out=weighed)
    weighed.addmm_(spare, far.T)
    torch.index_select(keys, 0, chunk.neighbours, out=hidden)
    torch.sub(queries[chunk.rows].unsqueeze(1), chunk.by_row(hidden), out=chunk.by_row(hidden))
    hidden.addmm_(spare, mixed.T).relu_()
    torch.mm(hidden, last.T, out=spare)
    torch.softmax(chunk.by_row(spare), 1, out=chunk.by_row(weights))


class _Attention(torch.autograd.Function):
    """`attend`, which keeps what KEPT_BYTES allow and works out the rest again."""

    @staticmethod
    def forward(ctx: Any, keep: bool, index: Tensor, *inputs: Tensor) -> Tensor:
        queries = inputs[0]
        found = torch.empty_like(queries)
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
            torch.sum(chunk.by_row(spare), 1, out=found[chunk.student, chunk.rows])
        ctx.save_for_backward(index, found, *inputs, *kept)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        index, found, *saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        inputs, kept = saved[: len(wanted)], saved[len(wanted) :]
        by_inputs = _AttentionGradient.apply(wanted, kept, found.detach(), index, gradient, *inputs)  # type: ignore[no-untyped-call]
        return None, None, *by_inputs


class _AttentionGradient(torch.autograd.Function):
    """The gradients of `attend` by its inputs, which are differentiable themselves."""

    @staticmethod
    def forward(
        ctx: Any,
        wanted: Sequence[bool],
        kept: Sequence[Tensor],
        found: Tensor,
        index: Tensor,
        gradient: Tensor,
        *inputs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(index, gradient, *inputs)
        by_inputs = [x.new_zeros(x.shape) for x in inputs]
        space = _workspace(inputs[0], index, 7)
        for number, chunk in enumerate(_chunks(inputs[0], index)):
            by_weighed, by_score, by_hidden, by_unit, *pairs = space[:, : len(chunk.neighbours)]
            if 3 * number < len(kept):
                pairs = list(kept[3 * number : 3 * number + 3])
            else:
                _weigh(chunk, inputs, pairs, by_unit)
            hidden, weights, weighed = pairs
            offsets, near, mixed, far, last = (x[chunk.student] for x in inputs[3:])
            offsets = offsets[chunk.pairs]
            by_queries, by_keys, by_values, by_offsets, *by_weights = (x[chunk.student] for x in by_inputs)
            by_row, rows = chunk.by_row, (chunk.student, chunk.rows)
            torch.mul(by_row(weights), gradient[rows].unsqueeze(1), out=by_row(by_weighed))
            torch.sub(by_row(weighed), found[rows].unsqueeze(1), out=by_row(by_score))
            by_score.mul_(by_weighed)
            torch.mm(by_score, last, out=by_hidden)
            _through_relu(by_hidden, hidden)
            if any(wanted[4:]):
                by_weights[3].addmm_(by_score.T, hidden)
            unit = torch.mm(offsets, near.T, out=by_score).relu_()
            torch.mm(by_hidden, mixed, out=by_unit).addmm_(by_weighed, far)
            _through_relu(by_unit, unit)
            torch.sum(by_row(by_hidden), 1, out=by_queries[chunk.rows])
            by_keys.index_add_(0, chunk.neighbours, by_hidden, alpha=-1)
            by_values.index_add_(0, chunk.neighbours, by_weighed)
            torch.mm(by_unit, near, out=by_offsets[chunk.pairs])
            if any(wanted[4:]):
                by_weights[0].addmm_(by_unit.T, offsets)
                by_weights[1].addmm_(by_hidden.T, unit)
                by_weights[2].addmm_(by_weighed.T, unit)
        return tuple(x if needed else None for x, needed in zip(by_inputs, wanted, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *directions: Tensor | None) -> tuple[Tensor | None, ...]:
        index, gradient, *inputs = ctx.saved_tensors
        wanted = [direction is not None for direction in directions]
        by_gradient = torch.zeros_like(gradient)
        by_inputs = [x.new_zeros(x.shape) for x in inputs]
        for chunk in _chunks(inputs[0], index):
            rows = chunk.student, chunk.rows
            with torch.enable_grad():
                given = gradient[rows].detach().requires_grad_()
                leaves = [x.detach().requires_grad_() for x in chunk.parts(inputs, chunk.places)]
                found = attend_plainly(*leaves)
                first = torch.autograd.grad(found, _some(leaves, wanted), given, create_graph=True)
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


class _Scores(torch.autograd.Function):
    """last · relu(c_i + a_j + far · hidden_ij) + bias for all pairs, (S, E, Q · k), in chunks of rows."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, *inputs: Tensor) -> Tensor:
        c, _, hidden, _, last, bias = inputs
        ctx.save_for_backward(index, *inputs)
        scores = c.new_empty(len(c), last.shape[1], hidden.shape[1])
        space = _workspace(c, index, 1)
        for chunk in _chunks(c, index):
            unit = _met(chunk, inputs, space[0])
            s = chunk.student
            torch.addmm(bias[s], last[s], unit.T, out=scores[s, :, chunk.pairs])
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        index, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_plain_gradients(_plain_scores, index, inputs, ctx.needs_input_grad[1:], gradient)
        by_inputs = [x.new_zeros(x.shape) for x in inputs[:-1]]
        space = _workspace(inputs[0], index, 2)
        for chunk in _chunks(inputs[0], index):
            unit, by_unit = _met(chunk, inputs, space[0]), space[1, : len(chunk.neighbours)]
            hidden, far, last = (x[chunk.student] for x in inputs[2:5])
            by_c, by_a, by_hidden, by_far, by_last = (x[chunk.student] for x in by_inputs)
            by_scores = gradient[chunk.student, :, chunk.pairs]
            by_last.addmm_(by_scores, unit)
            torch.mm(by_scores.T, last, out=by_unit)
            _through_relu(by_unit, unit)
            torch.sum(chunk.by_row(by_unit), 1, out=by_c[chunk.rows])
            by_a.index_add_(0, chunk.neighbours, by_unit)
            torch.mm(by_unit, far, out=by_hidden[chunk.pairs])
            by_far.addmm_(by_unit.T, hidden[chunk.pairs])
        return None, *by_inputs, gradient.sum(2, keepdim=True)


def _met(chunk: _Chunk, inputs: Sequence[Tensor], space: Tensor) -> Tensor:
    """relu(c_i + a_j + far · hidden_ij) of a chunk, (m · k, C)."""
    c, a, hidden, far = (x[chunk.student] for x in inputs[:4])
    unit = torch.index_select(a, 0, chunk.neighbours, out=space[: len(chunk.neighbours)])
    chunk.by_row(unit).add_(c[chunk.rows].unsqueeze(1))
    return unit.addmm_(hidden[chunk.pairs], far.T).relu_()


def _plain_scores(
    index: Tensor, c: Tensor, a: Tensor, hidden: Tensor, far: Tensor, last: Tensor, bias: Tensor
) -> Tensor:
    met = torch.baddbmm(_gathered(index, a), hidden, far.mT).unflatten(1, (c.shape[1], -1)) + c.unsqueeze(2)
    return torch.baddbmm(bias, last, torch.relu(met).flatten(1, 2).mT)


def _gathered(index: Tensor, a: Tensor) -> Tensor:
    """a_j of all pairs, (S, Q · k, C)."""
    return a.gather(1, index.flatten(1).unsqueeze(2).expand(len(a), -1, a.shape[2]))


class _Weighted(torch.autograd.Function):
    """Σ_j w_ij ⊙ v_j, (S, Q, C), in chunks of rows; each of the weights (S, C/s, Q · k) is for s channels."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, *inputs: Tensor) -> Tensor:
        weights, values = inputs
        ctx.save_for_backward(index, *inputs)
        found = values.new_empty(len(values), index.shape[1], values.shape[2])
        space = _workspace(found, index, 1)
        for chunk in _chunks(found, index):
            seen = space[0, : len(chunk.neighbours)]
            torch.index_select(values[chunk.student], 0, chunk.neighbours, out=seen)
            own = weights[chunk.student, :, chunk.pairs].T.contiguous()
            seen.view(len(own), -1, own.shape[1]).mul_(own.unsqueeze(1))
            torch.sum(chunk.by_row(seen), 1, out=found[chunk.student, chunk.rows])
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        index, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_plain_gradients(_plain_weighted, index, inputs, ctx.needs_input_grad[1:], gradient)
        by_inputs = [x.new_empty(x.shape) for x in inputs]
        by_inputs[1].zero_()
        space = _workspace(gradient, index, 2)
        for chunk in _chunks(gradient, index):
            weights, values = (x[chunk.student] for x in inputs)
            by_weights, by_values = (x[chunk.student] for x in by_inputs)
            seen, by_seen = space[:, : len(chunk.neighbours)]
            torch.index_select(values, 0, chunk.neighbours, out=seen)
            own = weights[:, chunk.pairs].T.contiguous()
            by_row = gradient[chunk.student, chunk.rows].unsqueeze(1)
            chunk.by_row(seen).mul_(by_row)
            by_weights[:, chunk.pairs] = seen.view(len(own), -1, own.shape[1]).sum(1).T
            shape = *chunk.shape[:2], -1, own.shape[1]
            own = own.view(*chunk.shape[:2], 1, -1)
            torch.mul(own, by_row.unflatten(2, shape[2:]), out=by_seen.view(shape))
            by_values.index_add_(0, chunk.neighbours, by_seen)
        return None, *by_inputs


def _plain_weighted(index: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    weighed = _gathered(index, values).unflatten(2, (-1, weights.shape[1])) * weights.mT.unsqueeze(2)
    summed: Tensor = weighed.flatten(2).unflatten(1, (index.shape[1], -1)).sum(2)
    return summed


def largest_neighbour(a: Tensor, index: Tensor) -> Tensor:
    """The largest of a_j per channel, where j goes through row i of index: (S, Q, C).

    a: (S, R, C). index: (S or 1, Q, k). In chunks of rows; equal ones share the gradient.
    """
    return _LargestNeighbour.apply(index, a)  # type: ignore[no-any-return, no-untyped-call]


class _LargestNeighbour(torch.autograd.Function):
    """`largest_neighbour`, without keeping the pairs."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, a: Tensor) -> Tensor:
        found = a.new_empty(len(a), index.shape[1], a.shape[2])
        space = _workspace(found, index, 1)
        for chunk in _chunks(found, index):
            seen = space[0, : len(chunk.neighbours)]
            torch.index_select(a[chunk.student], 0, chunk.neighbours, out=seen)
            torch.amax(chunk.by_row(seen), 1, out=found[chunk.student, chunk.rows])
        ctx.save_for_backward(index, a, found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        index, a, found = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_plain_gradients(_plain_largest, index, [a], (True,), gradient)
        by_a = torch.zeros_like(a)
        space = _workspace(found, index, 2)
        for chunk in _chunks(found, index):
            seen, won = space[:, : len(chunk.neighbours)]
            rows = chunk.student, chunk.rows
            torch.index_select(a[chunk.student], 0, chunk.neighbours, out=seen)
            torch.eq(chunk.by_row(seen), found[rows].unsqueeze(1), out=chunk.by_row(won))
            share = gradient[rows] / chunk.by_row(won).sum(1)
            chunk.by_row(won).mul_(share.unsqueeze(1))
            by_a[chunk.student].index_add_(0, chunk.neighbours, won)
        return None, by_a


def _plain_largest(index: Tensor, a: Tensor) -> Tensor:
    largest: Tensor = _gathered(index, a).unflatten(1, (index.shape[1], -1)).amax(2)
    return largest


def _plain_gradients(
    plain: Callable[..., Tensor],
    index: Tensor,
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
    gradient: Tensor,
) -> list[Tensor | None]:
    """The gradients of plain(index, *inputs) by inputs, differentiable; in the memory that all pairs take.

    By views, so that an input that another one is made of gets no gradient through that one.
    """
    inputs = [x.view_as(x) for x in inputs]
    some = _some(inputs, wanted)
    found = iter(torch.autograd.grad(plain(index, *inputs), some, gradient, create_graph=True))
    return [next(found) if needed else None for needed in wanted]


def _through_relu(gradient: Tensor, value: Tensor) -> None:
    """Zero the gradient, in place, where a ReLU gave 0."""
    torch.ops.aten.threshold_backward.grad_input(gradient, value, 0, grad_input=gradient)
