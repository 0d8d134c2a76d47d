"""Every file of a run and what it is called."""

from __future__ import annotations

import re
from pathlib import Path

from pcbench.records.labels import ppc_label
from pcbench.records.models import DistillationInputs, EvaluationInputs


def run_folder(out: Path, inputs: DistillationInputs) -> Path:
    """Where a distillation's files stand below `out`; the name is made safe for a file system."""
    name = f"{inputs.method}-{inputs.data.name}-{ppc_label(inputs.ppc).lower().replace(' ', '')}"
    return out / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name).lstrip('.')[:80]}-{inputs.key[:10]}"


def evaluation_path(folder: Path, inputs: EvaluationInputs) -> Path:
    """Where an evaluation record stands in its run's folder."""
    return folder / f"evaluation-{inputs.key[:10]}.json"


def part_path(folder: Path, inputs: EvaluationInputs, number: int) -> Path:
    """Where a part of an unfinished evaluation stands: a record of some of its snapshots."""
    return folder / f"part-{inputs.key[:10]}-{number}.json"


def part_paths(folder: Path, inputs: EvaluationInputs) -> list[Path]:
    """The files of all parts of an unfinished evaluation."""
    return sorted(folder.glob(f"part-{inputs.key[:10]}-*.json"))


def verification_path(folder: Path, evaluation: str) -> Path:
    """Where the verification of an evaluation, given by its key, stands: beside it."""
    return folder / f"verification-{evaluation[:10]}.json"


def run_folders(out: Path) -> list[Path]:
    """The folders below `out` that hold a distillation, sorted."""
    return [path.parent for path in sorted(out.glob("*/distillation.json"))]
