"""Finds clouds in folders of classes and splits, whichever stands outside, and counts all that it leaves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from pcbench.datasets.copies import Copy, Piece, files_of
from pcbench.datasets.formats import SUFFIXES, kind_of
from pcbench.datasets.own.splits import Said, assigned, said
from pcbench.datasets.store import SPLITS, ImportOptions
from pcbench.errors import DataError

_DEEPEST = 8
_MOST_FILES = 1_000_000
_PAPERS = ("readme", "license", "licence", "copying", "citation", "changelog")
_ASIDE = (
    ".md", ".rst", ".pdf", ".html", ".mtl", ".png", ".jpg", ".jpeg", ".tga", ".bmp", ".tif", ".tiff",
)  # fmt: skip
_SYSTEM = ("thumbs.db", "desktop.ini")

Place: TypeAlias = tuple[str, ...]
"""Where a file stands in a tree: its folders and its name."""


@dataclass(frozen=True)
class Item:
    """A cloud of a user's own data."""

    path: Path
    class_name: str
    split: Said | None


@dataclass(frozen=True)
class Seen:
    """All files of a tree."""

    clouds: tuple[Place, ...]
    """Those that may hold a cloud, sorted."""
    others: tuple[Place, ...]
    """Those that pcbench cannot read, and empty folders."""
    notes: tuple[str, ...]
    """What was left out and may be, in sentences."""


def look(folder: Path, ignore: Sequence[str]) -> Seen:
    """All files below a folder but hidden ones; what matches a pattern is left out, and counted."""
    clouds, others, aside, ignored = [], [], [], []
    for place in _walk(folder):
        name = place[-1].lower()
        if any(_matches(place, pattern) for pattern in ignore):
            ignored.append(place)
        elif name in _SYSTEM or name.endswith(_ASIDE) or _is_paper(name):
            aside.append(place)
        elif kind_of(Path(name)):
            clouds.append(place)
        else:
            others.append(place)
    notes = []
    for left, why in ((ignored, "as asked"), (aside, "as no clouds")):
        if left:
            notes.append(f"left out {why}: {kinds(left)}")
    return Seen(tuple(sorted(clouds)), tuple(sorted(others)), tuple(notes))


def _is_paper(name: str) -> bool:
    return name.startswith(_PAPERS) and Path(name).suffix in ("", ".txt")


def _matches(place: Place, pattern: str) -> bool:
    """Whether a pattern fits a place from any of its folders on: `val/*` fits `desk/val/0.npy`."""
    ends = ("/".join(place[first:]) for first in range(len(place)))
    return any(fnmatchcase(end, pattern) or fnmatchcase(end, f"{pattern.rstrip('/')}/*") for end in ends)


def _walk(folder: Path) -> Iterable[Place]:
    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): check permissions") from error

    count = 0
    for here, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        place = Path(here).relative_to(folder).parts
        if len(place) > _DEEPEST:
            raise DataError(
                f"{here} is more than {_DEEPEST} folders deep: give the folder that holds the classes"
            )
        count += len(files)
        if count > _MOST_FILES:
            raise DataError(
                f"{folder} holds more than {_MOST_FILES} files: give the folder that holds the classes"
            )
        if place and not folders and not files:
            yield (*place, "")
        yield from ((*place, name) for name in files if not name.startswith("."))


def kinds(places: Iterable[Place], shown: int = 5) -> str:
    """Files by their kind, in words: "4 .las (first: oak/train/0.las), 1 empty folder (pine)"."""
    by_kind: dict[str, list[Place]] = {}
    for place in sorted(places):
        by_kind.setdefault(_kind(place[-1]), []).append(place)
    words = []
    for kind, members in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        first = "/".join(members[0]).rstrip("/")
        words.append(f"{len(members)} {kind} ({'first: ' if len(members) > 1 else ''}{first})")
    more = f" and {len(words) - shown} more kinds" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def _kind(name: str) -> str:
    if not name:
        return "empty folder"
    path = PurePosixPath(name)
    suffixes = path.suffixes[-2:] if path.suffix.lower() == ".gz" else [path.suffix]
    return "".join(suffixes) or "without suffix"


