"""Which results may be compared: the closed division follows every rule, the open one does not."""

from __future__ import annotations

from functools import cache

from pcbench.ops.names import OWN
from pcbench.protocols import recipes
from pcbench.protocols.protocol import PROTOCOLS, STANDARD, Protocol, Recipe
from pcbench.protocols.variants import listed
from pcbench.records.models import DistillationRecord, Division, EvaluationRecord, Run, SnapshotEntry


def division(run: Run, *scored: EvaluationRecord) -> Division:
    """`closed` if all evaluations, by default those of the run, follow the rules that make them comparable.

    The rules: a standard protocol, not `custom`; training on the whole split, also of the network that was
    distilled with, by that protocol's recipe, under `standard` by the one that pcbench has for the backbone;
    standard data; the first S students, in order; a test that is plain or listed in
    `pcbench.protocols.variants`; a method that read no file and did not work in the process of the run;
    synthetic clouds that are made of no test cloud's points; a parameterised set of no more bytes than PPC
    clouds of every class take, probabilities and weights among them, which anybody can expand and whose
    students learn at the recipe's rate. Anything else is `open`, and no table mixes the two. Which snapshots
    were evaluated beside the last one does not matter.
    """
    evaluations = scored or run.evaluations
    closed = evaluations and all(_closed(run.distillation, evaluation) for evaluation in evaluations)
    return "closed" if closed else "open"


def _closed(distillation: DistillationRecord, evaluation: EvaluationRecord) -> bool:
    inputs, protocol = evaluation.inputs, evaluation.inputs.protocol
    trained = [
        (distillation.inputs.network, distillation.inputs.whole),
        (inputs.network, protocol.whole),
    ]
    return (
        protocol.name in PROTOCOLS
        and all(whole == _whole(protocol, network.name) for network, whole in trained)
        and distillation.inputs.data.standard
        and inputs.data.standard
        and inputs.repetitions == list(range(protocol.students))
        and listed(inputs.variant)
        and distillation.isolation != "in-process"
        and not distillation.inputs.files
        and not distillation.copies
        and all(_affordable(entry, distillation.inputs.plain_bytes) for entry in distillation.snapshots)
    )


def _affordable(entry: SnapshotEntry, budget: int) -> bool:
    """Whether a set takes no more than `budget` bytes, hides none in its expansion, and changes no recipe."""
    return (entry.bytes or 0) <= budget and entry.expansion != OWN and entry.student_lr is None


def _whole(protocol: Protocol, backbone: str) -> Recipe | None:
    """How a protocol trains a built-in backbone on the whole split; None where it is not written down."""
    return protocol.whole if protocol.base != STANDARD.name else _recipes().get(backbone)


@cache
def _recipes() -> dict[str, Recipe]:
    return {each.backbone: each.recipe for each in recipes.listing()}
