"""Reads clouds from text: a point a line, with any of the usual separators, under any of the usual heads."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcbench.datasets.formats.content import Flaw, Points, points_of

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_LINES = 100
_COMMENT = ("#", "//", "%")


def read(content: bytes, columns: int | None = None) -> Points:
    """One point a line. columns: how many there must be, with commas between them, and no head."""
    text = _text(content)
    if not text.strip():
        raise Flaw(" is empty")
    head = _Head(",") if columns is not None else _head(text)
    body = text if head.lines == 0 else "".join(text.splitlines(keepends=True)[head.lines :])
    if head.decimal_comma:
        body = body.replace(",", ".")
    if head.trailing:
        body = re.sub(rf"[ \t]*{re.escape(head.separator or ' ')}[ \t]*(?=\r?\n|$)", "", body)
    try:
        table = np.loadtxt(
            io.StringIO(body), np.float64, comments=None, delimiter=head.separator, ndmin=2, quotechar='"'
        )
    except ValueError as error:
        raise Flaw(f":{_flaw(body, head, columns)}") from error
    if (columns is not None and table.shape[1] != columns) or table.shape[1] < 3:
        wanted = f"{columns}" if columns is not None else "3 or more"
        raise Flaw(f":{head.lines + 1}: {table.shape[1]} columns instead of {wanted}")
    if head.announced not in (None, len(table)):
        raise Flaw(f":{head.lines}: {head.announced} points are announced, and {len(table)} lines follow")
    if head.axes is None:
        return points_of(table)
    if max(head.axes) >= table.shape[1]:
        raise Flaw(f":{head.lines}: {max(head.axes) + 1} columns are named, and there are {table.shape[1]}")
    return points_of(table[:, head.axes])


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-16" if content.startswith(_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Flaw(f":{line}: this is no text of numbers") from error


@dataclass(frozen=True)
class _Head:
    """What stands before the numbers of a text, and how its lines are written."""

    separator: str | None
    """Between numbers; None: white space."""
    lines: int = 0
    """How many lines to skip."""
    announced: int | None = None
    """The number of points, where a line says it."""
    axes: list[int] | None = None
    """The columns x, y and z, where a line names the columns; else they are the first three."""
    decimal_comma: bool = False
    trailing: bool = False
    """Whether lines end in a separator."""


def _head(text: str) -> _Head:
    """The head of a text: comments, a line that names the columns, a line with the number of points."""
    announced, names = None, None
    reader = io.StringIO(text)
    for number in range(_HEAD_LINES):
        line = reader.readline()
        stripped = line.strip()
        if not line:
            break
        if not stripped:
            continue
        comment = stripped.startswith(_COMMENT)
        words = [word for word in re.split(r"[\s,;]+", stripped.lstrip("#/% ")) if word]
        if comment or not any(map(_is_number, words)):
            if names is not None and not comment:
                raise Flaw(f":{number + 1}: {words[0][:30]!r} is no number")
            names = _axes(words) or names or (() if not comment else None)
        elif announced is None and len(words) == 1 and words[0].isdecimal() and _more(reader):
            announced = int(words[0])
        else:
            return _style(text, stripped, number, announced, list(names) if names else None)
    raise Flaw(":1: this is no table of numbers")


def _more(reader: io.StringIO) -> bool:
    """Whether the next line that is not empty has several numbers, or is a part of a head."""
    place = reader.tell()
    line = next((line for line in reader if line.strip()), "")
    reader.seek(place)
    return len(re.split(r"[\s,;]+", line.strip())) > 1 or line.startswith(_COMMENT)


def _style(text: str, line: str, skipped: int, announced: int | None, axes: list[int] | None) -> _Head:
    """How a text is written, by its first line of numbers."""
    separator = ";" if ";" in line else "," if "," in line else None
    trailing = separator is not None and line.endswith(separator)
    return _Head(separator, skipped, announced, axes, separator == ";" and "," in text, trailing)


def _axes(words: list[str]) -> tuple[int, ...] | None:
    """Where x, y and z stand among the names of columns; None where they are not named."""
    plain = [word.strip("\"'").lower() for word in words]
    return tuple(plain.index(axis) for axis in "xyz") if {"x", "y", "z"} <= {*plain} else None


def _is_number(word: Any) -> bool:
    try:
        float(word.strip('"').replace(",", "."))
    except ValueError:
        return False
    return True


def _flaw(body: str, head: _Head, columns: int | None) -> str:
    """The first line that is not like the others, and why."""
    for number, line in enumerate(io.StringIO(body), head.lines + 1):
        words = line.strip().split(head.separator)
        if not line.strip():
            continue
        columns = columns or len(words)
        if len(words) != columns:
            return f"{number}: {len(words)} columns instead of {columns}"
        for word in words:
            if not _is_number(word):
                return f"{number}: {word[:30]!r} is no number"
    return f"{head.lines + 1}: this is no table of numbers"
