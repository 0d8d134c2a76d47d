"""What cells are made of: methods, networks, data sets and protocols, each looked up or loaded once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from pcbench.api import Backbone, ModuleBackbone, Splits
from pcbench.catalogue import Catalogue
from pcbench.catalogue.imports import past_the_face
from pcbench.catalogue.kinds import LABELS, split_spec
from pcbench.catalogue.loading import Plugin, UnusablePlugin
from pcbench.datasets import sampled
from pcbench.engine import apart, crossing, methods
from pcbench.engine.cell import Evaluation, data_inputs, inputs_of
from pcbench.engine.methods import ChosenMethod
from pcbench.errors import DataError
from pcbench.ops.draws import Draw
from pcbench.protocols import protocol, recipes, variants
from pcbench.protocols.protocol import Protocol
from pcbench.protocols.variants import Variant
from pcbench.records.inputs import DataInputs, DistillationInputs, Network


class Parts:
    """What cells are made of: the plugins that there are, and the data sets that were loaded."""

    def __init__(self, catalogue: Catalogue, in_process: bool = False) -> None:
        self.catalogue, self.in_process = catalogue, in_process
        self.methods, self.backbones = catalogue.methods, catalogue.backbones
        self.datasets = catalogue.datasets
        self._loaded: dict[tuple[str, int, str | None], tuple[Splits, DataInputs]] = {}
        self._chosen: dict[tuple[str, str], ChosenMethod] = {}
        self._networks: dict[str, tuple[type[Backbone], Network]] = {}
        self._rules: dict[tuple[str, str, str], Protocol] = {}
        self._smallest: dict[int, tuple[str, int]] = {}
        self._inputs: dict[Hashable, DistillationInputs] = {}
        self._evaluations: dict[Hashable, Evaluation] = {}

    def method(self, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
        """A method with parameters, looked up once; a stranger's is imported in a process of its own."""
        asked = spec, repr(sorted(values.items()))
        if asked not in self._chosen:
            self._chosen[asked] = self._looked_up(spec, values, origin)
        return self._chosen[asked]

    def _looked_up(self, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
        plugin = self.methods.get(split_spec(spec)[0])
        _check_imports(plugin)
        if self.in_process or plugin.built_in:
            return methods.chosen(self.catalogue, spec, values, origin)
        return apart.choose(self.catalogue, spec, values, origin)

    def data(self, name: str, points: int, sampling: str | None = None) -> tuple[Splits, DataInputs]:
        """A data set, loaded once for each number of points and way to choose them."""
        if (name, points, sampling) not in self._loaded:
            dataset = self.datasets.load(name)()
            splits = sampled.load(dataset, points, sampling)
            self._loaded[name, points, sampling] = splits, data_inputs(dataset, splits)
        return self._loaded[name, points, sampling]

    def smallest_class(self, splits: Splits) -> tuple[str, int]:
        """The class of a data set that was loaded with the fewest training clouds, and how many these are."""
        if id(splits) not in self._smallest:
            counts = splits.train.counts()
            smallest = int(counts.argmin())
            self._smallest[id(splits)] = splits.train.class_names[smallest], int(counts[smallest])
        return self._smallest[id(splits)]

    def inputs(
        self,
        method: ChosenMethod,
        data: DataInputs,
        ppc: int,
        rules: Protocol,
        network: Network,
        repetition: int,
        draw: Draw,
    ) -> DistillationInputs:
        """As `inputs_of`; what all repetitions have in common is checked once."""
        asked = id(method), id(data), ppc, id(rules), network.label, draw
        if asked not in self._inputs:
            self._inputs[asked] = inputs_of(method, data, ppc, rules, network, rules.whole, 0, draw)
        return self._inputs[asked].model_copy(update={"repetition": repetition})

    def evaluation(
        self, splits: Splits, data: DataInputs, backbone: type[Backbone], network: Network, rules: Protocol
    ) -> Evaluation:
        """The students of all cells of a data set that was loaded that have the same: one object."""
        asked = id(data), network.label, id(rules)
        if asked not in self._evaluations:
            self._evaluations[asked] = Evaluation(splits, data, backbone, network, rules)
        return self._evaluations[asked]

    def variant(self, label: str, dataset: str) -> Variant:
        """A test of students of a data set by its label; UsageError where it has none of that kind."""
        tested = variants.split(label)[0] or dataset
        return variants.named(label, tested, self.datasets.load(tested).up_axis)

    def tested(self, trained: DataInputs, variant: Variant) -> tuple[Splits, DataInputs]:
        """What students of `trained` are tested on; DataError for more points than it has."""
        name, points = variant.on or trained.name, variant.points or trained.points
        classes = crossing.shared(self.datasets, trained.name, name) if variant.on else ()
        try:
            splits, data = self.data(name, points, None if variant.on else trained.sampling)
        except DataError as error:
            raise DataError(f"test {variant.label}: {name}: {error}", "test") from error
        if not classes:
            return splits, data
        return crossed(trained, classes, splits, data)

    def network(self, spec: str) -> tuple[type[Backbone], Network]:
        """A backbone and what a record says of it, looked up once."""
        if spec not in self._networks:
            self._networks[spec] = self._network(spec)
        return self._networks[spec]

    def _network(self, spec: str) -> tuple[type[Backbone], Network]:
        plugin = self.backbones.get(split_spec(spec)[0])
        _check_imports(plugin)
        backbone, preset = self.catalogue.backbone(spec)
        return backbone, Network(
            name=backbone.name,
            preset=preset,
            source=plugin.source_hash(),
            one_by_one=issubclass(backbone, ModuleBackbone),
        )

    def rules(self, name: str, backbone: str, settings: Mapping[str, Any]) -> Protocol:
        """A protocol for networks of one backbone, with settings; `standard` has a recipe for each."""
        asked = name, backbone, repr(sorted(settings.items()))
        if asked not in self._rules:
            beside = self.backbones.get(backbone).path.parent
            followed = recipes.followed(protocol.named(name), backbone, beside)
            self._rules[asked] = protocol.customised(followed, settings)
        return self._rules[asked]


def _check_imports(plugin: Plugin[Any]) -> None:
    """UnusablePlugin where a stranger's source takes of pcbench more than its public face."""
    problem = "" if plugin.built_in else past_the_face(plugin)
    if problem:
        raise UnusablePlugin(f"{LABELS[plugin.kind]} {plugin.name!r} cannot be used: {problem}")


def crossed(
    trained: DataInputs, classes: tuple[str, ...], splits: Splits, data: DataInputs
) -> tuple[Splits, DataInputs]:
    """Another data set as students of `trained` are tested on it: the clouds of the shared classes alone."""
    part = crossing.narrowed(splits, data.name, classes)
    changed = {
        "variant": f"{data.variant}; {len(classes)} classes shared with {trained.name}",
        "hash": part.content_hash,
        "class_names": list(classes),
    }
    return part, data.model_copy(update=changed)
