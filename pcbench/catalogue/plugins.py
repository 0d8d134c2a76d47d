"""Finds methods, backbones and data sets: built-in folders, a user's folders and entry points, all alike.

A plugin is a class with a literal `name` that derives from one of the contracts in `pcbench.api`. Files are
read as text first, so that a listing of the built-in ones imports none of them. A file is imported as part of
a private package that stands for its folder; a neighbour can be imported as `from . import helper` at any
time and as `import helper` while the file itself is being imported.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast

from pcbench.common.files import digest, file_digest
from pcbench.common.packaged import builtin
from pcbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pcbench.api import Backbone, Dataset, Method

T = TypeVar("T")
Kind = Literal["method", "backbone", "dataset"]

CONTRACTS: dict[Kind, str] = {"method": "Method", "backbone": "Backbone", "dataset": "Dataset"}
LABELS: dict[Kind, str] = {"method": "method", "backbone": "backbone", "dataset": "data set"}
UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError)
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
NAMES: dict[Kind, re.Pattern[str]] = {
    "method": re.compile(_WORD),
    "backbone": re.compile(_WORD),
    "dataset": re.compile(rf"{_WORD}(:{_WORD})?"),
}
"""A data set's variant may follow its name, as in `scanobjectnn:obj_bg`."""


class _Unusable(Exception):
    """Why a plugin cannot be used, in one line."""


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """One class that a registry knows, or one file that it could not read.

    origin: "path:line". error: why it cannot be used, in one line, or None. class_name: empty where the file
    could not be read, and then `name` is the file's stem. module: how to import it if it is an entry point's.
    """

    kind: Kind
    name: str
    summary: str
    origin: str
    path: Path
    error: str | None = None
    class_name: str = field(default="", repr=False)
    module: str | None = field(default=None, repr=False)

    def load(self) -> type[T]:
        """The class itself; raises UsageError with the reason if it cannot be used."""
        try:
            return self._load()
        except _Unusable as error:
            raise UsageError(f"{LABELS[self.kind]} {self.name!r} cannot be used: {error}") from error

    def tried(self) -> Plugin[T]:
        """The same plugin with its error filled in where importing it fails."""
        try:
            self._load()
        except _Unusable as error:
            return replace(self, error=str(error))
        return self

    def source_hash(self) -> str:
        """SHA-256 over its source and the local modules that it imports, directly or not, as 64 digits.

        Local are the files beside it, or those of its own package if it is installed.
        """
        return digest({os.path.relpath(f, self.path.parent): file_digest(f) for f in self.source_files()})

    def source_files(self) -> list[Path]:
        """Its file and those of the local modules that it imports."""
        return [self.path, *self._neighbourhood.reached(self.path)]

    @property
    def _neighbourhood(self) -> Neighbourhood:
        if self.module is None:
            return Neighbourhood(self.path.parent)
        base = self.path.parent if self.path.name == "__init__.py" else self.path.with_suffix("")
        return Neighbourhood(base.parents[self.module.count(".")], self.module.partition(".")[0])

    def _load(self) -> type[T]:
        if self.error is not None:
            raise _Unusable(self.error)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                module = self._import()
        except (Exception, SystemExit) as error:
            raise _Unusable(_reason(error, self.path.parent, self.origin)) from error
        found = getattr(module, self.class_name, None)
        problem = _breach(found, self.kind, self.name)
        if problem:
            raise _Unusable(f"{problem} ({self.origin})")
        return cast(type[T], found)

    def _import(self) -> ModuleType:
        if self.module is not None:
            return importlib.import_module(self.module)
        with _siblings(self._neighbourhood, self.path) as package:
            return importlib.import_module(f"{package}.{self.path.stem}")


