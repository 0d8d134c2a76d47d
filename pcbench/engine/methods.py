"""A method as a run chooses it: by name, with its parameters in effect, without the class itself.

A stranger's class is never imported by the process of a run; what has to be known of it comes from a process
of its own (`pcbench.engine.apart`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pcbench.api import Method, MethodParams
from pcbench.catalogue import Catalogue
from pcbench.errors import UsageError, did_you_mean
from pcbench.protocols import protocol


@dataclass(frozen=True)
class ChosenMethod:
    """A method with its parameters, as a request chooses it; plain values all."""

    name: str
    """What it is called."""
    whole: bool
    """Whether it gives the whole training split."""
    source: str
    """The hash of its code."""
    params: Mapping[str, Any]
    """All parameters in effect, as JSON values."""
    variation: Mapping[str, Any]
    """Those of them that differ from their defaults."""
    setting: str
    """What the method calls these parameters; empty where it has no name for them."""
    files: list[str]
    """The data files that it reads, by name."""

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ChosenMethod:
        """The inverse of `dataclasses.asdict` for what another process says; else UsageError."""
        kinds = {
            "name": str,
            "whole": bool,
            "source": str,
            "params": dict,
            "variation": dict,
            "setting": str,
            "files": list,
        }
        if values.keys() != kinds.keys() or any(type(values[key]) is not kind for key, kind in kinds.items()):
            raise UsageError("the method's process does not say what the method is")
        return cls(**values)


def chosen(catalogue: Catalogue, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
    """What "sadm:paper" with some parameters asks for; its class is imported here.

    values: by name, as texts or JSON values; they depart from the named setting. origin: the suite's row, for
    messages. UsageError for an unknown method, setting or parameter, and for a value that it refuses.
    """
    method, setting = catalogue.method(spec)
    params = _params(method, {**(setting.params if setting else {}), **values}, origin)
    plain = params.model_dump(mode="json")
    defaults = type(params)().model_dump(mode="json")
    plugin = catalogue.methods.get(method.name)
    return ChosenMethod(
        name=method.name,
        whole=method.whole,
        source=plugin.source_hash(),
        params=plain,
        variation={key: value for key, value in plain.items() if value != defaults[key]},
        setting=_setting_of(method, params),
        files=[file.name for file in plugin.data_files()],
    )


def instance(catalogue: Catalogue, choice: ChosenMethod) -> Method:
    """The method itself. UsageError where its code is not what it was when it was chosen."""
    plugin = catalogue.methods.get(choice.name)
    if plugin.source_hash() != choice.source:
        raise UsageError(f"{plugin.origin}: the method's code has changed since the run was planned")
    method = plugin.load()
    return method(method.Params.model_validate(dict(choice.params)))


def _params(method: type[Method], settings: Mapping[str, Any], origin: str) -> MethodParams:
    place = f"{origin}: " if origin else ""
    known = method.Params.model_fields
    for key in settings:
        if key not in known:
            near = did_you_mean(key, {*known, *protocol.SETTINGS})
            problem = f"neither method {method.name!r} nor the protocol has such a parameter. {near}"
            if origin:
                raise UsageError(f"{place}{key}: {problem}")
            raise UsageError(f"setting {key}: {problem}", "setting")
    try:
        return method.Params.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "parameters"
        problem = f"method {method.name!r}: {where}={first['input']!r}: {first['msg']}"
        raise UsageError(place + problem) from error


def _setting_of(method: type[Method], params: MethodParams) -> str:
    """The name of the setting that parameters are, however they were asked for; empty for none."""
    for name, setting in method.settings.items():
        if setting.params and method.Params.model_validate(dict(setting.params)) == params:
            return name
    return ""
