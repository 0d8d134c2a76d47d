"""Scores that this machine has computed, so that equal clouds are scored once for all runs of a folder.

All methods start from the same clouds. A record that lies in the folder proves nothing, since anybody may
have put it there: only what was written here, after the students' test, is taken over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pcbench.common.files import digest, write_json
from pcbench.common.schema import Model
from pcbench.datasets.store import cache_root
from pcbench.records.models import Count, EvaluationInputs, Provenance, SnapshotScores

ANY_DISTILLATION = "0" * 64


class Scored(Model):
    """What S students of one set of clouds scored."""

    scores: SnapshotScores
    """Their scores, under the iteration that they were found at."""
    confusion: list[list[Count]] | None
    """Their summed confusion, (K, K), where it is known."""


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
                with contextlib.suppress(OSError, ValidationError):  # what is damaged is computed again
                    known[each] = Scored.model_validate_json(path.read_bytes())
        return known

    def put(self, inputs: EvaluationInputs, scored: Scored) -> None:
        """Keep what students scored; what cannot be written is computed again some day."""
        path = self._path(inputs, scored.scores.clouds)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, scored.model_dump(mode="json"))

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
