"""Small submissions without a training: records that fit their clouds, and tools to tamper with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from built_in import CATALOGUE
from record_parts import MEMORY, provenance, scores_of

import pcbench
from pcbench.api import Snapshot
from pcbench.clouds import PointClouds
from pcbench.common.files import file_digest
from pcbench.common.text import one_line
from pcbench.engine.artifacts import save_snapshots
from pcbench.engine.cell import data_inputs
from pcbench.protocols.protocol import QUICK, Protocol, customised
from pcbench.records import layout
from pcbench.records.circumstances import Clock
from pcbench.records.inputs import DataInputs, DistillationInputs, EvaluationInputs, Network
from pcbench.records.layout import run_folder
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run, SnapshotEntry, Work
from pcbench.records.store import read_run, write_record
from pcbench.records.values import LONGEST_NAME
from pcbench.seeds import Streams
from pcbench.submission.manifest import MANIFEST, RUNS
from pcbench.submission.submit import submit

PACKAGES = {"pcbench": pcbench.__version__, "torch": "2.13.0"}
TINY = customised(QUICK, {"students": 2, "points": 8, "iterations": 20, "snapshot_every": 20})
TOTALS = [50] * 10
"""Test clouds of each class of shapes10."""
RIGHT = [[25] * 10, [23, 27] * 5]
"""Right answers of two students to them."""


def confusion_of(right: list[list[int]], totals: list[int]) -> list[list[int]]:
    """A summed confusion with these right answers: whoever is wrong takes the class for the next one."""
    rows = [[0] * len(totals) for _ in totals]
    for place, total in enumerate(totals):
        rows[place][place] = sum(counts[place] for counts in right)
        rows[place][(place + 1) % len(totals)] += len(right) * total - rows[place][place]
    return rows


def data_of(dataset: str, points: int, classes: tuple[str, ...] | None) -> tuple[DataInputs, list[int]]:
    """What a record says of a data set, and the totals of its test; other classes make it another's."""
    if classes is None and dataset == "shapes10":
        loaded = CATALOGUE.datasets.load(dataset)()
        return data_inputs(loaded, loaded.load(points)), TOTALS
    counts = CATALOGUE.datasets.load(dataset).test_counts if dataset in CATALOGUE.datasets.names() else {}
    if classes is not None or not counts:
        counts = dict(zip(classes or ("chair", "table"), (10, 20), strict=True))
    data = DataInputs(
        name=dataset,
        variant="generated",
        hash="3" * 64,
        points=points,
        sampling="surface",
        standard=True,
        class_names=list(counts),
    )
    return data, list(counts.values())


@cache
def source(kind: str, name: str) -> str:
    registry = CATALOGUE.methods if kind == "method" else CATALOGUE.backbones
    return registry.get(name).source_hash()


