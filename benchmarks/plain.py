"""The plain loops that pcbench is measured against: the equations written out with torch's own modules.

One class after another, one student after another, channels first as in `torch.nn.Conv1d`. Nothing here is
clever on purpose, and nothing imports pcbench: what agrees with these loops agrees with the equations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mask(nn.Module):
    """Dropout whose masks come from a generator of its own, so that two networks can be given the same."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.rand(x.shape, generator=self.generator) >= self.p
        return x * keep.to(x.device) / (1 - self.p)


def conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs)]


def linear(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)]


class PointNet(nn.Module):
    """PointNet (Qi, Su, Mo, Guibas 2017) with the 3 × 3 input transform, for clouds (B, N, 3)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        relu = nn.ReLU
        self.local = nn.Sequential(*conv(3, 64), relu(), *conv(64, 128), relu(), *conv(128, 1024), relu())
        self.entries = nn.Sequential(*linear(1024, 512), relu(), *linear(512, 256), relu(), nn.Linear(256, 9))
        self.shared = nn.Sequential(*conv(3, 64), relu(), *conv(64, 128), relu(), *conv(128, 1024))
        self.head = nn.Sequential(
            *linear(1024, 512), relu(), nn.Linear(512, 256), Mask(0.3), nn.BatchNorm1d(256), relu()
        )
        self.classifier = nn.Linear(256, classes)

    def features(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) -> (B, 1024, N), before the maximum."""
        x = clouds.transpose(1, 2)
        matrix = self.entries(self.local(x).max(2)[0]).view(-1, 3, 3) + torch.eye(3, device=x.device)
        return self.shared(torch.bmm(matrix.transpose(1, 2), x))

    def embed(self, clouds: Tensor) -> Tensor:
        return self.head(self.features(clouds).max(2)[0])

    def forward(self, clouds: Tensor) -> Tensor:
        return self.classifier(self.embed(clouds))


def adapt_batch_norm(network: nn.Module, clouds: Tensor) -> None:
    """One forward in training mode moves the running statistics; the network is frozen afterwards."""
    network.train()
    for module in network.modules():
        if isinstance(module, Mask):
            module.eval()
    with torch.no_grad():
        network(clouds)
    network.eval()


def rotation(angles: Tensor) -> Tensor:
    """Rx · Ry · Rz of three angles (3,): (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos(), angles.sin()
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)
    about_x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx]).view(3, 3)
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy]).view(3, 3)
    about_z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one]).view(3, 3)
    return about_x @ about_y @ about_z


def mmd(real: Tensor, synthetic: Tensor) -> Tensor:
    """The biased discrepancy with five Gaussians: (n, F), (m, F) -> ()."""
    n, union = len(real), torch.cat([real, synthetic])
    distances = torch.cdist(union, union).square()
    width = distances.detach().sum() / (len(union) ** 2 - len(union))
    kernel = sum(torch.exp(-distances / (width * factor)) for factor in (0.25, 0.5, 1, 2, 4))
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def sadm_losses(network: PointNet, real: Tensor, points: Tensor, angles: Tensor) -> Tensor:
    """Eq. 5-11, class by class, the gradients left in points (K, m, N, 3) and angles (K, m, 3): losses (K,).

    real: (K, n, N, 3). network: frozen.
    """
    losses = []
    for theirs, ours, turns in zip(real, points, angles, strict=True):
        clouds = torch.stack([cloud @ rotation(turn).T for cloud, turn in zip(ours, turns, strict=True)])
        with torch.no_grad():
            target = torch.sort(network.features(theirs), dim=2, descending=True)[0]
        found = torch.sort(network.features(clouds), dim=2, descending=True)[0]
        alpha = mmd(target.flatten(1), found.flatten(1))
        beta = mmd(target[:, :, 0], found[:, :, 0])
        loss = len(ours) * (0.002 * alpha + 0.001 * beta)
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses)


def dm_losses(network: PointNet, real: Tensor, points: Tensor) -> Tensor:
    """Mean embeddings matched class by class, the gradient left in points (K, m, N, 3): losses (K,)."""
    losses = []
    for theirs, ours in zip(real, points, strict=True):
        with torch.no_grad():
            target = network.embed(theirs).mean(0)
        loss = (target - network.embed(ours).mean(0)).square().sum()
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses)


def dc_losses(network: PointNet, real: Tensor, points: Tensor) -> Tensor:
    """Weight gradients matched class by class, the gradient left in points (K, m, N, 3): losses (K,)."""
    weights, losses = list(network.parameters()), []
    for c, (theirs, ours) in enumerate(zip(real, points, strict=True)):
        label = torch.tensor([c], device=real.device)
        target = torch.autograd.grad(F.cross_entropy(network(theirs), label.expand(len(theirs))), weights)
        loss = F.cross_entropy(network(ours), label.expand(len(ours)))
        found = torch.autograd.grad(loss, weights, create_graph=True)
        distance = torch.zeros((), device=real.device)
        for one, other in zip(target, found, strict=True):
            if one.dim() > 1:
                a, b = one.flatten(1), other.flatten(1)
                distance = distance + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
        points.grad = torch.zeros_like(points) if points.grad is None else points.grad
        points.grad += torch.autograd.grad(distance, points)[0]
        losses.append(distance.detach())
    return torch.stack(losses)


def optimiser(network: nn.Module, lr: float) -> torch.optim.SGD:
    """That of the paper's protocol."""
    return torch.optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=5e-4)


