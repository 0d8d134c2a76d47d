"""What all data that is read from outside is held to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import CoreSchema

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """Frozen, no unknown field, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic has it, but that a list is given up at its first wrong entry.

        Each entry that is told takes a kilobyte, and a stranger's list has as many as he likes.
        """
        schema = handler(source)
        waiting: list[Any] = [schema]
        while waiting:
            part = waiting.pop()
            if isinstance(part, dict):
                if part.get("type") in ("list", "tuple"):
                    part["fail_fast"] = True
                waiting += part.values()
            elif isinstance(part, list | tuple):
                waiting += part
        return schema


class Abridged(Model):
    """A model that is written without the fields that have no effect beside the values of the others."""

    @abstractmethod
    def idle(self) -> Collection[str]:
        """The names of these fields."""

    @model_serializer(mode="wrap")
    def _without_idle_fields(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        for name in self.idle():
            values.pop(name, None)
        return values


class Label:
    """Marks a field that tells people what a value is called, and is no part of what it is: in no key."""


LABEL = Label()


def first_problem(error: ValidationError, whole: str) -> str:
    """The first problem with its place, `rows.2.params.lr: …`; entries are counted from one.

    whole: what the place is called where the problem is with all of it.
    """
    first = error.errors()[0]
    place = ".".join(str(word + 1) if isinstance(word, int) else word for word in first["loc"]) or whole
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
