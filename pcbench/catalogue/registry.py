"""All plugins of a kind by name, and all three kinds together: built-in, the user's folders, entry points."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pcbench.catalogue.held_out import validation_part, whole_of
from pcbench.catalogue.kinds import CONTRACTS, LABELS, NAMES, Kind, split_spec
from pcbench.catalogue.loading import Plugin, breach, failure
from pcbench.catalogue.neighbours import UNREADABLE, Neighbourhood, Sources
from pcbench.catalogue.own import OwnData, own_data
from pcbench.catalogue.source import classes, first_line, hopeless_import
from pcbench.common.packaged import builtin
from pcbench.common.places import data_root
from pcbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pcbench.api import Backbone, Dataset, Method, Setting

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The plugins of one kind."""

    kind: Kind
    """Which."""
    folder: Path
    """Where the built-in ones lie."""
    folders: tuple[Path, ...] = ()
    """The user's folders: their files, and those of a folder in them that is called like the kind."""
    sources: Sources = field(default_factory=Sources, repr=False, compare=False)
    """Where the files are parsed."""

    def plugins(self) -> list[Plugin[T]]:
        """All of them, sorted by name; those from outside are imported, so that each tells why it fails."""
        return [plugin if plugin.built_in else plugin.tried() for plugin in self._known]

    def names(self) -> list[str]:
        """All names, sorted; only entry points are imported for it."""
        return [plugin.name for plugin in self._known]

    def __contains__(self, name: str) -> bool:
        """Whether there is a plugin of a name."""
        return name in self.names()

    def get(self, name: str) -> Plugin[T]:
        """The plugin of a name; raises UsageError with the nearest names if there is none."""
        named = [plugin for plugin in self._known if plugin.name == name]
        if not named:
            near = did_you_mean(name, self.names())
            raise UsageError(f"unknown {LABELS[self.kind]} {name!r}. {near}")
        return max(named, key=lambda plugin: bool(plugin.class_name))

    def load(self, name: str) -> type[T]:
        """The class of a name; raises UsageError if it is unknown or cannot be used."""
        return self.get(name).load()

    def _further(self, known: Sequence[Plugin[T]]) -> Sequence[Plugin[T]]:  # noqa: ARG002
        """Those that no file of a plugin defines, beside those that are known."""
        return ()

    def built_in(self) -> list[Plugin[T]]:
        """Those that come with pcbench, sorted by name, not imported."""
        return [plugin for plugin in self._known if plugin.built_in]

    @cached_property
    def _known(self) -> list[Plugin[T]]:
        """Every plugin and every file that cannot be read, sorted by name. UsageError for a name twice."""
        folders = [self.folder]
        for folder in self.folders:
            folders += [folder, folder / f"{self.kind}s"]
        files = dict.fromkeys(file for folder in folders for file in _plugin_files(folder))
        known: list[Plugin[T]] = []
        for file in files:
            known += read_file(file, self.kind, self.sources, file.parent == self.folder)
        there = {(plugin.path, plugin.class_name) for plugin in known}
        for entry in importlib.metadata.entry_points(group=f"pcbench.{self.kind}s"):
            offered: Plugin[T] = _entry_point(entry, self.kind, self.sources)
            if not offered.class_name or (offered.path, offered.class_name) not in there:
                known.append(offered)
        known += self._further(known)
        known.sort(key=lambda plugin: (plugin.name, plugin.origin))
        named = [plugin for plugin in known if plugin.class_name]
        for one, other in itertools.pairwise(named):
            if one.name == other.name:
                where = f"{one.origin} and {other.origin}"
                raise UsageError(f"two {LABELS[self.kind]}s are called {one.name!r}: {where}; rename one")
        return known


