"""A plugin: what is known of it without importing it, and how it is imported."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, cast

from pcbench.catalogue import lineage
from pcbench.catalogue.kinds import CONTRACTS, LABELS, Kind
from pcbench.catalogue.neighbours import UNREADABLE, Neighbourhood, Sources
from pcbench.catalogue.source import ClassSource, classes
from pcbench.catalogue.tree_hash import joint_digest
from pcbench.common.files import file_digest
from pcbench.common.text import one_line
from pcbench.errors import PcbenchError, UsageError

T = TypeVar("T")

PLAIN_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}"
"""What a data file beside a plugin may be called."""


class UnusablePlugin(UsageError):
    """There is a plugin of that name, and it cannot be imported or breaks its contract."""


class Unusable(Exception):
    """Why a plugin cannot be used, in one line; `Plugin.load` names it."""


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """One class that a registry knows, or one file that it could not read."""

    kind: Kind
    """Method, backbone or data set."""
    name: str
    """What users call it: the class attribute `name`, or the file's stem where it could not be read."""
    summary: str
    """The first line of its docstring."""
    origin: str
    """Where it stands: "path:line"."""
    path: Path
    """Its file."""
    error: str | None = None
    """Why it cannot be used, in one line; None where nothing is known against it."""
    class_name: str = field(default="", repr=False)
    """The name of its class; empty where the file could not be read."""
    module: str | None = field(default=None, repr=False)
    """How to import it where it is an entry point's; None where it is a file of a folder."""
    built_in: bool = field(default=False, repr=False)
    """Whether it comes with pcbench."""
    sources: Sources = field(default_factory=Sources, repr=False, compare=False)
    """Where its files are parsed."""

    def load(self) -> type[T]:
        """The class itself; raises UnusablePlugin with the reason if it cannot be used."""
        try:
            return self._load()
        except Unusable as error:
            raise UnusablePlugin(f"{LABELS[self.kind]} {self.name!r} cannot be used: {error}") from error

    def tried(self) -> Plugin[T]:
        """The same plugin with its error filled in where importing it fails."""
        try:
            self._load()
        except Unusable as error:
            return replace(self, error=str(error))
        return self

    def literal(self, attribute: str) -> object:
        """A class attribute as its source writes it out; LookupError where only importing it would tell."""
        return self._class().literal(attribute)

    def parameters(self) -> dict[str, object] | None:
        """The parameters of a method, as its source says them: see `ClassSource.parameters`."""
        try:
            return self._class().parameters()
        except (LookupError, *UNREADABLE):
            return None

    def docstring(self) -> str:
        """The docstring of its class, without indentation; a file is read for it and not imported."""
        try:
            return self._class().docstring()
        except LookupError:
            return (inspect.getdoc(self.load()) or "") if self.class_name else ""

    def source_hash(self) -> str:
        """The hash of its source that records carry, as 64 digits.

        For a built-in plugin that has been rewritten and still computes the same results, the hash of the
        first source that did.
        """
        current = self.current_hash()
        return lineage.first(self.kind, self.name, current) if self.built_in else current

    def current_hash(self) -> str:
        """SHA-256 over what its source and the local modules that it imports compute, as 64 digits.

        Local are the files that it imports from beside it, directly or through others, or those of its own
        package if it is installed. Comments, docstrings, layout and the place of the file are no part of it;
        the data files that it declares are.
        """
        others = {
            Path(os.path.relpath(file, self.path.parent)).as_posix(): self.sources.digest(file)
            for file in self._neighbourhood.reached(self.path)
        }
        others |= {f"data {file.name}": file_digest(file) for file in self.data_files()}
        return joint_digest(self.sources.digest(self.path), others)

    def source_files(self) -> list[Path]:
        """Its file and those of the local modules that it imports."""
        return [self.path, *self._neighbourhood.reached(self.path)]

    def data_files(self) -> list[Path]:
        """The data files beside it that it declares; UsageError where one is not there, or oddly named."""
        if self.kind != "method" or not self.class_name:
            return []
        try:
            names = self.literal("files")
        except LookupError as error:
            if not self._class().binds("files"):
                return []
            raise UsageError(f"{self.origin}: write out its files, as in files = ('weights.npz',)") from error
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{self.origin}: files is a tuple of names, as in files = ('weights.npz',)")
        for name in names:
            if not re.fullmatch(PLAIN_NAME, name) or not (self.path.parent / name).is_file():
                raise UsageError(f"{self.origin}: there is no file {one_line(name, 100)!r} beside the plugin")
        return [self.path.parent / name for name in names]

    def _private_module(self) -> str:
        digests = {file: self.sources.digest(file) for file in self.source_files()}
        return f"{_home(self.path.parent, digests).package}.{self.path.stem}"

    def _class(self) -> ClassSource:
        if not self.class_name:
            raise LookupError(f"{self.origin}: there is no class to read")
        try:
            return classes(self.sources, self.path)[self.class_name]
        except UNREADABLE as error:
            raise LookupError(f"{self.origin}: the source cannot be read") from error

    @property
    def _neighbourhood(self) -> Neighbourhood:
        if self.module is None:
            return Neighbourhood(self.sources, self.path.parent)
        base = self.path.parent if self.path.name == "__init__.py" else self.path.with_suffix("")
        root = base.parents[self.module.count(".")]
        return Neighbourhood(self.sources, root, self.module.partition(".")[0])

    def _load(self) -> type[T]:
        if self.error is not None:
            raise Unusable(self.error)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                module = importlib.import_module(self.module or self._private_module())
        except (Exception, SystemExit) as error:
            raise Unusable(failure(error, self.path.parent, self.origin)) from error
        loaded = adopted(getattr(module, self.class_name, None), self.kind)
        problem = breach(loaded, self.kind, self.name)
        if problem:
            raise Unusable(f"{problem} ({self.origin})")
        return cast(type[T], loaded)


