"""The coreset that covers the class."""

from __future__ import annotations

from ._greedy import Greedy


class KCenter(Greedy):
    """Training clouds farthest first, from the class mean's nearest (Sener, Savarese 2018)."""

    name = "kcenter"
    how = "kcenter"
