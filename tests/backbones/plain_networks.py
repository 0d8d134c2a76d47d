"""Networks of plain torch layers, in the shapes that people use: nothing of pcbench in them."""
# ruff: noqa: RUF012 - as people write them

from __future__ import annotations

import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F


class Alignment(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k
        self.conv1, self.bn1 = nn.Conv1d(k, 64, 1), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = nn.Conv1d(128, 1024, 1), nn.BatchNorm1d(1024)
        self.fc1, self.bn4 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn5 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, k * k)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = F.relu(self.bn3(self.conv3(y))).max(2)[0]
        y = F.relu(self.bn4(self.fc1(y)))
        y = F.relu(self.bn5(self.fc2(y)))
        matrix = self.fc3(y).view(-1, self.k, self.k) + torch.eye(self.k, device=x.device)
        return torch.bmm(x.transpose(1, 2), matrix).transpose(1, 2)


class PlainPointNet(nn.Module):
    """PointNet with the widths of `pointnet:paper`, its layers in the same order."""

    name = "plain_pointnet"
    layout = "B3N"
    features = {"point_features": "output bn3", "global_feature": "input fc1", "embed": "input fc3"}

    def __init__(self, classes, dropout=0.3):
        super().__init__()
        self.align = Alignment(3)
        self.conv1, self.bn1 = nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = nn.Conv1d(128, 1024, 1), nn.BatchNorm1d(1024)
        self.fc1, self.bn4 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.dropout, self.bn5 = nn.Linear(512, 256), nn.Dropout(dropout), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, classes)

    def forward(self, x):
        x = self.align(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x)).max(2)[0]
        x = F.relu(self.bn4(self.fc1(x)))
        x = F.relu(self.bn5(self.dropout(self.fc2(x))))
        return F.log_softmax(self.fc3(x), 1), None


def neighbours(x, k):
    """x (B, C, N) -> the k nearest of every point, (B, N, k)."""
    squares = (x**2).sum(1)
    distance = squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * x.transpose(1, 2) @ x
    return distance.topk(k, largest=False)[1]


def edges(x, k):
    """x (B, C, N) -> neighbours less centres and centres, (B, 2C, N, k)."""
    batch, channels, points = x.shape
    index = neighbours(x, k) + torch.arange(batch, device=x.device).view(-1, 1, 1) * points
    near = x.transpose(1, 2).reshape(batch * points, channels)[index.view(-1)]
    near = near.view(batch, points, k, channels)
    centre = x.transpose(1, 2).unsqueeze(2).expand_as(near)
    return torch.cat([near - centre, centre], 3).permute(0, 3, 1, 2).contiguous()


class PlainDGCNN(nn.Module):
    """DGCNN as it is written with Conv2d over edges."""

    name = "plain_dgcnn"
    layout = "B3N"
    features = {"point_features": "output conv3", "global_feature": "input linear1"}

    def __init__(self, classes, k=8):
        super().__init__()
        self.k = k
        self.conv1 = nn.Sequential(nn.Conv2d(6, 16, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2))
        self.conv2 = nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2))
        self.conv3 = nn.Sequential(nn.Conv1d(48, 64, 1, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(0.2))
        self.linear1 = nn.Linear(128, 32, bias=False)
        self.bn, self.dropout, self.linear2 = nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, classes)

    def forward(self, x):
        one = self.conv1(edges(x, self.k)).max(-1)[0]
        two = self.conv2(edges(one, self.k)).max(-1)[0]
        x = self.conv3(torch.cat([one, two], 1))
        x = torch.cat([F.adaptive_max_pool1d(x, 1), F.adaptive_avg_pool1d(x, 1)], 1).squeeze(-1)
        return self.linear2(self.dropout(F.leaky_relu(self.bn(self.linear1(x)), 0.2)))


def farthest(xyz, count):
    """Indices (B, count) of points far from one another, from a random one on."""
    batch, points, _ = xyz.shape
    chosen = torch.zeros(batch, count, dtype=torch.long, device=xyz.device)
    distance = torch.full((batch, points), 1e10, device=xyz.device)
    last = torch.randint(0, points, (batch,), device=xyz.device)
    rows = torch.arange(batch, device=xyz.device)
    for place in range(count):
        chosen[:, place] = last
        distance = torch.minimum(distance, ((xyz - xyz[rows, last].unsqueeze(1)) ** 2).sum(-1))
        last = distance.max(-1)[1]
    return chosen


class SetAbstraction(nn.Module):
    def __init__(self, count, k, widths):
        super().__init__()
        self.count, self.k = count, k
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in itertools.pairwise(widths):
            self.convs.append(nn.Conv2d(inputs, outputs, 1))
            self.norms.append(nn.BatchNorm2d(outputs))

    def forward(self, xyz, features):
        rows = torch.arange(len(xyz), device=xyz.device)
        centres = xyz[rows[:, None], farthest(xyz, self.count)]
        index = torch.cdist(centres, xyz).topk(self.k, largest=False)[1]
        rows = rows[:, None, None]
        near = xyz[rows, index] - centres.unsqueeze(2)
        near = near if features is None else torch.cat([near, features[rows, index]], -1)
        near = near.permute(0, 3, 2, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            near = F.relu(norm(conv(near)))
        return centres, near.max(2)[0].transpose(1, 2)


class PlainPointNet2(nn.Module):
    """PointNet++ with farthest point sampling from a random start, in training and in evaluation."""

    name = "plain_pointnet2"
    features = {"global_feature": "input fc1"}

    def __init__(self, classes):
        super().__init__()
        self.level1 = SetAbstraction(16, 8, [3, 16, 32])
        self.level2 = SetAbstraction(4, 8, [35, 32, 64])
        self.fc1, self.bn1, self.drop = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.4)
        self.fc2 = nn.Linear(32, classes)

    def forward(self, xyz):
        centres, features = self.level1(xyz, None)
        centres, features = self.level2(centres, features)
        x = features.max(1)[0]
        return F.log_softmax(self.fc2(self.drop(F.relu(self.bn1(self.fc1(x))))), -1), features


class PlainTransformer(nn.Module):
    """A transformer over points, with torch's own encoder."""

    name = "plain_transformer"
    features = {"point_features": "output encoder"}

    def __init__(self, classes, width=32):
        super().__init__()
        self.embedding = nn.Linear(3, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.classify = nn.Linear(width, classes)

    def forward(self, x):
        x = self.embedding(x) + self.token
        return self.classify(self.encoder(x).mean(1))
