"""The sources of methods and backbones that records may name; those of a submission are read, never run."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcbench.catalogue import Catalogue, lineage
from pcbench.catalogue.imports import PUBLIC, undeclared_imports
from pcbench.catalogue.kinds import Kind
from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.neighbours import Sources
from pcbench.catalogue.registry import read_file
from pcbench.catalogue.tree_hash import UnreadableSource, source_digest
from pcbench.common.files import file_digest
from pcbench.errors import UsageError
from pcbench.submission.manifest import MANIFEST, MAX_SOURCE_BYTES, PLUGINS, Manifest, PluginSource
from pcbench.submission.rules import Finding


@dataclass(frozen=True)
class Given:
    """The plugins that a submission brings, by kind, name and hash of the source."""

    plugins: Mapping[tuple[str, str, str], Plugin[Any]] = field(default_factory=dict)
    """Those whose source is what the manifest says, read and not imported."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with the others, and with what these import."""


NOTHING_BROUGHT = Given()


def given(folder: Path, manifest: Manifest, sizes: Mapping[str, int]) -> Given:
    """The plugins of a submission. sizes: its files by path; no other is looked at."""
    findings: list[Finding] = []
    plugins: dict[tuple[str, str, str], Plugin[Any]] = {}
    code = {path for source in manifest.plugins for path in source.files}
    named = code | {path for source in manifest.plugins for path in source.data}
    unnamed = {path for path in sizes if path.startswith(f"{PLUGINS}/")} - named
    for path in sorted(unnamed):
        findings.append(Finding("unexpected-file", folder / path, "no plugin of the manifest names it"))
    for path in sorted(path for path in named if not path.startswith(f"{PLUGINS}/")):
        findings.append(Finding("invalid-manifest", folder / MANIFEST, f"a source outside {PLUGINS}: {path}"))
    if findings:
        return Given(findings=tuple(findings))  # what is not named was not weighed: it is not parsed
    digests = _digests(folder, code & sizes.keys(), sizes, findings)
    digests |= {path: file_digest(folder / path) for path in sorted((named - code) & sizes.keys())}
    sources = Sources()
    for source in manifest.plugins:
        plugin = _plugin(folder, source, digests, sources, findings)
        if plugin is not None:
            plugins[source.kind, source.name, source.source] = plugin
    return Given(plugins, tuple(findings))


def _digests(
    folder: Path, paths: set[str], sizes: Mapping[str, int], findings: list[Finding]
) -> dict[str, str]:
    """By path, the hash of what each submitted source computes."""
    total = sum(sizes[path] for path in paths)
    if total > MAX_SOURCE_BYTES:
        told = f"the sources of plugins have {total} bytes, more than {MAX_SOURCE_BYTES}"
        findings.append(Finding("too-large", folder / MANIFEST, told))
        return {}
    digests = {}
    for path in sorted(paths):
        try:
            digests[path] = source_digest((folder / path).read_bytes())
        except UnreadableSource as error:
            findings.append(Finding("unreadable-plugin", folder / path, str(error)))
    return digests


def _plugin(
    folder: Path,
    source: PluginSource,
    digests: Mapping[str, str],
    sources: Sources,
    findings: list[Finding],
) -> Plugin[Any] | None:
    entry = folder / source.entry
    if source.computed(digests) != source.source:
        told = f"the source of {source.kind} {source.name!r} is not the one that the manifest names"
        findings.append(Finding("altered-plugin", entry, told))
        return None
    defined: list[Plugin[Any]] = read_file(entry, source.kind, sources)
    plugin = next((each for each in defined if each.class_name and each.name == source.name), None)
    if plugin is None:
        told = f"defines no {source.kind} that is called {source.name!r}"
        findings.append(Finding("altered-plugin", entry, told))
        return None
    try:
        declared = {file.name for file in plugin.data_files()}
    except UsageError as error:
        findings.append(Finding("altered-plugin", entry, str(error).replace(f"{folder}/", "")))
        return None
    if declared != {posixpath.basename(path) for path in source.data}:
        told = f"{source.kind} {source.name!r} declares other data files than the manifest says"
        findings.append(Finding("altered-plugin", entry, told))
        return None
    for line in undeclared_imports(sources, (folder / path for path in sorted(source.files))):
        told = f"{line.removeprefix(f'{folder}/')}: a {source.kind} imports {PUBLIC} alone"
        findings.append(Finding("undeclared-import", entry, told))
    return plugin


@dataclass(frozen=True)
class Origin:
    """Where the source of a plugin is that a record names."""

    plugin: Plugin[Any] | None
    """The plugin, to be read; None where its hash alone is known, as that of an older pcbench."""
    built_in: bool
    """Whether it comes with this pcbench, or came with an older one."""


def origin(catalogue: Catalogue, brought: Given, kind: Kind, name: str, source: str) -> Origin | None:
    """The plugin of a kind and name with that hash of its source; None where nobody has it."""
    registry = catalogue.registries()[kind]
    plugin = registry.get(name) if name in registry else None
    if plugin is not None and plugin.built_in and plugin.source_hash() == source:
        return Origin(plugin, built_in=True)
    if source in lineage.earlier(kind, name):
        return Origin(None, built_in=True)
    submitted = brought.plugins.get((kind, name, source))
    return None if submitted is None else Origin(submitted, built_in=False)


def reserved(catalogue: Catalogue, kind: Kind, name: str) -> str:
    """The built-in plugin whose name this is, however it is written; empty where it is nobody's."""
    names = (plugin.name for plugin in catalogue.registries()[kind].built_in())
    return next((each for each in _also_earlier(kind, names) if each.casefold() == name.casefold()), "")


def _also_earlier(kind: Kind, names: Iterator[str]) -> list[str]:
    return sorted({*names, *lineage.earlier_names(kind)})
