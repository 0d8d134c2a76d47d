"""What a method or backbone takes of pcbench beside its public face, read from its source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.neighbours import Import, Sources, absolute_imports

PUBLIC = "pcbench.api and pcbench.ops"
"""What a method or a backbone may import of pcbench, for people."""

_IMPORTERS = {"__import__", "import_module"}
"""Functions that import the module of a name."""


def past_the_face(plugin: Plugin[Any]) -> str:
    """`FILE:LINE imports pcbench.engine: a method imports … alone`; empty where a plugin keeps to it.

    A data set may use how pcbench reads and stores clouds.
    """
    lines = [] if plugin.kind == "dataset" else undeclared_imports(plugin.sources, plugin.source_files())
    return f"{lines[0]}: a {plugin.kind} imports {PUBLIC} alone" if lines else ""


def undeclared_imports(sources: Sources, files: Iterable[Path]) -> list[str]:
    """A line for every import of a plugin's files that goes past `pcbench.api` and `pcbench.ops`.

    An import statement wherever it stands, or a call that imports by a name that is written out. Nothing is
    run, and code that means to hide what it does can: this tells mistakes, and is no wall; the process of its
    own that a method works in is. Raises what parsing a file raises.
    """
    return [
        f"{file}:{line} {what}" for file in files for line, what in sorted(set(_past_the_face(sources, file)))
    ]


def _past_the_face(sources: Sources, file: Path) -> Iterator[tuple[int, str]]:
    for statement in sources.imports(file):
        for module in _imported(statement):
            if not _allowed(module):
                yield statement.lineno, f"imports {module}"
    for node in ast.walk(sources.tree(file)):
        if isinstance(node, ast.Call) and _called(node.func) in _IMPORTERS:
            name = _literal(node)
            if not _allowed(name):
                yield node.lineno, f"imports {name}"


def _imported(statement: Import) -> Iterator[str]:
    """The modules that a statement imports absolutely; of `from pcbench import api` that is `pcbench.api`."""
    for module, names in absolute_imports(statement):
        if module == "pcbench" and names:
            yield from (f"pcbench.{name}" for name in names)
        else:
            yield module


def _allowed(module: str) -> bool:
    public = module == "pcbench.api" or (module + ".").startswith("pcbench.ops.")
    return public or module.partition(".")[0] != "pcbench"


def _called(function: ast.expr) -> str:
    """The last word of what is called: `import_module` of `importlib.import_module`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _literal(call: ast.Call) -> str:
    """The text that a call has as its first argument, where it is written out; else empty."""
    arguments = [*call.args, *(word.value for word in call.keywords)]
    match arguments[:1]:
        case [ast.Constant(value=str(text))]:
            return text
        case _:
            return ""
