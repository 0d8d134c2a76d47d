"""The contract of backbones, tried in every preset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone, MissingFeature, ModuleBackbone, Streams
from pcbench.conformance.clauses import Doubtful, Failed, Verdict, small_clouds
from pcbench.engine.independence import other_seeds
from pcbench.ops.layers import set_dropout, stack

POINTS = 64
NEAR = 1e-3
"""Largest difference of two results that are equal but for rounding, relative to the largest value."""


class BackboneContract:
    """The clauses of `Backbone`, tried in every preset with four clouds and five classes."""

    classes, clouds = 5, 4

    def __init__(self, backbone: type[Backbone]) -> None:
        self.backbone = backbone

    def clauses(self) -> dict[str, Callable[[], str]]:
        trials: dict[str, Callable[[str], None]] = {
            "built from a generator": self.built,
            "shapes": self.shapes,
            "same clouds, same logits": self.repeatable,
            "stacked as alone": self.stacked,
            "geometry": self.geometry,
            "gradients": self.gradients,
            "a batch of one": self.batch_of_one,
            "global state": self.global_state,
            "order of the points": self.order,
        }
        return {clause: partial(self.in_every_preset, trial) for clause, trial in trials.items()}

    def in_every_preset(self, trial: Callable[[str], None]) -> str:
        if not self.backbone.presets:
            raise Failed("presets is empty: name one, as in presets = {'canonical': {}}")
        for preset in self.backbone.presets:
            try:
                trial(preset)
            except Verdict as verdict:
                raise type(verdict)(f"preset {preset!r}: {verdict}") from verdict
        return ", ".join(self.backbone.presets)

    def xyz(self, part: int = 0) -> Tensor:
        """Clouds (4, 64, 3), others for another part."""
        return small_clouds(POINTS).points.roll(-part * self.clouds, 0)[: self.clouds]

    def draw(self, preset: str, number: int = 0) -> Backbone:
        """A network in training mode, ready to be trained."""
        streams = Streams({"level": "conformance", "network": number})
        network = self.backbone.build(self.classes, preset, streams.stream("weights"))
        set_dropout(network, [streams.stream("dropout")])
        return network

    def built(self, preset: str) -> None:
        states = [self.draw(preset, number).state_dict() for number in (0, 0, 1)]
        if not all(torch.equal(states[1][name], value) for name, value in states[0].items()):
            raise Failed("two networks of one generator differ: let pcbench.ops.layers draw the weights")
        if all(torch.equal(states[2][name], value) for name, value in states[0].items()):
            raise Failed("another generator gives the same network: it has no layer of pcbench.ops.layers")

    @torch.no_grad()
    def shapes(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        batch, points = xyz.shape[:2]
        self.named_features(network, xyz)
        each = network.point_features(xyz)
        fits = each.ndim == 3 and len(each) == batch and 1 <= each.shape[1] <= points
        _expect("point_features", each, fits, f"({batch}, at most {points}, D)")
        pooled = network.global_feature(xyz)
        fits = pooled.ndim == 2 and len(pooled) == batch and pooled.shape[1] % each.shape[2] == 0
        _expect(
            "global_feature",
            pooled,
            fits,
            f"({batch}, {each.shape[2]}), or a multiple if poolings are joined",
        )
        embedding = network.embed(xyz)
        _expect("embed", embedding, embedding.ndim == 2 and len(embedding) == batch, f"({batch}, E)")
        logits = network(xyz)
        _expect("forward", logits, logits.shape == (batch, self.classes), f"({batch}, {self.classes})")
        layers = network.layer_features(xyz)
        for number, layer in enumerate(layers):
            _expect(
                f"layer_features[{number}]",
                layer,
                layer.ndim == 3 and len(layer) == batch,
                f"({batch}, N, C)",
            )
        if not layers or not torch.equal(layers[-1], each):
            raise Failed("the last of layer_features is not point_features")

    def named_features(self, network: Backbone, xyz: Tensor) -> None:
        """Of a plain module: what its author has not named, methods cannot ask for."""
        missing = []
        for feature in ("embed", "global_feature", "point_features"):
            try:
                getattr(network, feature)(xyz)
            except MissingFeature:
                missing.append(feature)
        if missing:
            raise Doubtful(
                f"methods that ask for {', '.join(missing)} cannot use it: name the places in `features`"
            )

    def repeatable(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        with torch.no_grad():
            logits = network(xyz)
            if not torch.equal(network(xyz), logits):
                raise Failed("in evaluation mode, two forwards of the same clouds differ")
            if not _near(network(xyz[:2]), logits[:2]):
                depends = "in evaluation mode, a cloud's logits depend on the other clouds of the batch"
                if isinstance(network, ModuleBackbone):
                    raise Doubtful(
                        f"{depends}, as where points are drawn at random: so do its scores, a little"
                    )
                raise Failed(depends)
        if not torch.equal(xyz, self.xyz()):
            raise Failed("forward changes its input in place: clone what you change")

    def stacked(self, preset: str) -> None:
        pair = [self.draw(preset, number) for number in (0, 1)]
        both = torch.stack([self.xyz(part) for part in (0, 1)])
        for training in (False, True):
            together = stack(pair).train(training)
            streams = [Streams({"level": "stacked", "network": number}) for number in (0, 1)]
            set_dropout(together, [stream.stream("dropout") for stream in streams])
            with torch.no_grad():
                logits = together(both)
            for number, network in enumerate(pair):
                set_dropout(network.train(training), [streams[number].stream("dropout")])
                with torch.no_grad():
                    alone = network(both[number])
                if logits.shape[1:] != alone.shape or not _near(logits[number], alone):
                    raise Failed(
                        f"in {'training' if training else 'evaluation'} mode, stacked networks give other "
                        "logits than each alone: name axes from the end (points -2, channels -1)"
                    )

    def geometry(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        both = stack([network, self.draw(preset, 1).eval()])
        with torch.no_grad():
            known = network.geometry(xyz)
            for number, (values, one) in enumerate(zip(known, network.geometry(xyz[:1]), strict=True)):
                if len(values) != len(xyz) or not torch.equal(values[:1], one):
                    raise Failed(f"geometry[{number}] of a cloud depends on the other clouds of the batch")
            if not _near(network(xyz, *known), network(xyz)):
                raise Failed("forward gives other logits with the geometry than without it")
            shared = both(xyz.expand(2, *xyz.shape), *(values.unsqueeze(0) for values in known))
            if not _near(shared, both(xyz.expand(2, *xyz.shape))):
                raise Failed("stacked networks give other logits with a geometry that they share (1, B, ...)")

    def gradients(self, preset: str) -> None:
        network, xyz = self.draw(preset), self.xyz().requires_grad_()
        self.loss(network, xyz).backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is None or not parameter.grad.isfinite().all():
                raise Failed(f"the loss gives {name} no finite gradient")
        if xyz.grad is None or not xyz.grad.isfinite().all() or not xyz.grad.any():
            raise Failed("the loss gives the points no finite gradient: methods learn points through it")

    def batch_of_one(self, preset: str) -> None:
        network = self.draw(preset)
        optimiser = torch.optim.SGD(network.parameters(), 0.01)
        for _ in range(2):
            optimiser.zero_grad()
            loss = self.loss(network, self.xyz()[:1])
            loss.backward()
            optimiser.step()
        if not loss.isfinite() or not network.eval()(self.xyz()).isfinite().all():
            raise Failed("training steps on one cloud do not stay finite: use pcbench.ops.layers.BatchNorm")

    def global_state(self, preset: str) -> None:
        logits = []
        for seed in (1, 2):
            with other_seeds(seed) as changed:
                network = self.draw(preset)
                self.loss(network, self.xyz()).backward()
                logits.append(network.eval()(self.xyz()).detach())
                names = changed()
            if names:
                raise Failed(f"it changes {', '.join(sorted(names))}")
        if not torch.equal(*logits):
            raise Failed("the logits depend on the seeds of global generators")

    def order(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        shuffled = xyz[
            :, torch.randperm(xyz.shape[1], generator=Streams({"level": "order"}).stream("points"))
        ]
        with torch.no_grad():
            if not _near(network(shuffled), network(xyz)):
                raise Doubtful(
                    "the logits depend on the order of the points, as where a start index is fixed"
                )

    def loss(self, network: Backbone, xyz: Tensor) -> Tensor:
        return F.cross_entropy(network(xyz), torch.arange(len(xyz)) % self.classes)


def _expect(what: str, found: Tensor, right: bool, shape: str) -> None:
    if not right:
        raise Failed(f"{what} gives {tuple(found.shape)} instead of {shape}")
    if found.dtype != torch.float32 or not found.isfinite().all():
        raise Failed(f"{what} gives values that are not finite float32")


def _near(found: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return bool((found - expected).abs().max() <= NEAR * scale)
