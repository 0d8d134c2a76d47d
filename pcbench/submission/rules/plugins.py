"""Names, presets and parameters of a run's method and networks against the sources that they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pcbench.catalogue import Catalogue
from pcbench.catalogue.loading import Plugin
from pcbench.catalogue.source import COMPUTED
from pcbench.common.installed import has_torch
from pcbench.errors import UsageError
from pcbench.records import layout
from pcbench.records.inputs import DistillationInputs, Network
from pcbench.records.layout import short
from pcbench.records.models import Run
from pcbench.submission.manifest import used
from pcbench.submission.rules import Finding, scored_files
from pcbench.submission.sources import Given, Origin, origin, reserved


def findings(run: Run, catalogue: Catalogue, brought: Given, submitted: bool) -> Iterator[Finding]:
    """Where a run names plugins that are not what it says.

    submitted: whether it has to bring the sources that do not come with pcbench; a plain folder of runs
    cannot.
    """
    file, inputs = layout.distillation(run.folder), run.distillation.inputs
    for kind, name, source in used(run):
        there = origin(catalogue, brought, kind, name, source)
        taken = reserved(catalogue, kind, name)
        if taken and (there is None or not there.built_in or name != taken):
            told = f"{kind} {name!r} has the name of one that comes with pcbench, and another source"
            yield Finding("reserved-name", file, told)
        if there is None and submitted:
            told = (
                f"the source of {kind} {name!r} ({short(source)}) is neither in the submission nor built in"
            )
            yield Finding("missing-plugin", file, told)
    for name in sorted({inputs.data.name, *(each.inputs.data.name for each in run.evaluations)}):
        taken = reserved(catalogue, "dataset", name)
        if taken not in ("", name):
            yield Finding("reserved-name", file, f"data set {name!r} is nearly called as {taken!r} is")
    method = origin(catalogue, brought, "method", inputs.method, inputs.source)
    for told in _parameters(inputs, method, catalogue):
        yield Finding("wrong-parameters", file, told)
    networks = [(file, inputs.network)]
    networks += [(path, record.inputs.network) for path, record in scored_files(run)]
    for path, network in networks:
        if _lacks_preset(network, origin(catalogue, brought, "backbone", network.name, network.source)):
            yield Finding(
                "unknown-preset", path, f"backbone {network.name!r} has no preset {network.preset!r}"
            )


def _lacks_preset(network: Network, there: Origin | None) -> bool:
    presets = None if there is None or there.plugin is None else _said(there, "presets")
    return isinstance(presets, Mapping) and network.preset not in presets


def _said(there: Origin, attribute: str) -> object:
    """A class attribute of a plugin, as its source writes it out; of a built-in one also otherwise."""
    plugin: Plugin[Any] | None = there.plugin
    if plugin is None:
        return None
    try:
        return plugin.literal(attribute)
    except LookupError:
        return getattr(plugin.load(), attribute) if there.built_in and has_torch() else None


def _parameters(inputs: DistillationInputs, there: Origin | None, catalogue: Catalogue) -> Iterator[str]:
    """What is wrong with parameters, variation, setting and PPC.

    The source of a method says which parameters it has, and their defaults as far as they are written out;
    what only running it would tell is claimed. Where parameters depart from the defaults of a built-in method
    it is asked what they mean, for which torch is imported.
    """
    odd = sorted(key for key, value in inputs.variation.items() if inputs.params.get(key, ...) != value)
    if odd:
        yield f"variation {', '.join(odd)} is not among the parameters, or has another value there"
    if there is None or there.plugin is None:
        return
    files = [file.name for file in there.plugin.data_files()]
    if files != inputs.files:
        shown = [", ".join(each) or "none" for each in (inputs.files, files)]
        yield f"data files {shown[0]}, and its source reads {shown[1]}"
    whole = _said(there, "whole")
    if isinstance(whole, bool) and whole != inputs.is_whole:
        yield f"PPC {inputs.ppc} by a method that {'gives' if whole else 'does not give'} the whole split"
    departs = inputs.variation or inputs.setting
    if there.built_in and departs and has_torch():
        yield from _by_method(inputs, catalogue)
    else:
        yield from _by_source(inputs, there.plugin)


def _by_method(inputs: DistillationInputs, catalogue: Catalogue) -> Iterator[str]:
    from pcbench.engine.methods import chosen

    try:
        choice = chosen(catalogue, inputs.method, inputs.params, "")
    except UsageError as error:
        yield str(error)
        return
    if dict(choice.params) != inputs.params:
        yield f"parameters {_shown(inputs.params)} are not those that {inputs.method} has"
    elif dict(choice.variation) != inputs.variation:
        yield f"variation {_shown(inputs.variation)}, where it is {_shown(choice.variation)}"
    if inputs.setting not in ("", choice.setting):  # older records name no setting
        yield f"setting {inputs.setting!r} has other parameters"


def _by_source(inputs: DistillationInputs, plugin: Plugin[Any]) -> Iterator[str]:
    defaults = plugin.parameters()
    if defaults is None:
        return
    lacking = sorted(defaults.keys() - inputs.params.keys())
    strange = sorted(inputs.params.keys() - defaults.keys())
    if lacking or strange:
        yield f"parameters {', '.join([*lacking, *strange])} are not those that its source has"
        return
    for name, default in defaults.items():
        value = inputs.params[name]
        if _comparable(value, default) and (value != default) != (name in inputs.variation):
            yield f"variation: {name} is {inputs.params[name]!r} by default {default!r}"


def _comparable(value: object, default: object) -> bool:
    """Whether equality of a recorded value and a written default means anything: a text may be a number."""
    plain = all(each is None or isinstance(each, int | float) for each in (value, default))
    return default is not COMPUTED and (plain or type(value) is type(default))


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={values[key]!r}" for key in sorted(values)) or "none"