@dataclass(frozen=True)
class Neighbourhood:
    """The modules that count as a plugin's own: those in `root`, or of the package `only` in it."""

    root: Path
    only: str | None = None

    def find(self, module: str) -> list[Path]:
        """The files that `import module` runs, outermost first; empty where the module is not local."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == "pcbench" or self.only not in (None, top):
            return []
        return _module_files(self.root, module.split("."))

    def reached(self, path: Path) -> list[Path]:
        """All local files that a file imports, directly or through others, sorted; not the file itself."""
        seen = {path}
        waiting = [path]
        while waiting:
            file = waiting.pop()
            try:
                imports = list(ast.walk(_parse(file)))
            except UNREADABLE:
                continue
            found = {target for node in imports for target in self._targets(node, file)}
            waiting.extend(found - seen)
            seen |= found
        return sorted(seen - {path})

    def _targets(self, node: ast.AST, file: Path) -> list[Path]:
        if isinstance(node, ast.Import):
            return [target for alias in node.names for target in self.find(alias.name)]
        if not isinstance(node, ast.ImportFrom):
            return []
        modules = [node.module] if node.module else []
        modules += [".".join([*modules[:1], alias.name]) for alias in node.names]
        if node.level == 0:
            return [target for module in modules for target in self.find(module)]
        folder = file.parents[node.level - 1]
        if not folder.is_relative_to(self.root):
            return []
        return [target for module in modules for target in _module_files(folder, module.split("."))]


def _module_files(folder: Path, parts: Sequence[str]) -> list[Path]:
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


class _SiblingLoader(Loader):
    """Lets an absolute import of a neighbour give the member of the private package."""

    def __init__(self, private: str) -> None:
        self.private = private

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        module = importlib.import_module(self.private)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _SiblingFinder(MetaPathFinder):
    def __init__(self, package: str, names: frozenset[str]) -> None:
        self.package, self.names = package, names

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.names:
            return None
        private = f"{self.package}.{fullname}"
        return ModuleSpec(fullname, _SiblingLoader(private)) if importlib.util.find_spec(private) else None


@contextlib.contextmanager
def _siblings(own: Neighbourhood, path: Path) -> Iterator[str]:
    """The private package of a folder; during the block, `path` finds what it imports from beside it."""
    package = f"_pcbench_plugins_{hashlib.sha256(str(own.root).encode()).hexdigest()[:16]}"
    if package not in sys.modules:
        home = ModuleType(package)
        home.__path__ = [str(own.root)]
        sys.modules[package] = home
    importlib.invalidate_caches()
    tops = [file.relative_to(own.root).parts[0].removesuffix(".py") for file in own.reached(path)]
    names = frozenset(tops)
    finder = _SiblingFinder(package, names)

    def named() -> list[str]:
        return [module for module in sys.modules if module.partition(".")[0] in names]

    hidden = {name: sys.modules.pop(name) for name in named()}
    sys.meta_path.insert(0, finder)
    try:
        yield package
    finally:
        sys.meta_path.remove(finder)
        for name in named():
            del sys.modules[name]
        sys.modules.update(hidden)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def _reason(error: BaseException, folder: Path, otherwise: str) -> str:
    """One line: the exception's type and message, and the last place in `folder` that it came through."""
    message, where = str(error), otherwise
    if isinstance(error, SyntaxError) and error.filename:
        message, where = error.msg, f"{error.filename}:{error.lineno or 1}"
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if Path(frame.filename).is_relative_to(folder):
                where = f"{frame.filename}:{frame.lineno}"
    text = " ".join(message.split())
    return f"{type(error).__name__}{': ' if text else ''}{text} ({where})"


def _breach(found: object, kind: Kind, name: str) -> str | None:
    """How a loaded object breaks the contract of its kind, or None."""
    contract = getattr(importlib.import_module("pcbench.api"), CONTRACTS[kind])
    if not isinstance(found, type) or not issubclass(found, contract):
        return f"it is no subclass of pcbench.api.{CONTRACTS[kind]}"
    if getattr(found, "name", None) != name:
        return f"its name turned into {getattr(found, 'name', None)!r} when it was imported"
    if inspect.isabstract(found):
        return f"it lacks {', '.join(sorted(getattr(found, '__abstractmethods__', ())))}"
    return None


