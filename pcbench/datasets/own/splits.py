"""Which split each cloud of a user's own data goes to: as its folder says, or a share of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from pcbench.datasets.copies import several
from pcbench.datasets.store import SPLITS, ImportOptions, Split
from pcbench.errors import DataError
from pcbench.seeds import seed_of

Said: TypeAlias = Literal["train", "test", "validation"]
"""A split as people have them."""

_WORDS: dict[Said, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}


def said(word: str) -> Said | None:
    """Which split a word names, in any case; None for another word."""
    return next((split for split, words in _WORDS.items() if word.casefold() in words), None)


@dataclass(frozen=True)
class Assigned:
    """The clouds of a data set, by their numbers, in their splits."""

    members: dict[Split, list[int]]
    notes: tuple[str, ...]
    """How they came there, in sentences."""


def assigned(
    what: str, splits: Sequence[Said | None], classes: Sequence[str], options: ImportOptions
) -> Assigned:
    """Every cloud in a split; DataError where the options leave open in which.

    what: names the data in messages. splits: what the files say of each cloud, None where they say nothing.
    """
    share, notes = options.tree.test_share, []
    if not any(splits):
        if share is None:
            names = sorted({*classes})
            raise DataError(
                f"{what} holds {len(splits)} clouds of {len(names)} classes ({several(names)}), and nothing "
                "says which are for training and which for the test: let a share of every class be the test "
                "split, as 0.2",
                "test share",
            )
        taken: list[Split | None] = [*_shared(what, classes, share, options.seed)]
        notes.append(
            f"a share of {share:g} of every class, drawn with seed {options.seed}, is the test split"
        )
    elif share is not None:
        raise DataError(f"{what} has splits of its own: leave out the share for the test", "test share")
    else:
        taken, told = _said(what, splits, options)
        notes += told
    members = {split: [i for i, each in enumerate(taken) if each == split] for split in SPLITS}
    return Assigned(members, tuple(notes))


def _said(
    what: str, splits: Sequence[Said | None], options: ImportOptions
) -> tuple[list[Split | None], list[str]]:
    """The splits that the files say; validation clouds go where the options say."""
    count = splits.count("validation")
    goes = options.tree.validation or ("apart" if options.allow_incomplete else None)
    if count and goes is None:
        raise DataError(
            f"{what} has {count} clouds for validation beside train and test: say whether they go to train, "
            "to test, or stay apart",
            "validation",
        )
    notes = []
    if count:
        notes.append(
            f"{count} clouds for validation {'are left out' if goes == 'apart' else f'go to {goes}'}"
        )
    merged: Split | None = None if goes in ("apart", None) else "train" if goes == "train" else "test"
    taken: list[Split | None] = [merged if split == "validation" else split for split in splits]
    return taken, notes


def _shared(what: str, classes: Sequence[str], share: float, seed: int) -> list[Split]:
    """A share of every class for the test, at least one cloud and not all; drawn for each class by itself."""
    taken: list[Split] = ["train"] * len(classes)
    for name in dict.fromkeys(classes):
        members = [i for i, each in enumerate(classes) if each == name]
        if len(members) < 2:
            raise DataError(
                f"{what}: class {name!r} has one cloud, and a split needs two: add some, or leave it out"
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        generator = np.random.default_rng(seed_of({"purpose": "split", "seed": seed, "class": name}))
        for i in generator.permutation(len(members))[:count]:
            taken[members[i]] = "test"
    return taken
