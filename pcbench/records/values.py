"""What any value of a record may be: texts made safe, numbers within bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from pcbench.common.text import one_line

SCHEMA_VERSION: Literal[2] = 2
"""The form that records are written in; `pcbench.records.migrate` reads the older ones."""
LONGEST_NAME = 200
LARGEST = (1 << 53) - 1  # the largest integer that every reader of JSON keeps
_DEEPEST = 6


def _named(value: Any) -> Any:
    return one_line(value, LONGEST_NAME) if isinstance(value, str) else value


def _told(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _settled(value: Any, depth: int = 0) -> Any:
    """A free-form JSON value with its texts made safe; ValueError where it is too deep or too large."""
    if depth > _DEEPEST:
        raise ValueError(f"values are nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        return {_named(key): _settled(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_settled(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"an integer lies outside ±{LARGEST}")
    return _told(value)


# Whoever makes a record gets these texts made safe; whoever reads one that is not so refuses it.
Name: TypeAlias = Annotated[str, BeforeValidator(_named)]
Text: TypeAlias = Annotated[str, BeforeValidator(_told)]
Values: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_settled), Field(max_length=1000)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e10)]


class Breach(ValueError):
    """A rule of the records that one breaks; code: the rule's name, for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def accuracies(correct: list[int], totals: list[int]) -> tuple[float, float]:
    """Overall and mean class accuracy, in [0, 1], from exact counts per class; empty classes are left out.

    Raises ValueError for counts outside their totals.
    """
    if len(correct) != len(totals) or any(not 0 <= c <= t for c, t in zip(correct, totals, strict=True)):
        raise Breach(
            "altered-score", "counts of right answers must lie between 0 and the test clouds of the class"
        )
    present = [(c, t) for c, t in zip(correct, totals, strict=True) if t]
    if not present:
        raise ValueError("there are no test clouds")
    oa = sum(correct) / sum(totals)
    return oa, sum(c / t for c, t in present) / len(present)