def train(
    network: nn.Module,
    sgd: torch.optim.SGD,
    clouds: Tensor,
    labels: Tensor,
    orders: Sequence[Tensor],
    batch: int,
) -> None:
    """One student, one pass over the clouds (B, N, 3) for every order (B,)."""
    network.train()
    for order in orders:
        for index in order.split(batch):
            sgd.zero_grad()
            F.cross_entropy(network(clouds[index]), labels[index]).backward()
            sgd.step()


@torch.no_grad()
def logits(network: nn.Module, clouds: Tensor, batch: int) -> Tensor:
    network.eval()
    return torch.cat([network(part) for part in clouds.split(batch)])


def herding(features: Tensor, labels: Tensor, classes: int, count: int) -> Tensor:
    """Indices (K, count): greedily, the cloud that keeps the chosen ones' sum nearest to so many means."""
    chosen = []
    for c in range(classes):
        own = (labels == c).nonzero().flatten().tolist()
        values = {i: features[i].double() for i in own}
        mean = sum(values.values()) / len(own)
        total, picked = torch.zeros_like(mean), []
        for step in range(1, count + 1):
            gaps = {i: float((step * mean - total - values[i]).norm()) for i in own if i not in picked}
            picked.append(min(gaps, key=gaps.__getitem__))
            total = total + values[picked[-1]]
        chosen.append(picked)
    return torch.tensor(chosen)


def kcenter(features: Tensor, labels: Tensor, classes: int, count: int) -> Tensor:
    """Indices (K, count): first the cloud nearest to the class mean, then the farthest from the chosen."""
    chosen = []
    for c in range(classes):
        own = (labels == c).nonzero().flatten().tolist()
        values = {i: features[i].double() for i in own}
        mean = sum(values.values()) / len(own)
        picked = [min(own, key=lambda i, v=values, m=mean: float((v[i] - m).norm()))]
        while len(picked) < count:
            gaps = {i: min(float((values[i] - values[j]).norm()) for j in picked) for i in own}
            picked.append(max((i for i in own if i not in picked), key=gaps.__getitem__))
        chosen.append(picked)
    return torch.tensor(chosen)


def farthest_points(clouds: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points each farthest from those before, from point 0 on, cloud by cloud."""
    found = []
    for cloud in clouds:
        nearest, chosen = torch.full((len(cloud),), torch.inf, device=cloud.device), [0]
        while len(chosen) < count:
            nearest = torch.minimum(nearest, (cloud - cloud[chosen[-1]]).square().sum(1))
            chosen.append(int(nearest.argmax()))
        found.append(torch.tensor(chosen, device=cloud.device))
    return torch.stack(found)


def nearest(queries: Tensor, clouds: Tensor, k: int) -> Tensor:
    """Indices (B, M, k) of the k nearest points, nearest first, cloud by cloud."""
    distances = (
        torch.cdist(q, c, compute_mode="donot_use_mm_for_euclid_dist")
        for q, c in zip(queries, clouds, strict=True)
    )
    return torch.stack([d.topk(k, largest=False)[1] for d in distances])


def ball_query(centres: Tensor, clouds: Tensor, radius: float, k: int) -> Tensor:
    """Indices (B, M, k) of the first k points within a radius, the first repeated, cloud by cloud."""
    found = []
    for own, cloud in zip(centres, clouds, strict=True):
        squared = (own.unsqueeze(1) - cloud).square().sum(2)
        index = torch.arange(len(cloud), device=cloud.device).expand_as(squared).clone()
        index[squared > radius**2] = len(cloud)
        index = index.sort(1)[0][:, :k]
        found.append(torch.where(index == len(cloud), index[:, :1], index))
    return torch.stack(found)
