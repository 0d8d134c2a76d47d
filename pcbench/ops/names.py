"""Draws of training clouds and expansions of sets by name, for whoever reads records without torch."""

from __future__ import annotations

from typing import Final, Literal, get_args

Draw = Literal["nested", "authors", "per-ppc"]
"""`nested`: seeded; the clouds of PPC 1 are among those of PPC 3, and those among those of PPC 10.

`authors`: the one draw of SADM's public code, nested too. `per-ppc`: seeded, another one for every PPC.
"""

DRAWS: tuple[Draw, ...] = get_args(Draw)
"""All of them."""

UNKNOWN: Final = "unknown"
"""The draw of a set that was distilled elsewhere: no draw of ours, and not among DRAWS."""

REDRAWN: Final = ("mixtures",)
"""The expansions that students draw anew in every epoch."""

OWN: Final = "own"
"""A method's own expansion: what it made is kept beside the tensors, since nobody else can make it."""
