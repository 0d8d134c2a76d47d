"""What a run is: the cells of a request, checked before any work, with the inputs of their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pcbench import plugins, protocol
from pcbench.api import Backbone, Dataset, Method, MethodParams, Splits
from pcbench.errors import DataError, UsageError, did_you_mean
from pcbench.protocol import Protocol
from pcbench.records import DataInputs, DistillationInputs, EvaluationInputs, Network, SnapshotEntry
from pcbench.seeds import Streams


@dataclass(frozen=True)
class Request:
    """What a user asks for, by name. settings: `--set` pairs, for the methods or the protocol."""

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    ppcs: tuple[int, ...]
    backbone: str = "pointnet"
    protocol: str = "paper"
    students: int | None = None
    repetition: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    plugin_folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One method on one data set at one PPC: the loaded parts and the inputs that its key is made of."""

    method: Method
    splits: Splits
    backbone: type[Backbone]
    protocol: Protocol
    inputs: DistillationInputs

    def distillation_streams(self) -> Streams:
        """Random streams of the distillation; the method is no axis, so that methods are paired."""
        return self._streams("distillation", ppc=self.inputs.ppc, repetition=self.inputs.repetition)

    def trained_network_streams(self) -> Streams:
        """Random streams of the network that is trained on the whole training split."""
        network, repetition = self.inputs.network.label, self.inputs.repetition
        return self._streams("trained network", backbone=network, repetition=repetition)

    def student_streams(self) -> list[Streams]:
        """Random streams of each student; neither method nor PPC is an axis, so that scores are paired."""
        students = self._streams("evaluation", backbone=self.inputs.network.label)
        return [students.within(repetition=repetition) for repetition in range(self.protocol.students)]

    def _streams(self, level: str, **axes: str | int) -> Streams:
        return Streams({"level": level, "dataset": self.inputs.data.name, **axes})

    def evaluation_inputs(self, snapshots: Sequence[SnapshotEntry]) -> EvaluationInputs:
        """The inputs of the evaluation of this cell's snapshots."""
        return EvaluationInputs(
            clouds=[entry.clouds for entry in snapshots],
            data=self.inputs.data,
            network=self.inputs.network,
            protocol=self.protocol,
            repetitions=list(range(self.protocol.students)),
        )


def cells(request: Request) -> list[Cell]:
    """All cells of a request, data set by data set; UsageError or DataError before any work is done."""
    if any(ppc < 1 for ppc in request.ppcs):
        raise UsageError(f"--ppc {min(request.ppcs)}: at least one cloud per class is needed")
    if request.students is not None and request.students < 1:
        raise UsageError(f"--seeds {request.students}: at least one student is needed")
    registry = plugins.methods(request.plugin_folders)
    found = [registry.get(name) for name in request.methods]
    classes = [plugin.load() for plugin in found]
    backbones = plugins.backbones(request.plugin_folders)
    backbone, preset = plugins.load_backbone(backbones, request.backbone)
    network = Network(name=backbone.name, preset=preset, source=backbones.get(backbone.name).source_hash())
    sources = [plugin.source_hash() for plugin in found]
    rules, params = _settings(request, classes)
    datasets = plugins.datasets(request.plugin_folders)
    known = [datasets.load(name)() for name in request.datasets]
    loaded = [(dataset, dataset.load(rules.points)) for dataset in known]
    made = []
    for dataset, splits in loaded:
        data = _data_inputs(dataset, splits)
        for ppc in request.ppcs:
            _check_ppc(ppc, data.name, splits)
            for method, source, values in zip(classes, sources, params, strict=True):
                inputs = DistillationInputs(
                    method=method.name,
                    params=values.model_dump(mode="json"),
                    variation=_variation(values),
                    source=source,
                    data=data,
                    ppc=ppc,
                    iterations=rules.iterations,
                    snapshots=list(rules.snapshots),
                    network=network,
                    whole=rules.whole,
                    repetition=request.repetition,
                )
                made.append(Cell(method(values), splits, backbone, rules, inputs))
    return made


def _settings(request: Request, methods: Sequence[type[Method]]) -> tuple[Protocol, list[MethodParams]]:
    """The protocol and each method's parameters in effect; a key that neither knows raises UsageError."""
    for_protocol = {key: value for key, value in request.settings.items() if key in protocol.SETTINGS}
    for_methods = {key: value for key, value in request.settings.items() if key not in protocol.SETTINGS}
    if request.students is not None:
        for_protocol["students"] = str(request.students)
    rules = protocol.customised(protocol.named(request.protocol), for_protocol)
    return rules, [_params(method, for_methods) for method in methods]


def _params(method: type[Method], settings: Mapping[str, str]) -> MethodParams:
    known = method.Params.model_fields
    for key in settings:
        if key not in known:
            near = did_you_mean(key, {*known, *protocol.SETTINGS})
            raise UsageError(
                f"--set {key}: neither method {method.name!r} nor the protocol has such a parameter. {near}"
            )
    try:
        return method.Params.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "parameters"
        raise UsageError(f"method {method.name!r}: {where}={first['input']!r}: {first['msg']}") from error


def _variation(params: MethodParams) -> dict[str, object]:
    """The parameters that differ from their defaults."""
    defaults = type(params)().model_dump(mode="json")
    return {key: value for key, value in params.model_dump(mode="json").items() if value != defaults[key]}


def _data_inputs(dataset: Dataset, splits: Splits) -> DataInputs:
    return DataInputs(
        name=dataset.name,
        variant=dataset.variant,
        hash=splits.content_hash,
        points=splits.train.points_per_cloud,
        sampling=splits.sampling,
        standard=splits.standard,
        class_names=list(splits.train.class_names),
    )


def _check_ppc(ppc: int, dataset: str, splits: Splits) -> None:
    counts = splits.train.counts()
    smallest = int(counts.argmin())
    if int(counts[smallest]) == 0:
        raise DataError(f"{dataset}: class {splits.train.class_names[smallest]!r} has no training cloud")
    if ppc > int(counts[smallest]):
        raise UsageError(
            f"--ppc {ppc} is larger than the smallest class of {dataset}: "
            f"{splits.train.class_names[smallest]!r} has {int(counts[smallest])} training clouds"
        )
