"""How a run and its parts are called for people: the one spelling of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pcbench.records.inputs import DistillationInputs

WHOLE = 0
"""The PPC of the whole training split, which is no number of clouds per class."""


def is_whole(ppc: int) -> bool:
    """Whether a PPC stands for the whole training split."""
    return ppc == WHOLE


def amount(ppc: int) -> str:
    """How much of a data set: `PPC 3`, or `whole` for the whole training split."""
    return "whole" if is_whole(ppc) else f"PPC {ppc}"


def bare_amount(ppc: int) -> str:
    """The same below a heading that says PPC: `3`, or `whole`."""
    return amount(ppc).removeprefix("PPC ")


def method_title(name: str, variation: Mapping[str, Any], setting: str = "") -> str:
    """A method with the parameters that differ from its defaults: `sadm lr=5 rotate=false`.

    Where they have a name, that stands before them: `sadm:paper lr=0.01`.
    """
    name = f"{name}:{setting}" if setting else name
    return " ".join([name, *(f"{key}={_value(variation[key])}" for key in sorted(variation))])


def title(inputs: DistillationInputs, student: str = "", test: str = "") -> str:
    """One line for a run: `sadm lr=5 on modelnet10, PPC 3, repetition 1 → dgcnn:paper, test so3`.

    student: the students' network, named where it is another than the one that was distilled with. test: what
    was done to the test clouds, where anything was. The first repetition is not named, nor a seeded draw.
    """
    method = method_title(inputs.method, inputs.variation, inputs.setting)
    text = f"{method} on {inputs.data.name}, {amount(inputs.ppc)}"
    text += f", repetition {inputs.repetition}" if inputs.repetition else ""
    text += f", draw {inputs.draw}" if inputs.draw == "authors" else ""
    text += f" → {student}" if student and student != inputs.network.label else ""
    return text + (f", test {test}" if test and test != "plain" else "")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
