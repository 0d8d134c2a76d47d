"""What students took each test cloud for, where it is kept, against the record beside it and the data."""

from __future__ import annotations

from collections.abc import Iterator

from pcbench.catalogue import Catalogue
from pcbench.errors import DataError
from pcbench.records import layout, predictions
from pcbench.records.models import Run
from pcbench.submission.rules import Finding
from pcbench.submission.rules.data import AtHand, tested


def findings(run: Run, catalogue: Catalogue, at_hand: AtHand) -> Iterator[Finding]:
    """Answers that are not those of their record, or of none, or to other test clouds than the data have."""
    named = {
        layout.predictions(run.folder, record.key): record
        for record in run.evaluations
        if record.predictions is not None
    }
    for path in layout.all_predictions(run.folder):
        if path not in named:
            yield Finding("unexpected-file", path, "no evaluation beside it has these predictions")
    for path, record in named.items():
        try:
            answered = predictions.read(run.folder, record)
        except DataError as error:
            yield Finding("altered-predictions", path, str(error).removeprefix(f"{path}: "))
            continue
        loaded = tested(run.distillation.inputs.data, record.inputs.variant, catalogue, at_hand)
        if answered is not None and loaded is not None and loaded.comparable(record.inputs.data):
            labels = loaded.splits.test.labels.tolist()
            if answered.labels.tolist() != labels:
                yield Finding("altered-predictions", path, "are of other test clouds, or of another order")
