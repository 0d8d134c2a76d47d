"""Which earlier work is like a cell, and how near it is."""

from __future__ import annotations

import math

from pcbench.records.inputs import DistillationInputs


def alike(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether two distillations are of one method by one network, with as many points."""
    return (asked.method, asked.network.label, asked.data.points, asked.is_whole) == (
        other.method,
        other.network.label,
        other.data.points,
        other.is_whole,
    )


def comparable(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether two distillations take a like time: they are alike, and as long."""
    return (asked.method, asked.network.label, asked.iterations, asked.data.points) == (
        other.method,
        other.network.label,
        other.iterations,
        other.data.points,
    ) and same_amount(asked, other)


def same_amount(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether both are small sets, or both the whole of the same training split: its size is not recorded."""
    if not asked.is_whole and not other.is_whole:
        return True
    return asked.ppc == other.ppc and asked.data == other.data


def same_shape(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether both are of one data set, with the same parameters and PPC."""
    return (asked.data, asked.params, asked.ppc) == (other.data, other.params, other.ppc)


def distance(asked: DistillationInputs, other: DistillationInputs) -> tuple[bool, bool, bool, float, str]:
    """Smaller is nearer: method, data set, parameters, PPC as a ratio; the key settles what is equal."""
    small = not asked.is_whole and not other.is_whole
    return (
        asked.method != other.method,
        asked.data != other.data,
        asked.params != other.params,
        abs(math.log(asked.ppc / other.ppc)) if small else 0.0,
        other.key,
    )