def find(folder: Path, options: ImportOptions, layouts: str) -> Copy:
    """Clouds in CLASS/SPLIT/FILE, SPLIT/CLASS/FILE or CLASS/FILE; DataError for files that are not taken."""
    seen = look(folder, options.tree.ignore)
    if not seen.clouds:
        there = f"seen: {kinds(seen.others)}; " if seen.others else ""
        raise DataError(
            f"{folder} holds no clouds that pcbench knows ({there}files that it reads: "
            f"{' '.join(SUFFIXES)}): give {layouts}"
        )
    items, left = _arranged(folder, seen.clouds)
    if not items:
        raise DataError(
            f"{folder} holds {len(seen.clouds)} clouds, and no folders of classes around them "
            f"({kinds(seen.clouds)}): give {layouts}"
        )
    names = {item.class_name for item in items}
    others = [place for place in seen.others if place[-1] or names.isdisjoint(place)]  # a class lacks a split
    return copy_of(folder, items, (*others, *left), seen.notes, options)


def copy_of(
    root: Path, items: Sequence[Item], left: Sequence[Place], notes: Sequence[str], options: ImportOptions
) -> Copy:
    """A copy made of single files, which go to the splits that they say, or that the options say.

    left: what stands beside them and is not taken, which has to be allowed.
    """
    notes = list(notes)
    if left and not options.allow_incomplete:
        raise DataError(
            f"{root} holds what is not taken: {kinds(left)}: take them away, or leave them out by a pattern",
            "ignored files",
            "incomplete copy",
        )
    if left:
        notes.append(f"not taken: {kinds(left)}")
    classes = [item.class_name for item in items]
    division = assigned(f"{root}", [item.split for item in items], classes, options)
    names = sorted({*classes})
    pieces: list[Piece] = []
    for split in SPLITS:
        members = [items[i] for i in division.members[split]]
        members.sort(key=lambda item: (names.index(item.class_name), item.path))
        pieces += files_of(split, [(item.path, names.index(item.class_name)) for item in members])
    variant = f"your own: {root.resolve().name}"
    return Copy(
        variant, root, tuple(names), tuple(pieces), slow=True, own=True, notes=(*notes, *division.notes)
    )


def _arranged(folder: Path, clouds: Sequence[Place]) -> tuple[list[Item], list[Place]]:
    """The clouds in classes and splits, by the arrangement that most of them fit, and those that do not."""
    shared = _shared(clouds)
    whole = {place: place[shared:] for place in clouds}
    readings = [(form, parts) for parts in (whole, _without_objects(whole)) for form in _FORMS]
    form, parts = max(readings, key=lambda each: sum(_fits(each[0], place) for place in each[1].values()))
    items, left = [], []
    for place, part in parts.items():
        if _fits(form, part):
            split = said(part[form.split]) if form.split is not None else None
            items.append(Item(folder.joinpath(*place), part[form.name], split))
        else:
            left.append(place)
    return items, left


def _without_objects(parts: dict[Place, Place]) -> dict[Place, Place]:
    """The same places without their innermost folders, where each of these holds one cloud: OBJECT/FILE."""
    folders = {part[:-1] for part in parts.values() if len(part) > 2}
    if len(folders) < len(parts):
        return parts
    return {place: (*part[:-2], part[-1]) for place, part in parts.items()}


@dataclass(frozen=True)
class _Form:
    """Which folder of a place names the class, and which the split."""

    depth: int
    name: int
    split: int | None


_FORMS = (_Form(3, 0, 1), _Form(3, 1, 0), _Form(2, 0, None))


def _fits(form: _Form, place: Place) -> bool:
    return len(place) == form.depth and (form.split is None or said(place[form.split]) is not None)


def _shared(clouds: Sequence[Place]) -> int:
    """How many folders stand around all classes: those that every place begins with."""
    count = 0
    while True:
        heads = {place[count] for place in clouds if len(place) > count + 2}
        whole = all(len(place) > count + 2 for place in clouds)
        if len(heads) != 1 or not whole or said(next(iter(heads))) is not None:
            return count
        rest = {place[count + 1] for place in clouds}
        if all(said(word) is not None and len(place) == count + 3 for word in rest for place in clouds):
            return count
        count += 1
