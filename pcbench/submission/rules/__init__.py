"""What records, clouds and sources of a submission are held to beyond their schema: one module a group.

A rule is a function that yields findings. It knows nothing of manifests or of what is published, so that the
same rules hold for a submission, for a plain folder of runs, and for our own published results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pcbench.records import layout
from pcbench.records.models import EvaluationRecord, Run


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found."""

    code: str
    """The kind of problem, by its name in `manifest.REMEDIES`."""
    file: Path
    """Where."""
    told: str
    """What, in one line."""


def scored_files(run: Run) -> Iterator[tuple[Path, EvaluationRecord]]:
    """The evaluations of a run, each with its file."""
    for record in run.evaluations:
        yield layout.evaluation(run.folder, record.key), record