@dataclass(frozen=True)
class Datasets(Registry["Dataset"]):
    """The data sets, those of the user's own in the store too, and of each its validation part."""

    def own(self) -> list[str]:
        """The names of the user's own, sorted."""
        return [plugin.name for plugin in self._known if isinstance(plugin, OwnData)]

    def _further(self, known: Sequence[Plugin[Dataset]]) -> Sequence[Plugin[Dataset]]:
        built_in = {plugin.name for plugin in known if plugin.built_in}
        return own_data(data_root(), self.folder / "folder.py", built_in, self.sources)

    def get(self, name: str) -> Plugin[Dataset]:
        """The plugin of a data set, or of the one that a name asks for a part of."""
        return super().get(self._whole(name) or name)

    def load(self, name: str) -> type[Dataset]:
        """The class of a data set, or of its validation part."""
        dataset = super().load(name)
        return validation_part(dataset) if self._whole(name) else dataset

    def __contains__(self, name: str) -> bool:
        """Whether there is a data set of that name, or one that it asks for the validation part of."""
        return (self._whole(name) or name) in self.names()

    def _whole(self, name: str) -> str | None:
        """The data set of whose validation part a name speaks; None of any other."""
        return None if name in self.names() else whole_of(name)


@dataclass(frozen=True)
class Catalogue:
    """All plugins that there are, as they were when the catalogue was opened; each file is parsed once."""

    methods: Registry[Method]
    """`methods/`, the user's folders and the entry points `pcbench.methods`."""
    backbones: Registry[Backbone]
    """`backbones/`, the user's folders and the entry points `pcbench.backbones`."""
    datasets: Datasets
    """`pcbench/datasets/`, the user's folders, the entry points `pcbench.datasets`, own data in the store."""

    def registries(self) -> dict[Kind, Registry[Any]]:
        """The three registries by kind."""
        return {"method": self.methods, "backbone": self.backbones, "dataset": self.datasets}

    def backbone(self, spec: str) -> tuple[type[Backbone], str]:
        """The class and the preset that "pointnet:canonical" asks for; "pointnet" asks for the first preset.

        Raises UsageError for an unknown backbone or preset.
        """
        name, preset = split_spec(spec)
        backbone = self.backbones.load(name)
        if preset is None:
            preset = next(iter(backbone.presets))
        if preset not in backbone.presets:
            near = did_you_mean(preset, backbone.presets)
            raise UsageError(f"unknown preset {preset!r} of backbone {name!r}. {near}")
        return backbone, preset

    def method(self, spec: str) -> tuple[type[Method], Setting | None]:
        """The class and the setting that "sadm:paper" asks for; "sadm" asks for the defaults.

        Raises UsageError for an unknown method or setting.
        """
        name, setting = split_spec(spec)
        method = self.methods.load(name)
        if setting is not None and setting not in method.settings:
            near = did_you_mean(setting, method.settings)
            raise UsageError(f"unknown setting {setting!r} of method {name!r}. {near}")
        return method, None if setting is None else method.settings[setting]


def open_catalogue(folders: Sequence[Path] = ()) -> Catalogue:
    """The plugins that come with pcbench, those in `folders` and in PCBENCH_PLUGINS, and entry points.

    UsageError for what is no folder.
    """
    listed = os.environ.get("PCBENCH_PLUGINS", "").split(os.pathsep)
    asked = [(f"{path} is", path) for path in folders]
    asked += [(f"PCBENCH_PLUGINS names {path}, which is", Path(path)) for path in listed if path]
    for subject, path in asked:
        if not path.is_dir():
            raise UsageError(f"{subject} no folder: give one that holds plugin files")
    users = tuple(path for _, path in asked)
    sources = Sources()
    return Catalogue(
        Registry("method", builtin("methods"), users, sources),
        Registry("backbone", builtin("backbones"), users, sources),
        Datasets("dataset", Path(__file__).resolve().parents[1] / "datasets", users, sources),
    )


def redistributable(dataset: str, registry: Registry[Dataset]) -> bool:
    """Whether clouds made from a data set may be passed on; not where it is unknown here.

    Its source says it, so that nothing is imported for it, as far as it says it literally.
    """
    if dataset not in registry:
        return False
    plugin = registry.get(dataset)
    try:
        return plugin.literal("redistributable") is True
    except LookupError:
        return plugin.load().redistributable is True


