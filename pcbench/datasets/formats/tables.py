"""Reads clouds from text: a point a line, with any of the usual separators, under any of the usual heads."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass

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
    body = text.split("\n", head.lines)[-1]
    if head.decimal_comma:
        body = body.replace(",", ".")
    if head.trailing:
        body = re.sub(rf"[ \t]*{re.escape(head.separator or ' ')}[ \t]*$", "", body, flags=re.MULTILINE)
    try:
        table = np.loadtxt(
            io.StringIO(body),
            np.float64,
            comments="#" if columns is None else None,
            delimiter=head.separator,
            ndmin=2,
            quotechar='"',
            usecols=head.axes,
        )
    except ValueError as error:
        raise Flaw(f":{_flaw(body, head, columns)}") from error
    if (columns is not None and table.shape[1] != columns) or table.shape[1] < 3:
        wanted = f"{columns}" if columns is not None else "3 or more"
        raise Flaw(f":{head.lines + 1}: {table.shape[1]} columns instead of {wanted}")
    if head.announced not in (None, len(table)):
        raise Flaw(f":{head.lines}: {head.announced} points are announced, and {len(table)} lines follow")
    return points_of(table)


def _text(content: bytes) -> str:
    """The text of a file, with the ends of lines of this system."""
    try:
        text = content.decode("utf-16" if content.startswith(_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Flaw(f":{line}: this is no text of numbers") from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


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
    """The columns x, y and z, where a line names them and others; else they are the first three of all."""
    decimal_comma: bool = False
    trailing: bool = False
    """Whether lines end in a separator."""


def _head(text: str) -> _Head:
    """The head of a text: comments, a line that names the columns, a line with the number of points."""
    announced, names = None, ""
    lines = text.split("\n", _HEAD_LINES)[:_HEAD_LINES]
    for number, line in enumerate(map(str.strip, lines)):
        words = _words(line.lstrip("#/% "))
        if not words:
            continue
        comment = line.startswith(_COMMENT)
        if comment or not any(map(_is_number, words)):
            if names and not comment:
                raise Flaw(f":{number + 1}: {words[0][:30]!r} is no number")
            if not comment or {"x", "y", "z"} <= {*_plain(words)}:
                names = line.lstrip("#/% ")
        elif announced is None and words[0].isdecimal() and len(words) == 1 and _more(lines[number + 1 :]):
            announced = int(words[0])
        else:
            separator = ";" if ";" in line else "," if "," in line else None
            return _Head(
                separator,
                number,
                announced,
                _axes(number, names, line, separator) if names else None,
                separator == ";" and "," in text,
                separator is not None and line.endswith(separator),
            )
    raise Flaw(":1: this is no table of numbers")


def _more(lines: list[str]) -> bool:
    """Whether the next line that is not empty has several numbers, or is a part of a head."""
    line = next((line for line in lines if line.strip()), "")
    return len(_words(line)) > 1 or line.strip().startswith(_COMMENT)


def _words(line: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", line) if word]


def _plain(words: list[str]) -> list[str]:
    return [word.strip("\"' ").lower() for word in words]


def _axes(number: int, names: str, first: str, separator: str | None) -> list[int] | None:
    """Where x, y and z stand by the line that names the columns; None where they are the first three.

    first: the first line of numbers. Raises Flaw where a table of more columns names none of them so.
    """
    columns = len(first.rstrip(separator).split(separator))
    named = _plain(names.split(separator if separator and separator in names else None))
    if not {"x", "y", "z"} <= {*named}:
        if columns == 3:
            return None
        shown = ", ".join(named)[:60]
        raise Flaw(f":{number}: its columns are called {shown}: call those of the coordinates x, y and z")
    axes = [named.index(axis) for axis in "xyz"]
    if axes == [0, 1, 2]:
        return axes if columns == len(named) else None
    if len(named) != columns:
        raise Flaw(f":{number}: {len(named)} columns are named, and there are {columns}")
    return axes


def _is_number(word: str) -> bool:
    try:
        float(word.strip('"').replace(",", "."))
    except ValueError:
        return False
    return True


def _flaw(body: str, head: _Head, columns: int | None) -> str:
    """The first line that is not like the others, and why."""
    for number, line in enumerate(io.StringIO(body), head.lines + 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        words = line.split(head.separator)
        columns = columns or len(words)
        if len(words) != columns:
            return f"{number}: {len(words)} columns instead of {columns}"
        for word in words if head.axes is None else [words[axis] for axis in head.axes]:
            if not _is_number(word):
                return f"{number}: {word[:30]!r} is no number"
    return f"{head.lines + 1}: this is no table of numbers"
