"""What a result would be made with today, where the site is built: whether it is stale, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pcbench.catalogue import Catalogue
from pcbench.records import identity
from pcbench.records.inputs import DistillationInputs, EvaluationInputs, Network


@dataclass(frozen=True)
class Current:
    """The code that is installed here, as far as it comes with pcbench.

    Whose method comes from elsewhere need not be where a site is built: of such code nothing is known, and
    only the engine can make its results stale.
    """

    methods: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the built-in methods' code by name, as records carry them."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """The same of the built-in backbones."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> Current:
        """What a catalogue has of pcbench's own."""
        return cls(
            {plugin.name: plugin.source_hash() for plugin in catalogue.methods.built_in()},
            {plugin.name: plugin.source_hash() for plugin in catalogue.backbones.built_in()},
        )

    def genuine(self, inputs: DistillationInputs) -> bool:
        """Whether a method is pcbench's own, or has not the name of one."""
        return self.methods.get(inputs.method, inputs.source) == inputs.source

    def distillation(self, inputs: DistillationInputs) -> tuple[str, ...]:
        """Why a distillation is stale: `ENGINE 1, now 2`, `the method's code has changed`; else nothing."""
        today = {
            "engine": identity.ENGINE,
            "source": self.methods.get(inputs.method, inputs.source),
            "network": self._network(inputs.network),
        }
        return tuple(identity.differences(inputs, inputs.model_copy(update=today)))

    def evaluation(self, inputs: EvaluationInputs) -> tuple[str, ...]:
        """Why an evaluation is stale, apart from its distillation."""
        today = {"engine": identity.ENGINE, "network": self._network(inputs.network)}
        reasons = identity.differences(inputs, inputs.model_copy(update=today))
        return tuple(each if each.startswith("ENGINE") else f"students: {each}" for each in reasons)

    def _network(self, network: Network) -> Network:
        source = self.backbones.get(network.name, network.source)
        return network.model_copy(update={"source": source})