def read_file(path: Path, kind: Kind, sources: Sources, built_in: bool = False) -> list[Plugin[T]]:
    """The plugins of one kind that a file defines, found without importing it.

    A file that cannot be parsed gives one broken plugin under its stem, unless it is plainly of another kind.
    """
    try:
        defined = classes(sources, path)
    except UNREADABLE as error:
        text = path.read_text(errors="replace") if os.access(path, os.R_OK) else ""
        kinds = [known for known, contract in CONTRACTS.items() if re.search(rf"\b{contract}\b", text)]
        if kinds and kind not in kinds:
            return []
        line = (error.lineno or 1) if isinstance(error, SyntaxError) else 1
        origin = f"{path}:{line}"
        reason = failure(error, path.parent, origin)
        return [Plugin(kind, path.stem, "", origin, path, reason, built_in=built_in, sources=sources)]
    plugins: list[Plugin[T]] = []
    for source in defined.values():
        name = source.name()
        if name is None or source.contract() != CONTRACTS[kind]:
            continue
        origin = f"{path}:{source.node.lineno}"
        problem = _problem(path, sources)
        if not NAMES[kind].fullmatch(name):
            problem = f"the name {name!r} holds more than letters, digits and _ . + - ({origin})"
        summary, class_name = source.summary(), source.node.name
        plugins.append(
            Plugin(kind, name, summary, origin, path, problem, class_name, None, built_in, sources)
        )
    return plugins


def _problem(path: Path, sources: Sources) -> str | None:
    """Why importing a file must fail, in one line, or None."""
    own = Neighbourhood(sources, path.parent)
    hopeless = own.import_by_name(path) or hopeless_import(path, own)
    if isinstance(hopeless, tuple):
        error, file = hopeless
        return failure(error, file.parent, f"{file}:1")
    return hopeless


def _plugin_files(folder: Path) -> list[Path]:
    """The plugin files of a folder, symlinks followed, sorted."""
    skipped = ("_", "test_", "conftest")
    files = (file for file in folder.glob("*.py") if not file.name.startswith(skipped) and not file.is_dir())
    return sorted(file.resolve() for file in files)


def _entry_point(entry: importlib.metadata.EntryPoint, kind: Kind, sources: Sources) -> Plugin[T]:
    """The plugin that an installed package offers; broken, with its reason, where it cannot be imported.

    It is read and not imported where its module's file defines the class.
    """
    declared = f"entry point {entry.group}: {entry.name} = {entry.value}"
    path = _module_file(entry.module)
    with contextlib.suppress(*UNREADABLE):
        source = classes(sources, path).get(entry.attr) if path else None
        if source is not None and source.contract() == CONTRACTS[kind] and source.name() == entry.name:
            place = source.path.resolve()
            origin, module = f"{place}:{source.node.lineno}", entry.module
            summary, class_name = source.summary(), source.node.name
            return Plugin(kind, entry.name, summary, origin, place, None, class_name, module, sources=sources)
    return _imported_entry_point(entry, kind, sources, declared)


def _module_file(module: str) -> Path | None:
    """The Python file of an installed module, found without importing any part of it."""
    search: list[str] | None = None
    origin: str | None = None
    for end in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:end])
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for finder in finders if (spec := finder.find_spec(name, search))), None)
        if spec is None:
            return None
        origin = spec.origin
        search = list(spec.submodule_search_locations or ())
    return Path(origin) if origin and origin.endswith(".py") else None


def _imported_entry_point(
    entry: importlib.metadata.EntryPoint, kind: Kind, sources: Sources, declared: str
) -> Plugin[T]:
    home = Path(str(entry.dist.locate_file(""))).resolve() if entry.dist else Path()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            offered = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises is the reason
        return Plugin(kind, entry.name, "", declared, home, failure(error, home, declared))
    problem = breach(offered, kind, entry.name)
    if problem:
        return Plugin(kind, entry.name, "", declared, home, f"{problem} ({declared})")
    path = Path(inspect.getfile(offered)).resolve()
    origin = f"{path}:{inspect.getsourcelines(offered)[1]}"
    summary = first_line(offered.__doc__)
    module, class_name = offered.__module__, offered.__name__
    return Plugin(kind, entry.name, summary, origin, path, None, class_name, module, sources=sources)
