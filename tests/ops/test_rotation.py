"""Rotations against hand examples, group properties and finite differences."""

import math

import pytest
import torch

from pcbench.ops.rotation import rotate, rotation_matrices, wrap


def plain_matrix(x: float, y: float, z: float) -> torch.Tensor:
    """Rx · Ry · Rz from three elementary matrices."""
    rx = [[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]]
    ry = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    rz = [[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]]
    return torch.linalg.multi_dot([torch.tensor(m, dtype=torch.float64) for m in (rx, ry, rz)])


@pytest.fixture
def angles() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(6, 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * math.pi


def test_zero_angles_leave_every_bit():
    points = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rotate(points, torch.zeros(2, 3)), points)


def test_matrices_are_proper_rotations_in_the_stated_order(angles):
    matrices = rotation_matrices(angles)
    expected = torch.stack([plain_matrix(*row.tolist()) for row in angles])
    torch.testing.assert_close(matrices, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(
        matrices @ matrices.mT, torch.eye(3).double().expand(6, 3, 3), atol=1e-14, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(6).double())


def test_hand_example_shows_the_order():
    """A quarter turn about z takes x to y; a quarter turn about x, applied after it, takes y to z."""
    quarter = math.pi / 2
    point = torch.tensor([[[1.0, 0.0, 0.0]]], dtype=torch.float64)
    turned = rotate(point, torch.tensor([[quarter, 0.0, quarter]], dtype=torch.float64))
    torch.testing.assert_close(turned[0, 0], torch.tensor([0.0, 0.0, 1.0]).double(), atol=1e-15, rtol=0)


def test_each_cloud_turns_by_its_own_angles(angles):
    points = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turned = rotate(points, angles)
    for cloud, out, row in zip(points, turned, angles, strict=True):
        for p, q in zip(cloud, out, strict=True):
            torch.testing.assert_close(plain_matrix(*row.tolist()) @ p, q)


def test_gradients_by_finite_differences(angles):
    points = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(rotate, (points.requires_grad_(), angles.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrap(dtype):
    inside = torch.tensor([0.0, 1e-7, -3.0, 3.0, -1e-30], dtype=dtype)
    assert torch.equal(wrap(inside), inside)
    values = torch.linspace(-20, 20, 4001, dtype=dtype)
    wrapped = wrap(values)
    assert bool((wrapped.double() >= -math.pi).all())
    assert bool((wrapped.double() < math.pi).all())
    torch.testing.assert_close(wrapped.cos(), values.cos(), atol=5e-6, rtol=0)
    torch.testing.assert_close(wrapped.sin(), values.sin(), atol=5e-6, rtol=0)


def test_wrap_at_the_edges():
    pi = torch.tensor(math.pi, dtype=torch.float64)
    assert wrap(pi) == -math.pi
    assert wrap(-pi) == -math.pi
    for edge in (torch.tensor(math.pi), torch.nextafter(torch.tensor(math.pi), torch.tensor(0.0))):
        assert all(-math.pi <= float(wrap(value)) < math.pi for value in (edge, -edge))
