"""Which local files a plugin's file imports, and the files themselves, each read and parsed once."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pcbench.catalogue.tree_hash import tree_digest
from pcbench.common.files import file_digest

UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What reading and parsing a file may raise."""

Import = ast.Import | ast.ImportFrom
"""A statement that imports."""


class _Parsed:
    """What the bytes of a file say; shared by all catalogues of a process and never changed."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree

    @cached_property
    def imports(self) -> list[Import]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Import)]

    @cached_property
    def digest(self) -> str:
        return tree_digest(self.tree)


@lru_cache(maxsize=256)
def _parsed(path: Path, content: bytes) -> _Parsed:
    """A file of these bytes, parsed; raises one of UNREADABLE, and then is tried anew the next time.

    Parsing is what opening a catalogue takes longest for, and a process opens many: one a command.
    """
    return _Parsed(ast.parse(content, filename=str(path)))


class Sources:
    """The Python files that a catalogue has looked at; a change of a file after that is not seen."""

    def __init__(self) -> None:
        self._files: dict[Path, _Parsed | BaseException] = {}
        self._unparsed: dict[Path, str] = {}
        self._installed: dict[str, bool] = {}

    def _file(self, path: Path) -> _Parsed:
        if path not in self._files:
            try:
                self._files[path] = _parsed(path, path.read_bytes())
            except UNREADABLE as error:
                self._files[path] = error
        file = self._files[path]
        if isinstance(file, BaseException):
            raise file.with_traceback(None)
        return file

    def tree(self, path: Path) -> ast.Module:
        """The syntax tree of a file, not to be changed; raises one of UNREADABLE where there is none."""
        return self._file(path).tree

    def imports(self, path: Path) -> list[Import]:
        """Every statement of a file that imports, wherever it stands; raises what `tree` raises."""
        return self._file(path).imports

    def digest(self, path: Path) -> str:
        """The hash of what a file computes; that of its bytes where it cannot be parsed."""
        if path not in self._unparsed:
            try:
                return self._file(path).digest
            except UNREADABLE:
                self._unparsed[path] = file_digest(path)
        return self._unparsed[path]

    def installed(self, top: str) -> bool:
        """Whether `import top` could find a module that is installed here."""
        if top not in self._installed:
            self._installed[top] = top in sys.modules or importlib.util.find_spec(top) is not None
        return self._installed[top]


@dataclass(frozen=True)
class Neighbourhood:
    """The files that count as a plugin's own: those that it imports relatively, from within `root`.

    An installed package also imports its modules by its own name.
    """

    sources: Sources
    """Where the files are parsed."""
    root: Path
    """The folder above which no relative import leads: the plugin's folder, or that of its package."""
    package: str | None = None
    """The name of the installed package that the plugin belongs to, if it does."""

    def reached(self, path: Path) -> list[Path]:
        """All local files that a file imports, directly or through others, sorted; not the file itself."""
        seen = {path}
        waiting = [path]
        while waiting:
            file = waiting.pop()
            try:
                statements = self.sources.imports(file)
            except UNREADABLE:
                continue
            targets = {target for statement in statements for target in self.targets(statement, file)}
            waiting.extend(targets - seen)
            seen |= targets
        return sorted(seen - {path})

    def targets(self, statement: Import, file: Path) -> list[Path]:
        """The local files that an import statement of `file` runs."""
        if isinstance(statement, ast.Import):
            return [target for alias in statement.names for target in self._absolute(alias.name)]
        modules = [statement.module] if statement.module else []
        modules += [".".join([*modules[:1], alias.name]) for alias in statement.names]
        if statement.level == 0:
            return [target for module in modules for target in self._absolute(module)]
        folder = file.parents[statement.level - 1]
        if not folder.is_relative_to(self.root):
            return []
        return [target for module in modules for target in module_files(folder, module.split("."))]

    def _absolute(self, module: str) -> list[Path]:
        if self.package is None or module.partition(".")[0] != self.package:
            return []
        return module_files(self.root, module.split("."))

    def import_by_name(self, path: Path) -> str | None:
        """The refusal of the first absolute import of a file that lies beside a plugin, or None.

        Such an import works or fails with the folder that Python was started in, and two plugin folders may
        hold files of one name.
        """
        if self.package is not None:
            return None
        for file in (path, *self.reached(path)):
            try:
                statements = self.sources.imports(file)
            except UNREADABLE:
                continue
            for statement in statements:
                for module, names in absolute_imports(statement):
                    dots = self._dots_to(module.partition(".")[0], file, path)
                    if dots:
                        place = f"{file}:{statement.lineno}"
                        above, _, last = module.rpartition(".")
                        home, taken = (module, ", ".join(names)) if names else (above, last)
                        right = f"from {dots}{home} import {taken}"
                        return f"ImportError: {module!r} is a file beside it: write '{right}' ({place})"
        return None

    def _dots_to(self, top: str, file: Path, plugin: Path) -> str:
        """The dots of the relative import that reaches a local file from `file`; none where it is not local.

        A plugin may be called like the installed package that it wraps.
        """
        if top in sys.stdlib_module_names or top == "pcbench":
            return ""
        for folder in (file.parent, self.root):
            if set(module_files(folder, [top])) - {file, plugin}:
                return "." * (1 + len(file.parent.relative_to(folder).parts))
        return ""


def absolute_imports(statement: Import) -> Iterator[tuple[str, list[str]]]:
    """The modules that a statement imports absolutely, each with the names that it takes from it."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.name, []
    elif statement.level == 0 and statement.module:
        yield statement.module, [alias.name for alias in statement.names]


def module_files(folder: Path, parts: Sequence[str]) -> list[Path]:
    """The files that importing a module below a folder runs, outermost first; empty where it is not there."""
    files = []
    for depth, part in enumerate(parts, start=1):
        package, module = folder / part / "__init__.py", folder / f"{part}.py"
        if package.is_file():
            files.append(package)
        elif module.is_file():
            files.append(module)
            break
        elif depth == 1:
            break
        folder = folder / part
    return files
