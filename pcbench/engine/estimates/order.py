"""In which order first steps are timed, so that those come first that tell of most cells."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins


def by_use(cells: Sequence[Cell]) -> list[Cell]:
    """Every method and network at its smallest PPC, then at its largest, at those between, then the rest.

    Those that stand for most cells come first. The rest is what is like one before it, on another data set or
    of another repetition.
    """
    families: dict[Hashable, dict[int, list[Cell]]] = {}
    for cell in cells:
        family = stand_ins.family(cell.inputs), cell.evaluation.network.label, cell.evaluation.protocol.label
        families.setdefault(family, {}).setdefault(cell.inputs.ppc, []).append(cell)
    by_size = sorted(families.values(), key=lambda ppcs: -sum(map(len, ppcs.values())))
    ranked: list[tuple[int, Cell]] = []
    for ppcs in by_size:
        ascending = sorted(ppcs)
        for ppc, (first, *others) in ppcs.items():
            rank = 0 if ppc == ascending[0] else 1 if ppc == ascending[-1] else 2
            ranked += [(rank, first), *((3, other) for other in others)]
    return [cell for _, cell in sorted(ranked, key=lambda pair: pair[0])]
