"""Small valid records for the tests of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from built_in import CATALOGUE
from record_parts import MEMORY, provenance, scores_of

from pcbench.catalogue.kinds import Kind
from pcbench.protocols.protocol import QUICK, Protocol, Recipe
from pcbench.protocols.variants import named
from pcbench.records import layout
from pcbench.records.circumstances import Clock
from pcbench.records.inputs import DataInputs, DistillationInputs, EvaluationInputs, Network
from pcbench.records.layout import run_folder
from pcbench.records.models import DistillationRecord, EvaluationRecord, SnapshotEntry, Work
from pcbench.records.store import write_record

TOTALS = [10, 20]


def a_run(
    out: Path,
    *,
    method: str = "sadm",
    variation: dict[str, Any] | None = None,
    source: str | None = None,
    network: str = "pointnet",
    student: str = "paper",
    student_source: str | None = None,
    data: dict[str, Any] | None = None,
    tested: dict[str, Any] | None = None,
    whole: Recipe | None = None,
    ppc: int = 1,
    repetition: int = 0,
    protocol: Protocol = QUICK,
    right: list[tuple[int, int]] | None = None,
    earlier: tuple[int, int] = (0, 0),
    seconds: float = 1.0,
    processor_seconds: float | None = None,
    engine: int = 1,
    draw: str = "nested",
    hardware: str = "A CPU",
    status: Any = "ok",
    reason: str = "",
    evaluated: bool = True,
    test: str = "plain",
    clouds: Sequence[str] | None = None,
    params: dict[str, Any] | None = None,
    confusion: bool = False,
    snapshots: Sequence[int] | None = None,
    beginning: float | None = None,
    device_bytes: int | None = None,
    setting: str = "",
    isolation: Any = "unknown",
) -> Path:
    """Write a distillation and its evaluation below `out`.

    right: right answers, per student and class. tested: what the test data set has other than the training
    data set. whole: the recipe of the network that was distilled with, where it is not the protocol's.
    snapshots: the iterations of those that were evaluated, where not all were. beginning: the clock at the
    first clouds, where it is not that at the end.
    """
    standing = {
        "name": "shapes10",
        "variant": "generated",
        "hash": "3" * 64,
        "sampling": "surface",
        "standard": True,
        "class_names": ["chair", "table"],
    }
    inputs_data = DataInputs(points=protocol.points, **(standing | (data or {})))
    inputs = DistillationInputs(
        method=method,
        params=(params or {}) | (variation or {}),
        variation=variation or {},
        setting=setting,
        source=source or source_of("method", method),
        data=inputs_data,
        ppc=ppc,
        iterations=protocol.iterations,
        snapshots=list(protocol.snapshots),
        network=Network(name=network, preset="paper", source=source_of("backbone", network)),
        whole=whole or protocol.whole,
        repetition=repetition,
        engine=engine,
        draw=draw,
    )
    hashes = clouds or ["4" * 64] * len(protocol.snapshots)
    entries = [
        SnapshotEntry(iteration=i, seconds=seconds if i or beginning is None else beginning, clouds=each)
        for i, each in zip(protocol.snapshots, hashes, strict=True)
    ]
    distillation = DistillationRecord(
        key=inputs.key,
        status=status,
        reason=reason,
        inputs=inputs,
        snapshots=entries if status == "ok" else [],
        clock=Clock(seconds=seconds, processor_seconds=processor_seconds),
        memory=MEMORY.model_copy(update={"device_bytes": device_bytes}),
        isolation=isolation,
        provenance=provenance(hardware=hardware),
    )
    folder = run_folder(out, inputs)
    write_record(folder / "distillation.json", distillation)
    if status != "ok" or not evaluated:
        return folder
    variant = named(test, inputs_data.name, "y")
    scored = EvaluationInputs(
        distillation=inputs.key,
        data=inputs_data.model_copy(update={"points": variant.points or protocol.points} | (tested or {})),
        network=Network(
            name="pointnet", preset=student, source=student_source or source_of("backbone", "pointnet")
        ),
        protocol=protocol,
        repetitions=list(range(protocol.students)),
        variant=variant,
        engine=engine,
    )
    last = right or [(5, 10)] * protocol.students
    scores = [[earlier] * protocol.students] * (len(entries) - 1) + [last]
    evaluated_at = [each for each in protocol.snapshots if snapshots is None or each in snapshots]
    share = Work(
        iterations=evaluated_at,
        train=Clock(seconds=1),
        test=Clock(seconds=1),
        memory=MEMORY,
        provenance=provenance(hardware=hardware),
    )
    evaluation = EvaluationRecord(
        key=scored.key,
        inputs=scored,
        totals=TOTALS,
        snapshots=[
            scores_of(rows, TOTALS, entry.iteration, entry.clouds)
            for entry, rows in zip(entries, scores, strict=True)
            if entry.iteration in evaluated_at
        ],
        confusion=_confusion(last) if confusion else None,
        work=[share],
    )
    write_record(layout.evaluation(folder, scored.key), evaluation)
    return folder


@cache
def source_of(kind: Kind, name: str) -> str:
    """The hash of a built-in plugin's source, as records carry it; another one for what is not built in."""
    plugins = {plugin.name: plugin for plugin in CATALOGUE.registries()[kind].built_in()}
    return plugins[name].source_hash() if name in plugins else "1" * 64


def _confusion(right: list[tuple[int, int]]) -> list[list[int]]:
    """Of two classes, from the right answers of every student."""
    first, second = (sum(each) for each in zip(*right, strict=True))
    students = len(right)
    return [[first, students * TOTALS[0] - first], [students * TOTALS[1] - second, second]]
