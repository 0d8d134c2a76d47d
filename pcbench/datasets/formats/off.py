"""Reads OFF in all the forms that are about: with colours and normals, on free lines, points alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcbench.datasets.formats.content import MAX_POINTS, Flaw

_Line: TypeAlias = tuple[int, list[str]]
"""The number of a line of the file, and its words."""
_Surface: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]


def read(content: bytes) -> _Surface:
    """Vertices (V, 3) and triangles (F, 3), F 0 of points alone; polygons become fans.

    Some of ModelNet's begin with `OFF490 518 0`. Raises Flaw with the line of what does not fit.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Flaw(f":{line}: this is no text") from error
    stripped = ((number, line.partition("#")[0].split()) for number, line in enumerate(text.split("\n"), 1))
    lines = [(number, words) for number, words in stripped if words]
    head = _head(lines)
    if len(lines) == head.vertices + head.faces:
        return _by_lines(lines, head)
    return _by_numbers([word for _, words in lines for word in words], len(lines), head)


@dataclass(frozen=True)
class _Head:
    line: int
    """Where the counts stand."""
    vertices: int
    faces: int
    columns: int
    """Numbers of a vertex: its coordinates, and the normal, colour and place in a texture announced."""


def _head(lines: list[_Line]) -> _Head:
    """What a file announces, whose lines are taken off."""
    word = lines[0][1][0] if lines else ""
    kind = re.match(r"(ST)?(C)?(N)?OFF", word)
    if not kind:
        four = re.match(r"(ST)?C?N?(4|n|4n)OFF", word)
        more = f", and {word[:20]!r} has other than three coordinates" if four else ""
        raise Flaw(f":1: an OFF file begins with the word OFF{more}")
    number, (word, *rest) = lines.pop(0)
    counts = [word[kind.end() :], *rest] if len(word) > kind.end() else rest
    if counts == ["BINARY"]:
        raise Flaw(f":{number}: binary OFF is not read: save it as text")
    while lines and (not counts or (len(counts) < 3 and len(lines[0][1]) == 1 and _is_count(lines[0][1][0]))):
        number, words = lines.pop(0)
        counts += words
    if len(counts) > 3:  # the vertices begin on the same line
        lines.insert(0, (number, counts[3:]))
        counts = counts[:3]
    if len(counts) < 2 or not all(map(_is_count, counts)):
        raise Flaw(f":{number}: the numbers of vertices, faces and edges should stand here")
    columns = 3 + 2 * bool(kind[1]) + 4 * bool(kind[2]) + 3 * bool(kind[3])
    return _Head(number, int(counts[0]), int(counts[1]), columns)


def _is_count(word: str) -> bool:
    return re.fullmatch(r"\d{1,9}", word) is not None


def _by_lines(lines: list[_Line], head: _Head) -> _Surface:
    """A vertex or a face a line, whatever follows on it."""
    for number, words in lines[: head.vertices]:
        if len(words) < 3:
            raise Flaw(f":{number}: a vertex has {len(words)} of 3 coordinates")
    vertices = _numbers([words[:3] for _, words in lines[: head.vertices]])
    triangles = [
        triangle
        for number, words in lines[head.vertices :]
        for triangle in _fan(f":{number}", words, head.vertices)
    ]
    if head.faces and not triangles:
        raise Flaw(": none of its faces has three corners")
    return vertices, np.array(triangles, np.int64).reshape(-1, 3)


def _by_numbers(words: list[str], lines: int, head: _Head) -> _Surface:
    """One number after another, as line ends carry no meaning; each has to be of a vertex or of a face."""
    there = head.vertices * head.columns
    if head.vertices > MAX_POINTS or there > len(words):
        raise _misfit(head, lines)
    triangles: list[tuple[int, int, int]] = []
    try:
        for face in _faces(words[there:], head, lines):
            triangles += _fan("", face, head.vertices)
    except Flaw as error:
        raise _misfit(head, lines) from error
    if not triangles:
        raise _misfit(head, lines)
    vertices = _numbers([words[i : i + 3] for i in range(0, there, head.columns)])
    return vertices, np.array(triangles, np.int64)


def _faces(words: list[str], head: _Head, lines: int) -> Iterator[list[str]]:
    place = 0
    for _ in range(head.faces):
        if place >= len(words) or not re.fullmatch(r"\d{1,6}", words[place]):
            raise _misfit(head, lines)
        end = place + 1 + int(words[place])
        yield words[place:end]
        place = end
    if place != len(words):
        raise _misfit(head, lines)


def _misfit(head: _Head, lines: int) -> Flaw:
    return Flaw(
        f":{head.line}: {head.vertices} vertices and {head.faces} faces are announced, and {lines} lines "
        "follow that do not hold them"
    )


def _numbers(rows: list[list[str]]) -> NDArray[np.float64]:
    try:
        return np.array([[float(word) for word in row] for row in rows], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise Flaw(f" is no readable OFF file ({' '.join(str(error).split())[:100]})") from error


def _fan(place: str, words: Sequence[str], vertices: int) -> list[tuple[int, int, int]]:
    """The triangles of a polygon; none for a face of one or two corners."""
    try:
        corners = [int(word) for word in words[1 : int(words[0]) + 1]] if int(words[0]) > 0 else []
    except ValueError as error:
        raise Flaw(f"{place}: a face is made of whole numbers") from error
    if not corners or len(corners) != int(words[0]):
        raise Flaw(f"{place}: a face has {len(words) - 1} corners of {words[0]}")
    if min(corners) < 0 or max(corners) >= vertices:
        raise Flaw(f"{place}: a face has a corner outside its {vertices} vertices")
    return [(corners[0], b, c) for b, c in itertools.pairwise(corners[1:])]
