"""Whether a plugin keeps its contract: every clause is tried on small clouds, on the CPU, in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcbench.catalogue import Catalogue, open_catalogue
from pcbench.catalogue.imports import PUBLIC, past_the_face
from pcbench.catalogue.kinds import CONTRACTS
from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.neighbours import Sources
from pcbench.catalogue.registry import read_file
from pcbench.conformance.backbones import BackboneContract
from pcbench.conformance.clauses import Failed, Item, NotApplicable, Report, tried
from pcbench.conformance.datasets import DatasetContract
from pcbench.conformance.methods import ITERATIONS, MethodContract
from pcbench.errors import UsageError, did_you_mean

__all__ = ["ITERATIONS", "Item", "Report", "check", "failures"]


def check(target: str, catalogue: Catalogue, iterations: int = ITERATIONS) -> list[Report]:
    """The plugins of a name, or all those in a file that ends in .py; UsageError where there is none.

    iterations: how many a method is tried for.
    """
    plugins = _in_file(Path(target)) if target.endswith(".py") else _named(target, catalogue)
    return [_report(plugin, catalogue, iterations) for plugin in plugins]


def failures(path: Path) -> list[str]:
    """The clauses that the plugins of a file break, one line each; for the plugin's own tests."""
    return [
        f"{report.name}: {item.clause}: {item.detail}"
        for report in check(str(path), open_catalogue())
        for item in report.items
        if item.result == "failed"
    ]


def _in_file(path: Path) -> list[Plugin[Any]]:
    if not path.is_file():
        raise UsageError(f"{path} is not there: give a plugin file, or a name that 'pcbench list' shows")
    sources = Sources()
    found: list[Plugin[Any]] = []
    for kind in CONTRACTS:
        found += read_file(path.resolve(), kind, sources)
    if not found:
        raise UsageError(
            f"{path} defines no plugin: it needs a class with a literal name that derives from "
            f"{', '.join(CONTRACTS.values())} of pcbench.api"
        )
    return found


def _named(name: str, catalogue: Catalogue) -> list[Plugin[Any]]:
    registries = catalogue.registries().values()
    found = [registry.get(name) for registry in registries if name in registry]
    if not found:
        known = {known for registry in registries for known in registry.names()}
        raise UsageError(f"nothing is called {name!r}. {did_you_mean(name, known)}")
    return found


def _report(plugin: Plugin[Any], catalogue: Catalogue, iterations: int) -> Report:
    try:
        loaded = plugin.load()
    except UsageError as error:
        return Report(plugin.kind, plugin.name, plugin.origin, (Item("import", "failed", str(error)),))
    clauses: dict[str, Callable[[], str]] = {
        "name": lambda: _name(plugin, catalogue),
        "docstring": lambda: _docstring(loaded),
        "imports": lambda: _imports(plugin),
    }
    match plugin.kind:
        case "method":
            clauses |= MethodContract(loaded, iterations).clauses()
        case "backbone":
            clauses |= BackboneContract(loaded).clauses()
        case "dataset":
            clauses |= DatasetContract(loaded).clauses()
    items = tuple(tried(clause, trial, plugin.path) for clause, trial in clauses.items())
    return Report(plugin.kind, plugin.name, plugin.origin, items)


def _name(plugin: Plugin[Any], catalogue: Catalogue) -> str:
    registry = catalogue.registries()[plugin.kind]
    if plugin.name in registry and registry.get(plugin.name).path != plugin.path:
        raise Failed(f"{plugin.name!r} is taken by {registry.get(plugin.name).origin}: choose another name")
    return plugin.name


def _docstring(loaded: type) -> str:
    first = (vars(loaded).get("__doc__") or "").strip().partition("\n")[0]
    if not first:
        raise Failed("the class has no docstring: its first line is what 'pcbench list' shows")
    return first


def _imports(plugin: Plugin[Any]) -> str:
    """Methods and backbones take from pcbench its public face alone."""
    if plugin.kind == "dataset":
        raise NotApplicable("a data set may use how pcbench reads and stores clouds")
    problem = past_the_face(plugin)
    if problem:
        raise Failed(problem)
    return f"{PUBLIC} alone"
