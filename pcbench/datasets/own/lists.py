"""Finds clouds by lists: ModelNet's of own classes, or a table of file, class and split."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pcbench.datasets.copies import Copy, read_lines
from pcbench.datasets.formats import SUFFIXES, kind_of
from pcbench.datasets.formats.content import read_bytes
from pcbench.datasets.own.splits import Said, said
from pcbench.datasets.own.tree import Item, Place, copy_of, look
from pcbench.datasets.store import ImportOptions
from pcbench.errors import DataError

_COLUMNS = {
    "file": ("file", "path", "filename", "cloud"),
    "class": ("class", "label", "category", "class_name"),
    "split": ("split", "set", "subset"),
}
_ENDINGS: dict[str, Said] = {"train.txt": "train", "test.txt": "test", "val.txt": "validation"}


def by_names(folder: Path, options: ImportOptions) -> Copy | None:
    """The copy of a folder with lists as ModelNet's: `*train.txt`, `*test.txt`, of lines CLASS_NNNN.

    None where there are none. `*shape_names.txt` may name the classes; other files say what they are of.
    """
    ignored = options.tree.ignore
    starts = sorted(
        path.name.removesuffix("train.txt")
        for path in folder.glob("*train.txt")
        if path.with_name(f"{path.name.removesuffix('train.txt')}test.txt").is_file()
        and not any(path.match(pattern) for pattern in ignored)
    )
    if not starts:
        return None
    if len(starts) > 1:
        raise DataError(
            f"{folder} has lists of {len(starts)} data sets ({', '.join(starts)}): leave all but one out by "
            "a pattern",
            "ignored files",
        )
    lists = {split: folder / f"{starts[0]}{ending}" for ending, split in _ENDINGS.items()}
    items, missing = [], []
    seen: set[str] = set()
    for split, path in lists.items():
        for line, entry in enumerate(read_lines(path) if path.exists() else [], 1):
            where = f"{path}:{line}"
            if entry in seen:
                raise DataError(f"{where}: {entry[:60]!r} is named twice: take one away")
            seen.add(entry)
            name, file = _entry(folder, where, entry)
            if file is None:
                missing.append(f"{name}/{entry}")
            else:
                items.append(Item(file, name, split))
    if missing and not options.allow_incomplete:
        raise DataError(
            f"{folder / missing[0]}, which a list names, is missing, and so are {len(missing) - 1} more: add "
            "them or take them off the lists",
            "incomplete copy",
        )
    taken = {_place(folder, path) for path in (*lists.values(), *folder.glob("*shape_names.txt"))}
    taken |= {_place(folder, item.path) for item in items}
    found = look(folder, ignored)
    left = [place for place in (*found.clouds, *found.others) if place not in taken]
    notes = [*found.notes, *([f"{len(missing)} files that lists name are missing"] if missing else [])]
    copy = copy_of(folder, items, left, notes, options)
    _check_classes(folder, copy)
    return copy


def _place(folder: Path, path: Path) -> Place:
    return path.relative_to(folder).parts


def _entry(folder: Path, where: str, entry: str) -> tuple[str, Path | None]:
    """The class that a line of a list names, and its file; None where that is not there."""
    path = PurePosixPath(entry)
    if path.is_absolute() or ".." in path.parts or "\\" in entry or not entry.isprintable():
        raise DataError(f"{where}: {entry[:60]!r} leaves the folder: write CLASS/FILE, or CLASS_NNNN")
    name = path.parent.name or re.sub(r"_\d+$", "", path.name)
    if not path.parent.name:
        path = PurePosixPath(name) / path
    endings = [""] if kind_of(Path(path.name)) else [".txt", *SUFFIXES]
    candidates = (folder / f"{path}{ending}" for ending in endings)
    return name, next((file for file in candidates if file.is_file()), None)


def _check_classes(folder: Path, copy: Copy) -> None:
    """DataError where the list of classes has others than the clouds."""
    for path in sorted(folder.glob("*shape_names.txt"))[:1]:
        strange = sorted({*read_lines(path)} ^ {*copy.class_names})
        if strange:
            raise DataError(
                f"{path} and the lists of clouds differ in the class {strange[0]!r}: mend one of them"
            )


def by_table(path: Path, options: ImportOptions) -> Copy:
    """The copy that a table lists, .csv with a head or .json of objects: file, class and, if it says, split.

    Files stand where the table says, from its own folder.
    """
    items = []
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}: entry {number}"
        file, name = _word(row, "file", where), _word(row, "class", where)
        place = PurePosixPath(file.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise DataError(f"{where}: {file[:60]!r} leaves the folder of the list: name files below it")
        split = _word(row, "split", where, needed=False)
        if split and said(split) is None:
            raise DataError(f"{where} is of the split {split[:30]!r} instead of train, test or val: mend it")
        items.append(Item(path.parent / place, name, said(split)))
    if not items:
        raise DataError(f"{path} lists no clouds: give rows of {', '.join(_COLUMNS)}")
    unsplit = sum(item.split is None for item in items)
    if 0 < unsplit < len(items):
        raise DataError(f"{path}: {unsplit} of {len(items)} entries have no split: mend the list")
    missing = [item.path for item in items if not item.path.is_file()]
    if missing and not options.allow_incomplete:
        more = f", and {len(missing) - 1} more files are" if len(missing) > 1 else ", and is"
        raise DataError(f"{path} names {missing[0]}{more} not there: mend the list", "incomplete copy")
    twice = len(items) - len({item.path for item in items})
    if twice:
        raise DataError(f"{path} names {twice} files twice: mend the list")
    notes = [f"{len(missing)} files that the list names are missing"] if missing else []
    there = [item for item in items if item.path not in {*missing}]
    return copy_of(path.parent, there, (), notes, options)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            rows: Any = json.loads(text)
        else:
            first = text.partition("\n")[0]
            separator = max(",;\t", key=first.count)
            rows = list(csv.DictReader(text.splitlines(), delimiter=separator))
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{path} is no readable list ({' '.join(str(error).split())[:80]}): mend it"
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is no list of objects with {', '.join(_COLUMNS)}: mend it")
    return rows


def _word(row: Mapping[str, Any], column: str, where: str, needed: bool = True) -> str:
    """What a row says in a column, whichever of its names that has."""
    values = {str(key).strip().casefold(): value for key, value in row.items()}
    value = next((values[name] for name in _COLUMNS[column] if values.get(name) not in (None, "")), "")
    if (needed and value == "") or not isinstance(value, str | int):
        there = ", ".join(sorted(values)) or "nothing"
        raise DataError(
            f"{where} has no {column} (columns: {there[:80]}): columns {', '.join(_COLUMNS)} are wanted"
        )
    return str(value).strip()