@dataclass(frozen=True)
class _Source:
    """A parsed file, for questions about its classes."""

    path: Path
    tree: ast.Module

    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]

    def contract(self, node: ast.ClassDef, seen: frozenset[tuple[Path, str]] = frozenset()) -> str | None:
        """The contract that a class derives from, by name or through a class of this or a nearby file."""
        if (self.path, node.name) in seen:
            return None
        seen |= {(self.path, node.name)}
        found = (self._contract_of(base, seen) for base in node.bases)
        return next((contract for contract in found if contract), None)

    def _contract_of(self, base: ast.expr, seen: frozenset[tuple[Path, str]]) -> str | None:
        if isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Attribute):
            return base.attr if base.attr in CONTRACTS.values() else None
        if not isinstance(base, ast.Name):
            return None
        for node in self.classes():
            if node.name == base.id:
                return self.contract(node, seen)
        module, name = self._imported(base.id)
        files = Neighbourhood(self.path.parent).find(module) if module else []
        if files:
            return _contract_in(files[-1], name, seen)
        return name if name in CONTRACTS.values() else None

    def _imported(self, name: str) -> tuple[str, str]:
        """The module that a name was imported from, empty if none, and what it is called there."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return node.module, alias.name
        return "", name

    def missing_import(self) -> str | None:
        """Why the first hopeless import fails, here or in a local file that this one needs, or None."""
        own = Neighbourhood(self.path.parent)
        for path in (self.path, *own.reached(self.path)):
            try:
                body = _parse(path).body
            except UNREADABLE as error:
                return _reason(error, path.parent, f"{path}:1")
            for node in body:
                modules = []
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    modules = [node.module]
                for module in modules:
                    top = module.partition(".")[0]
                    known = top in sys.modules or own.find(top) or importlib.util.find_spec(top)
                    if not known:
                        return f"ModuleNotFoundError: No module named {top!r} ({path}:{node.lineno})"
        return None


def _contract_in(path: Path, name: str, seen: frozenset[tuple[Path, str]]) -> str | None:
    try:
        source = _Source(path, _parse(path))
    except UNREADABLE:
        return None
    return next((source.contract(node, seen) for node in source.classes() if node.name == name), None)


def _literal_name(node: ast.ClassDef) -> str | None:
    for line in node.body:
        targets = line.targets if isinstance(line, ast.Assign) else []
        if isinstance(line, ast.AnnAssign):
            targets = [line.target]
        named = any(isinstance(target, ast.Name) and target.id == "name" for target in targets)
        value = getattr(line, "value", None)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None


def _first_line(docstring: str | None) -> str:
    return docstring.strip().partition("\n")[0].strip() if docstring else ""


def read_file(path: Path, kind: Kind) -> list[Plugin[T]]:
    """The plugins of one kind that a file defines, found without importing it.

    A file that cannot be parsed gives one broken plugin under its stem, unless it is plainly of another kind.
    """
    try:
        source = _Source(path, _parse(path))
    except UNREADABLE as error:
        text = path.read_text(errors="replace") if os.access(path, os.R_OK) else ""
        kinds = [known for known, contract in CONTRACTS.items() if re.search(rf"\b{contract}\b", text)]
        if kinds and kind not in kinds:
            return []
        line = (error.lineno or 1) if isinstance(error, SyntaxError) else 1
        origin = f"{path}:{line}"
        return [Plugin(kind, path.stem, "", origin, path, _reason(error, path.parent, origin))]
    plugins: list[Plugin[T]] = []
    for node in source.classes():
        name = _literal_name(node)
        if name is None or source.contract(node) != CONTRACTS[kind]:
            continue
        origin = f"{path}:{node.lineno}"
        problem = source.missing_import()
        if not NAMES[kind].fullmatch(name):
            problem = f"the name {name!r} holds more than letters, digits and _ . + - ({origin})"
        summary = _first_line(ast.get_docstring(node))
        plugins.append(Plugin(kind, name, summary, origin, path, problem, node.name))
    return plugins


def _files(folder: Path) -> list[Path]:
    """The plugin files of a folder, symlinks followed, sorted."""
    skipped = ("_", "test_", "conftest")
    files = (file for file in folder.glob("*.py") if not file.name.startswith(skipped) and not file.is_dir())
    return sorted(file.resolve() for file in files)


def _user_folders(extra: Sequence[Path]) -> list[Path]:
    """What was asked for by option and by PCBENCH_PLUGINS; raises UsageError for what is no folder."""
    listed = os.environ.get("PCBENCH_PLUGINS", "").split(os.pathsep)
    asked = [("--plugins", path) for path in extra] + [("PCBENCH_PLUGINS", Path(p)) for p in listed if p]
    for source, path in asked:
        if not path.is_dir():
            raise UsageError(f"{source} names {path}, which is no folder: give one that holds plugin files")
    return [path for _, path in asked]


def _entry_point(entry: importlib.metadata.EntryPoint, kind: Kind) -> Plugin[T]:
    """The plugin that an installed package offers; broken, with its reason, where it cannot be imported."""
    declared = f"entry point {entry.group}: {entry.name} = {entry.value}"
    home = Path(str(entry.dist.locate_file(""))).resolve() if entry.dist else Path()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises is the reason
        return Plugin(kind, entry.name, "", declared, home, _reason(error, home, declared))
    problem = _breach(found, kind, entry.name)
    if problem:
        return Plugin(kind, entry.name, "", declared, home, f"{problem} ({declared})")
    path = Path(inspect.getfile(found)).resolve()
    origin = f"{path}:{inspect.getsourcelines(found)[1]}"
    summary = _first_line(found.__doc__)
    return Plugin(kind, entry.name, summary, origin, path, None, found.__name__, found.__module__)


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The plugins of one kind. folder: where the built-in ones lie; extra: the user's folders."""

    kind: Kind
    folder: Path
    extra: tuple[Path, ...]

    def plugins(self) -> list[Plugin[T]]:
        """All of them, sorted by name; those from outside are imported, so that each tells why it fails."""
        return [plugin if plugin.path.parent == self.folder else plugin.tried() for plugin in self._found]

    def names(self) -> list[str]:
        """All names, sorted; only entry points are imported for it."""
        return [plugin.name for plugin in self._found]

    def get(self, name: str) -> Plugin[T]:
        """The plugin of a name; raises UsageError with the nearest names if there is none."""
        found = [plugin for plugin in self._found if plugin.name == name]
        if not found:
            near = did_you_mean(name, self.names())
            raise UsageError(f"unknown {LABELS[self.kind]} {name!r}. {near}")
        return max(found, key=lambda plugin: bool(plugin.class_name))

    def load(self, name: str) -> type[T]:
        """The class of a name; raises UsageError if it is unknown or cannot be used."""
        return self.get(name).load()

    @cached_property
    def _found(self) -> list[Plugin[T]]:
        folders = [self.folder]
        for folder in _user_folders(self.extra):
            folders += [folder, folder / f"{self.kind}s"]
        files = dict.fromkeys(file for folder in folders for file in _files(folder))
        found: list[Plugin[T]] = []
        for file in files:
            found += read_file(file, self.kind)
        known = {(plugin.path, plugin.class_name) for plugin in found}
        for entry in importlib.metadata.entry_points(group=f"pcbench.{self.kind}s"):
            offered: Plugin[T] = _entry_point(entry, self.kind)
            if not offered.class_name or (offered.path, offered.class_name) not in known:
                found.append(offered)
        found.sort(key=lambda plugin: (plugin.name, plugin.origin))
        named = [plugin for plugin in found if plugin.class_name]
        for one, other in itertools.pairwise(named):
            if one.name == other.name:
                where = f"{one.origin} and {other.origin}"
                raise UsageError(f"two {LABELS[self.kind]}s are called {one.name!r}: {where}; rename one")
        return found


