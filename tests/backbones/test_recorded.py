"""A training step of every backbone can be recorded on a GPU: it looks at no value, and brings none along."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE

from pcbench.engine import students
from pcbench.ops import layers, replay
from pcbench.ops.layers import set_dropout, stack
from pcbench.seeds import Streams

PRESETS = [
    (name, preset)
    for name in CATALOGUE.backbones.names()
    for preset in CATALOGUE.backbones.load(name).presets
]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_step_runs_on_tensors_without_values(name, preset, monkeypatch):
    """On torch's meta device, where there are none, and which takes no tensor of another device."""
    cls = CATALOGUE.backbones.load(name)
    streams = [Streams({"test": "recorded", "repetition": number}) for number in range(2)]
    built = [cls.build(4, preset, stream.stream("weights")) for stream in streams]
    clouds = torch.randn(3, 256, 3, generator=streams[0].stream("points"))
    geometry = [values.expand(2, *values.shape).to("meta") for values in built[0].geometry(clouds)]
    network = stack(built).to("meta").train()
    set_dropout(network, [stream.stream("dropout") for stream in streams])
    monkeypatch.setattr(replay, "_draws", replay._Draws(recording=True))
    monkeypatch.setattr(layers, "drawn", lambda make, like: torch.empty_like(like))
    logits = network(clouds.expand(2, *clouds.shape).to("meta"), *geometry)
    assert logits.shape == (2, 3, 4)
    losses = students.student_losses(logits, torch.empty(2, 3, dtype=torch.int64, device="meta"))
    gradients = torch.autograd.grad(losses.sum(), list(network.parameters()))
    assert [g.shape for g in gradients] == [p.shape for p in network.parameters()]
