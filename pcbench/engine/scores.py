"""Scores that this machine has computed, so that equal clouds are scored once for all runs of a folder.

All methods start from the same clouds. A record that lies in the folder proves nothing, since anybody may
have put it there: only what was written here, after the students' test, is taken over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pcbench.common.files import digest, write_json
from pcbench.common.schema import Model
from pcbench.datasets.store import cache_root
from pcbench.errors import DataError
from pcbench.records import predictions
from pcbench.records.circumstances import Provenance
from pcbench.records.inputs import EvaluationInputs
from pcbench.records.models import SnapshotScores
from pcbench.records.predictions import Predictions
from pcbench.records.values import Count

ANY_DISTILLATION = "0" * 64


@dataclass(frozen=True)
class Scored:
    """What S students of one set of clouds scored."""

    scores: SnapshotScores
    """Their scores, under the iteration that they were found at."""
    confusion: list[list[int]] | None
    """Their summed confusion, (K, K), where it is known."""
    predictions: Predictions | None
    """What they took each test cloud for, where it is known."""


class _Stored(Model):
    """What is kept of it in JSON; the predictions stand beside it, and the confusion follows from them."""

    scores: SnapshotScores
    """The scores."""
    totals: list[Count]
    """Test clouds per class, (K,)."""


@dataclass(frozen=True)
class ScoreStore:
    """The scores that this machine, with these packages, has computed for the runs of one folder."""

    folder: Path
    """The folder of the runs."""
    provenance: Provenance
    """The machine and the packages."""

    def get(self, inputs: EvaluationInputs, clouds: Iterable[str]) -> dict[str, Scored]:
        """What is known of some clouds, given by their hashes, by the test of `inputs`."""
        known = {}
        for each in clouds:
            path = self._path(inputs, each)
            if path.is_file():
                with contextlib.suppress(OSError, ValueError, DataError):  # what is damaged is computed again
                    known[each] = _read(path)
        return known

    def put(self, inputs: EvaluationInputs, scored: Scored) -> None:
        """Keep what students scored; what cannot be written is computed again some day."""
        path, answered = self._path(inputs, scored.scores.clouds), scored.predictions
        if answered is None:
            return
        with contextlib.suppress(OSError):
            predictions.save(_beside(path), answered)
            write_json(path, _Stored(scores=scored.scores, totals=answered.totals).model_dump(mode="json"))

    def _path(self, inputs: EvaluationInputs, clouds: str) -> Path:
        test = inputs.model_copy(update={"distillation": ANY_DISTILLATION})
        key = digest(
            {
                "test": test.key,
                "clouds": clouds,
                "folder": str(self.folder.resolve()),
                "packages": self.provenance.packages,
                "hardware": self.provenance.hardware.model_dump(mode="json"),
            }
        )
        return cache_root() / "scores" / f"{key}.json"


def _beside(path: Path) -> Path:
    """The predictions that belong to a file of scores."""
    return path.with_suffix(".h5")


def _read(path: Path) -> Scored:
    """Scores with the predictions that they follow from; ValueError or DataError where they do not."""
    stored = _Stored.model_validate_json(path.read_bytes())
    answered = predictions.load(_beside(path), len(stored.scores.oa), stored.totals)
    if answered.correct != stored.scores.correct:
        raise DataError(f"{path}: the right answers do not follow from the predictions beside it")
    return Scored(stored.scores, answered.confusion, answered)