def methods(extra: Sequence[Path] = ()) -> Registry[Method]:
    """The methods: the folder `methods/`, the user's folders and the entry points `pcbench.methods`."""
    return Registry("method", builtin("methods"), tuple(extra))


def backbones(extra: Sequence[Path] = ()) -> Registry[Backbone]:
    """The backbones: the folder `backbones/`, the user's folders and the entry points `pcbench.backbones`."""
    return Registry("backbone", builtin("backbones"), tuple(extra))


def datasets(extra: Sequence[Path] = ()) -> Registry[Dataset]:
    """The data sets: the folder `pcbench/datasets/`, the user's and the entry points `pcbench.datasets`."""
    return Registry("dataset", Path(__file__).resolve().parents[1] / "datasets", tuple(extra))


def redistributable(dataset: str, registry: Registry[Dataset]) -> bool:
    """Whether clouds made from a data set may be passed on; not where it is unknown here."""
    return dataset in registry.names() and registry.load(dataset).redistributable


def split_backbone(spec: str) -> tuple[str, str | None]:
    """A backbone and its preset from "pointnet:canonical"; the preset is None where the text names none."""
    name, colon, preset = spec.partition(":")
    return name, preset if colon else None


def load_backbone(registry: Registry[Backbone], spec: str) -> tuple[type[Backbone], str]:
    """The class and the preset that "pointnet:canonical" asks for; "pointnet" asks for the first preset.

    Raises UsageError for an unknown backbone or preset.
    """
    name, preset = split_backbone(spec)
    backbone = registry.load(name)
    if preset is None:
        preset = next(iter(backbone.presets))
    if preset not in backbone.presets:
        near = did_you_mean(preset, backbone.presets)
        raise UsageError(f"unknown preset {preset!r} of backbone {name!r}. {near}")
    return backbone, preset