def a_run(
    out: Path,
    *,
    method: str = "random",
    dataset: str = "shapes10",
    ppc: int = 1,
    repetition: int = 0,
    variation: dict[str, Any] | None = None,
    protocol: Protocol = TINY,
    origin: str | None = None,
    classes: tuple[str, ...] | None = None,
    command: str = "pcbench",
    hardware: str = "A CPU",
    network: str = "pointnet",
) -> Run:
    """A finished run below `out`: records and the clouds that they name. origin: hash of its method."""
    generator = Streams({"test": "submission", "ppc": ppc, "repetition": repetition}).stream("points")
    if classes is not None:
        classes = tuple(one_line(name, LONGEST_NAME) for name in classes)
    data, totals = data_of(dataset, protocol.points, classes)
    points = torch.randn(len(totals) * ppc, protocol.points, 3, generator=generator)
    labels = torch.arange(len(totals)).repeat_interleave(ppc)
    clouds = PointClouds(points, labels, tuple(data.class_names))
    snapshots = [Snapshot(iteration, clouds) for iteration in protocol.snapshots]
    right = RIGHT if totals == TOTALS else [[total // 2 for total in totals]] * 2
    made_by = provenance(command, hardware).model_copy(update={"packages": PACKAGES})
    source_of = source("backbone", network) if network == "pointnet" else "2" * 64
    net = Network(name=network, preset="paper", source=source_of)
    inputs = DistillationInputs(
        method=method,
        params=variation or {},
        variation=variation or {},
        source=origin or source("method", "random"),
        data=data,
        ppc=ppc,
        iterations=protocol.iterations,
        snapshots=list(protocol.snapshots),
        network=net,
        whole=protocol.whole,
        repetition=repetition,
    )
    entries = [
        SnapshotEntry(
            iteration=s.iteration,
            seconds=s.iteration / protocol.iterations,
            clouds=s.clouds.content_hash(),
        )
        for s in snapshots
    ]
    folder = run_folder(out, inputs)
    save_snapshots(layout.clouds(folder), snapshots)
    made = DistillationRecord(
        key=inputs.key,
        status="ok",
        inputs=inputs,
        snapshots=entries,
        clock=Clock(seconds=1.0),
        memory=MEMORY,
        provenance=made_by,
    )
    write_record(folder / "distillation.json", made)
    scored = EvaluationInputs(
        distillation=made.key,
        data=data,
        network=net,
        protocol=protocol,
        repetitions=list(range(protocol.students)),
    )
    evaluation = EvaluationRecord(
        key=scored.key,
        inputs=scored,
        totals=totals,
        snapshots=[scores_of(right, totals, entry.iteration, entry.clouds) for entry in entries],
        confusion=confusion_of(right, totals),
        work=[
            Work(
                iterations=list(protocol.snapshots),
                train=Clock(seconds=1),
                test=Clock(seconds=1),
                memory=MEMORY,
                provenance=made_by,
            )
        ],
    )
    write_record(layout.evaluation(folder, scored.key), evaluation)
    run, problems = read_run(folder)
    assert not problems
    return run


@dataclass(frozen=True)
class Submission:
    """A submission on disk and the files of its first run."""

    folder: Path

    @property
    def run(self) -> Path:
        return min((self.folder / RUNS).iterdir())

    @property
    def distillation(self) -> Path:
        return self.run / "distillation.json"

    @property
    def evaluation(self) -> Path:
        return min(self.run.glob("evaluation-*.json"))

    @property
    def clouds(self) -> Path:
        return layout.clouds(self.run)

    def manifest(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text())
        return data

    def edit(self, path: Path, change: Callable[[dict[str, Any]], object], rekeyed: bool = False) -> None:
        """Change a JSON file in place; rekeyed: with the key, and the file name, that then fit."""
        data = json.loads(path.read_text())
        change(data)
        if rekeyed:
            kind = EvaluationInputs if path.name.startswith("evaluation") else DistillationInputs
            data["key"] = kind.model_validate(data["inputs"]).key
        path.write_text(json.dumps(data))
        if rekeyed and path.name.startswith("evaluation"):
            path.rename(path.with_name(f"evaluation-{data['key'][:10]}.json"))

    def reseal(self) -> None:
        """Write the manifest's hashes anew, as somebody does who tampers with care."""
        data = self.manifest()
        paths = sorted(p for p in self.folder.rglob("*") if p.is_file() and p.name != MANIFEST)
        data["files"] = [
            {
                "path": str(path.relative_to(self.folder)),
                "sha256": file_digest(path),
                "bytes": path.stat().st_size,
            }
            for path in paths
        ]
        for artifact in data["artifacts"]:
            clouds = layout.clouds(self.folder / RUNS / artifact["run"])
            if clouds.is_file():
                artifact |= {"sha256": file_digest(clouds), "bytes": clouds.stat().st_size}
        (self.folder / MANIFEST).write_text(json.dumps(data))


def a_submission(tmp: Path, name: str = "submission", **run: Any) -> Submission:
    """A true submission of one run."""
    made = a_run(tmp / f"{name}-results", **run)
    submit(CATALOGUE, [made], tmp / name, "MIT")
    return Submission(tmp / name)
