"""Iterations, snapshots, draw and engine of a run against the protocol that its evaluations name."""

from __future__ import annotations

from collections.abc import Iterator

from pcbench.ops.names import DRAWS
from pcbench.records import identity, layout
from pcbench.records.models import Run
from pcbench.submission.rules import Finding, scored_files


def findings(run: Run) -> Iterator[Finding]:
    """Where the inputs of a run do not fit each other or its protocol.

    That a protocol is the one of its name, and that its points and snapshots are those of the distillation,
    is seen when the records are read.
    """
    file, inputs = layout.distillation(run.folder), run.distillation.inputs
    snapshots = inputs.snapshots
    if snapshots != sorted(set(snapshots)) or snapshots[:1] != [0] or snapshots[-1] != inputs.iterations:
        told = f"{inputs.iterations} iterations do not end the snapshots, which go from 0 up to the last one"
        yield Finding("changed-protocol", file, told)
    if inputs.draw not in DRAWS:
        yield Finding("changed-protocol", file, f"there is no draw {inputs.draw!r}")
    elif inputs.draw == "authors" and inputs.repetition:
        yield Finding("changed-protocol", file, "the authors' draw is one: it has no repetition but 0")
    if inputs.is_whole and [entry.iteration for entry in run.distillation.snapshots] != [0]:
        yield Finding("changed-protocol", file, "the whole training split is one snapshot, at 0")
    if run.distillation.reason and run.distillation.status == "ok":
        yield Finding("changed-protocol", file, "a distillation that ended well has a reason for its end")
    engines = [(file, inputs.engine)]
    for path, record in scored_files(run):
        engines.append((path, record.inputs.engine))
        protocol = record.inputs.protocol
        if inputs.iterations != protocol.iterations:
            told = (
                f"{protocol.iterations} iterations by its protocol, {inputs.iterations} by the distillation"
            )
            yield Finding("changed-protocol", path, told)
    for path, engine in engines:
        if engine > identity.ENGINE:
            told = f"ENGINE {engine}, and this pcbench has {identity.ENGINE}"
            yield Finding("odd-provenance", path, told)
