"""Every file of a run and what it is called; no other module spells a name of one.

    OUT/.pcbench/                    what is being done; the results do not depend on it
        plans/5a0c….json             each plan that was worked through here
        claims/3f9c0a12be.lock       a distillation that some process works at, on any machine
        attempts/3f9c0a12be-77ab01c3d9.json   a cell that is being worked at, or that did not end well
        jobs/5a0c….json              what a cluster was given of a plan; what each task prints, beside it
    OUT/sadm-modelnet10-ppc1-3f9c0a12be/
        distillation.json            how the clouds were distilled, however that ended
        clouds.h5                    the clouds of every snapshot
        log.csv                      what the method logged while it worked
        checkpoint.h5                what an unfinished distillation has reached
        training-77ab01c3d9-0.h5     what students in training have reached, the first of them being 0
        evaluation-77ab01c3d9.json   scores of the students trained on them
        predictions-77ab01c3d9.h5    what these students took each test cloud for
        verification-77ab01c3d9.json what somebody else found who trained them again
        traceback.txt                where a method failed; beside an evaluation, NAME.traceback.txt

The names are for people: what a record is stands inside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pcbench.records.labels import amount

if TYPE_CHECKING:
    from pcbench.records.inputs import DistillationInputs

DISTILLATION = "distillation.json"
CLOUDS = "clouds.h5"
CHECKPOINT = "checkpoint.h5"
LOG = "log.csv"
TRACEBACK = "traceback.txt"

WORK = ".pcbench"
"""The folder beside the runs that says who works at what."""

KEY_DIGITS = 10
"""So many digits of a key stand for it in the names of files and pages, and in messages."""


def short(key: str) -> str:
    """The digits of a key, or of another hash, that stand for it."""
    return key[:KEY_DIGITS]


def run_folder(out: Path, inputs: DistillationInputs) -> Path:
    """The folder of a distillation below `out`; the name is made safe for a file system."""
    words = f"{inputs.method}-{inputs.data.name}-{amount(inputs.ppc).lower().replace(' ', '')}"
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", words).lstrip(".")[:80]
    return out / f"{name}-{short(inputs.key)}"


def run_folders(out: Path) -> list[Path]:
    """The folders of distillations directly below `out`, sorted."""
    return sorted(path.parent for path in out.glob(f"*/{DISTILLATION}"))


def run_folders_anywhere(root: Path) -> list[Path]:
    """The folders of distillations at any depth below `root`, sorted."""
    return sorted(path.parent for path in root.rglob(DISTILLATION))


def begun_folders(out: Path) -> list[Path]:
    """The folders directly below `out` of distillations that were begun and have no record yet, sorted."""
    return sorted(path.parent for path in out.glob(f"*/{CHECKPOINT}") if not is_run_folder(path.parent))


def is_run_folder(folder: Path) -> bool:
    """Whether a distillation stands in a folder itself."""
    return (folder / DISTILLATION).exists()


def distillation(folder: Path) -> Path:
    """The record of the distillation in a run's folder."""
    return folder / DISTILLATION


def clouds(folder: Path) -> Path:
    """The clouds of a run."""
    return folder / CLOUDS


def checkpoint(folder: Path) -> Path:
    """What an unfinished distillation has reached."""
    return folder / CHECKPOINT


def training(folder: Path, key: str) -> Path:
    """What the files are called after that keep the students in training of the evaluation of that key."""
    return folder / f"training-{short(key)}"


def share_of(training: Path, first: int) -> Path:
    """The file of the share of a training whose first student has that number."""
    return training.with_name(f"{training.name}-{first}.h5")


def shares(training: Path) -> list[Path]:
    """The files of all shares of a training, sorted."""
    return sorted(training.parent.glob(f"{training.name}-*.h5"))


def log(folder: Path) -> Path:
    """What the method of a run logged."""
    return folder / LOG


def evaluation(folder: Path, key: str) -> Path:
    """The record of the evaluation of that key in its run's folder."""
    return folder / f"evaluation-{short(key)}.json"


def evaluations(folder: Path) -> list[Path]:
    """The files of all evaluations in a run's folder, sorted."""
    return sorted(folder.glob("evaluation-*.json"))


def predictions(folder: Path, key: str) -> Path:
    """The students' answers of the evaluation of that key: beside it."""
    return folder / f"predictions-{short(key)}.h5"


def all_predictions(folder: Path) -> list[Path]:
    """The files of all students' answers in a run's folder, sorted."""
    return sorted(folder.glob("predictions-*.h5"))


def verification(folder: Path, key: str) -> Path:
    """The verification of the evaluation of that key: beside it."""
    return folder / f"verification-{short(key)}.json"


def verifications(folder: Path) -> list[Path]:
    """The files of all verifications in a run's folder, sorted."""
    return sorted(folder.glob("verification-*.json"))


def is_verification(path: str) -> bool:
    """Whether a file, by its path, is called as a verification is."""
    return path.rpartition("/")[2].startswith("verification-")


def traceback(folder: Path, key: str | None = None) -> Path:
    """Where a method failed or, with a key, the evaluation of that key."""
    return folder / TRACEBACK if key is None else evaluation(folder, key).with_suffix(".traceback.txt")


def plans(out: Path) -> list[Path]:
    """The plans that were worked through in a folder of runs, in the order of their names."""
    return sorted((out / WORK / "plans").glob("*.json"))


def plan(out: Path, plan_hash: str) -> Path:
    """The plan of that hash in a folder of runs."""
    return out / WORK / "plans" / f"{short(plan_hash)}.json"


def jobs(out: Path, plan_hash: str) -> Path:
    """What a cluster was given of the plan of that hash."""
    return out / WORK / "jobs" / f"{short(plan_hash)}.json"


def job_log(out: Path, plan_hash: str, job: int | str, task: int | str) -> Path:
    """What a task of a cluster prints; job, task: its numbers, or what the cluster puts them for."""
    return jobs(out, plan_hash).with_name(f"{short(plan_hash)}-{job}_{task}.log")


def job_logs(out: Path, plan_hash: str) -> list[Path]:
    """What all tasks that worked through a plan have printed."""
    return sorted(jobs(out, plan_hash).parent.glob(f"{short(plan_hash)}-*.log"))


def claims(out: Path) -> Path:
    """The folder of all claims in a folder of runs."""
    return out / WORK / "claims"


def claim(out: Path, key: str) -> Path:
    """The lock file of whoever works at the distillation of that key, and at its students."""
    return claims(out) / f"{short(key)}.lock"


def attempts(out: Path) -> Path:
    """The folder of all attempts in a folder of runs."""
    return out / WORK / "attempts"


def attempt(out: Path, key: str, evaluation: str) -> Path:
    """The last attempt at a cell, given by the keys of its distillation and of its evaluation."""
    return attempts(out) / f"{short(key)}-{short(evaluation)}.json"
