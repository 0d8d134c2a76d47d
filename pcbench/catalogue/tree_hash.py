"""The identity of Python source: a hash of what it computes, blind to words and layout.

Two sources are the same code where their syntax trees are, but for docstrings and other statements that
compute nothing. The text that is hashed is written here and not by `ast.dump`, whose form changes between
versions of Python: the same source gives the same hash under Python 3.11, 3.12, 3.13 and 3.14.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from pcbench.common.files import digest

MAX_BYTES = 1 << 18
"""A source file of a stranger is not parsed if it is larger."""

LEFT_OUT = {"ctx", "type_comment", "type_ignores", "kind"}
"""Fields that do not change what is computed: how a name is used, comments on types, `u` before a text."""


class UnreadableSource(Exception):
    """Why a text is no Python source that can be hashed, in one line."""


def source_digest(content: bytes) -> str:
    """The hash of a stranger's source file, as 64 digits; raises UnreadableSource and nothing else."""
    if len(content) > MAX_BYTES:
        raise UnreadableSource(f"{len(content)} bytes, more than the {MAX_BYTES} of a source file")
    try:
        return tree_digest(ast.parse(content))
    except RecursionError as error:
        raise UnreadableSource("is nested too deeply") from error
    except (SyntaxError, ValueError, MemoryError, OverflowError) as error:
        told = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UnreadableSource(f"is no Python source: {type(error).__name__}: {told}") from error


def tree_digest(tree: ast.AST) -> str:
    """The hash of a file's syntax tree, as 64 digits."""
    total = hashlib.sha256()
    for text in _texts(tree):
        total.update(text.encode())
    return total.hexdigest()


def joint_digest(entry: str, others: Mapping[str, str]) -> str:
    """The hash of a plugin, from that of its file and those of its local modules by their relative paths.

    The file's own place is no part of it: its name says nothing about what it computes.
    """
    return digest({"plugin": entry, "modules": dict(others)})


def _texts(tree: ast.AST) -> Iterator[str]:
    """The canonical text of a tree, in pieces; without recursion, however deep it is."""
    waiting: list[object] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Text):
            yield part
        elif isinstance(part, ast.AST):
            waiting.append(_Text(")"))
            for name, value in reversed(_fields(part)):
                waiting += [value, _Text(f" {name}=")]
            yield f"({type(part).__name__}"
        elif isinstance(part, list):
            waiting.append(_Text("]"))
            waiting += reversed(part)
            yield "["
        else:
            yield _constant(part)


class _Text(str):
    """A piece of the canonical text itself, beside the constants of the source."""

    __slots__ = ()


def _fields(node: ast.AST) -> list[tuple[str, object]]:
    """The fields of a node by name, without those that are empty or change nothing."""
    found: list[tuple[str, object]] = []
    for name in sorted(node._fields):
        value = getattr(node, name, None)
        if isinstance(node, ast.Constant) and name == "value":
            found.append((name, value))
            continue
        if name in ("body", "orelse", "finalbody") and isinstance(value, list):
            value = [statement for statement in value if not _computes_nothing(statement)]
        elif isinstance(node, ast.JoinedStr):
            value = _joined(node.values)
        elif isinstance(value, ast.JoinedStr) and name == "format_spec" and not _joined(value.values):
            value = None  # f"{x:}" is f"{x}"
        if name not in LEFT_OUT and value is not None and value != []:
            found.append((name, value))
    return found


def _computes_nothing(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, another constant that stands alone, or `pass`."""
    alone = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return alone or isinstance(statement, ast.Pass)


def _joined(values: Iterable[ast.expr]) -> list[object]:
    """The parts of an f-string, adjacent texts as one: versions of Python divide them differently."""
    parts: list[object] = []
    for value in values:
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            parts.append(value)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += value.value
        elif value.value:
            parts.append(value.value)
    return parts


def _constant(value: object) -> str:
    """A constant with its type, the same in all versions of Python: numbers to the last bit."""
    match value:
        case bool() | None:
            text = str(value)
        case int():
            text = hex(value)  # the decimal digits of a very large one are refused
        case float():
            text = value.hex()
        case complex():
            text = f"{value.real.hex()} {value.imag.hex()}"
        case str():
            text = json.dumps(value)
        case bytes():
            text = value.hex()
        case _:
            text = str(value)  # the Ellipsis, and names of attributes that hold plain values
    return f" {type(value).__name__}:{text}"
