"""Which published scores there are to verify: a claim an evaluation, a reason for each that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pcbench.catalogue import Catalogue
from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.labels import title
from pcbench.records.models import EvaluationRecord, Run
from pcbench.records.store import checked_run, read_record
from pcbench.seeds import Streams
from pcbench.submission.manifest import MANIFEST, RUNS, Manifest, run_folders
from pcbench.submission.validate import validate


@dataclass(frozen=True)
class Claim:
    """An evaluation of a run whose scores are to be verified."""

    run: Run
    """The run."""
    scored: EvaluationRecord
    """The evaluation, one of the run's."""
    clouds: Path
    """The folder where the run's clouds are."""

    @property
    def title(self) -> str:
        """One line for people."""
        scored = self.scored.inputs
        return title(self.run.distillation.inputs, scored.network.label, scored.variant.label)


@dataclass(frozen=True)
class Unusable:
    """A record that claims something and cannot be judged."""

    place: str
    """Where it stands: a run's folder."""
    reason: str
    """What is wrong with it."""


def claims(
    catalogue: Catalogue, folder: Path, artifacts: Path | None = None
) -> tuple[list[Claim], list[Unusable]]:
    """All evaluations of a run, a folder of runs or a submission, in the order of their keys.

    Also what cannot be judged: a run with a problem does not keep the others from being judged. artifacts: a
    folder with RUN/clouds.h5 for runs whose clouds are elsewhere. DataError where a submission as a whole is
    not valid, and where there is nothing to judge.
    """
    refused = _refused(catalogue, folder)
    folders = [folder] if layout.is_run_folder(folder) else run_folders(folder)
    found: list[Claim] = []
    unusable: list[Unusable] = []
    for place in folders:
        if place.name in refused:
            unusable.append(Unusable(str(place), refused[place.name]))
            continue
        try:
            read = checked_run(place)
        except DataError as error:
            unusable.append(Unusable(str(place), str(error)))
            continue
        run = read.run
        # An earlier verification that does not fit is about to be replaced.
        wrong = [error for error in read.problems if not layout.is_verification(str(error.path))]
        unusable += [Unusable(str(place), str(error)) for error in wrong]
        clouds = artifacts / place.name if artifacts and (artifacts / place.name).is_dir() else place
        found += [Claim(run, scored, clouds) for scored in run.evaluations]
    if not found and not unusable:
        raise DataError(f"{folder} has no evaluation to verify")
    return sorted(found, key=lambda claim: (claim.run.distillation.key, claim.scored.key)), unusable


def _refused(catalogue: Catalogue, folder: Path) -> dict[str, str]:
    """What is wrong with single runs of a submission, by the names of their folders.

    DataError where something else is wrong with it.
    """
    if not (folder / MANIFEST).exists():
        return {}
    refused: dict[str, str] = {}
    general = []
    for problem in validate(catalogue, folder):
        if layout.is_verification(problem.file):
            continue
        place = Path(problem.file).parts
        if len(place) == 3 and place[0] == RUNS:
            refused.setdefault(place[1], str(problem))
        else:
            general.append(str(problem))
    if general:
        raise DataError(f"{folder} is no valid submission:\n" + "\n".join(general))
    return refused


def submitted_methods(folder: Path) -> tuple[Path, ...]:
    """The folders of a submission with sources of methods: a stranger's code, to be read before it runs."""
    if not (folder / MANIFEST).exists():
        return ()
    listed = read_record(folder / MANIFEST, Manifest)
    entries = [given.entry for given in listed.plugins if given.kind == "method"]
    return tuple(sorted({(folder / entry).parent for entry in entries}))


def sample(found: Sequence[Claim], size: int, seed: int) -> list[Claim]:
    """Some of the claims, drawn without repetition by the seed, in their order; all if there are no more."""
    generator = Streams({"level": "verification", "seed": seed}).stream("sample")
    drawn = torch.randperm(len(found), generator=generator)[:size]
    return [found[place] for place in sorted(drawn.tolist())]


def meeting(altered: int, claimed: int, drawn: int) -> float:
    """The probability that a sample of so many claims holds one of the altered ones."""
    missed = 1.0
    for number in range(min(drawn, claimed)):
        missed *= max(claimed - altered - number, 0) / (claimed - number)
    return 1 - missed