@dataclass(frozen=True)
class _Home:
    """A private package of this process that stands for a plugin folder."""

    package: str
    """Its name."""
    digests: dict[Path, str] = field(default_factory=dict)
    """What the files computed that plugins were imported from."""

    def is_of(self, digests: Mapping[Path, str]) -> bool:
        """Whether no file has been imported from it that computes something else now."""
        return all(self.digests.get(file, now) == now for file, now in digests.items())


_homes: dict[Path, list[_Home]] = {}
"""The private packages of each plugin folder, newest last."""


def _home(folder: Path, digests: Mapping[Path, str]) -> _Home:
    """The private package of a folder, so that two folders may hold files of one name.

    Once a file changes that was imported, the folder gets a new package: what is loaded is always what the
    catalogue has read, and what was loaded before stays as it was.
    """
    homes = _homes.setdefault(folder, [])
    if not homes or not homes[-1].is_of(digests):
        package = f"_pcbench_plugins_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}_{len(homes)}"
        module = ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module
        homes.append(_Home(package))
    importlib.invalidate_caches()
    homes[-1].digests.update(digests)
    return homes[-1]


def one_line_reason(error: BaseException, folders: Sequence[Path]) -> str:
    """What an error says, and where in the folders of plugins it came from; pcbench's own say it all."""
    text = " ".join(str(error).partition("\n")[0].split())
    if isinstance(error, PcbenchError):
        return text
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = last_place(error, *(folder.resolve() for folder in folders))
    return f"{said} ({place})" if place else said


def last_place(error: BaseException, *folders: Path) -> str:
    """The last file and line in some folders that an error came through; empty where it came through none."""
    places = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if any(Path(frame.filename).is_relative_to(folder) for folder in folders)
    ]
    return places[-1] if places else ""


def failure(error: BaseException, folder: Path, otherwise: str) -> str:
    """One line: the exception's type and message, and the last place in `folder` that it came through."""
    message, where = str(error), otherwise
    if isinstance(error, SyntaxError) and error.filename:
        message, where = error.msg, f"{error.filename}:{error.lineno or 1}"
    else:
        where = last_place(error, folder) or otherwise
    text = " ".join(message.split())
    return f"{type(error).__name__}{': ' if text else ''}{text} ({where})"


def adopted(loaded: object, kind: Kind) -> object:
    """A plain torch module as the backbone that it is; anything else as it is."""
    if kind != "backbone" or not isinstance(loaded, type):
        return loaded
    api, modules = importlib.import_module("pcbench.api"), importlib.import_module("torch.nn")
    plain = issubclass(loaded, modules.Module) and not issubclass(loaded, api.Backbone)
    return api.backbone_of(loaded) if plain and isinstance(getattr(loaded, "name", None), str) else loaded


def breach(loaded: object, kind: Kind, name: str) -> str | None:
    """How a loaded object breaks the contract of its kind, or None."""
    contract = getattr(importlib.import_module("pcbench.api"), CONTRACTS[kind])
    if not isinstance(loaded, type) or not issubclass(loaded, contract):
        return f"it is no subclass of pcbench.api.{CONTRACTS[kind]}"
    if getattr(loaded, "name", None) != name:
        return f"its name turned into {getattr(loaded, 'name', None)!r} when it was imported"
    if inspect.isabstract(loaded):
        return f"it lacks {', '.join(sorted(getattr(loaded, '__abstractmethods__', ())))}"
    return None
