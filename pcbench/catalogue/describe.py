"""What a method says about its parameters, as JSON values, and how these are shown to people."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from pcbench.api import Method

LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of", "pattern": "matching"}


def parameters(method: type[Method]) -> list[dict[str, Any]]:
    """Every parameter of a method: name, default, type, unit, limits, source, description."""
    return [_parameter(name, field) for name, field in method.Params.model_fields.items()]


def limits_text(limits: dict[str, Any]) -> str:
    """`> 0, ≤ 1`."""
    return ", ".join(f"{LIMITS[key]} {value}" for key, value in limits.items())


def type_text(annotation: Any) -> str:
    """A type for people: `float`, `float | None`, `mmd | mean` for a choice of words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(str(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(part) for part in parts)
    if annotation is type(None):
        return "none"
    if isinstance(annotation, type) and not parts:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def value_text(value: Any) -> str:
    """A JSON value for people: `true`, `none`, `a=1, b=2`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ", ".join(f"{key}={value_text(each)}" for key, each in value.items()) or "none"
    return "none" if value is None else str(value)


def _parameter(name: str, field: FieldInfo) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    limits = {key: getattr(each, key) for each in field.metadata for key in LIMITS if hasattr(each, key)}
    return {
        "name": name,
        "default": to_jsonable_python(field.get_default(call_default_factory=True, validated_data={})),
        "type": type_text(field.annotation),
        "unit": extra.get("unit", ""),
        "limits": limits,
        "source": extra.get("source", ""),
        "description": field.description or "",
    }
